"""The command line: `pywasmrt run`, `pywasmrt inspect` and `pywasmrt runtimes`.

Options and exit codes follow the habits of other WebAssembly runtimes: a command's own exit code; 134 after a trap (as
a shell shows an abort), also by a deadline or by using up the fuel; 130 after Ctrl-C; 141 where nobody reads what is
printed; 1 for what cannot be run; 2 for a wrong command line.
"""

from __future__ import annotations

import argparse
import io
import math
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .._version import __version__
from ..errors import (
    Exit,
    FuelExhausted,
    Interrupted,
    InvalidConfigurationError,
    ModuleCompileError,
    RuntimeNotFoundError,
    Trap,
    UnsupportedFeatureError,
    WasmError,
)
from ..registry import list_runtimes, new_runtime
from ..runtimes.base.features import PROPOSALS
from ..types import ExternKind, Limits, RuntimeConfig, ValueType
from ..wasi import INHERIT, Network, Preopen, WasiConfig

if TYPE_CHECKING:
    from ..protocols import CompiledModule, ModuleInstance, Runtime

__all__ = ["main"]

FAILED = 1
TRAPPED = 134
STOPPED = 130
UNREAD = 141

_I32, _I64, _F32, _F64 = ValueType.I32, ValueType.I64, ValueType.F32, ValueType.F64
_MAGIC = b"\0asm"


class _Failure(Exception):
    """Ends the command with a message."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line, `sys.argv` unless given, and return the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    # Split here: what follows is the guest's, whatever it looks like.
    guest: list[str] = []
    if "--" in words:
        at = words.index("--")
        words, guest = words[:at], words[at + 1 :]
    _open_missing_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):  # names may have what the terminal's encoding has not
        sys.stdout.reconfigure(errors="backslashreplace")
    commands: dict[str, Callable[[list[str], list[str]], int]] = {
        "run": _run,
        "inspect": _inspect,
        "runtimes": _runtimes,
    }
    parser = argparse.ArgumentParser(
        prog="pywasmrt",
        description="Run and inspect WebAssembly modules.",
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
    except _Failure as error:
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
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is left to print would fail again at the end
        if isinstance(error, BrokenPipeError):
            return UNREAD
        return _complain(str(error), FAILED)


def _open_missing_streams() -> None:
    """Give the process the standard streams that whoever started it has closed: else their numbers would go to files
    that are opened later, and the guest would read and write those.
    """
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # which takes the lowest number that is free: this one


def _complain(message: str, code: int) -> int:
    shown = "\n".join(map(_printable, message.expandtabs().split("\n")))
    print(f"pywasmrt: {shown}", file=sys.stderr)
    return code


def _printable(line: str) -> str:
    """`line` with escapes for what would steer a terminal: the names in it are the guest's choice."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in line)


# run


def _run_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pywasmrt run",
        usage="pywasmrt run [OPTIONS] FILE [ARG ...] [-- ARG ...]",
        description="Run a WASI command, or one exported function with --invoke. The guest sees nothing of this "
        "machine but the standard streams and what the options give it.",
        epilog="Arguments that begin with a dash go after '--'.",
    )
    add = parser.add_argument
    add("file", metavar="FILE", type=Path, help="the module, in binary or text form")
    add("args", metavar="ARG", nargs="*", help="arguments for the command, or for the function of --invoke")
    add("--runtime", metavar="NAME", default="auto", help="which runtime to use (see 'pywasmrt runtimes')")
    add("--invoke", metavar="EXPORT", help="call this function instead of running a command, and print its results")
    add("--dir", metavar="HOST[::GUEST][:ro]", action="append", default=[], help="let the guest use a directory")
    add("--env", metavar="K[=V]", action="append", default=[], help="set a variable, or pass on one of this process")
    add("--timeout", metavar="SECONDS", type=_seconds, help="stop the guest after this time")
    add("--fuel", metavar="N", type=int, help="stop the guest after this much work, where the runtime can count it")
    add("--max-memory", metavar="BYTES", type=int, help="bound each memory of the guest")
    add(
        "--connect",
        metavar="PATTERN",
        action="append",
        default=[],
        help="let it connect, for example to '127.0.0.1:80'",
    )
    add(
        "--listen",
        metavar="PATTERN",
        action="append",
        default=[],
        help="let it listen, for example on '127.0.0.1:8080'",
    )
    add("--resolve", action="store_true", help="let it look names up")
    return parser


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")
    return value


