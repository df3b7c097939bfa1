"""A function of a module as a value that travels."""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, replace
from hashlib import blake2b
from inspect import Parameter, Signature
from typing import Any, NamedTuple, NoReturn, Union

from ..errors import FunctionNotExportedError, RowError
from ..protocols import CompiledModule, FunctionInstance, ModuleInstance
from ..registry import new_runtime
from ..runtimes.base.map_bytes import check_form
from ..runtimes.base.source import load
from ..types import FunctionType, Limits, RuntimeConfig, ValueType, expect, printable
from ..values import did_you_mean, late, shown
from ..wasi import WasiConfig
from .arrow_guest import call_scalar, call_table, find_signature, is_arrow_guest
from .frames import Plain, arrow_column, at_rows, filled, is_text, plain, rebuilt, scattered
from .opened import drop_instance, instance_of

__all__ = ["Udf"]


class _InstanceProperty:
    """A property that the class itself does not have, so that `inspect.signature(Udf)` finds the constructor's."""

    def __init__(self, get: Callable[[Udf], Signature]) -> None:
        self._get = get
        self.__doc__ = get.__doc__

    def __get__(self, udf: Udf | None, owner: type[Udf]) -> Signature:
        if udf is None:
            raise AttributeError("__signature__")
        return self._get(udf)


