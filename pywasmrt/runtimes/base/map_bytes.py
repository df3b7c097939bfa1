"""`map_bytes` of an instance: it calls a function for each row of columns, some of which hold bytes or text.

The loop is C for native runtimes (csrc/fast/batch_bytes.c), and Python for the others. Both put a row's bytes where the
guest's allocator gives a place, call, copy the results out, and have the guest free them.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NoReturn

from ..._shim.batch import KINDS, PLAIN, Column, new_column, numpy_or_none, read_column, value_of
from ...errors import FunctionNotExportedError, MemoryAccessError, MemoryExportNotFoundError, RowError, Trap
from ...types import FunctionType, ValueType
from ...values import did_you_mean, is_function, shown, to_wasm
from .buffers import Allocator, choose
from .text_columns import Texts, arrow_of, checked, make_list, read_texts, without_nulls

__all__ = ["FORMS", "check_form", "map_bytes"]

FORMS = ("numbers", "pointer-high", "pointer-low", "pair", "out-first", "out-last")
"""The forms in which a guest returns a result, in the order of `Form` in csrc/fast/batch_bytes.c."""

MAX_BYTES = (1 << 31) - 1
"""What an Arrow array of strings holds."""

_POINTERS = (ValueType.I32, ValueType.I64)
_OUT_BYTES = 16


@dataclass
class _Batch:
    """The input of a loop, and `ends`, `mask` and `nulls`, which it writes."""

    function: Any
    name: str
    type: FunctionType
    columns: list[Texts | Column]
    rows: int
    form: str
    memory: Any
    allocator: Allocator
    frees: bool
    gives: bool
    max_bytes: int
    results: list[Any] = field(default_factory=list)
    ends: array[int] = field(default_factory=lambda: array("q"))
    mask: Any = None
    nulls: Any = None

    def where(self, column: int) -> str:
        return f"argument {column + 1} of {self.name}"


def map_bytes(
    find: Callable[[str], Any],
    exported: Callable[[], list[str]],
    memory: Any,
    function: Any,
    columns: tuple[Any, ...],
    *,
    returns: str | None = None,
    form: str | None = None,
    allocator: Any = None,
    frees: bool = True,
    gives: bool = False,
    on_error: str = "raise",
    max_bytes: int = MAX_BYTES,
    nulls: Any = None,
) -> Any:
    """See `ModuleInstance.map_bytes`. `nulls`, a column of booleans, is set to whether the guest returned a null
    pointer for the row.
    """
    _check_options(returns, form, on_error, max_bytes)
    name = function if isinstance(function, str) else getattr(function, "__name__", "function")
    if isinstance(function, str):
        function = find(name)
        if function is None:
            raise FunctionNotExportedError(f"the instance exports no function {name!r}{did_you_mean(name, exported())}")
    elif not is_function(function):
        raise TypeError(f"map_bytes takes a function of the instance or its name, not {shown(function)}")
    label = f"{name}()"
    if memory is None:
        raise MemoryExportNotFoundError("the guest exports no memory to put bytes into")
    read, chosen = _read(columns, function.type, label, form, returns)
    rows = _rows(read, label)
    batch = _Batch(
        function=function,
        name=label,
        type=function.type,
        columns=read,
        rows=rows,
        form=chosen,
        memory=memory,
        allocator=choose(find, allocator),
        frees=frees,
        gives=gives,
        max_bytes=max_bytes,
        nulls=None if nulls is None else _checked_nulls(nulls, rows),
    )
    if on_error == "mask":
        numpy = numpy_or_none()
        batch.mask = bytearray(batch.rows) if numpy is None else numpy.zeros(batch.rows, dtype=bool)
    made = _run(batch)
    result = _built(batch, made, returns)
    return result if batch.mask is None else (result, batch.mask)


def check_form(returns: str | None, form: str | None) -> None:
    """Raise `ValueError` for a word that is none of those, or for two that say different things."""
    if not isinstance(returns, (str, type(None))) or returns not in (None, "text", "bytes", "numbers"):
        raise ValueError(f"returns is 'text', 'bytes', 'numbers' or None, not {shown(returns)}")
    if form is not None and (not isinstance(form, str) or form not in FORMS):
        raise ValueError(f"form is one of {', '.join(FORMS)}, or None, not {shown(form)}")
    if (form == "numbers") != (returns == "numbers") and form is not None and returns is not None:
        raise ValueError(f"form={form!r} and returns={returns!r} say different things")


def _check_options(returns: str | None, form: str | None, on_error: str, max_bytes: int) -> None:
    check_form(returns, form)
    if not isinstance(on_error, str) or on_error not in ("raise", "mask"):
        raise ValueError(f"on_error is 'raise' or 'mask', not {shown(on_error)}")
    if type(max_bytes) is not int or not 0 <= max_bytes <= MAX_BYTES:
        raise ValueError(f"max_bytes is a number of bytes up to {MAX_BYTES}, not {shown(max_bytes)}")


def _read(
    columns: tuple[Any, ...], type: FunctionType, name: str, form: str | None, returns: str | None
) -> tuple[list[Texts | Column], str]:
    """Check the columns against the params. Returns them, and the form of the result."""
    texts = [read_texts(value, f"argument {n} of {name}") for n, value in enumerate(columns, 1)]
    used = sum(1 if each is None else 2 for each in texts)
    chosen = _form(type, used, name, form, returns)
    out = 1 if chosen.startswith("out") else 0
    if used + out != len(type.params):
        raise TypeError(
            f"{name} is {type}, and these columns are {used} of its params: a column of bytes is a pointer and a size"
            + (", and form " + repr(chosen) + " is one more" if out else "")
        )
    param = 1 if chosen == "out-first" else 0
    read: list[Texts | Column] = []
    for n, (value, each) in enumerate(zip(columns, texts, strict=True), 1):
        if each is None:
            if hasattr(value, "__arrow_c_array__") or hasattr(value, "__arrow_c_stream__"):
                value = _numpy_of(value, f"argument {n} of {name}")
            if type.params[param] not in PLAIN:
                raise TypeError(f"param {param} of {name} is {type.params[param]}, which is no number")
            read.append(read_column(value, type.params[param], f"argument {n} of {name}"))
            param += 1
            continue
        for pointer in type.params[param : param + 2]:
            if pointer not in _POINTERS:
                raise TypeError(
                    f"argument {n} of {name} is a column of bytes, for a pointer and a size; {name} is {type}"
                )
        read.append(each)
        param += 2
    return read, chosen


def _numpy_of(column: Any, where: str) -> Any:
    """The NumPy array of a column of numbers that offers Arrow's C data interface, which none with nulls has."""
    if type(getattr(column, "dtype", None)).__module__.partition(".")[0] == "numpy":  # of pandas, where NaN is a number
        return column.to_numpy()
    return without_nulls(checked(arrow_of(column), where), where).to_numpy(zero_copy_only=False)


