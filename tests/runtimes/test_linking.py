"""Finding imports among providers: who serves, what does not match, and the one error that tells it all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pywasmrt import (
    ExternKind,
    FunctionType,
    GlobalType,
    HostModule,
    ImportType,
    MemoryType,
    ModuleInstantiateError,
    Runtime,
    TableType,
    ValueType,
    i32,
    i64,
)
from pywasmrt.runtimes.base.linking import HostImport, extern_kind, resolve_imports

I32, I64, FUNCREF, EXTERNREF, REF = (
    ValueType.I32,
    ValueType.I64,
    ValueType.FUNCREF,
    ValueType.EXTERNREF,
    ValueType.REF,
)


class Extern:
    """A fake extern: a type, and a size where the kind has one."""

    def __init__(self, type: Any, size: int = 0) -> None:
        self.type = type
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __repr__(self) -> str:
        return f"Extern({self.type})"


class Function(Extern):
    def __call__(self, *args: Any) -> Any: ...


KINDS = {
    FunctionType: ExternKind.FUNCTION,
    MemoryType: ExternKind.MEMORY,
    TableType: ExternKind.TABLE,
    GlobalType: ExternKind.GLOBAL,
}


def wanted(type: Any, name: str = "x", module: str = "env") -> ImportType:
    return ImportType(module, name, KINDS[type.__class__], type)


def link(imports: list[ImportType], *providers: Any, veto: Callable[..., str | None] = lambda *_: None) -> list[Any]:
    return resolve_imports(imports, providers, veto)


def problems(imports: list[ImportType], *providers: Any, **kwargs: Any) -> tuple[str, ...]:
    with pytest.raises(ModuleInstantiateError) as caught:
        link(imports, *providers, **kwargs)
    assert all(problem in str(caught.value) for problem in caught.value.problems)
    return caught.value.problems


NOTHING = FunctionType()


def test_host_modules_and_mappings_serve() -> None:
    env = HostModule("env")

    @env.function
    def f(x: i32) -> i32:
        return x

    other = Function(NOTHING)
    memory = Extern(MemoryType(1), 65536)
    found = link(
        [
            wanted(FunctionType((I32,), (I32,)), "f"),
            wanted(NOTHING, "g", "a"),
            wanted(MemoryType(1), "m", "a"),
            wanted(NOTHING, "h", "a"),
        ],
        env,
        {"a": {"g": other, "m": memory, "h": print}},
    )
    assert found[0] == HostImport("env", "f", f, FunctionType((I32,), (I32,)), False)
    assert found[1] is other
    assert found[2] is memory
    assert found[3].callable is print


def test_a_mapping_may_hold_host_modules_and_host_functions() -> None:
    host = HostModule("whatever")
    host.add_function("f", [I64], [], print)
    found = link(
        [wanted(FunctionType((I64,)), "f", "m"), wanted(FunctionType((I64,)), "g", "n")],
        {"m": host, "n": {"g": host["f"]}},
    )
    assert [each.callable for each in found] == [print, print]
    assert [(each.module, each.name) for each in found] == [("m", "f"), ("n", "g")]


def test_the_first_provider_that_has_the_name_serves() -> None:
    first, second = Function(NOTHING), Function(NOTHING)
    providers = [{"other": {}}, {"env": {"y": second}}, {"env": {"x": first}}, {"env": {"x": second, "y": first}}]
    assert link([wanted(NOTHING, "x"), wanted(NOTHING, "y")], *providers) == [first, second]


def test_everything_wrong_is_told_at_once() -> None:
    with pytest.raises(ModuleInstantiateError) as caught:
        link(
            [
                wanted(NOTHING, "fine"),
                wanted(NOTHING, "fd_write"),
                wanted(MemoryType(1), "memory", "evn"),
                wanted(NOTHING, "five"),
            ],
            {"env": {"fine": print, "fd_wriet": print, "five": 5}},
        )
    assert (
        str(caught.value) == "cannot instantiate the module: 3 imports do not fit\n"
        "  env.fd_write: function () -> () is not provided; did you mean 'fd_wriet'?\n"
        "  evn.memory: memory 1 is not provided: there is no module 'evn' among 'env'; did you mean 'env'?\n"
        "  env.five: function () -> () was given 5 (int); give a callable, or a function of an instance"
    )
    assert len(caught.value.problems) == 3


def test_a_module_that_asks_for_much_gets_few_hints() -> None:
    """Looking for the nearest name takes long where a module that nobody trusts may have a million imports."""
    told = problems([wanted(NOTHING, f"function{n}x") for n in range(1000)], {"env": {"functions": print}})
    assert len(told) == 1000
    assert told[0] == "env.function0x: function () -> () is not provided; did you mean 'functions'?"
    assert told[-1] == "env.function999x: function () -> () is not provided"
    assert sum("did you mean" in each for each in told) < 100


def test_nothing_provided() -> None:
    assert problems([wanted(NOTHING)]) == ("env.x: function () -> () is not provided",)
    assert link([]) == []


@pytest.mark.parametrize(
    ("type", "extern", "reason"),
    [
        (FunctionType((I32,)), Function(FunctionType((I32,))), None),
        (FunctionType((I32,)), Function(FunctionType((I64,))), "was given a function (i64) -> ()"),
        (FunctionType((REF,)), Function(FunctionType((FUNCREF,))), None),  # subtypes are the engine's to judge
        (NOTHING, Extern(MemoryType(1), 65536), "was given a memory"),
        (MemoryType(1), Function(NOTHING), "was given a function"),
        (
            MemoryType(1),
            print,
            (
                "was given <built-in function print> (builtin_function_or_method); make a memory with store.memory(...)"
                " and pass store=store"
            ),
        ),
        (GlobalType(I32), 5, "was given 5 (int); make a global with store.global_(...) and pass store=store"),
        (MemoryType(1), Extern(MemoryType(1), 65536), None),
        (MemoryType(1), Extern(MemoryType(0), 65536), None),  # it has grown
        (MemoryType(2), Extern(MemoryType(0), 65536), "was given one of 1 pages, fewer than the minimum"),
        (MemoryType(1, 3), Extern(MemoryType(1, 2), 65536), None),
        (MemoryType(1, 3), Extern(MemoryType(1, 4), 65536), "was given one with the maximum 4, beyond what it may be"),
        (MemoryType(1, 3), Extern(MemoryType(1), 65536), "was given one with no maximum, beyond what it may be"),
        (MemoryType(1), Extern(MemoryType(1, is_64=True), 65536), "was given memory64 1"),
        (MemoryType(1, 2), Extern(MemoryType(1, 2, shared=True), 65536), "was given memory 1 2 shared"),
        (MemoryType(1), Extern(MemoryType(65536, page_size=1), 65536), "was given memory 65536 (pagesize 1)"),
        (TableType(FUNCREF, 1), Extern(TableType(FUNCREF, 1), 1), None),
        (TableType(FUNCREF, 1), Extern(TableType(EXTERNREF, 1), 1), "was given table 1 externref"),
        (TableType(REF, 1), Extern(TableType(REF, 1), 1), None),
        (
            TableType(FUNCREF, 2),
            Extern(TableType(FUNCREF, 1), 1),
            "was given one of 1 elements, fewer than the minimum",
        ),
        (
            TableType(FUNCREF, 1, 5),
            Extern(TableType(FUNCREF, 1, 6), 1),
            "was given one with the maximum 6, beyond what it may be",
        ),
        (TableType(FUNCREF, 1), Extern(TableType(FUNCREF, 1, is_64=True), 1), "was given table64 1 funcref"),
        (GlobalType(I32), Extern(GlobalType(I32)), None),
        (GlobalType(I32), Extern(GlobalType(I64)), "was given global i64"),
        (GlobalType(I32, True), Extern(GlobalType(I32)), "was given global i32"),
        (GlobalType(I32), Extern(GlobalType(I32, True)), "was given global (mut i32)"),
        (GlobalType(REF), Extern(GlobalType(FUNCREF)), None),
    ],
)
def test_matching_of_types(type: Any, extern: Any, reason: str | None) -> None:
    if reason is None:
        assert link([wanted(type)], {"env": {"x": extern}}) == [extern]
    else:
        (problem,) = problems([wanted(type)], {"env": {"x": extern}})
        assert problem == f"{wanted(type)} {reason}"


def test_tags_match_by_their_payload() -> None:
    tag = ImportType("env", "x", ExternKind.TAG, FunctionType((I32,)))
    extern = Extern(FunctionType((I32,)))
    assert extern_kind(extern) is ExternKind.TAG
    assert link([tag], {"env": {"x": extern}}) == [extern]
    (problem,) = problems([tag], {"env": {"x": Extern(NOTHING)}})
    assert problem.endswith("was given a tag () -> ()")
    (problem,) = problems([tag], {"env": {"x": HostModule}})
    assert problem.endswith("; give the tag that an instance exports")


def test_the_adapter_has_a_veto() -> None:
    (problem,) = problems(
        [wanted(NOTHING)], {"env": {"x": Function(NOTHING)}}, veto=lambda *_: "belongs to another store"
    )
    assert problem == "env.x: function () -> () belongs to another store"


def test_host_functions_that_do_not_fit() -> None:
    env = HostModule("env")

    @env.function
    def x(a: i64) -> None: ...

    def bad(a: str) -> None: ...

    (problem,) = problems([wanted(FunctionType((I32,)))], env)
    assert (
        problem
        == "env.x: function (i32) -> () does not fit its host function: its parameter 1 is i64, the guest passes i32"
    )
    (problem,) = problems([wanted(MemoryType(1))], env)
    assert "was given a host function; make a memory with store.memory(...)" in problem
    (problem,) = problems([wanted(FunctionType((I32,)))], {"env": {"x": bad}})
    assert "cannot be served by" in problem
    assert "a cannot have str" in problem


@pytest.mark.parametrize(
    ("provider", "message"),
    [
        (5, "^an import provider is a HostModule, or a mapping of module name"),
        (print, "^an import provider is a HostModule, or a mapping of module name"),
        ({5: {}}, r"^an import mapping has module names as keys, not 5 \(int\)$"),
        ({"env": print}, "^imports for module 'env' are a mapping of field to extern or callable"),
    ],
)
def test_providers_of_the_wrong_type(provider: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        link([], provider)


def test_foreign_host_modules_serve_by_their_shape() -> None:
    class Mine:
        name = "env"
        functions = HostModule("x").functions

    assert problems([wanted(NOTHING)], Mine()) == ("env.x: function () -> () is not provided",)
    assert problems([wanted(NOTHING)], {"env": Mine()}) == ("env.x: function () -> () is not provided",)


# Through a runtime


EXPORTER = """(module (func (export "f") (result i32) i32.const 7) (memory (export "memory") 1 4)
    (table (export "t") 3 funcref) (global (export "g") (mut i64) (i64.const 5)))"""
IMPORTER = """(module (import "a" "f" (func $f (result i32))) (import "a" "memory" (memory 1)) (import "a" "t" (table 1
funcref))
    (import "a" "g" (global $g (mut i64))) (func (export "run") (result i32) (global.set $g (i64.const 9)) call $f))"""


@pytest.fixture
def text(needs: Callable[..., None]) -> None:
    needs("wat")


@pytest.mark.usefixtures("text")
def test_an_instance_provides_what_it_exports(runtime: Runtime) -> None:
    with runtime.new_store() as store:
        exporter = runtime.instantiate(runtime.compile(EXPORTER), store=store)
        importer = runtime.instantiate(runtime.compile(IMPORTER), {"a": exporter}, store=store)
        assert importer.exports.run() == 7
        assert exporter.exports.g.value == 9
        again = runtime.instantiate(runtime.compile(IMPORTER), {"a": exporter.exports}, store=store)
        assert again.exports.run() == 7


@pytest.mark.usefixtures("text")
def test_an_instance_needs_a_name(runtime: Runtime) -> None:
    exporter = runtime.instantiate(runtime.compile(EXPORTER))
    with pytest.raises(TypeError, match=r'pass \{"name": instance\}$'):
        runtime.instantiate(runtime.compile(IMPORTER), exporter)


@pytest.mark.usefixtures("text")
def test_externs_of_another_store_are_refused(runtime: Runtime) -> None:
    with runtime.instantiate(runtime.compile(EXPORTER)) as exporter:
        with pytest.raises(ModuleInstantiateError, match="4 imports do not fit") as caught:
            runtime.instantiate(runtime.compile(IMPORTER), {"a": exporter})
        assert all("belongs to another store" in problem for problem in caught.value.problems)


@pytest.mark.usefixtures("text")
def test_externs_made_by_the_host_serve(runtime: Runtime) -> None:
    with runtime.new_store() as store:
        memory, table = store.memory(1, 2), store.table(2, 5)
        g = store.global_(I64, 1, mutable=True)
        provided = {"a": {"f": lambda: 3, "memory": memory, "t": table, "g": g}}
        importer = runtime.instantiate(runtime.compile(IMPORTER), provided, store=store)
        assert importer.exports.run() == 3
        assert g.value == 9


@pytest.mark.usefixtures("text")
def test_a_grown_memory_counts_with_its_size(runtime: Runtime) -> None:
    wants_two = runtime.compile('(module (import "a" "memory" (memory 2)))')
    with runtime.new_store() as store:
        memory = store.memory(1, 2)
        with pytest.raises(ModuleInstantiateError, match="fewer than the minimum"):
            runtime.instantiate(wants_two, {"a": {"memory": memory}}, store=store)
        memory.grow(1)
        runtime.instantiate(wants_two, {"a": {"memory": memory}}, store=store)


def test_what_is_no_wasi_configuration_is_refused(runtime: Runtime) -> None:
    module = runtime.compile(b"\0asm\1\0\0\0")
    with pytest.raises(TypeError, match=r"wasi is a pywasmrt\.wasi\.WasiConfig, not"):
        runtime.instantiate(module, wasi=object())  # type: ignore[arg-type]
