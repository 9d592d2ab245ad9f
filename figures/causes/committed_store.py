"""Copy finished runs into the store that is committed, a third to a half of the size.

    python figures/causes/committed_store.py runs/causes        # into figures/causes/store

A file of a store describes its columns: unit, formula, reference. Of runs with few records that is half of the bytes,
and the README's data dictionary says the same. The copies have the same rows and types, one part a table, and no
description. Runs that are there already are written anew.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from analysis.reading.run_table import runs

STORE = Path(__file__).parent / "store"
MOST = 40_000  # bytes a run


def copy_run(source: Path, run: str, target: Path) -> int:
    """Copy the tables of a finished run; return the bytes of the copy.

    Raises:
        ValueError: A table has several parts: the run is not compacted.
    """
    size = 0
    for folder in sorted(source.glob(f"*/run={run}")):
        if folder.parent.name.startswith("_"):
            continue
        parts = sorted(folder.glob("*.parquet"))
        if len(parts) != 1:
            raise ValueError(f"{folder} has {len(parts)} parts: run `meandrift compact --store {source}` first.")
        table = pq.ParquetFile(parts[0]).read()
        schema = pa.schema([field.remove_metadata() for field in table.schema], metadata=table.schema.metadata)
        place = target / folder.relative_to(source)
        place.mkdir(parents=True, exist_ok=True)
        for old in place.glob("*.parquet"):
            old.unlink()
        _write(table.cast(schema), place / parts[0].name)
        size += (place / parts[0].name).stat().st_size
    return size


def _write(table: pa.Table, path: Path) -> None:
    """Write a table in as few bytes as Parquet takes, with the checksums that ``meandrift verify`` looks at."""
    floats = [field.name for field in table.schema if pa.types.is_floating(field.type)]
    lists = [f"{field.name}.list.element" for field in table.schema if _is_list_of_floats(field.type)]
    pq.write_table(
        table,
        path,
        compression="zstd",
        compression_level=19,
        use_dictionary=[field.name for field in table.schema if field.name not in floats],
        use_byte_stream_split=[*floats, *lists],
        write_statistics=False,
        write_page_checksum=True,
    )


def _is_list_of_floats(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) and pa.types.is_floating(kind.value_type)


def copy_finished(source: Path, target: Path = STORE) -> dict[str, int]:
    """Copy every finished run of a store; return the bytes of each copy."""
    table = runs(source)
    finished: Sequence[str] = sorted(table.loc[table["status"] == "finished", "run"].astype(str))
    return {run: copy_run(source, run, target) for run in finished}


def main() -> None:
    """Copy and say how large the copies are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--store", type=Path, default=STORE)
    arguments = parser.parse_args()
    sizes = copy_finished(arguments.source, arguments.store)
    large = {run: size for run, size in sizes.items() if size > MOST}
    print(f"{len(sizes)} runs, {sum(sizes.values()):,} bytes, the largest {max(sizes.values(), default=0):,}")
    for run, size in large.items():
        print(f"{run}: {size:,} bytes, more than {MOST:,}")


if __name__ == "__main__":
    main()