def _run(words: list[str], guest: list[str]) -> int:
    options = _run_parser().parse_intermixed_args(words)
    args = [*options.args, *guest]
    config = RuntimeConfig(options={} if options.fuel is None else {"consume_fuel": True})
    limits = Limits(memory_bytes=options.max_memory, timeout=options.timeout, fuel=options.fuel)
    with _runtime(options.runtime, config) as runtime:
        module = runtime.compile(_source(options.file))
        wasi = WasiConfig(
            args=[options.file.name, *([] if options.invoke else args)],
            env=dict(_variable(each) for each in options.env),
            stdin=INHERIT,
            stdout=INHERIT,
            stderr=INHERIT,
            preopens=_directories(options.dir),
            network=Network(connect=options.connect, listen=options.listen, resolve=options.resolve),
        )
        try:
            instance = _instance(runtime, module, wasi, limits)
            if options.invoke is None:
                return _run_command(instance, options.file) & 0xFF
            _invoke(instance, options.invoke, args)
        except Exit as end:
            return end.code & 0xFF
    return 0


def _runtime(name: str, config: RuntimeConfig) -> Runtime:
    try:
        return new_runtime(name, config)
    except InvalidConfigurationError as error:  # of the one option that may have been asked for
        raise _Failure(f"the runtime {name!r} does not count fuel, which --fuel needs: {error}") from None


def _instance(runtime: Runtime, module: CompiledModule, wasi: WasiConfig, limits: Limits) -> ModuleInstance:
    try:
        return runtime.instantiate(module, wasi=wasi, limits=limits)
    except WasmError:
        raise
    except OSError as error:  # of a directory that is not there
        raise _Failure(f"cannot open {error.filename!r}: {error.strerror}") from None


def _source(path: Path) -> bytes | str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _Failure(f"cannot read {str(path)!r}: {error.strerror}") from None
    if data.startswith(_MAGIC):
        return data
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise _Failure(f"{str(path)!r} is no WebAssembly module, in binary or in text form") from None


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        if name not in os.environ:
            raise _Failure(f"--env {name}: there is no such variable to pass on; give --env {name}=VALUE")
        value = os.environ[name]
    return name, value


def _directories(options: Sequence[str]) -> dict[str, Preopen]:
    found: dict[str, Preopen] = {}
    for each in options:
        text = each.removesuffix(":ro")
        host, _, guest = text.partition("::")
        name = guest or host
        if not name:
            raise _Failure(f"--dir {each!r} names no directory; give --dir HOST or --dir HOST::GUEST")
        if name in found:
            raise _Failure(f"--dir {each}: there is a {name!r} for the guest already; give one of them another name")
        found[name] = Preopen(host, readonly=text != each)
    return found


def _run_command(instance: ModuleInstance, file: Path) -> int:
    if instance.function("_start") is None:
        functions = [each.name for each in instance.module.exports if each.kind is ExternKind.FUNCTION]
        listed = _listed(functions[:10]) or "no function"
        raise _Failure(f"{file.name} is no command (it exports no '_start'); --invoke calls one of: {listed}")
    return instance.run()


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(_printable, names))


def _invoke(instance: ModuleInstance, name: str, words: list[str]) -> None:
    function = instance.function(name)
    if function is None:
        functions = [each.name for each in instance.module.exports if each.kind is ExternKind.FUNCTION]
        raise _Failure(f"there is no exported function {name!r}, only {_listed(functions) or 'none at all'}")
    params = function.type.params
    if len(words) != len(params):
        raise _Failure(f"{name}{function.type} takes {len(params)} arguments, {len(words)} given")
    values = [_value(word, type, n) for n, (word, type) in enumerate(zip(words, params, strict=True), 1)]
    try:
        result = function(*values)
    except OverflowError as error:
        raise _Failure(str(error)) from None
    for each in result if isinstance(result, tuple) else () if result is None else (result,):
        print(f"0x{each.hex()}" if isinstance(each, bytes) else each)


