"""Stores that are written by hand, for tests that know the numbers."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq


def write_rows(store: Path, table: str, run: str, rows: pd.DataFrame) -> None:
    """Write the rows of one run and table as the only part."""
    folder = store / table / f"run={run}"
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pandas(rows, preserve_index=False), folder / "part-00000001-00000001.parquet")
