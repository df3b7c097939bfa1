"""A guest's function over a data frame of Dask, on a cluster of two processes.

    python examples/on_dask.py

Each worker gets the function with its tasks, compiles the module once, and runs it over whole partitions.
"""

from __future__ import annotations

import logging
import os

from pywasmrt.columns import Udf

STEPS = """
(module
  ;; How many steps it takes to come to 1: half of an even number, and of an odd one three times as much and one more.
  (func (export "steps") (param $n i64) (result i64) (local $count i64)
    (block $done
      (loop $again
        (br_if $done (i64.le_s (local.get $n) (i64.const 1)))
        (if (i64.eqz (i64.and (local.get $n) (i64.const 1)))
          (then (local.set $n (i64.shr_u (local.get $n) (i64.const 1))))
          (else (local.set $n (i64.add (i64.mul (local.get $n) (i64.const 3)) (i64.const 1)))))
        (local.set $count (i64.add (local.get $count) (i64.const 1)))
        (br $again)))
    (local.get $count)))
"""


def main() -> None:
    try:
        import dask.dataframe as dd
        import pandas as pd
        from dask.distributed import Client, LocalCluster
    except ImportError:
        print("pip install 'dask[dataframe,distributed]'")
        return
    steps = Udf(STEPS, "steps")
    frame = dd.from_pandas(pd.DataFrame({"n": range(1, 10_001)}), npartitions=8)
    cluster = LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        silence_logs=logging.CRITICAL,
    )
    with cluster, Client(cluster) as client:
        counted = frame.map_partitions(
            lambda part: part.assign(steps=steps(part["n"])), meta={"n": "i8", "steps": "i8"}
        )
        longest = counted.nlargest(1, "steps").compute()
        workers = client.run(os.getpid)
    print(f"{len(workers)} workers; {longest['n'].iloc[0]} takes {longest['steps'].iloc[0]} steps")


if __name__ == "__main__":
    main()