def _checked_nulls(nulls: Any, rows: int) -> memoryview:
    """A view of the column to which the loop writes. Raises `TypeError` or `ValueError` where it could not."""
    try:
        view = memoryview(nulls)
    except (TypeError, ValueError, BufferError) as error:
        raise TypeError(
            f"nulls is a writable column of booleans (a NumPy array or a bytearray), not {shown(nulls)}"
        ) from error
    if view.ndim != 1 or view.format not in ("?", "b", "B"):
        raise TypeError(
            "nulls is a column of booleans, of one dimension and one byte for each row, not of"
            f" {view.ndim} dimensions and the format {view.format!r}"
        )
    if view.readonly:
        raise ValueError("nulls is read-only, and is written to; pass a NumPy array of booleans or a bytearray")
    if len(view) != rows:
        raise ValueError(f"nulls has {len(view)} rows, and the columns have {rows}")
    return view


def _form(type: FunctionType, used: int, name: str, form: str | None, returns: str | None) -> str:
    results = type.results
    chosen = form
    if chosen is None:
        if returns == "numbers":
            chosen = "numbers"
        elif len(type.params) == used + 1 and len(results) < 2:
            raise TypeError(
                f"{name} is {type}, with one param more than the columns take: if the guest writes pointer and size of "
                "its result there, say form='out-first' (as C compilers return a struct) or form='out-last'"
            )
        elif results == (ValueType.I64,):
            chosen = "pointer-high"
        else:
            chosen = "pair" if len(results) == 2 and all(each in _POINTERS for each in results) else "numbers"
    fits = {
        "numbers": returns in (None, "numbers") and all(each in PLAIN for each in results),
        "pair": len(results) == 2 and all(each in _POINTERS for each in results),
        "out-first": results in ((), (ValueType.I32,)) and type.params[:1] and type.params[0] in _POINTERS,
        "out-last": results in ((), (ValueType.I32,)) and type.params[-1:] and type.params[-1] in _POINTERS,
    }.get(chosen, results == (ValueType.I64,))
    if not fits:
        wanted = "numbers" if returns in (None, "numbers") else returns
        raise TypeError(
            f"{name} is {type}, which gives no {wanted} back in the form {chosen!r}; see map_bytes for the forms"
        )
    return chosen


