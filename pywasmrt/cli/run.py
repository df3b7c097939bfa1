"""`pywasmrt run`: a WASI command, or one exported function."""

from __future__ import annotations

import argparse
import math
import os
import re
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import Exit, InvalidConfigurationError, Trap, WasmError
from ..registry import new_runtime
from ..types import ExternKind, Limits, RuntimeConfig, ValueType
from ..wasi import INHERIT, Network, Preopen, WasiConfig
from .common import Failure, counted, listed, load_module, printable, read
from .component import component_in, run_component

if TYPE_CHECKING:
    from ..protocols import CompiledModule, ModuleInstance, Runtime, Store

__all__ = ["run"]

_I32, _I64, _F32, _F64 = ValueType.I32, ValueType.I64, ValueType.F32, ValueType.F64


def _run_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pywasmrt run",
        usage="pywasmrt run [OPTIONS] FILE [ARG ...] [-- ARG ...]",
        description="Run a WASI command, or one exported function with --invoke. The guest sees nothing of this "
        "machine but the standard streams and what the options give it.",
        epilog="A command's arguments that begin with a dash go after '--'. After FILE and the EXPORT of --invoke, "
        "what begins with one dash or none is the function's: -1e5, -inf. So is everything after '--'.",
        allow_abbrev=False,  # as _split knows the options by their names
    )
    add = parser.add_argument
    add(
        "file",
        metavar="FILE",
        type=Path,
        help="the module: binary, text, or what 'pywasmrt compile' wrote; - reads standard input",
    )
    add("args", metavar="ARG", nargs="*", help="arguments for the command, or for the function of --invoke")
    add("--runtime", metavar="NAME", default="auto", help="which runtime to use (see 'pywasmrt runtimes')")
    add("--invoke", metavar="EXPORT", help="call this function instead of running a command, and print its results")
    add("--dir", metavar="HOST[::GUEST][:ro]", action="append", default=[], help="let the guest use a directory")
    add("--argv0", metavar="NAME", help="the program's name as the command sees it, in place of the file's")
    add("--env", metavar="K[=V]", action="append", default=[], help="set a variable, or pass on one of this process")
    add("--env-inherit", action="store_true", help="pass on all of this process's variables; --env adds to them")
    add(
        "--preload",
        metavar="NAME=FILE",
        action="append",
        default=[],
        help="instantiate another module first, which the module imports under NAME",
    )
    add("--timeout", metavar="SECONDS", type=_seconds, help="stop the guest after this time")
    add("--fuel", metavar="N", type=int, help="stop the guest after this much work, where the runtime can count it")
    add("--max-memory", metavar="BYTES", type=int, help="bound each memory of the guest")
    add("--max-table-elements", metavar="N", type=int, help="bound each table of the guest")
    add("--trap-on-grow-failure", action="store_true", help="growth that is refused traps, instead of giving -1")
    add(
        "--features",
        metavar="NAME,...",
        help="allow these proposals and no others (see 'pywasmrt runtimes'), in place of all stable ones",
    )
    add(
        "--option",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="an option of the engine, such as cranelift_opt_level=none or mode=interpreter",
    )
    add("--cache", metavar="DIR", type=Path, help="keep the compiled module in this folder for the next run")
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
    add(
        "--tcp-listen",
        metavar="HOST:PORT",
        action="append",
        default=[],
        help="listen here, and hand the socket to the guest after its directories",
    )
    add("--trace", action="store_true", help="log each host call on standard error, as strace does system calls")
    add("--trace-to", metavar="PATH", type=Path, help="log them to this file instead")
    add(
        "--profile",
        metavar="OUT",
        type=Path,
        help="sample where its time goes, and write a flame graph to OUT.svg, or "
        "a profile for https://profiler.firefox.com to any other OUT",
    )
    add("--coredump", metavar="OUT", type=Path, help="where the guest traps, write its memories, globals and stack")
    add("--threads", metavar="N", type=int, default=0, help="let it have N threads at a time beside its first")
    return parser


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")
    return value


_FLAGS = ("--resolve", "--help", "--trace", "--env-inherit", "--trap-on-grow-failure")


def _split(words: list[str]) -> tuple[list[str], list[str]]:
    """Split the arguments into the options with the file, and the arguments of the function of --invoke. Everything
    after both goes to the function, also -1e5, -inf and -0x10; only what begins with two dashes is an option. The value
    of an option is joined to it, since a value may begin with a dash as well.
    """
    options: list[str] = []
    arguments: list[str] = []
    file = invoke = False
    rest = iter(words)
    for word in rest:
        if word.startswith("--"):
            option, given, _ = word.partition("=")
            invoke = invoke or option == "--invoke"
            value = None if given or option in _FLAGS else next(rest, None)
            options.append(word if value is None else f"{option}={value}")
        elif file and invoke:
            arguments.append(word)
        else:
            file = file or word == "-" or not word.startswith("-")
            options.append(word)
    return options, arguments


