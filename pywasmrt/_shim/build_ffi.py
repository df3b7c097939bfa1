"""Makes the cffi module `pywasmrt._shim._wrt` from `csrc/wrt.h`; run by setup.py, of no use in an installed package.

`wrt.h` and `wrt_component.h` are the whole contract with the engines, and cffi reads them as they stand: only the
preprocessor lines that cffi does not know are left out. So the headers may use no such line that changes a declaration.
"""

from __future__ import annotations

import os
import re
from glob import glob
from pathlib import Path
from typing import Any

MODULE = "pywasmrt._shim._wrt"
HEADER = Path("csrc", "wrt.h")
COMPONENT_HEADER = Path("csrc", "wrt_component.h")
WAZERO = Path("csrc", "engines", "wazero")
FAULTS = Path("csrc", "engines", "fault")  # an engine that fails on demand, for tests

_COMMENT_OR_DIRECTIVE = re.compile(r"/\*.*?\*/|^[ \t]*#(?:\\\n|/\*.*?\*/|[^\n])*", re.MULTILINE | re.DOTALL)
_NUMBER = re.compile(r"\s*#\s*define\s+(\w+)\s+\(?-?(?:0x[0-9a-fA-F]+|\d+)[uUlL]*\)?\s*(?:/\*.*\*/\s*)?", re.DOTALL)


def declarations(text: str) -> str:
    """The text of a header without the preprocessor lines that cffi cannot read.

    A defined number stays, as `#define NAME ...`: its value comes from the compiler. Line numbers stay as they were.
    """

    def replaced(match: re.Match[str]) -> str:
        found = match[0]
        if found.startswith("/*"):
            return found
        number = _NUMBER.fullmatch(found)
        return (f"#define {number[1]} ..." if number else "") + "\n" * found.count("\n")

    return _COMMENT_OR_DIRECTIVE.sub(replaced, text)


def make() -> Any:
    """The builder that setup.py hands to cffi, for every `csrc/engines/*/*.c`; called in the project's own folder.

    wazero is not among them: Go builds it into a library of its own (build_wazero.py).

    With PYWASMRT_FAULTS=1 in the environment the engine that fails on demand is among them.
    """
    from cffi import FFI

    ffi = FFI()
    for contract in (HEADER, COMPONENT_HEADER):
        ffi.cdef(declarations(contract.read_text(encoding="utf-8")))
    with_faults = os.environ.get("PYWASMRT_FAULTS", "") not in ("", "0")
    if with_faults:
        ffi.cdef(declarations(Path(FAULTS, "fault.h").read_text(encoding="utf-8")))
    left_out = {WAZERO} if with_faults else {WAZERO, FAULTS}
    header = FAULTS / "fault.h" if with_faults else HEADER
    ffi.set_source(
        MODULE,
        "".join(f'#include "{each.relative_to("csrc").as_posix()}"\n' for each in (header, COMPONENT_HEADER)),
        sources=[path for path in sorted(glob("csrc/engines/*/*.c")) if Path(path).parent not in left_out],
        depends=sorted(glob("csrc/**/*.h", recursive=True)),
        include_dirs=["csrc"],
        py_limited_api=False,
    )
    return ffi