def _rows(columns: list[Texts | Column], name: str) -> int:
    lengths = {
        n: each.rows if isinstance(each, Texts) else len(each.view)
        for n, each in enumerate(columns, 1)
        if not each.constant
    }
    if not lengths:
        raise TypeError(f"map_bytes({name[:-2]!r}, ...) takes at least one column, to know how many rows there are")
    if len(set(lengths.values())) != 1:
        listed = ", ".join(f"argument {n} has {length}" for n, length in lengths.items())
        raise ValueError(f"{name} takes columns of one length, but {listed}")
    return next(iter(lengths.values()))


def _run(batch: _Batch) -> bytes:
    """Run the loop, and turn the error that ends it into one that names the row."""
    if batch.form == "numbers":
        batch.results = [new_column(result, batch.rows) for result in batch.type.results]
    else:
        batch.ends = array("q", bytes(8 * (batch.rows + 1)))
    progress: list[int | None] = [None]
    native = getattr(batch.function, "_map_bytes", None)
    try:
        return _loop_native(batch, native, progress) if native is not None else _loop(batch, progress)
    except (Trap, MemoryAccessError) as error:
        row = progress[0]
        if row is None:
            raise
        message = error.message if isinstance(error, Trap) else str(error)
        raise RowError(f"row {row} of {batch.name}: {message}", row) from error


def _unfit(batch: _Batch, column: int, row: int) -> NoReturn:
    """Raise the error of a value that does not fit its param."""
    given = batch.columns[column]
    where = f"row {row} of {batch.where(column)}"
    if isinstance(given, Texts):
        try:
            given.row(row)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
    else:
        before = 1 if batch.form == "out-first" else 0
        param = before + sum(2 if isinstance(each, Texts) else 1 for each in batch.columns[:column])
        to_wasm(value_of(given, row), batch.type.params[param], where)
    raise ValueError(f"{where} changed while it was read")


def _loop_native(batch: _Batch, native: Any, progress: list[int | None]) -> bytes:
    columns = tuple(
        (each.data, each.offsets, each.wide, each.constant)
        if isinstance(each, Texts)
        else (each.view, each.kind, each.constant)
        for each in batch.columns
    )
    views = [memoryview(each) for each in batch.results]
    allocator = batch.allocator
    made = native(
        batch.rows,
        columns,
        tuple((view, KINDS[view.format[-1]], False) for view in views),
        FORMS.index(batch.form),
        batch.ends,
        batch.mask,
        batch.nulls,
        batch.memory._handle,
        tuple(allocator.first),
        None if allocator.pin is None else tuple(allocator.pin),
        None if allocator.release is None else tuple(allocator.release),
        batch.frees,
        batch.gives,
        batch.max_bytes,
        progress,
    )
    if isinstance(made, int):
        row = progress[0]
        assert row is not None
        _unfit(batch, made, row)
    return made or b""