class Udf:
    """A guest's function over columns of data: a value that can be pickled, and called from any thread.

    `source` is a module's bytes, its text, the path of its file (read at once), or a compiled module, which brings its
    own runtime. The module may import nothing but WASI. `runtime` is a name or configuration as `new_runtime` takes it.
    `limits` bound each instance. The module is compiled once in a process, however many copies of the `Udf` arrive
    there, and each thread that calls has an instance of its own. Guests should not depend on which calls came before.

    Called with columns, it gives the column of results; all columns have one length, and scalars stand for columns of
    themselves. Columns are whatever offers Arrow's C data interface (`__arrow_c_array__`, `__arrow_c_stream__`), series
    of pandas and Polars, NumPy arrays and other buffers. What is masked in a masked array is null. Categories are given
    as their values. The result is of the kind of the first column that is not NumPy's; with NumPy's alone it is an
    array, or a masked array where there are nulls.

    A column of strings or binaries is a pointer and a size to the guest: the function is called as by
    `ModuleInstance.map_bytes`, where `returns`, `form`, `allocator`, `frees` and `gives` are explained.

    A row in which any value is null is not given to the guest, and its result is null. With `nulls="seen"` the guest
    gets every row: each of its columns is followed by an i32 that is 1 where there is a value and 0 where it is null
    (and then 0 or empty). A text that it gives back is null where its pointer is 0; of two numbers the second says so,
    and of one number none is null.

    With `on_error="null"` a row that traps gives null too; otherwise it raises `RowError`, whose row counts all rows.
    What does not fit raises as in `FunctionInstance.map`.

    A module of the arrow-udf ABI runs unchanged: `name` is that of one of its functions, or, where several have that
    name, the signature, such as `"gcd(int32,int32)->int32"`. It gets whole batches, sees nulls as Arrow has them, and
    may have columns of every type of that ABI. A row for which it gives an error raises `RowError`, or is null. A table
    function gives a `pyarrow.Table` with the columns `row`, from 0, and its own. `UdfError` is raised where it refuses
    a batch, or gives what is none.

        gcd = Udf(Path("gcd.wasm"), "gcd")
        gcd(pyarrow.array([12, None]), 18)  # [6, null]
    """

    def __init__(
        self,
        source: Union[bytes, bytearray, memoryview, str, os.PathLike[str], CompiledModule],
        name: str,
        *,
        runtime: Union[str, RuntimeConfig, Mapping[str, Any]] = "auto",
        limits: Union[Limits, None] = None,
        wasi: Any = None,
        on_error: str = "raise",
        nulls: str = "skipped",
        returns: Union[str, None] = None,
        form: Union[str, None] = None,
        allocator: Union[str, tuple[str, Union[str, None]], None] = None,
        frees: bool = True,
        gives: bool = False,
    ) -> None:
        """Nothing is compiled before the first call, so this never fails because of the module's content, unless the
        file of a text format is no text.
        """
        if not isinstance(name, str):
            raise TypeError(f"the name of the function is a str, not {shown(name)}")
        expect("Udf", "a name, a RuntimeConfig or a mapping", (str, RuntimeConfig, Mapping), runtime=runtime)
        expect("Udf", "Limits or None", (Limits, type(None)), limits=limits)
        expect("Udf", "a WasiConfig or None", (WasiConfig, type(None)), wasi=wasi)
        check_form(returns, form)
        if not isinstance(on_error, str) or on_error not in ("raise", "null"):
            raise ValueError(f"on_error is 'raise' or 'null', not {shown(on_error)}")
        if not isinstance(nulls, str) or nulls not in ("skipped", "seen"):
            raise ValueError(f"nulls is 'skipped' or 'seen', not {shown(nulls)}")
        if not isinstance(source, CompiledModule):
            source = load(source)
        self.__name__ = name
        self._source = source
        self._runtime = dict(runtime) if isinstance(runtime, Mapping) else runtime
        self._limits = limits
        self._wasi = wasi
        self._options = _Options(on_error, nulls, returns, form, allocator, frees, gives)
        self._key: bytes | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return _made, (self._source, self.__name__, self._runtime, self._limits, self._wasi, self._options)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Udf):
            return NotImplemented
        mine, theirs = ((each.__name__, each._options, each._module_key()) for each in (self, other))
        return mine == theirs

    def __hash__(self) -> int:
        return hash((self.__name__, self._module_key()))

    def __repr__(self) -> str:
        runtime = self._runtime if isinstance(self._runtime, str) else getattr(self._runtime, "type", "configured")
        return f"<Udf {self.__name__} ({runtime})>"

    @property
    def type(self) -> FunctionType:
        """The guest function's signature in WebAssembly's types. Opens the module."""
        instance = self._instance()
        if is_arrow_guest(instance):
            return _found(instance, find_signature(instance, self.__name__).export).type
        return _found(instance, self.__name__).type

    @_InstanceProperty
    def __signature__(self) -> Signature:
        """A parameter for each column, for callers that count them, as DuckDB does. Opens the module.

        Where the columns may be text it is not known how many there are, and the parameters are `*columns`.
        """
        instance = self._instance()
        if is_arrow_guest(instance):
            count = len(find_signature(instance, self.__name__).params)
        else:
            type = _found(instance, self.__name__).type
            if self._options.nulls == "seen" or _may_take_text(instance, type, self._options):
                return Signature([Parameter("columns", Parameter.VAR_POSITIONAL)])
            count = len(type.params)
        return Signature([Parameter(f"column{n}", Parameter.POSITIONAL_ONLY) for n in range(1, count + 1)])

    def __call__(self, *columns: Any) -> Any:
        """The column of results, or a tuple of columns where the function has several."""
        numpy = late("numpy")

        instance = self._instance()
        try:
            if is_arrow_guest(instance):
                return self._call_arrow(instance, columns)
            function = _found(instance, self.__name__)
            name = self.__name__
            found = [plain(column, f"argument {n} of {name}()") for n, column in enumerate(columns, 1)]
            build = rebuilt(columns)
            rows = _rows(found, name)
            found = _typed_nulls(found, len(function.type.params) - str(self._options.form).startswith("out"))
            if all(each.scalar for each in found):
                found = [_repeated(found[0], rows, numpy), *found[1:]]
            if self._options.nulls == "seen":
                results = self._mapped_with_nulls(instance, function, found, rows, numpy)
            else:
                results = self._mapped(instance, function, found, rows, numpy)
        except BaseException as error:
            if not isinstance(
                error, (RowError, TypeError, ValueError, OverflowError)
            ):  # the guest may be amid its work
                drop_instance(self._module_key())
            raise
        made = tuple([build(values, nulls) for values, nulls in results])
        return None if not made else made[0] if len(made) == 1 else made

    def _run(
        self, instance: ModuleInstance, function: FunctionInstance, values: list[Any], nulls: Any = None
    ) -> tuple[list[Any], Any]:
        """The columns of results for columns without nulls, and which rows trapped, or None."""
        options = self._options
        text = any(is_text(Plain(each)) for each in values)
        on_error = "mask" if options.on_error == "null" else "raise"
        if text:
            result = instance.map_bytes(
                self.__name__,
                *values,
                returns=options.returns,
                form=options.form,
                allocator=options.allocator,
                frees=options.frees,
                gives=options.gives,
                nulls=nulls,
                on_error=on_error,
            )
        else:
            result = function.map(*values, on_error=on_error)
        result, failed = result if on_error == "mask" else (result, None)
        several = list(result) if isinstance(result, tuple) else [] if result is None else [result]
        return several, failed if failed is not None and failed.any() else None

    def _mapped(
        self, instance: ModuleInstance, function: FunctionInstance, found: list[Plain], rows: int, numpy: Any
    ) -> list[tuple[Any, Any]]:
        """The results of the rows in which nothing is null, each with a mask of nulls or None."""
        valid = _valid(found, rows, numpy)
        values = [each.values if valid is None else at_rows(each, valid) for each in found]
        try:
            several, failed = self._run(instance, function, values)
        except RowError as error:
            if valid is None:
                raise
            row = int(numpy.flatnonzero(valid)[error.row])
            raise RowError(str(error).replace(f"row {error.row} ", f"row {row} ", 1), row) from error.__cause__
        except (OverflowError, ValueError) as error:
            message = re.match(r"row (\d+)( of argument .*)", str(error), re.DOTALL)
            if valid is None or message is None:
                raise
            raise type(error)(f"row {numpy.flatnonzero(valid)[int(message[1])]}{message[2]}") from None
        return [scattered(each, valid, failed) for each in several]

    def _mapped_with_nulls(
        self, instance: ModuleInstance, function: FunctionInstance, found: list[Plain], rows: int, numpy: Any
    ) -> list[tuple[Any, Any]]:
        """The results of a function that is told of nulls."""
        values: list[Any] = []
        for each in found:
            there = 1 if each.valid is None else 0 if each.valid is False else each.valid
            values += [filled(each), there]
        absent = numpy.zeros(rows, dtype=bool)
        several, failed = self._run(instance, function, values, absent if any(map(is_text, found)) else None)
        if len(several) % 2 == 0 and several:  # each with a column that says whether it is there
            pairs = [(value, there == 0) for value, there in zip(several[::2], several[1::2], strict=True)]
        else:
            pairs = [(value, absent) for value in several]
        if failed is not None:
            pairs = [(value, nulls | failed) for value, nulls in pairs]
        return [(value, nulls if nulls.any() else None) for value, nulls in pairs]

    def batches(self, *columns: Any) -> Iterator[Any]:
        """The batches of a table function of the arrow-udf ABI, as the guest makes them: `row`, and the values.

        The guest's thread is the caller's: no other call of the same module is made on it before the last batch.
        """
        instance = self._instance()
        if not is_arrow_guest(instance):
            raise TypeError(f"{self.__name__} is no table function of the arrow-udf ABI")
        return self._batches(instance, self._arrow_columns(columns))

    def _arrow_columns(self, columns: tuple[Any, ...]) -> list[Any]:
        rows = next(
            (len(each) for each in columns if hasattr(each, "__len__") and not isinstance(each, (str, bytes))), None
        )
        found = [arrow_column(each, rows, f"argument {n} of {self.__name__}()") for n, each in enumerate(columns, 1)]
        _rows([Plain(each) for each in found], self.__name__)
        return found

    def _batches(self, instance: ModuleInstance, found: list[Any]) -> Iterator[Any]:
        signature = find_signature(instance, self.__name__, found)
        if not signature.table:
            raise TypeError(f"{signature} is no table function: it gives one row for each, so call it")
        for batch, errors in call_table(instance, signature, found):
            if errors is None:
                yield batch
                continue
            if self._options.on_error == "raise":
                _raise_errors(signature.name, errors, batch.column(0))
            yield batch.filter(errors.is_null())

    def _call_arrow(self, instance: ModuleInstance, columns: tuple[Any, ...]) -> Any:
        pyarrow = late("pyarrow")

        found = self._arrow_columns(columns)
        signature = find_signature(instance, self.__name__, found)
        if signature.table:
            batches = list(self._batches(instance, found))
            return pyarrow.Table.from_batches(batches, None if batches else signature.table_schema())
        result, errors = call_scalar(instance, signature, found)
        if errors is not None:
            if self._options.on_error == "raise":
                _raise_errors(signature.name, errors, None)
            result = pyarrow.compute.if_else(errors.is_null(), result, pyarrow.scalar(None, result.type))
        return rebuilt(columns)(result, None)

    def _instance(self) -> ModuleInstance:
        return instance_of(self._module_key(), self._link)

    def _module_key(self) -> bytes:
        if self._key is None:
            try:
                made_of = pickle.dumps((self._source, _ordered(self._runtime), self._limits, self._wasi))
            except (pickle.PicklingError, AttributeError, TypeError) as error:
                raise TypeError(
                    f"a Udf travels, so its runtime, limits and WASI must be of what can be pickled: {error}"
                ) from error
            self._key = blake2b(made_of, digest_size=32).digest()
        return self._key

    def _link(self) -> Any:
        source = self._source
        module = source if isinstance(source, CompiledModule) else new_runtime(self._runtime).compile(source)
        wasi = self._wasi
        if wasi is None and any(each.name.startswith("ARROWUDF_VERSION_") for each in module.exports):
            wasi = WasiConfig()  # their toolchain imports it; it has no folders and no network
        return module.runtime.link(module, wasi=wasi, limits=self._limits)


