"""Source lines and names out of debug information: a compiler's, that of programs of ours, and any bytes."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywasmrt.wasm.dwarf import Line, LineTable, read_function_names, read_lines
from pywasmrt.wasm.primitives import name, section, sleb, uleb
from pywasmrt.wasm.symbols import bodies, custom_sections, exported_functions, function_names

SOURCE = """\
static int twice(int x) {
  return x + x;
}

__attribute__((export_name("run")))
int run(int n) {
  int sum = 0;
  for (int i = 0; i < n; i++)
    sum += twice(i);
  return sum;
}
"""


@pytest.fixture(scope="module", params=["-gdwarf-4", "-gdwarf-5"])
def compiled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    if find_spec("ziglang") is None:
        pytest.skip("ziglang, which compiles C, is not installed")
    folder: Path = tmp_path_factory.mktemp("dwarf")
    (folder / "guest.c").write_text(SOURCE)
    flags = ["--target=wasm32-freestanding", "-O0", "-fno-sanitize=all", "-nostdlib", "-Wl,--no-entry", request.param]
    command = [sys.executable, "-m", "ziglang", "cc", *flags, "-o", "guest.wasm", "guest.c"]
    subprocess.run(command, cwd=folder, check=True, timeout=300, capture_output=True)
    return (folder / "guest.wasm").read_bytes()


def code_size(data: bytes) -> int:
    begin, found = bodies(data)
    return found[-1].end - begin


def test_a_compilers_functions_have_their_lines_and_names(compiled: bytes) -> None:
    begin, found = bodies(compiled)
    sections = custom_sections(compiled)
    lines = read_lines(sections, code_size(compiled))
    names = read_function_names(sections)
    told = {names[body.begin - begin]: lines.first(body.begin - begin, body.end - begin) for body in found}
    assert {key: (Path(line.file).name, line.line) for key, line in told.items() if line is not None} == {
        "twice": ("guest.c", 1),
        "run": ("guest.c", 6),
    }
    assert set(function_names(compiled).values()) == {"twice", "run"}
    assert list(exported_functions(compiled).values()) == ["run"]
    seen = {lines.at(address) for body in found for address in range(body.begin - begin, body.end - begin)}
    assert {line.line for line in seen if line is not None} >= {1, 2, 7, 8, 9, 10}


def test_another_reader_reads_the_same(compiled: bytes) -> None:
    pytest.importorskip("elftools")
    rows: dict[int, set[int]] = {}
    for address, _, line in read_lines(custom_sections(compiled), code_size(compiled))._rows:
        rows.setdefault(address, set()).add(line)
    assert rows == by_elftools(custom_sections(compiled))


def by_elftools(sections: dict[str, bytes]) -> dict[int, set[int]]:
    import inspect

    from elftools.dwarf.dwarfinfo import DebugSectionDescriptor, DwarfConfig, DWARFInfo

    def described(key: str) -> Any:
        content = sections.get(f".{key}")
        return None if content is None else DebugSectionDescriptor(io.BytesIO(content), key, None, len(content), 0)

    wanted = [key for key in inspect.signature(DWARFInfo.__init__).parameters if key not in ("self", "config")]
    given = {key: described(key.removesuffix("_sec")) for key in wanted}
    info = DWARFInfo(config=DwarfConfig(True, "x86", 4), **given)
    rows: dict[int, set[int]] = {}
    for unit in info.iter_CUs():
        for entry in info.line_program_for_CU(unit).get_entries():
            if entry.state is not None:
                line = 0 if entry.state.end_sequence else entry.state.line
                rows.setdefault(entry.state.address, set()).add(line)
    return rows


def unit(program: bytes, version: int = 4) -> bytes:
    """A unit of the line table with one file, `a/b.c`, whose program this is."""
    header = bytes([1, 1, 1, 0x100 - 5, 14, 13]) + bytes([0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1])
    header += b"a\0\0" + b"b.c\0\1\0\0" + b"\0"
    content = version.to_bytes(2, "little") + len(header).to_bytes(4, "little") + header + program
    return len(content).to_bytes(4, "little") + content


def address(value: int) -> bytes:
    return b"\0\5\2" + value.to_bytes(4, "little")


END = b"\0\1\1"


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(-5, 100_000)), min_size=1, max_size=30))
def test_what_a_program_says_is_read(steps: list[tuple[int, int]]) -> None:
    program, at, line, wanted = address(10), 10, 1, {}
    for advance, number in steps:
        number = max(number, 1)
        program += b"\2" + uleb(advance) + b"\3" + sleb(number - line) + b"\1"
        at, line = at + advance, number
        wanted[at] = max(number, wanted.get(at, 0))
    table = read_lines({".debug_line": unit(program + b"\2\1" + END)}, at + 2)
    for place, number in wanted.items():
        assert table.at(place) == Line("a/b.c", number)
    assert table.at(9) is None
    assert table.at(at + 1) is None
    assert table.first(5, 2000) == (Line("a/b.c", wanted[min(wanted)]) if min(wanted) < 2000 else None)


def test_dropped_code_and_code_beyond_the_end_have_no_lines() -> None:
    line = b"\3\7\1\2\4" + END
    units = unit(address(0) + line) + unit(address(0xFFFFFFFF) + line) + unit(address(50) + line)
    assert len(read_lines({".debug_line": units}, 40)) == 0
    assert len(read_lines({".debug_line": units}, 60)) == 2


def test_a_broken_unit_does_not_hide_the_others() -> None:
    good = unit(address(8) + b"\3\7\1\2\4" + END)
    broken = [unit(b"\0\5\2"), unit(b"\2" + b"\xff" * 20), unit(b"", version=9), unit(b"\x0f" * 3)]
    table = read_lines({".debug_line": b"".join(broken) + good + b"\xff\xff"}, 40)
    assert table.at(9) == Line("a/b.c", 8)


@given(st.binary(max_size=200), st.binary(max_size=60), st.binary(max_size=40), st.booleans())
def test_any_bytes_are_read_without_an_error(data: bytes, more: bytes, text: bytes, framed: bool) -> None:
    sections = {".debug_str": text, ".debug_line_str": text, ".debug_str_offsets": text, ".debug_abbrev": more}
    line = unit(data, 2 + len(more) % 4) if framed else data
    assert isinstance(read_lines({**sections, ".debug_line": line}, 1 << 20), LineTable)
    info = len(data).to_bytes(4, "little") + data if framed else data
    assert isinstance(read_function_names({**sections, ".debug_info": info}), dict)


def damaged(data: bytes) -> Iterator[dict[str, bytes]]:
    sections = custom_sections(data)
    for key in [key for key in sections if key.startswith(".debug")]:
        for at in range(0, len(sections[key]), max(1, len(sections[key]) // 60)):
            for byte in (0x00, 0x7F, 0xFF):
                content = sections[key][:at] + bytes([byte]) + sections[key][at + 1 :]
                yield {**sections, key: content}
            yield {**sections, key: sections[key][:at]}


def test_damage_anywhere_is_survived(compiled: bytes) -> None:
    size = code_size(compiled)
    for sections in damaged(compiled):
        read_lines(sections, size)
        read_function_names(sections)


def test_custom_sections_that_are_broken_are_passed_over() -> None:
    header = b"\0asm\1\0\0\0"
    data = header + section(0, b"\x05ab") + section(0, b"\x02\xff\xfe") + section(0, name("good") + b"1")
    data += section(0, name("good") + b"2") + section(0, b"")
    assert custom_sections(data) == {"good": b"1"}
    assert function_names(header) == {}
