"""Fixtures for pytest, found by itself where this package is installed (entry point in the group `pytest11`).

* `wasm_runtime`: a test that asks for it runs once on every runtime that is available. Tests share the runtimes, which
  are closed at the end of the session: do not close them. A method of a `unittest.TestCase` runs once only, as does a
  test that asks by `request.getfixturevalue`; it gets the first of the runtimes.
* `wat`: a function that compiles a module in the text format on that runtime, whether it reads text itself or not.
* `@pytest.mark.wasm_features("simd", ...)`: the test is skipped on runtimes that lack one of these features
  (`RuntimeInfo.features`).

`--wasm-coverage PATH` has every module that is compiled during the test run tell which of its code runs, prints what
was reached, and writes it to PATH for LCOV: so property tests show what of a guest they reach. It works with
pytest-xdist.

`--wasm-runtime NAME`, which may be given several times, or the environment variable PYWASMRT_TEST_RUNTIMES, with
commas, chooses the runtimes; one of them not being available is an error. A test that raises `UnsupportedFeatureError`
for a feature that its runtime does not claim is skipped; if the runtime claims the feature, the test fails.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ..diagnostics.coverage import Coverage
    from ..protocols import CompiledModule, Runtime

__all__ = ["chosen_runtimes", "wasm_runtime", "wat"]

_OPTION = "--wasm-runtime"
_VARIABLE = "PYWASMRT_TEST_RUNTIMES"
_COVERAGE_OPTION = "--wasm-coverage"
_COVERAGE: pytest.StashKey[Coverage] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--wasm-runtime` and `--wasm-coverage`."""
    group = parser.getgroup("pywasmrt", "WebAssembly runtimes")
    group.addoption(
        _OPTION,
        action="append",
        default=[],
        metavar="NAME",
        help=f"run the tests that use wasm_runtime on this runtime only; may be repeated (or {_VARIABLE}=NAME,NAME)",
    )
    group.addoption(
        _COVERAGE_OPTION,
        metavar="PATH",
        help="report which code of WebAssembly guests the tests reach, and write it to this file for LCOV",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known, and begin to measure coverage, if that is asked for."""
    path = config.getoption(_COVERAGE_OPTION)
    if path is not None:
        from ..diagnostics.coverage import Coverage

        config.stash[_COVERAGE] = coverage = Coverage()
        config.add_cleanup(coverage.instrument_all())
    config.addinivalue_line(
        "markers", "wasm_features(*names): skip the test on runtimes that lack one of these WebAssembly features"
    )


def _part_of(config: pytest.Config) -> Path:
    """Where a worker of pytest-xdist leaves what it has counted."""
    worker = config.workerinput["workerid"]  # type: ignore[attr-defined]
    return Path(f"{config.getoption(_COVERAGE_OPTION)}.{worker}.part")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Forget what the workers of a run before this one have left."""
    path = session.config.getoption(_COVERAGE_OPTION)
    if path is not None and not hasattr(session.config, "workerinput"):
        for part in Path(path).parent.glob(f"{Path(path).name}.*.part"):
            part.unlink()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In a worker of pytest-xdist, leave what was counted to the process that reports."""
    coverage = session.config.stash.get(_COVERAGE, None)
    if coverage is not None and hasattr(session.config, "workerinput"):
        coverage.save(_part_of(session.config))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Report what of the guests was reached, and write it down."""
    coverage = config.stash.get(_COVERAGE, None)
    if coverage is None or hasattr(config, "workerinput"):
        return
    path = Path(config.getoption(_COVERAGE_OPTION))
    for part in sorted(path.parent.glob(f"{path.name}.*.part")):
        coverage.merge(coverage.load(part))
        part.unlink()
    terminalreporter.section("coverage of WebAssembly guests")
    terminalreporter.line(coverage.report())
    try:
        coverage.lcov(path)
    except OSError as error:
        terminalreporter.line(f"cannot write {path}: {error}", red=True)
    else:
        terminalreporter.line(f"written to {path}")


def chosen_runtimes(config: pytest.Config) -> list[str]:
    """The names of the runtimes to test. Raises `pytest.UsageError` if a requested one is not available."""
    from ..registry import list_runtimes

    infos = {info.name: info for info in list_runtimes()}
    asked = list(config.getoption(_OPTION))
    source = _OPTION
    if not asked:
        asked = [name.strip() for name in os.environ.get(_VARIABLE, "").split(",") if name.strip()]
        source = _VARIABLE
    if not asked:
        return [name for name, info in infos.items() if info.available]
    for name in asked:
        if name not in infos or not infos[name].available:
            reason = infos[name].reason if name in infos else f"there is no such runtime, only {', '.join(infos)}"
            raise pytest.UsageError(f"{source} asks for {name!r}: {reason}")
    return asked


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what uses `wasm_runtime` on every runtime, or on those that a mark `parametrize` of its own gives."""
    if "wasm_runtime" in metafunc.fixturenames and not _gives_runtimes(metafunc.definition):
        names = chosen_runtimes(metafunc.config)
        metafunc.parametrize("wasm_runtime", names, ids=names, indirect=True, scope="session")


def _gives_runtimes(item: pytest.Item) -> bool:
    for mark in item.iter_markers("parametrize"):
        names = mark.kwargs.get("argnames", mark.args[0] if mark.args else ())
        listed = names.split(",") if isinstance(names, str) else names
        if "wasm_runtime" in [name.strip() for name in listed]:
            return True
    return False


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark what was made for a runtime as what the mark `parametrize` makes. Hypothesis goes by that: it gives such
    a test examples of its own, and lets a method be called on several objects.
    """
    params = getattr(getattr(item, "callspec", None), "params", {})
    if "wasm_runtime" in params:
        item.add_marker(pytest.mark.parametrize("wasm_runtime", [params["wasm_runtime"]]))


@pytest.fixture(scope="session")
def wasm_runtime(request: pytest.FixtureRequest) -> Iterator[Runtime]:
    """A runtime that all tests share: do not close it."""
    from ..registry import new_runtime

    # Tests of unittest are not run once for each runtime, nor those that ask for the fixture while they run.
    name = getattr(request, "param", None) or next(iter(chosen_runtimes(request.config)), None)
    if name is None:
        pytest.skip("no WebAssembly runtime is available")
    with new_runtime(name) as runtime:
        yield runtime


@pytest.fixture(scope="session")
def wat(wasm_runtime: Runtime) -> Iterator[Callable[[str], CompiledModule]]:
    """Compiles modules in the text format. Of the session's scope, so that tests of Hypothesis can use it too; a module
    lives as long as the test keeps it, and at most to the end of the session.
    """
    from weakref import WeakSet

    from .text import to_binary

    made: WeakSet[Any] = WeakSet()

    def compile(text: str) -> CompiledModule:
        source: Any = text if "wat" in wasm_runtime.info.features else to_binary(text)
        module = wasm_runtime.compile(source)
        made.add(module)
        return module

    yield compile
    for module in list(made):
        module.close()


def _runtime_of(item: pytest.Item) -> Runtime | None:
    runtime: Runtime | None = getattr(item, "funcargs", {}).get("wasm_runtime")
    return runtime


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Skip a test that needs a missing feature: before it runs, or when it meets the missing feature."""
    runtime = _runtime_of(item)
    if runtime is None:
        return (yield)
    wanted = {name for marker in item.iter_markers("wasm_features") for name in marker.args}
    missing = sorted(wanted - runtime.info.features)
    if missing:
        pytest.skip(f"{runtime.info.name} lacks {', '.join(missing)}")
    from ..errors import UnsupportedFeatureError

    try:
        return (yield)
    except UnsupportedFeatureError as error:
        if error.feature is None or error.feature in runtime.info.features:
            raise
        pytest.skip(f"{runtime.info.name} lacks {error.feature}")