def _ordered(value: Any) -> Any:
    """A value of a configuration with its mappings and sets in the order of their pickles, as they are equal in any."""
    if isinstance(value, RuntimeConfig):
        return RuntimeConfig, _ordered({each.name: getattr(value, each.name) for each in fields(value)})
    if isinstance(value, Mapping):
        return "mapping", sorted(pickle.dumps((key, _ordered(each))) for key, each in value.items())
    if isinstance(value, (set, frozenset)):
        return "set", sorted(map(pickle.dumps, value))
    if isinstance(value, (list, tuple)):
        return [_ordered(each) for each in value]
    return value


class _Options(NamedTuple):
    on_error: str
    nulls: str
    returns: str | None
    form: str | None
    allocator: Any
    frees: bool
    gives: bool


def _made(source: Any, name: str, runtime: Any, limits: Any, wasi: Any, options: tuple[Any, ...]) -> Udf:
    return Udf(source, name, runtime=runtime, limits=limits, wasi=wasi, **_Options(*options)._asdict())


def _found(instance: ModuleInstance, name: str) -> FunctionInstance:
    function = instance.function(name)
    if function is None:
        names = [export.name for export in instance.module.exports]
        raise FunctionNotExportedError(f"the module exports no function {name!r}{did_you_mean(name, names)}")
    return function


