"""The command line: `pywasmrt run`, `compile`, `inspect`, `cache` and `runtimes`.

Options and exit codes follow the habits of other WebAssembly runtimes: a command's own exit code; 134 after a trap (as
a shell shows an abort), also by a deadline or by using up the fuel; 130 after Ctrl-C; 141 when the reader of the output
has gone; 1 for what cannot be run; 2 for a wrong command line.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence

from .._version import __version__
from ..errors import (
    FuelExhausted,
    Interrupted,
    Trap,
    WasmError,
)
from .cache import cache
from .common import Failure, printable
from .compile import compile_
from .component import bindgen
from .inspect import inspect
from .run import run
from .runtimes import runtimes

__all__ = ["main"]

FAILED = 1
TRAPPED = 134
STOPPED = 130
UNREAD = 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line, `sys.argv` unless given, and return the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    # Split here: everything that follows belongs to the guest, even if it looks like an option.
    guest: list[str] = []
    if "--" in words:
        at = words.index("--")
        words, guest = words[:at], words[at + 1 :]
    _open_missing_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):  # names may have characters that the terminal's encoding lacks
        sys.stdout.reconfigure(errors="backslashreplace")
    commands: dict[str, Callable[[list[str], list[str]], int]] = {
        "bindgen": bindgen,
        "cache": cache,
        "compile": compile_,
        "run": run,
        "inspect": inspect,
        "runtimes": runtimes,
    }
    parser = argparse.ArgumentParser(
        prog="pywasmrt",
        description="Run, compile and inspect WebAssembly modules.",
        epilog="'pywasmrt COMMAND --help' tells more about a command.",
    )
    parser.add_argument("--version", action="version", version=f"pywasmrt {__version__}")
    parser.add_argument("command", choices=sorted(commands), help="what to do")
    command = parser.parse_args(words[:1]).command
    try:
        code = commands[command](words[1:], guest)
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except Failure as error:
        return _complain(str(error), FAILED)
    except Trap as error:
        return _complain(f"the guest trapped: {error}", TRAPPED)
    except (Interrupted, FuelExhausted) as error:
        return _complain(str(error), TRAPPED)
    except WasmError as error:
        return _complain(str(error), FAILED)
    except KeyboardInterrupt:
        return _complain("stopped", STOPPED)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # else the rest of the output would fail again at exit
        if isinstance(error, BrokenPipeError):
            return UNREAD
        return _complain(str(error), FAILED)


def _open_missing_streams() -> None:
    """Open the standard streams that were closed when the process was started. Otherwise files that are opened later
    would get their descriptors, and the guest would read and write those files.
    """
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free descriptor: this one


def _complain(message: str, code: int) -> int:
    shown = "\n".join(map(printable, message.expandtabs().split("\n")))
    print(f"pywasmrt: {shown}", file=sys.stderr)
    return code
