"""Brings wasm3's C sources to the build; run by setup.py, of no use in an installed package.

Nothing of wasm3 is kept in this repository. Its sources come from the folder named by WASM3_SOURCE_DIR, else from the
source package of `pywasm3`, pinned by its hash, which pip fetches and `third_party/` keeps. What the build compiles is
a copy under `build/` with a few substitutions; each must match exactly as often as it says, so sources that they do not
fit fail the build instead of making an engine without its guards.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

if __package__:
    from .wasm3_changes import CHECKED, SUBSTITUTIONS
else:  # imported by setup.py, without the package
    from wasm3_changes import CHECKED, SUBSTITUTIONS  # type: ignore[import-not-found, no-redef]

__all__ = ["Sources", "SubstitutionError", "Unavailable", "fetch", "prepare"]

VERSION = "0.5.0"
ARCHIVE = Path("third_party", f"pywasm3-{VERSION}.tar.gz")
SHA256 = "5a47c8a39f7f6ae71b3316b2e5d86c9d0db6e771a65f09a86e4d4aa3a19aefcc"
BUILD = Path("build", "wasm3")


class Unavailable(Exception):
    """The sources cannot be had; the text says why."""


class SubstitutionError(Exception):
    """The sources are not those that the substitutions were written for."""


@dataclass(frozen=True)
class Sources:
    """A folder of sources ready to compile, and the C files in it."""

    folder: str
    files: list[str]


def prepare() -> Sources:
    """Sources to compile, in `build/`. Raises `Unavailable`, or `SubstitutionError` with what did not fit."""
    given = os.environ.get("WASM3_SOURCE_DIR", "")
    folder = _checkout(Path(given)) if given else _unpack(fetch())
    target = BUILD / "sources"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for file in sorted((*folder.glob("*.c"), *folder.glob("*.h"))):
        if not file.name.startswith("m3_api_"):  # WASI and the like, which Python implements here
            shutil.copyfile(file, target / file.name)
    _substitute(target, folder)
    return Sources(str(target), [str(file) for file in sorted(target.glob("*.c"))])


def fetch() -> Path:
    """The pinned source package, fetched by pip unless `third_party/` has it. Raises `Unavailable`."""
    if not ARCHIVE.is_file():
        _download()
    found = hashlib.sha256(ARCHIVE.read_bytes()).hexdigest()
    if found != SHA256:
        raise Unavailable(f"{ARCHIVE} is not the pinned source package: its sha256 is {found}; remove it")
    return ARCHIVE


def _download() -> None:
    target = ARCHIVE.parent
    target.mkdir(exist_ok=True)
    BUILD.mkdir(parents=True, exist_ok=True)
    pinned = BUILD / "requirements.txt"
    pinned.write_text(f"pywasm3=={VERSION} --hash=sha256:{SHA256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
    command += ["--no-deps", "--no-binary", ":all:", "--no-build-isolation", "--require-hashes"]
    command += ["--dest", str(target), "--requirement", str(pinned)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"pip cannot fetch the sources of wasm3: {error}") from None
    if not ARCHIVE.is_file():
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["it said nothing"]
        raise Unavailable(f"pip cannot fetch the sources of wasm3: {lines[-1].strip()}")


def _unpack(archive: Path) -> Path:
    target = BUILD / f"pywasm3-{VERSION}"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    with tarfile.open(archive) as tar:
        for member in tar.getmembers():
            name = Path(member.name)
            if member.isfile() and name.parent.name == "wasm3" and name.suffix in (".c", ".h"):
                content = tar.extractfile(member)
                assert content is not None
                (target / name.name).write_bytes(content.read())
    return target


def _checkout(folder: Path) -> Path:
    for place in (folder, folder / "source", folder / "wasm3"):
        if (place / "wasm3.h").is_file():
            return place
    raise Unavailable(f"WASM3_SOURCE_DIR is {folder}, where there is no wasm3.h")


def _substitute(target: Path, origin: Path) -> None:
    found = re.search(r'#define\s+M3_VERSION\s+"([^"]*)"', (target / "wasm3.h").read_text(encoding="utf-8"))
    version = found[1] if found else "unknown"
    if version not in CHECKED:
        raise SubstitutionError(
            f"the sources of wasm3 in {origin} are of version {version}; checked were {', '.join(CHECKED)}"
        )
    for each in SUBSTITUTIONS:
        if version not in each.versions:
            continue
        file = target / each.file
        if not file.is_file():
            raise SubstitutionError(f"the sources of wasm3 in {origin} have no {each.file}")
        text = file.read_text(encoding="utf-8")
        matches = len(re.findall(each.pattern, text))
        if matches != each.times:
            raise SubstitutionError(
                f"{each.file} of the sources of wasm3 in {origin} has {matches} places, not {each.times}, for this: "
                f"{each.why}; use the pinned version, or check the new one and write the substitution anew"
            )
        file.write_text(re.sub(each.pattern, each.text, text), encoding="utf-8")