def run(words: list[str], guest: list[str]) -> int:
    words, arguments = _split(words)
    options = _run_parser().parse_intermixed_args(words)
    args = [*options.args, *arguments, *guest]
    limits = Limits(
        memory_bytes=options.max_memory,
        table_elements=options.max_table_elements,
        timeout=options.timeout,
        fuel=options.fuel,
    )
    data = read(options.file)
    with ExitStack() as opened:
        sockets = [opened.enter_context(_listening(each)) for each in options.tcp_listen]
        runtime = opened.enter_context(_runtime(options))
        source = component_in(data)
        change = None if options.coredump is None else _dumpable
        module = load_module(runtime, options.file, data, change) if source is None else None
        wasi = WasiConfig(
            args=[options.file.name if options.argv0 is None else options.argv0, *([] if options.invoke else args)],
            env={**(os.environ if options.env_inherit else {}), **dict(_variable(each) for each in options.env)},
            sockets=sockets,
            stdin=INHERIT,
            stdout=INHERIT,
            stderr=INHERIT,
            preopens=_directories(options.dir),
            network=Network(connect=options.connect, listen=options.listen, resolve=options.resolve),
            threads=options.threads,
        )
        try:
            if module is None:
                if any((options.trace, options.trace_to, options.profile, options.coredump, options.preload)):
                    raise Failure(
                        "--trace, --trace-to, --profile, --coredump and --preload take a module: this is a component"
                    )
                return run_component(runtime, source or b"", options.file.name, wasi, limits, options.invoke) & 0xFF
            instance = _instance(runtime, module, wasi, limits, options)
            with _profiled(instance, options.profile, options.file.name), _dumped(instance, options):
                if options.invoke is None:
                    return _run_command(instance, options.file) & 0xFF
                _invoke(instance, options.invoke, args)
        except Exit as end:
            return end.code & 0xFF
    return 0


def _runtime(options: argparse.Namespace) -> Runtime:
    given = dict(_engine_option(each) for each in options.option)
    config = RuntimeConfig(
        features=None if options.features is None else frozenset(filter(None, options.features.split(","))),
        options=given if options.fuel is None else {**given, "consume_fuel": True},
        cache=options.cache,
        trap_on_grow_failure=options.trap_on_grow_failure,
    )
    try:
        return new_runtime(options.runtime, config)
    except InvalidConfigurationError as error:
        if options.fuel is not None and "consume_fuel" in str(error):
            text = f"the runtime {options.runtime!r} does not count fuel, which --fuel needs: {error}"
            raise Failure(text) from None
        raise


def _engine_option(text: str) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise Failure(f"--option {text}: give it as NAME=VALUE")
    if value in ("true", "false"):
        return name, value == "true"
    try:
        return name, int(value, 0)
    except ValueError:
        return name, value


_PORT = re.compile("[0-9]{1,5}")


def _listening(text: str) -> socket.socket:
    host, _, port = text.rpartition(":")
    if not host or not _PORT.fullmatch(port) or int(port) > 0xFFFF:
        raise Failure(f"--tcp-listen {text}: give it as HOST:PORT")
    try:
        host.encode("idna")  # as the socket does, which would be left open
    except UnicodeError as error:
        raise Failure(f"cannot listen on {text}: {error}") from None
    try:
        return socket.create_server(
            (host.strip("[]"), int(port)), family=socket.AF_INET6 if ":" in host else socket.AF_INET
        )
    except OSError as error:
        raise Failure(f"cannot listen on {text}: {error.strerror or error}") from None


def _preloaded(
    runtime: Runtime, store: Store, wasi: WasiConfig, options: argparse.Namespace
) -> list[dict[str, ModuleInstance]]:
    """The modules of --preload, instantiated in the order in which they are given; each may import those before it."""
    found: list[dict[str, ModuleInstance]] = []
    for each in options.preload:
        name, equals, path = each.partition("=")
        if not name or not equals or not path:
            raise Failure(f"--preload {each}: give it as NAME=FILE")
        module = load_module(runtime, Path(path), read(Path(path)))
        found.append({name: runtime.instantiate(module, *found, wasi=wasi, store=store)})
    return found


