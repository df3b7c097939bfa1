"""How Sphinx builds the pages: `make docs`."""

from __future__ import annotations

import builtins
import enum
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from sphinx.addnodes import pending_xref, pending_xref_condition

from pywasmrt import __version__

project = "pywasmrt"
author = copyright = "The pywasmrt contributors"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "sphinx_copybutton", "sphinx_design"]
exclude_patterns = ["figures/*.md", "reference/features.md"]  # included by others
html_theme = "furo"
html_title = "pywasmrt"
html_static_path = ["assets"]
html_css_files = ["pages.css"]
html_copy_source = False
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
copybutton_exclude = ".linenos, .gp, .go"  # of a console's block, the commands alone

# In docstrings, `name` is code, and a link where there is something of that name.
default_role = "py:obj"
autodoc_default_options = {"members": True, "undoc-members": True}
autodoc_preserve_defaults = True
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_class_signature = "mixed"
python_use_unqualified_type_names = True


def as_markdown_does(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Make literal blocks of the indented ones behind a paragraph, which is how docstrings here show code."""
    listed = False  # within a list, indented text goes on with an item
    for n, line in enumerate(lines):
        if line and not line.startswith(" "):
            listed = line.startswith("* ")
        above = lines[n - 1] if n else ""
        if not listed and line.startswith("    ") and not above and n >= 2 and not lines[n - 2].startswith("    "):
            lines[n - 1] = "\n::\n" if lines[n - 2] else "::\n"
    lines[:] = "\n".join(lines).split("\n")


def plainer_signature(
    app: Any, what: str, name: str, obj: Any, options: Any, signature: str | None, returns: str | None
) -> tuple[str | None, str | None] | None:
    """Hide the signatures of protocols and enumerations, which users do not call; and show a default that a dataclass
    makes anew each time as an expression.
    """
    if what == "class" and (getattr(obj, "_is_protocol", False) or issubclass(obj, enum.Enum)):
        return "", None
    return signature and signature.replace("<factory>", "..."), returns


def by_last_name(app: Any, env: Any, node: Any, content: Any) -> Any:
    """Find a name by its end: names are documented where users import them from, and written in many other ways."""
    if node.get("refdomain") != "py":
        return None
    domain = env.get_domain("py")
    ending = "." + node["reftarget"].rpartition(".")[2]
    found = [name for name, entry in domain.objects.items() if name.endswith(ending) and not entry.aliased]
    tops = [name for name in found if name == "pywasmrt" + ending] or found
    if len(tops) != 1:
        return None
    return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", tops[0], node, content)


def not_builtins(app: Any, doctree: Any) -> None:
    """Make no links of Python's own names: `type` is not `Memory.type`."""
    for node in list(doctree.findall(pending_xref)):
        if node.get("refdomain") == "py" and hasattr(builtins, node["reftarget"]):
            conditional = node.next_node(pending_xref_condition)
            node.replace_self(node.children if conditional is None else conditional.children)


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", as_markdown_does)
    app.connect("autodoc-process-signature", plainer_signature)
    app.connect("doctree-read", not_builtins)
    app.connect("missing-reference", by_last_name)
