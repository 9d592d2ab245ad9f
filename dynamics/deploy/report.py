"""Accuracy, size and latency of a trained network's variants: one row for each variant, and files of these rows."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from torch import nn

from analysis.csv_text import as_csv
from analysis.whole_file import write_whole
from dynamics.deploy.folding import fold_network
from dynamics.deploy.latency import compare_latency, machine
from dynamics.deploy.onnx_export import NoOnnxError, export_onnx, onnx_network
from dynamics.deploy.predictions import Predictions, predict
from dynamics.deploy.prune import pruned, zero_share
from dynamics.deploy.quantise import float_bytes, int8_bytes, quantised
from dynamics.deploy.trained_run import TrainedRun
from dynamics.norms import NORMS

PRUNED = (0.5, 0.8, 0.9)  # shares of weights set to 0; the folded network has the share 0
TRAINED, FOLDED, ONNX, INT8 = "trained", "folded", "onnx", "int8"
LATENCY = ("latency_ms", "latency_ratio", "latency_control", "latency_rounds")
COLUMNS = (
    *("run", "model", "data", "norm", "seed", "status", "step", "variant", "left", "images", "right", "accuracy"),
    *("changed_images", "logit_error", "zero_share", "bytes", *LATENCY),
)


def pruned_name(share: float) -> str:
    """Return the variant's name: ``pruned_80``."""
    return f"pruned_{100 * share:g}"


@dataclass
class Deployment:
    """The variants of one run's network.

    Attributes:
        rows: One dict for each variant, with its values by column; see :func:`deploy`.
        notes: Warnings for the user, one line each: norms left, no ONNX, an unfinished run.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def deploy(trained: TrainedRun, *, out: Path, rounds: int = 200) -> Deployment:
    """Fold a trained network, export, round and prune it, and test every variant on the same images.

    Variants: ``trained``; ``folded``; ``onnx`` (the folded network in onnxruntime); ``int8`` and ``pruned_50``,
    ``_80``, ``_90`` (made of the folded network). Columns beside the run's settings:

    - ``left``: norms that folding left, counted; empty if none.
    - ``images``, ``right``, ``accuracy``: number of test images, number classified right, and the share of the latter.
    - ``changed_images``, ``logit_error``: number of images whose predicted class differs from that of the trained
      network, and the largest difference of a logit from the trained network's.
    - ``zero_share``: share of the layers' weights that are 0.
    - ``bytes``: size of parameters and buffers. For ``onnx`` the size of the file. For ``int8`` one byte for each
      weight and one float32 scale for each channel.
    - ``latency_ms``: median time of one image on one thread, of ``trained`` and ``folded``. ``latency_ratio``: folded
      over trained. ``latency_control``: a copy of trained over trained. ``latency_rounds``: timed rounds of each.

    Args:
        trained: The network, from :func:`dynamics.deploy.trained_run.trained_run`.
        out: Folder for ``RUN.onnx``.
        rounds: Rounds of timing.
    """
    found = Deployment(notes=_notes(trained))
    folded = fold_network(trained.network)
    if folded.left:
        first = next(iter(folded.left))
        found.notes.append(f"{trained.run}: folding left {folded.left_text}, first {first}: {folded.reason}")
    before = predict(trained.network, trained.batches())
    row = _Rows(trained, before, found.rows)
    row.add(TRAINED, before, trained.network, left="", size=float_bytes(trained.network))
    time = compare_latency(trained.network, folded.network, trained.image(), rounds=rounds)
    found.rows[-1]["latency_ms"] = 1e3 * time.before
    for name, network, size in _variants(folded.network):
        row.add(name, predict(network, trained.batches()), network, left=folded.left_text, size=size)
        if name == FOLDED:
            found.rows[-1] |= dict(zip(LATENCY, (1e3 * time.after, time.ratio, time.control, time.rounds), strict=True))
    try:
        file = export_onnx(folded.network, trained.image(), out / f"{trained.run}.onnx")
    except NoOnnxError as error:
        found.notes.append(f"{trained.run}: {error}")
    else:
        said = predict(onnx_network(file), trained.batches())
        row.add(ONNX, said, folded.network, left=folded.left_text, size=file.stat().st_size)
    return found


def _notes(trained: TrainedRun) -> list[str]:
    if trained.status == "finished":
        return []
    return [f"{trained.run} is {trained.status}, not finished: its network of step {trained.step:,} is taken"]


def _variants(folded: nn.Module) -> list[tuple[str, nn.Module, int]]:
    """Return name, network and bytes of the folded network and of its int8 and pruned variants."""
    less = [(pruned_name(share), pruned(folded, share), float_bytes(folded)) for share in PRUNED]
    return [(FOLDED, folded, float_bytes(folded)), (INT8, quantised(folded), int8_bytes(folded)), *less]


@dataclass(frozen=True)
class _Rows:
    """The rows of one run, compared with the predictions of its trained network."""

    trained: TrainedRun
    before: Predictions
    rows: list[dict[str, Any]]

    def add(self, variant: str, said: Predictions, network: nn.Module, *, left: str, size: int) -> None:
        config = self.trained.config
        settings = {name: getattr(config, name) for name in ("model", "data", "norm", "seed")}
        row = {"run": self.trained.run, "status": self.trained.status, "step": self.trained.step, **settings}
        row |= {"variant": variant, "left": left, "images": len(said.labels), "right": said.right}
        row |= {"accuracy": said.accuracy, "changed_images": said.changed(self.before)}
        row |= {"logit_error": said.logit_error(self.before), "bytes": size, "zero_share": zero_share(network)}
        self.rows.append(row)


def as_table(deployments: Sequence[Deployment]) -> pd.DataFrame:
    """Return the rows of several runs, ordered by model, data, norm and seed. A value that was not measured is NaN."""
    rows = pd.DataFrame([row for one in deployments for row in one.rows], columns=list(COLUMNS))
    order: Mapping[str, Callable[[pd.Series], pd.Series]] = {"norm": lambda names: names.map(list(NORMS).index)}
    by = ["model", "data", "norm", "seed", "run"]
    return rows.sort_values(by, kind="stable", key=lambda column: order.get(str(column.name), lambda c: c)(column))


def write_rows(table: pd.DataFrame, out: Path, *, notes: Sequence[str] = ()) -> list[Path]:
    """Write the rows as ``deploy.csv``, ``deploy.parquet`` and, with the machine and the notes, ``deploy.json``."""
    parquet = io.BytesIO()
    table.to_parquet(parquet, index=False)
    records = json.loads(table.to_json(orient="records", double_precision=15))  # NaN becomes null
    whole = {"machine": machine(), "notes": list(notes), "rows": records}
    return [
        write_whole(out / "deploy.csv", as_csv(table).encode()),
        write_whole(out / "deploy.parquet", parquet.getvalue()),
        write_whole(out / "deploy.json", (json.dumps(whole, indent=2) + "\n").encode()),
    ]
