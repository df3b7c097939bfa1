"""Functions of guests over columns of data, wherever the data is: Arrow, pandas, Polars, DuckDB, NumPy; and workers.

    from pywasmrt.columns import Udf

    gcd = Udf(Path("gcd.wasm"), "gcd")
    gcd(table["a"], table["b"])

`FunctionInstance.map` is what runs the rows; a `Udf` is one that travels, reads what data frames hold, and knows nulls.
It needs NumPy, and pyarrow for what is neither NumPy's nor a scalar (the extra `arrow`).
"""

from __future__ import annotations

from .udf import Udf

__all__ = ["Udf"]