def _loop(batch: _Batch, progress: list[int | None]) -> bytes:
    """The loop for runtimes without one in C."""
    with batch.function.batch():
        return _loop_within(batch, progress)


def _loop_within(batch: _Batch, progress: list[int | None]) -> bytes:
    if batch.rows == 0:
        if batch.form != "numbers":
            batch.ends[0] = 0
        return b""
    progress[0] = 0
    size = _arena_size(batch)
    arena = _Arena(_allocated(batch, size), size)
    try:
        made = _rows_done(batch, arena, progress)
    except Exception:
        with suppress(Exception):  # the first error says more
            _free(batch, arena.at, arena.size)
        raise
    _free(batch, arena.at, arena.size)
    return bytes(made)


class _Arena(NamedTuple):
    """The place in the guest for what it writes its result to, and behind that for the bytes of one row."""

    at: int
    size: int

    def holds(self, pointer: int) -> bool:
        return self.at <= pointer <= self.at + self.size  # an empty part may begin at the end


def _aligned(size: int) -> int:
    return (size + 7) // 8 * 8


def _arena_size(batch: _Batch) -> int:
    """Enough for the row that needs most."""
    most = 0
    for row in range(0 if batch.gives else batch.rows):
        texts = [_row(batch, n, row) for n, column in enumerate(batch.columns) if isinstance(column, Texts)]
        most = max(most, sum(_aligned(len(text)) for text in texts))
    return most + _OUT_BYTES


def _row(batch: _Batch, column: int, row: int) -> bytes:
    texts = batch.columns[column]
    assert isinstance(texts, Texts)
    try:
        return texts.row(row)
    except ValueError:
        _unfit(batch, column, row)


def _allocated(batch: _Batch, size: int) -> int:
    pointer = batch.allocator.allocate(max(size, 1))
    if pointer + max(size, 1) > batch.memory.size:
        raise MemoryAccessError(
            f"{batch.allocator.name} of the guest gave what is not its memory: {max(size, 1)} bytes at {pointer}"
        )
    return pointer


def _rows_done(batch: _Batch, arena: _Arena, progress: list[int | None]) -> bytearray:
    made = bytearray()
    views = [memoryview(each) for each in batch.results]
    for row in range(batch.rows):
        progress[0] = row
        if batch.form != "numbers":
            batch.ends[row] = len(made)
        try:
            values = _call(batch, row, arena)
            if batch.form != "numbers":
                data = _taken(batch, values, row, arena)
                if len(made) + len(data) > batch.max_bytes:
                    raise ValueError(f"the results are larger than max_bytes={batch.max_bytes}")
                made += data
        except (Trap, MemoryAccessError) as error:
            if batch.function.raised_by_host(error):
                progress[0] = None
                raise
            if batch.mask is None:
                raise
            batch.mask[row] = 1
            if batch.nulls is not None:
                batch.nulls[row] = True
            values = (0,) * len(views)
        for view, value in zip(views, values, strict=batch.form == "numbers"):
            view[row] = value
    progress[0] = None
    if batch.form != "numbers":
        batch.ends[batch.rows] = len(made)
    return made


