"""`pywasmrt compile`: a module's compiled form as a file, which `pywasmrt run` starts without compiling."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from ..registry import new_runtime
from ..types import RuntimeConfig
from .common import Failure, read_source

__all__ = ["compile_"]


def compile_(words: list[str], guest: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="pywasmrt compile",
        description="Compile a module and write its compiled form, for 'pywasmrt run', or for Runtime.deserialize.",
        epilog="The file is machine code for this engine, version, settings and machine. It runs unchecked: run only "
        "what you have compiled yourself or would run as a program.",
    )
    add = parser.add_argument
    add("file", metavar="FILE", type=Path, help="the module, in binary or text form")
    add("-o", "--output", metavar="FILE", type=Path, help="where to write it (FILE with the suffix .cwasm)")
    add("--runtime", metavar="NAME", default="auto", help="which runtime it is for (see 'pywasmrt runtimes')")
    add("--fuel", action="store_true", help="for 'pywasmrt run --fuel': guests count what they use")
    options = parser.parse_args(words + guest)
    if options.output is None and str(options.file) == "-":
        parser.error("a module from standard input has no name: say by --output where to write it")
    output = options.file.with_suffix(".cwasm") if options.output is None else options.output
    if not output.name:
        parser.error(f"--output {str(output)!r} names no file")
    data = read_source(options.file)
    config = RuntimeConfig(options={"consume_fuel": True} if options.fuel else {})
    with new_runtime(options.runtime, config) as runtime:
        if "serialize" not in runtime.info.features:
            raise Failure(
                f"the runtime {runtime.info.name!r} has no compiled form to keep; it runs the module as it is"
            )
        print(f"compiling {options.file} ({len(data):,} bytes) for {runtime.info.name}", file=sys.stderr, flush=True)
        begun = time.monotonic()
        with runtime.compile(data) as module:
            blob = module.serialize()
        seconds = time.monotonic() - begun
    _write(output, blob)
    print(f"wrote {output} ({len(blob):,} bytes) after {seconds:.1f} s", file=sys.stderr)
    return 0


def _write(path: Path, blob: bytes) -> None:
    """Write all of the file or nothing."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(blob)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise Failure(f"cannot write {str(path)!r}: {error.strerror}") from None
