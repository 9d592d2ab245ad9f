"""Weights, spectra, ranks and norms of a model or of checkpoints as a table, without training."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from torch import nn

from probes.checkpoints.subjects import Checkpoint, Patterns, Reading, open_each
from probes.checkpoints.weight_record import Missing, Weights, measure_weights, weight_metrics
from probes.metrics import Metric
from probes.schema import LAYERS, STEP
from probes.storage.recorder import Recorder

if TYPE_CHECKING:
    import pandas as pd

FILE = "file"


def inspect(
    what: nn.Module | Mapping[str, Any] | Checkpoint | Sequence[Checkpoint],
    *,
    model: nn.Module | None = None,
    step: int | Sequence[int] | None = None,
    key: str | None = None,
    metrics: Sequence[str | Metric] | None = None,
    include: Patterns = None,
    exclude: Patterns = None,
    store: str | os.PathLike[str] | None = None,
    run: str | None = None,
    overwrite: bool = False,
) -> pd.DataFrame:
    """Return weights, spectra, ranks and norms of each layer: the columns that a probe records from weights.

    Nothing is trained, called or changed, and nothing of a file is executed: a file that holds more than tensors,
    numbers and strings is refused. A file is read a few layers at a time.

    Args:
        what: A model, a state dict, a checkpoint that has a state dict among its entries, a file or several files.
            Files are those of ``torch.save`` (``.pt``, ``.pth``, ``.ckpt``, ``.t7``, ...) and ``.safetensors``.
        model: A model that the state dicts fit, for weights under norms that are not torch's. The model is not changed.
            Without a model the classes of modules are guessed from the tensors, see
            :mod:`probes.checkpoints.hollow_model`.
        step: The step, or the step of each file. None takes the step stored in the file, else the step in its name
            (``step=400.ckpt``, ``checkpoint-500/model.safetensors``), else the number in which the names of several
            files differ.
        key: Entry of the files that is the state dict, such as ``"ema.model"``; None looks for it.
        metrics: Metrics or groups; None takes all metrics that read weights only. Operator norms of convolutions are
            not among them, because they depend on the size of the images.
        include: Names with wildcards, or module types: only these layers are inspected.
        exclude: Names with wildcards, or module types: these layers are left out.
        store: Folder or URL of a store. Rows, histograms and whole spectra are written to it as one run.
        run: The run's id in the store.
        overwrite: Delete an existing run of this id.

    Returns:
        A row for each step and layer that has weights, with the columns of table ``layers``. For files, the first
        column is ``file``. The step is null if it is unknown.

    Raises:
        FileNotFoundError: A file is not there.
        ValueError: A file is no checkpoint, or cannot be loaded without executing it; there is nothing to inspect; rows
            for a store lack a step or a run, or its files have different layers.
    """
    if (store is None) != (run is None):
        raise ValueError("rows of a store belong to a run: give both, store=... and run=..., or neither.")
    chosen = [metric for metric in weight_metrics(metrics) if store is not None or metric.table == LAYERS]
    missing = Missing()
    subjects = open_each(what, step, Reading(model, key, include, exclude))
    measured = ((file, one, list(measure_weights(one, chosen, missing))) for file, one in subjects)
    if store is None or run is None:
        return _joined([_frame(file, one.step, tables) for file, one, tables in measured])
    with ExitStack() as closing:
        recorder = closing.enter_context(Recorder(store, run, overwrite=overwrite))
        frames = [_frame(file, one.step, tables) for file, one, tables in _recorded(measured, recorder)]
        recorder.describe(gaps=missing.entries)
    return _joined(frames)


_Tables = list[tuple[str, pa.RecordBatch]]
_Measured = tuple[str | None, Weights, _Tables]


def _recorded(measured: Iterator[_Measured], recorder: Recorder) -> Iterator[_Measured]:
    """Write the rows that pass through to the run of a recorder."""
    layers: list[str] = []
    steps: set[int] = set()
    for file, weights, tables in measured:
        if weights.step is None or weights.step in steps:
            came = "no step" if weights.step is None else f"step {weights.step} again"
            raise ValueError(
                f"{file or 'the weights'}: {came}; expected a step of its own for each file: give step=... (--step)"
            )
        names = [layer.name for layer in weights.layers]
        if layers and names != layers:
            raise ValueError(
                f"{file}: its layers differ from those of the files before it; expected one network a run."
            )
        layers = names
        steps.add(weights.step)
        for table, batch in tables:
            recorder.write(table, batch)
        yield file, weights, tables


def _frame(file: str | None, step: int | None, tables: _Tables) -> pd.DataFrame:
    rows = pa.Table.from_batches([batch for table, batch in tables if table == LAYERS]).to_pandas()
    if step is None:
        rows[STEP] = rows[STEP].astype("Int64").where(rows[STEP] < 0)
    if file is not None:
        rows.insert(0, FILE, file)
    return rows


def _joined(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    import pandas as pd

    return frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)
