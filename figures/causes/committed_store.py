"""Copy finished runs into the committed store, at a third of their size.

    python figures/causes/committed_store.py runs/causes        # into figures/causes/store

The copies have the same types and one part for each table. Five things are left out to keep them small:

- the descriptions of the columns (unit, formula, reference), half of the bytes of a run with few records;
- columns that no run of a plan measures (``NOT_MEASURED``), the same columns in each run;
- columns that no table of the pages reads (``NOT_READ``), the same columns in each run;
- two of three records of ``layers`` and of drift; the first and the last record are kept;
- table ``channels``, which has a row for each channel. ``channel_drift/`` has the result of ``analysis.channel_drift``
  instead, a row for each layer and step. Drift counts from the first record after step 50, when running means have
  reached the statistics of the data.

Runs that the target already has are not changed.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from analysis.reading.run_table import runs
from analysis.reading.tables import channels
from analysis.summaries.nonlinearities.channel_drift import channel_drift
from probes import schema
from probes.storage import part_checksum

STORE = Path(__file__).parent / "store"
MOST = 40_000  # bytes a run
NOT_MEASURED = {
    *("raw_weight_mean", "raw_weight_var", "grad_noise", "grad_noise_trace", "grad_signal", "grad_micro_batches"),
    *("saturated_fraction", "activation_grad_var", "activation_grad_sparsity", "grad_norm", "grad_norm_unclipped"),
    *("batch_gradient_norm", "loss_along_gradient_min", "loss_along_gradient_max", "effective_smoothness"),
    *("gradient_change_min", "gradient_change_max", "hessian_top_eigenvalue"),
    *("covariate_shift_l2", "covariate_shift_cosine"),
}
NOT_READ = {
    *("effective_lr", "step_per_gradient", "update_alignment", "update_spectral_norm", "update_rms_norm"),
    *("update_stable_rank", "update_effective_rank", "grad_spectral_norm", "grad_stable_rank", "grad_effective_rank"),
    *("first_moment_rms", "second_moment_root", "moment_ratio", "weight_rms_norm", "activation_rms", "input_rms"),
    *("condition_number", "kernel_singular_value_mean", "grad_near_sparsity"),
}
DRIFT, SINCE = "channel_drift", 50


def copy_run(source: Path, run: str, target: Path) -> int:
    """Copy the tables of a finished run; return the bytes of the copy.

    Raises:
        ValueError: A table has several parts, because the run is not compacted, or a column to leave out has numbers.
    """
    size = 0
    for folder in sorted(source.glob(f"*/run={run}")):
        if folder.parent.name.startswith("_"):
            continue
        parts = sorted(folder.glob("*.parquet"))
        if len(parts) != 1:
            raise ValueError(f"{folder} has {len(parts)} parts: run `meandrift compact --store {source}` first.")
        if folder.parent.name == schema.CHANNELS:
            size += _install(_drift(source, run), target / DRIFT / folder.name / "part-0.parquet")
            continue
        table = _smaller(parts[0])
        table = _every_third_record(table) if folder.parent.name == schema.LAYERS else table
        size += _install(table, target / folder.relative_to(source) / parts[0].name)
    return size


def _every_third_record(table: pa.Table) -> pa.Table:
    steps = np.unique(table[schema.STEP].to_numpy())
    return table.filter(pc.is_in(table[schema.STEP], pa.array([*steps[:-1:3], steps[-1]])))


def _smaller(part: Path) -> pa.Table:
    """Return the rows of a part without descriptions and without the columns that are left out."""
    table = pq.ParquetFile(part).read()
    empty = NOT_MEASURED.intersection(table.column_names)
    if full := sorted(name for name in empty if table[name].null_count < table.num_rows):
        raise ValueError(f"{part}: {', '.join(full)} hold numbers, and would be left out: take them off NOT_MEASURED.")
    table = table.drop_columns(sorted(empty | NOT_READ.intersection(table.column_names)))
    columns = [field.remove_metadata() for field in table.schema]
    return table.cast(pa.schema(columns, metadata=part_checksum.metadata(table.schema.metadata)))


def _drift(source: Path, run: str) -> pa.Table:
    """Return the drift of each layer and step, computed from table ``channels``."""
    found = channel_drift(channels(source, runs=run), since=SINCE).drop(columns=schema.RUN)
    numbers = {name: "float32" for name in found.columns if found[name].dtype == "float64"}
    table = pa.Table.from_pandas(found.astype(numbers), preserve_index=False)
    return _every_third_record(table.replace_schema_metadata(part_checksum.metadata(None)))


def _install(table: pa.Table, path: Path) -> int:
    """Write a table as the only part in a folder; return its bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for old in path.parent.glob("*.parquet"):
        old.unlink()
    _write(table, path)
    part_checksum.seal(path)
    return path.stat().st_size


def _write(table: pa.Table, path: Path) -> None:
    """Write a table as a small Parquet file, with the checksums that ``meandrift verify`` checks."""
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
    """Copy every finished run that the target does not have; return the bytes of each copy."""
    table = runs(source)
    there = {folder.name.removeprefix("run=") for folder in target.glob("runs/run=*")}
    finished: Sequence[str] = sorted({*table.loc[table["status"] == "finished", "run"].astype(str)} - there)
    return {run: copy_run(source, run, target) for run in finished}


def main() -> None:
    """Copy the runs and print the sizes of the copies."""
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
