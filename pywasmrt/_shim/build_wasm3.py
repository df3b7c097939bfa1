"""Brings wasm3's C sources to the build; run by setup.py, of no use in an installed package.

Nothing of wasm3 is kept in this repository. Its sources come from the folder named by WASM3_SOURCE_DIR, else from the
source package of `pywasm3`, pinned by its hash, which pip fetches and `third_party/` keeps. What the build compiles
is a copy under `build/` with a few substitutions; each must match exactly once, so that a source which they do not
fit is an error and never an engine without its guards.
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

__all__ = ["Sources", "SubstitutionError", "Unavailable", "fetch", "prepare"]

VERSION = "0.5.0"
ARCHIVE = Path("third_party", f"pywasm3-{VERSION}.tar.gz")
SHA256 = "5a47c8a39f7f6ae71b3316b2e5d86c9d0db6e771a65f09a86e4d4aa3a19aefcc"
BUILD = Path("build", "wasm3")
CHECKED = ("0.5.0", "0.9.0")
"""The versions that the substitutions, and `csrc/wrt_wasm3_inside.h`, were written for."""


class Unavailable(Exception):
    """There are no sources at hand; the text says why."""


class SubstitutionError(Exception):
    """The sources are not those that the substitutions were written for."""


@dataclass(frozen=True)
class Sources:
    """A folder of sources ready to compile, and the C files in it."""

    folder: str
    files: list[str]


@dataclass(frozen=True)
class Substitution:
    """In `file`, what `pattern` matches becomes `text`; `why` says what for."""

    file: str
    pattern: str
    text: str
    why: str
    versions: tuple[str, ...] = CHECKED


# One set for every version that was checked; what differs between them is told by the patterns.
SUBSTITUTIONS = (
    Substitution(
        "m3_config.h",
        r"#define m3_config_h\n",
        "#define m3_config_h\n\n"
        # Compiled programs need more than the usual 2000; with more than 8000, 0.5.0 counts a function's locals in 16
        # bits that overflow.
        "#define d_m3MaxFunctionStackHeight 8000\n"
        # 65536 pages would be 2**32 bytes, which 0.5.0 counts in 32 bits.
        "#define d_m3MaxLinearMemoryPages 65535\n"
        # 0.9.0 has a guard that takes every stack for one of 8 MiB; the guard of ours knows the thread.
        "#define d_m3MaxNativeStack 0\n",
        "limits that are the same in every file",
    ),
    Substitution(
        "m3_core.h",
        r"(    size_t +length;\n)\}\nM3MemoryHeader;",
        r"\1    uintptr_t       wrt_limit;\n}\nM3MemoryHeader;\n\n"
        # The lowest address that the native stack may reach; all ones while an interrupt is wanted.
        "#define wrt_wasm3_goes_on(MEM) \\\n"
        "    __builtin_expect ((uintptr_t) __builtin_frame_address (0) >= "
        "__atomic_load_n (& (MEM)->wrt_limit, __ATOMIC_RELAXED), 1)\n"
        "#define wrt_wasm3_interrupted(MEM) \\\n"
        "    __builtin_expect (__atomic_load_n (& (MEM)->wrt_limit, __ATOMIC_RELAXED) == UINTPTR_MAX, 0)\n"
        "const void * wrt_wasm3_stop (M3MemoryHeader * i_memory);\n"
        "void * wrt_wasm3_memory (struct M3Runtime * i_runtime, size_t i_size);\n"
        "int wrt_wasm3_no_stack (void);\n",
        "the word that loops and calls compare the native stack with, and what they call",
    ),
    Substitution(
        "m3_exec.h",
        r"if \(((?:M3_)?LIKELY) \(\(void \*\) \(_sp \+ function->maxStackSlots\) < _mem->maxStack\)\)",
        r"if (\1 ((void *) (_sp + function->maxStackSlots) < _mem->maxStack and wrt_wasm3_goes_on (_mem)))",
        "a call that has no native stack left, or that is to be interrupted, ends",
    ),
    Substitution(
        "m3_exec.h",
        r"else newTrap \(m3Err_trapStackOverflow\);",
        "else newTrap (wrt_wasm3_stop (_mem));",
        "why the call ended",
    ),
    Substitution(
        "m3_exec.h",
        r"\n    m3ret_t r;\n\n    IM3Memory memory = m3MemInfo \(_mem\);\n\n    do\n",
        "\n    m3ret_t r;\n\n    IM3Memory memory = m3MemInfo (_mem);\n"
        "\n    if (not wrt_wasm3_goes_on (_mem)) newTrap (wrt_wasm3_stop (_mem));\n    do\n",
        "a loop within loops takes native stack too",
    ),
    Substitution(
        "m3_exec.h",
        r"\n    \}\n    while \(r == _pc\);",
        "\n    }\n    while (r == _pc and not wrt_wasm3_interrupted (_mem));"
        "\n\n    if (r == _pc) newTrap (wrt_wasm3_stop (_mem));",
        "every turn of a loop can be interrupted",
    ),
    Substitution(
        "m3_env.c",
        r'm3_Realloc \((?:"Wasm Linear Memory", )?memory->mallocated, numBytes, numPreviousBytes\)',
        "wrt_wasm3_memory (io_runtime, numBytes)",
        "memory grows in reserved address space, and so never moves",
    ),
    Substitution(
        "m3_compile.c",
        r"\n    M3CompilationScope outerScope = o->block;",
        "\n    if (wrt_wasm3_no_stack ()) return m3Err_functionStackOverflow;"
        "\n    if (GetFuncTypeNumParams (i_blockType) > 0 or GetFuncTypeNumResults (i_blockType) > 1)"
        '\n        return "a block that takes values or gives several";'
        "\n    M3CompilationScope outerScope = o->block;",
        # Both versions give wrong results for about one in a hundred random programs with such blocks.
        "blocks are compiled by recursion, and may nest without end; those of several values are compiled wrongly",
    ),
    # What 0.5.0 does wrong with valid modules, as its later versions corrected it.
    Substitution(
        "m3_compile.c",
        r"\n            --endIndex;\n",
        "\n            --endIndex;\n            --numValues;\n",
        "a block that returns a float and more gave results in disorder",
        ("0.5.0",),
    ),
    Substitution(
        "m3_compile.c",
        r"if \(numConstantSlots >= d_m3MaxConstantTableSize\)",
        "if (numConstantSlots + 3 > d_m3MaxConstantTableSize)",
        "the table of constants overflowed by one",
        ("0.5.0",),
    ),
    Substitution(
        "m3_compile.c",
        r"if \(result\) // no more constant table space",
        "if (result or slot == c_slotUnused) // no more constant table space",
        "a constant without a place was put nowhere",
        ("0.5.0",),
    ),
    Substitution(
        "m3_compile.c",
        r"    if \(o->function\)\n(    \{\n        // op_Entry uses this value)",
        r"\1",
        "the stack of constant expressions was not counted",
        ("0.5.0",),
    ),
    Substitution(
        "m3_compile.c",
        r"    else o->stackIndex -= numParams;\n",
        "    else if (IsStackPolymorphic (o) and o->block.blockStackIndex + numParams > o->stackIndex)\n"
        "        o->stackIndex = o->block.blockStackIndex;\n"
        "    else o->stackIndex -= numParams;\n",
        "an else after unreachable code took more off the stack than was on it",
        ("0.5.0",),
    ),
    Substitution(
        "m3_compile.c",
        r"\n        Push \(o, type, slot\);\n\n        if \(slot >= o->slotFirstDynamicIndex\)",
        "\n_       (Push (o, type, slot));\n\n        if (slot >= o->slotFirstDynamicIndex and slot != c_slotUnused)",
        "parameters of a block in unreachable code have no place to mark",
        ("0.5.0",),
    ),
    Substitution(
        "m3_compile.c",
        r"\n    PushBlockResults \(o\);\n",
        "\n_   (PushBlockResults (o));\n",
        "results of a block beyond the stack's limit went unnoticed",
        ("0.5.0",),
    ),
    Substitution(
        "m3_compile.c",
        r"\n    u16 stackIndex = o->stackIndex\+\+;",
        "\n    if (o->stackIndex >= d_m3MaxFunctionStackHeight) return m3Err_functionStackOverflow;"
        "\n    u16 stackIndex = o->stackIndex++;",
        "a push beyond the stack's limit moved the stack's index all the same",
        ("0.5.0",),
    ),
    Substitution(
        "m3_compile.c",
        r"\n        else if \(slot >= o->slotFirstDynamicIndex\)\n        \{\n            DeallocateSlot",
        "\\n        else if (slot >= o->slotFirstDynamicIndex and slot < d_m3MaxFunctionSlots)"
        "\\n        {\\n            DeallocateSlot",
        "a pop in unreachable code released a slot that there is not",
        ("0.5.0",),
    ),
)


def prepare() -> Sources:
    """Sources to compile, in `build/`. Raises `Unavailable`, or `SubstitutionError` with what did not fit."""
    given = os.environ.get("WASM3_SOURCE_DIR", "")
    folder = _checkout(Path(given)) if given else _unpack(fetch())
    target = BUILD / "sources"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for file in sorted((*folder.glob("*.c"), *folder.glob("*.h"))):
        if not file.name.startswith("m3_api_"):  # WASI and the like, which is Python's business here
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
        if matches != 1:
            raise SubstitutionError(
                f"{each.file} of the sources of wasm3 in {origin} has {matches} places, not one, for this: {each.why}; "
                "use the pinned version, or check the new one and write the substitution anew"
            )
        file.write_text(re.sub(each.pattern, each.text, text), encoding="utf-8")
