"""`python -m spec RUNTIME[:MODE] [SCRIPT ...]`: run the spec scripts on a runtime and print what came of them."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .runs import Result, find_scripts, run_scripts, total

WORKERS = 2


def main(runtime: str, *names: str) -> int:
    """Run all scripts, or those whose names are given."""
    scripts: list[Path] = [script for script in find_scripts() if not names or script.stem in names]
    if not scripts:
        print("no scripts: set WASM_SPEC_DIR to a folder with the .wast files of the official suite")
        return 2
    results: dict[Path, Result] = {}
    with ThreadPoolExecutor(WORKERS) as pool:
        for found in pool.map(lambda part: run_scripts(runtime, part), [scripts[n::WORKERS] for n in range(WORKERS)]):
            results |= found
    for script in scripts:
        result = results[script]
        print(f"{script.stem}: {result}")
        for problem in result.failures + result.crashes:
            print(f"    {problem}")
    whole = total(results.values())
    print(f"{runtime}: {len(scripts)} scripts: {whole}")
    return 1 if whole.failures or whole.crashes else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
