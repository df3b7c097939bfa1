"""The official WebAssembly spec scripts, run on every runtime through the public API.

`sexpr` and `literals` read a script, `convert` turns it into commands, `execute` runs those over an `embedding`, in
other processes (`child`), which `runs` starts and watches. `python -m spec` from `tests` does it without pytest.
"""
