"""A function of a module as a value that travels."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from dataclasses import replace
from hashlib import blake2b
from inspect import Parameter, Signature
from pathlib import Path
from typing import Any, Union

from ..errors import Exit, FuelExhausted, FunctionNotExportedError, Interrupted, RowError
from ..protocols import CompiledModule, FunctionInstance
from ..registry import new_runtime
from ..types import FunctionType, Limits, RuntimeConfig
from ..values import did_you_mean, shown
from .frames import Plain, plain, rebuilt
from .opened import drop_instance, instance_of

__all__ = ["Udf"]


class Udf:
    """A guest's function over columns of data: a value that can be pickled, and called from any thread.

    `source` is a module's bytes, its text, the path of its file (read at once), or a compiled module, which brings its
    own runtime. The module may import nothing but WASI. `runtime` is a name or configuration as `new_runtime` takes it.
    `limits` bound each instance. The module is compiled once in a process, however many copies of the `Udf` arrive
    there, and each thread that calls has an instance of its own. Guests should not depend on which calls came before.

    Called with columns, it gives the column of results; all columns have one length, and scalars stand for columns of
    themselves. Columns are whatever offers Arrow's C data interface (`__arrow_c_array__`, `__arrow_c_stream__`), series
    of pandas and Polars, NumPy arrays and other buffers. The result is of the kind of the first column that is not
    NumPy's; with NumPy's alone it is an array, or a masked array where there are nulls.

    A row in which any value is null is not given to the guest, and its result is null. With `on_error="null"` a row
    that traps gives null too; otherwise it raises `RowError`, whose row counts all rows. What does not fit raises as in
    `FunctionInstance.map`, there counting the rows without nulls.

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
    ) -> None:
        """Nothing is compiled before the first call, so this never fails because of the module's content."""
        if not isinstance(name, str):
            raise TypeError(f"the name of the function is a str, not {shown(name)}")
        if on_error not in ("raise", "null"):
            raise ValueError(f"on_error is 'raise' or 'null', not {shown(on_error)}")
        if isinstance(source, os.PathLike):
            source = Path(source).read_bytes()
        elif isinstance(source, (bytearray, memoryview)):
            source = bytes(source)
        elif not isinstance(source, (bytes, str, CompiledModule)):
            raise TypeError(f"a module is bytes, text, a path or a compiled module, not {shown(source)}")
        self.__name__ = name
        self._source = source
        self._runtime = dict(runtime) if isinstance(runtime, Mapping) else runtime
        self._limits = limits
        self._wasi = wasi
        self._on_error = on_error
        self._key: bytes | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return _made, (self._source, self.__name__, self._runtime, self._limits, self._wasi, self._on_error)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Udf):
            return NotImplemented
        return (self.__name__, self._on_error, self._module_key()) == (
            other.__name__,
            other._on_error,
            other._module_key(),
        )

    def __hash__(self) -> int:
        return hash((self.__name__, self._module_key()))

    def __repr__(self) -> str:
        runtime = self._runtime if isinstance(self._runtime, str) else getattr(self._runtime, "type", "configured")
        return f"<Udf {self.__name__} ({runtime})>"

    @property
    def type(self) -> FunctionType:
        """The function's signature. Opens the module."""
        return self._function().type

    @property
    def __signature__(self) -> Signature:
        """A parameter for each of the guest's, for callers that count them, as DuckDB does. Opens the module."""
        params = range(1, len(self.type.params) + 1)
        return Signature([Parameter(f"column{n}", Parameter.POSITIONAL_ONLY) for n in params])

    def __call__(self, *columns: Any) -> Any:
        """The column of results, or a tuple of columns where the function has several."""
        import numpy

        function = self._function()
        name = self.__name__
        found = [plain(column, f"argument {n} of {name}()") for n, column in enumerate(columns, 1)]
        build = rebuilt(columns)
        rows = _rows(found, name)
        if all(each.scalar for each in found):
            found[0] = replace(found[0], values=numpy.full(rows, found[0].values), scalar=False)
        valid = _valid(found, rows, numpy)
        if valid is None:
            values = [each.values for each in found]
        else:
            values = [each.values if each.scalar else numpy.asarray(each.values)[valid] for each in found]
        results, failed = self._mapped(function, values, valid, numpy)
        several = results if isinstance(results, tuple) else () if results is None else (results,)
        made = tuple([build(*_scattered(each, valid, failed, rows, numpy)) for each in several])
        return None if not made else made[0] if len(made) == 1 else made

    def _mapped(self, function: FunctionInstance, values: list[Any], valid: Any, numpy: Any) -> tuple[Any, Any]:
        """The results of the rows that are there, and which of them trapped, or None."""
        try:
            if self._on_error == "null":
                results, failed = function.map(*values, on_error="mask")
                return results, failed if failed.any() else None
            return function.map(*values), None
        except RowError as error:
            if valid is not None:
                row = int(numpy.flatnonzero(valid)[error.row])
                raise RowError(str(error).replace(f"row {error.row} ", f"row {row} ", 1), row) from error.__cause__
            raise
        except (Interrupted, FuelExhausted, Exit):  # the guest's state may be inconsistent
            drop_instance(self._module_key())
            raise

    def _function(self) -> FunctionInstance:
        instance = instance_of(self._module_key(), self._link)
        function = instance.function(self.__name__)
        if function is None:
            names = [export.name for export in instance.module.exports]
            raise FunctionNotExportedError(
                f"the module exports no function {self.__name__!r}{did_you_mean(self.__name__, names)}"
            )
        return function

    def _module_key(self) -> bytes:
        if self._key is None:
            made_of = pickle.dumps((self._source, self._runtime, self._limits, self._wasi))
            self._key = blake2b(made_of, digest_size=32).digest()
        return self._key

    def _link(self) -> Any:
        source = self._source
        module = source if isinstance(source, CompiledModule) else new_runtime(self._runtime).compile(source)
        return module.runtime.link(module, wasi=self._wasi, limits=self._limits)


def _made(source: Any, name: str, runtime: Any, limits: Any, wasi: Any, on_error: str) -> Udf:
    return Udf(source, name, runtime=runtime, limits=limits, wasi=wasi, on_error=on_error)


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


def _scattered(values: Any, valid: Any, failed: Any, rows: int, numpy: Any) -> tuple[Any, Any]:
    """The results of the rows that were there among all rows, and a mask of those that are null, or None."""
    if valid is None:
        return values, failed
    full = numpy.zeros(rows, dtype=values.dtype)
    full[valid] = values
    nulls = ~valid
    if failed is not None:
        nulls[valid] = failed
    return full, nulls