def _call(batch: _Batch, row: int, arena: _Arena) -> tuple[Any, ...]:
    args: list[Any] = [arena.at] if batch.form == "out-first" else []
    at = arena.at + _OUT_BYTES
    for n, column in enumerate(batch.columns):
        if isinstance(column, Texts):
            data = _row(batch, n, row)
            pointer = _allocated(batch, len(data)) if batch.gives else at
            if not batch.gives and pointer + len(data) > arena.at + arena.size:  # it has grown meanwhile
                _unfit(batch, n, row)
            batch.memory.write(pointer, data)
            at += _aligned(len(data))
            args += [pointer, len(data)]
        else:
            value = value_of(column, 0 if column.constant else row)
            args.append(to_wasm(value, batch.type.params[len(args)], f"row {row} of {batch.where(n)}"))
    if batch.form == "out-last":
        args.append(arena.at)
    result = batch.function(*args)
    return result if isinstance(result, tuple) else () if result is None else (result,)


def _taken(batch: _Batch, values: tuple[Any, ...], row: int, arena: _Arena) -> bytes:
    """The bytes of the result, which the guest then frees unless they lie in the arena."""
    pointer, size = _place(batch, values, arena.at)
    if batch.nulls is not None:
        batch.nulls[row] = pointer == 0
    data = _copied(batch, pointer, size)
    if batch.frees and pointer and not arena.holds(pointer):
        _free(batch, pointer, size)
    return data


def _place(batch: _Batch, values: tuple[Any, ...], arena: int) -> tuple[int, int]:
    """The pointer and the size of a result, from the values that the function returned."""
    if batch.form in ("pointer-high", "pointer-low"):
        packed = values[0] & (1 << 64) - 1
        high, low = packed >> 32, packed & 0xFFFF_FFFF
        return (high, low) if batch.form == "pointer-high" else (low, high)
    if batch.form == "pair":
        both = [
            value & ((1 << 64) - 1 if type is ValueType.I64 else 0xFFFF_FFFF)
            for value, type in zip(values, batch.type.results, strict=True)
        ]
        return both[0], both[1]
    if values and values[0] != 0:
        raise MemoryAccessError(f"the guest returned the status {values[0] & 0xFFFF_FFFF} instead of a result")
    wide = batch.type.params[0 if batch.form == "out-first" else -1] is ValueType.I64
    size = 8 if wide else 4
    out = batch.memory.read(arena, 2 * size)
    return int.from_bytes(out[:size], "little"), int.from_bytes(out[size:], "little")


def _copied(batch: _Batch, pointer: int, size: int) -> bytes:
    if size == 0:
        return b""
    try:
        data: bytes = batch.memory.read(pointer, size)
    except MemoryAccessError:
        raise MemoryAccessError(
            f"the guest gave what is not its memory: {size} bytes at {pointer} of {batch.memory.size}"
        ) from None
    return data


def _free(batch: _Batch, pointer: int, size: int) -> None:
    if batch.allocator.release is not None:
        batch.allocator.release(pointer, max(size, 1))


def _built(batch: _Batch, made: bytes, returns: str | None) -> Any:
    if batch.form == "numbers":
        return None if not batch.results else batch.results[0] if len(batch.results) == 1 else tuple(batch.results)
    texts = [each for each in batch.columns if isinstance(each, Texts)]
    like = next((each for each in texts if not each.constant), None) or (texts[0] if texts else None)
    text = returns == "text" if returns is not None else like is not None and like.text
    build = make_list if like is None else like.build
    if text and batch.mask is not None and not made.isascii():
        made = _without_bad_text(batch, made)
    return build(made, batch.ends, text, batch.name)


def _without_bad_text(batch: _Batch, made: bytes) -> bytes:
    """The results but for those that are not UTF-8, which fail their rows."""
    kept = bytearray()
    begin = 0
    for row in range(batch.rows):
        data, begin = made[begin : batch.ends[row + 1]], batch.ends[row + 1]
        try:
            data.decode()
        except UnicodeDecodeError:
            batch.mask[row] = 1
            if batch.nulls is not None:
                batch.nulls[row] = True
        else:
            kept += data
        batch.ends[row + 1] = len(kept)
    return bytes(kept)