def _instance(
    runtime: Runtime, module: CompiledModule, wasi: WasiConfig, limits: Limits, options: argparse.Namespace
) -> ModuleInstance:
    try:
        store = runtime.new_store(limits)
        if options.trace or options.trace_to is not None:
            from ..diagnostics import trace  # imported here, since few runs need it

            trace(store, options.trace_to)  # traces the start function too
        return runtime.instantiate(module, *_preloaded(runtime, store, wasi, options), wasi=wasi, store=store)
    except WasmError:
        raise
    except OSError as error:  # a directory that is missing, or the file for the trace
        raise Failure(f"cannot open {error.filename!r}: {error.strerror}") from None


def _dumpable(data: bytes) -> bytes:
    from ..diagnostics import dumpable  # likewise

    return dumpable(data)


@contextmanager
def _dumped(instance: ModuleInstance, options: argparse.Namespace) -> Iterator[None]:
    """Write a coredump if the code in a `with` block traps."""
    try:
        yield
    except Trap as trap:
        if options.coredump is not None:
            from ..diagnostics import write_coredump  # likewise

            shown = printable(str(options.coredump))
            try:
                write_coredump(trap, instance, options.coredump, name=options.file.name)
                print(f"coredump written to {shown}", file=sys.stderr)
            except OSError as error:
                print(f"no coredump written to {shown}: {error.strerror}", file=sys.stderr)
        raise


@contextmanager
def _profiled(instance: ModuleInstance, path: Path | None, title: str) -> Iterator[None]:
    """Profile the code in a `with` block, and write the profile to `path`, however the guest ends."""
    if path is None:
        yield
        return
    from ..diagnostics import profile  # likewise

    with profile(instance) as taken:
        try:
            yield
        finally:
            write = taken.flamegraph if path.suffix == ".svg" else taken.save
            shown = printable(str(path))
            try:
                write(path, title=title)
                print(f"{taken.samples} samples of {taken.seconds:.3f} s written to {shown}", file=sys.stderr)
            except OSError as error:  # how the guest ended counts for more
                print(f"no profile written to {shown}: {error.strerror}", file=sys.stderr)


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        if name not in os.environ:
            raise Failure(f"--env {name}: there is no such variable to pass on; give --env {name}=VALUE")
        value = os.environ[name]
    return name, value


def _directories(options: Sequence[str]) -> dict[str, Preopen]:
    found: dict[str, Preopen] = {}
    for each in options:
        text = each.removesuffix(":ro")
        host, _, guest = text.partition("::")
        name = guest or host
        if not name:
            raise Failure(f"--dir {each!r} names no directory; give --dir HOST or --dir HOST::GUEST")
        if name in found:
            raise Failure(f"--dir {each}: there is a {name!r} for the guest already; give one of them another name")
        found[name] = Preopen(host, readonly=text != each)
    return found


def _run_command(instance: ModuleInstance, file: Path) -> int:
    if instance.function("_start") is None:
        functions = [each.name for each in instance.module.exports if each.kind is ExternKind.FUNCTION]
        named = listed(functions[:10]) or "no function"
        raise Failure(f"{file.name} is no command (it exports no '_start'); --invoke calls one of: {named}")
    return instance.run()


def _invoke(instance: ModuleInstance, name: str, words: list[str]) -> None:
    function = instance.function(name)
    if function is None:
        functions = [each.name for each in instance.module.exports if each.kind is ExternKind.FUNCTION]
        raise Failure(f"there is no exported function {name!r}, only {listed(functions) or 'none at all'}")
    params = function.type.params
    if len(words) != len(params):
        raise Failure(f"{name}{function.type} takes {counted(len(params), 'argument')}, {len(words)} given")
    values = [_value(word, type, n) for n, (word, type) in enumerate(zip(words, params, strict=True), 1)]
    try:
        result = function(*values)
    except OverflowError as error:
        raise Failure(str(error)) from None
    for each in result if isinstance(result, tuple) else () if result is None else (result,):
        print(f"0x{each.hex()}" if isinstance(each, bytes) else each)


def _value(word: str, type: ValueType, number: int) -> int | float | bytes:
    try:
        if type in (_I32, _I64):
            return int(word, 10 if word.lstrip("+-").isdigit() else 0)  # 010 is ten
        if type in (_F32, _F64):
            return float.fromhex(word) if "0x" in word.lower() else float(word)
        if type is ValueType.V128:
            data = bytes.fromhex(word.removeprefix("0x"))
            if len(data) == 16:
                return data
            raise ValueError
    except (ValueError, OverflowError):
        raise Failure(f"argument {number} is to be of type {type}, which {word!r} is not") from None
    raise Failure(f"argument {number} is of type {type}, which cannot be given on the command line")
