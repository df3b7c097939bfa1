"""The page for whoever carries on: its picture is the script's, and the files that it names are there."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"

pytestmark = pytest.mark.skipif(not DOCS.exists(), reason="needs the project's own folder")


def test_the_picture_is_the_scripts() -> None:
    drawn = runpy.run_path(str(DOCS / "layers.py"))
    assert drawn["TARGET"].read_text(encoding="utf-8") == drawn["picture"]()


@pytest.mark.parametrize("page", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_the_files_that_are_named_are_there(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:[\w.]+/)+[\w.]*|[\w/]+\.(?:py|c|h|md|toml))`", text))
    places = [ROOT, ROOT / "pywasmrt", ROOT / "csrc", *(ROOT / "csrc" / "engines").iterdir()]
    missing = {name for name in named if "NAME" not in name and not any((place / name).exists() for place in places)}
    assert missing - {"build/docs", "howto/adapter"} == set()
