"""The official spec scripts on every available runtime: one test per script, and the counts of all together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import pywasmrt

from .runs import Result, find_scripts, run_scripts, total

SCRIPTS = find_scripts()
# A runtime, and behind a colon the mode in which it runs guests.
RUNTIMES = [info.name for info in pywasmrt.list_runtimes() if info.available]
RUNTIMES += [f"{name}:interpreter" for name in RUNTIMES if name == "wazero"]
WORKERS = 2
Runs = dict[str, "Future[dict[Path, Result]]"]

pytestmark = [
    pytest.mark.skipif(
        not SCRIPTS, reason="no spec scripts: set WASM_SPEC_DIR to a folder with the .wast files of the official suite"
    ),
    pytest.mark.xdist_group("spec"),  # as the scripts are run ahead of the tests, all of them
]


@pytest.fixture(scope="session")
def runs(request: pytest.FixtureRequest) -> Iterator[Runs]:
    """Every script that a collected test asks for, run ahead of the tests by a few workers."""
    wanted: dict[str, dict[Path, None]] = {}
    for item in request.session.items:
        if isinstance(item, pytest.Function) and item.path == Path(__file__):
            params: dict[str, Any] = dict(item.callspec.params)
            for script in [params["script"]] if "script" in params else SCRIPTS:
                wanted.setdefault(params["runtime_name"], {})[script] = None
    with ThreadPoolExecutor(WORKERS) as pool:
        yield {name: pool.submit(run_scripts, name, list(scripts)) for name, scripts in wanted.items()}
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
@pytest.mark.parametrize("runtime_name", RUNTIMES)
def test_script(runs: Runs, runtime_name: str, script: Path) -> None:
    result = runs[runtime_name].result()[script]
    assert result.crashes == []
    assert result.failures == []
    assert result.passed + result.skipped.total() == result.commands
    if not result.passed and result.skipped:
        pytest.skip(str(result))


@pytest.mark.parametrize("runtime_name", RUNTIMES)
def test_summary(runs: Runs, runtime_name: str, record_property: Callable[[str, object], None]) -> None:
    """All together: nothing fails, nothing crashes, and what is skipped is a feature that the runtime does not
    declare."""
    results = runs[runtime_name].result()
    whole = total(results[script] for script in SCRIPTS)
    record_property("spec", f"{runtime_name}: {len(SCRIPTS)} scripts: {whole}")
    print(f"\n{runtime_name}: {len(SCRIPTS)} scripts: {whole}")
    features = next(info.features for info in pywasmrt.list_runtimes() if info.name == runtime_name.partition(":")[0])
    for reason in whole.skipped:
        assert reason.startswith("the feature ")
        assert reason.removeprefix("the feature ") not in features
    assert whole.passed > 0
