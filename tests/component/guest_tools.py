"""The tools that make the guests of test_real_guests.py, from package registries, into build/guest-tools.

    python tests/component/guest_tools.py

What cannot be had is left out, and said; the tests skip without it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "build" / "guest-tools"
PACKAGES = ["@bytecodealliance/jco@1.35.0", "@bytecodealliance/componentize-js@0.23.0"]
DEBIAN = ["rustc", "libstd-rust-dev", "libstd-rust-dev-wasm32", "libstd-rust-1.63", "libllvm14", "libz3-4", "lld-14"]
TARGET = "wasm32-unknown-unknown"


def node_modules() -> Path | None:
    """Where the packages are installed, if they are, and there is a node to run them."""
    found = FOLDER / "node_modules"
    return found if shutil.which("node") and (found / "@bytecodealliance" / "jco").is_dir() else None


def rustc() -> tuple[list[str], dict[str, str]] | None:
    """The command of a Rust compiler with the target, and its environment."""
    root = FOLDER / "debian"
    libraries = [root / "usr" / "lib" / "x86_64-linux-gnu", root / "usr" / "lib" / "llvm-14" / "lib"]
    own = {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(map(str, libraries))}
    linker = root / "usr" / "bin" / "wasm-ld-14"
    for command, environment, options in (
        ("rustc", dict(os.environ), []),
        (str(root / "usr" / "bin" / "rustc"), own, ["-C", f"linker={linker}"]),
    ):
        try:
            asked = [command, "--print", "target-libdir", "--target", TARGET]
            done = subprocess.run(asked, env=environment, capture_output=True, text=True, timeout=300, check=True)
        except (OSError, subprocess.SubprocessError):
            continue
        if any(Path(done.stdout.strip()).glob("libcore-*.rlib")):
            return [command, "--target", TARGET, *options], environment
    return None


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    if node_modules() is None:
        run("npm", "install", "--no-audit", "--no-fund", "--prefix", str(FOLDER), *PACKAGES)
    if rustc() is None:
        debs = FOLDER / "debs"
        debs.mkdir(exist_ok=True)
        if run("apt-get", "download", "-q", *DEBIAN, cwd=debs):
            for each in sorted(debs.glob("*.deb")):
                run("dpkg", "-x", str(each), str(FOLDER / "debian"))
    print("guests in JavaScript:", "yes" if node_modules() else "no")
    print("guests in Rust:", "yes" if node_modules() and rustc() else "no")


def run(*command: str, cwd: Path | None = None) -> bool:
    """Run a command, and say so where it cannot be."""
    try:
        subprocess.run(command, cwd=cwd, stdout=subprocess.DEVNULL, timeout=600, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        print(f"{command[0]} does not serve here: {error}")
        return False
    return True


if __name__ == "__main__":
    main()
