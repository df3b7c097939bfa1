"""The process that runs scripts: `python -m spec.child RUNTIME CACHE`, with `{"scripts": [...], "left_out": [...]}` on
standard input.

It leaves out the commands of the first script whose numbers are given, and prints a JSON line before each of the others
and one after it, so that whoever watches knows which command ended the process, if one does.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from .convert import Command, convert
from .embedding import Embedding
from .execute import Failed, Script, Skipped

__all__ = ["main"]


def _commands(script: Path, cache: Path) -> list[Command]:
    """The script's commands, from the cache if an earlier run left them there."""
    from importlib.metadata import version

    source = script.read_bytes()
    digest = hashlib.sha256(source + version("wasmtime").encode())
    for name in ("convert.py", "sexpr.py", "literals.py"):
        digest.update(Path(__file__).with_name(name).read_bytes())
    kept = cache / f"{script.stem}-{digest.hexdigest()[:16]}.json"
    if kept.exists():
        commands: list[Command] = json.loads(kept.read_bytes())
        return commands

    from wasmtime import wat2wasm

    commands = convert(source, lambda text: bytes(wat2wasm(text)))
    cache.mkdir(parents=True, exist_ok=True)
    unfinished = kept.with_suffix(f".{os.getpid()}")
    unfinished.write_text(json.dumps(commands))
    unfinished.replace(kept)
    return commands


def _report(*record: Any) -> None:
    print(json.dumps(record), flush=True)


def _run(runtime: str, commands: list[Command], left_out: list[int]) -> None:
    """Run the commands of one script and report."""
    _report("commands", len(commands))
    name, _, mode = runtime.partition(":")
    embedding = Embedding(name, **({"options": {"mode": mode}} if mode else {}))
    running = Script(embedding)
    for number, command in enumerate(commands):
        if number in left_out:
            running.skip(command)
            continue
        where = f"line {command['line']}: {command['type']}"
        _report("begin", number, where)
        try:
            running.run(command)
        except Skipped as reason:
            _report("skipped", number, str(reason))
        except Failed as reason:
            _report("failed", number, f"{where}: {reason}")
        except Exception as error:
            _report("failed", number, f"{where}: {type(error).__name__}: {error}"[:500])
        else:
            _report("passed", number)
    running.close()
    embedding.close()
    _report("end")


def main(runtime: str, cache: str) -> None:
    """Run the scripts that standard input names."""
    asked = json.load(sys.stdin)
    left_out = asked["left_out"]
    for script in asked["scripts"]:
        _run(runtime, _commands(Path(script), Path(cache)), left_out)
        left_out = []


if __name__ == "__main__":
    main(*sys.argv[1:])