def _value(word: str, type: ValueType, number: int) -> int | float | bytes:
    try:
        if type in (_I32, _I64):
            return int(word, 0)
        if type in (_F32, _F64):
            return float(word)
        if type is ValueType.V128:
            data = bytes.fromhex(word.removeprefix("0x"))
            if len(data) == 16:
                return data
            raise ValueError
    except ValueError:
        raise _Failure(f"argument {number} is to be of type {type}, which {word!r} is not") from None
    raise _Failure(f"argument {number} is of type {type}, which cannot be given on the command line")


# inspect


def _inspect(words: list[str], guest: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="pywasmrt inspect", description="Show what a module imports and exports, and which runtimes can take it."
    )
    parser.add_argument("file", metavar="FILE", type=Path, help="the module, in binary or text form")
    options = parser.parse_args(words + guest)
    source = _source(options.file)
    module, verdicts = _tried(source)
    if module is None:
        raise _Failure("no runtime takes it\n" + "\n".join(f"  {name}: {text}" for name, text in verdicts.items()))
    for title, rows in (
        ("imports", [str(each) for each in module.imports]),
        ("exports", [str(each) for each in module.exports]),
        ("memories", _memories(module)),
        ("features needed", _needed(source)),
        ("runtimes", [f"{name}: {verdict}" for name, verdict in verdicts.items()]),
    ):
        print(f"{title}:" if rows else f"{title}: none")
        for row in rows:
            print(f"  {_printable(row)}")
    return 0


def _tried(source: bytes | str) -> tuple[CompiledModule | None, dict[str, str]]:
    """The module, compiled by the first runtime that takes it, and the verdicts of all."""
    first: CompiledModule | None = None
    verdicts: dict[str, str] = {}
    for info in list_runtimes():
        if not info.available:
            verdicts[info.name] = f"not available: {info.reason}"
            continue
        try:
            module = new_runtime(info.name).compile(source)
        except RuntimeNotFoundError as error:  # what a package offers may turn out not to be there
            verdicts[info.name] = f"not available: {error}"
        except WasmError as error:
            verdicts[info.name] = f"no: {error}"
        else:
            verdicts[info.name] = "yes"
            first = first or module
    return first, verdicts


def _memories(module: CompiledModule) -> list[str]:
    imported = [f"{each.module}.{each.name}: {each.type}" for each in module.imports if each.kind is ExternKind.MEMORY]
    exported = [f"{each.name}: {each.type}" for each in module.exports if each.kind is ExternKind.MEMORY]
    return imported + exported


def _needed(source: bytes | str) -> list[str]:
    """The proposals without which the module is not valid, of those that an available runtime can turn off."""
    names = [info.name for info in list_runtimes() if info.available]
    # All of them: a runtime may take modules with one whose values it cannot carry, and does not claim to have it.
    name = next((name for name in names if _valid(name, source, PROPOSALS)), None)
    if name is None:
        return []
    return [each for each in sorted(PROPOSALS) if _needs(name, source, each)]


def _needs(runtime: str, source: bytes | str, name: str) -> bool:
    valid = _valid(runtime, source, PROPOSALS - {name})
    if valid is None:  # others build on it: without them, which are not needed or would be told themselves
        others = (_valid(runtime, source, PROPOSALS - {name, other}) for other in sorted(PROPOSALS - {name}))
        valid = next((each for each in others if each is not None), None)
    return valid is False


def _valid(runtime: str, source: bytes | str, features: frozenset[str]) -> bool | None:
    """Whether the module is valid with these proposals; None where the runtime does not do with them alone."""
    try:
        with new_runtime(runtime, RuntimeConfig(features=features)) as made:
            made.validate(source)
    except (ModuleCompileError, UnsupportedFeatureError):
        return False
    except WasmError:
        return None
    return True


# runtimes


def _runtimes(words: list[str], guest: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="pywasmrt runtimes", description="List the runtimes and what they can do.")
    parser.parse_args(words + guest)
    for info in list_runtimes():
        state = f"{info.version or ''}".strip() if info.available else f"not available: {info.reason}"
        print(f"{info.name} {state}".rstrip())
        if info.available and info.features:
            print(f"  {', '.join(sorted(info.features))}")
    return 0
