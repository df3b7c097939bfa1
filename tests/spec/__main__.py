"""`python -m spec RUNTIME[:MODE] [SCRIPT ...]`: run the spec scripts on a runtime and print what came of them."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .runs import find_scripts, run_script, total


def main(runtime: str, *names: str) -> int:
    """Run all scripts, or those whose names are given."""
    scripts: list[Path] = [script for script in find_scripts() if not names or script.stem in names]
    if not scripts:
        print("no scripts: set WASM_SPEC_DIR to a folder with the .wast files of the official suite")
        return 2
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda script: run_script(runtime, script), scripts))
    for script, result in zip(scripts, results, strict=True):
        print(f"{script.stem}: {result}")
        for problem in result.failures + result.crashes:
            print(f"    {problem}")
    whole = total(results)
    print(f"{runtime}: {len(scripts)} scripts: {whole}")
    return 1 if whole.failures or whole.crashes else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