def _may_take_text(instance: ModuleInstance, type: FunctionType, options: _Options) -> bool:
    """Whether the guest could take a column of bytes: it has a memory, and params for a pointer and a size."""
    pointers = sum(1 for each in type.params if each in (ValueType.I32, ValueType.I64))
    return instance.memory() is not None and pointers > 1


def _is_nothing(each: Plain) -> bool:
    return each.valid is False and not is_text(each)


def _typed_nulls(found: list[Plain], params: int) -> list[Plain]:
    """The columns, with scalars of None as empty text where that is what the function has params for."""
    used = sum(2 if is_text(each) else 1 for each in found)
    if used == params or used + sum(1 for each in found if _is_nothing(each)) != params:
        return found
    return [replace(each, values="") if _is_nothing(each) else each for each in found]


def _repeated(each: Plain, rows: int, numpy: Any) -> Plain:
    values = each.values
    return replace(each, values=[values] * rows if is_text(each) else numpy.full(rows, values), scalar=False)


def _raise_errors(name: str, errors: Any, rows: Any) -> NoReturn:
    """Raise the first of the errors that a guest gave for rows."""
    for n, error in enumerate(errors.to_pylist()):
        if error is not None:
            row = n if rows is None else rows[n].as_py()
            raise RowError(f"row {row} of {name}(): {printable(error)}", row)
    raise AssertionError("there is no error among them")


def _rows(found: list[Plain], name: str) -> int:
    lengths = [(n, len(each.values)) for n, each in enumerate(found, 1) if not each.scalar]
    if not lengths:
        if not found:
            raise TypeError(f"{name}() takes at least one column, to know how many rows there are")
        return 1  # scalars alone, as engines of data give them for constants
    if len({length for _, length in lengths}) != 1:
        listed = ", ".join(f"argument {n} has {length}" for n, length in lengths)
        raise ValueError(f"{name}() takes columns of one length, but {listed}")
    return lengths[0][1]


def _valid(found: list[Plain], rows: int, numpy: Any) -> Any:
    """The rows in which nothing is null, or None where that is all of them."""
    valid = None
    for each in found:
        if each.valid is None:
            continue
        own = numpy.zeros(rows, dtype=bool) if each.valid is False else each.valid
        valid = own if valid is None else valid & own
    return valid
