"""Synthetic stores with all columns of the metrics, written with pyarrow alone, and a reader of drawn figures."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from probes import schema
from probes.metrics import METRICS
from probes.schema import Column

LAYERS_COLUMNS = tuple(
    {c.name: c for metric in METRICS.values() if metric.table == schema.LAYERS for c in metric.columns}.values()
)
OF_A_MATRIX = ("singular", "kernel", "spectral", "operator", "stable", "effective", "condition")  # how columns begin
NORM_LAYER = {"bn": "BatchNorm2d", "msn": "MeanCentring"}


@dataclass(frozen=True)
class Synthetic:
    """What a made-up store holds."""

    model: str = "cnn3"
    norms: Sequence[str] = ("bn", "sn", "msn")
    seeds: Sequence[int] = (0,)
    records: int = 40
    every: int = 50
    nan_from: dict[str, int] = field(default_factory=dict)  # run -> first record with NaN
    stop_after: dict[str, int] = field(default_factory=dict)  # run -> number of records
    learning_rates: Sequence[float] = (0.001,)
    without_columns: Sequence[str] = ()
    without_tables: Sequence[str] = ()
    with_config: bool = True


def layer_list(model: str, norm: str) -> list[tuple[str, str]]:
    """Return (name, type) in depth order, as a probe on such a model would name them."""
    if model == "cnn3":
        blocks = [f"block{i}" for i in (1, 2, 3)]
        pairs = [(f"{b}.conv", "Conv2d") for b in blocks]
        extra = {f"{b}.conv": (f"{b}.norm", NORM_LAYER[norm]) for b in blocks} if norm in NORM_LAYER else {}
        return [pair for name, kind in pairs for pair in ((name, kind), extra.get(name)) if pair] + [
            ("classifier", "Linear")
        ]
    names = ["stem"]
    for block in (1, 2, 3):
        names += [f"block{block}.{i}.conv{j}" for i in range(16) for j in (1, 2)]
        names += [f"transition{block}.conv"] if block < 3 else []
    layers: list[tuple[str, str]] = []
    for name in names:
        layers.append((name, "Conv2d"))
        if norm in NORM_LAYER:
            layers.append((name.replace("conv", "norm") if "conv" in name else "stem_norm", NORM_LAYER[norm]))
    return [*layers, ("classifier", "Linear")]


def layers_rows(spec: Synthetic, run: str, norm: str, seed: int, lr: float) -> dict[str, Any]:
    """Return the columns of table ``layers`` for one run: smooth curves that differ by norm and depth, plus noise.

    A column without a curve of its own here gets a plain one.
    """
    named = layer_list(spec.model, norm)
    noise = np.random.default_rng([seed, len(run), sum(run.encode())])
    records = spec.stop_after.get(run, spec.records)
    count, rows = len(named), records * len(named)
    t = np.repeat(np.arange(records) / max(spec.records - 1, 1), count)
    depth = np.tile(np.arange(count) / max(count - 1, 1), records)
    wobble = np.cumsum(noise.normal(0, 1, (records, count)), axis=0).ravel() / np.sqrt(max(records, 1))
    jitter = noise.normal(0, 1, rows)
    seed_shift = noise.normal(0, 0.1)
    pull = {"bn": 0.2, "sn": 1.0, "msn": 0.25, "none": 0.8}.get(norm, 0.5)
    is_norm = np.tile([kind in NORM_LAYER.values() for _, kind in named], records)
    rise = 1 - np.exp(-4 * t)
    sigma = np.where(norm in ("sn", "msn"), 1 + 0.002 * jitter, 0.6 + (1 + depth) * rise)
    shaped = {
        "requires_grad": np.ones(rows),
        "training": np.ones(rows),
        "weight_mean": -0.1 * pull * (0.3 + depth) * rise * (1 + seed_shift) + 0.004 * wobble,
        "weight_var": (0.05 - 0.03 * depth) ** 2 * (1 + pull * rise),
        "bias_mean": 0.02 * wobble,
        "singular_value_mean": sigma * (0.35 - 0.15 * depth * pull * rise),
        "kernel_singular_value_mean": 0.05 + 0.3 * rise * (1 - 0.6 * pull * depth),
        "spectral_norm": sigma,
        "operator_norm": sigma * (1.7 - 0.4 * depth),
        "stable_rank": 3 + 8 * (1 - rise * 0.5) * (1 - 0.5 * depth),
        "grad_mean": 1e-4 * jitter,
        "grad_var": np.exp(-9 - 3 * t + 2 * depth + 0.6 * jitter - pull),
        "grad_l2_norm": np.exp(-1.5 - 1.5 * t + depth + 0.3 * jitter - pull / 2),
        "grad_sparsity": np.clip(0.08 + 0.3 * pull * rise * (1 - 0.4 * depth) + 0.01 * jitter, 0, 1),
        "update_ratio": np.exp(-6.5 - t + 0.5 * depth + 0.25 * jitter),
        "activation_mean": -0.8 * pull * rise * (0.5 + depth) + 0.05 * wobble,
        "activation_var": 1 + depth + 0.2 * rise,
        "activation_drift": np.abs(pull * rise * (0.4 + depth) + 0.03 * wobble),
        "dead_fraction": np.clip(0.3 * pull * rise * depth + 0.01 * jitter, 0, 1),
    }
    counts = {column.name for column in LAYERS_COLUMNS if pa.types.is_integer(column.type)}
    plain = {column.name: (column.name not in counts) * (1 + depth + rise) for column in LAYERS_COLUMNS}
    columns = {name: shaped.get(name, values) for name, values in plain.items()}
    for name, values in columns.items():
        values[is_norm & np.full(rows, name.startswith(OF_A_MATRIX))] = np.inf  # replaced by null below
    is_linear = np.tile([kind == "Linear" for _, kind in named], records)
    # A matrix's operator norm is its spectral norm: null, as a probe has it. The last layer feeds nobody knows what.
    columns["operator_norm"][is_linear] = np.inf
    columns[schema.FEEDS] = np.where(is_linear, np.inf, is_norm == (norm in NORM_LAYER))
    if run in spec.nan_from:
        bad = np.repeat(np.arange(records), count) >= spec.nan_from[run]
        for name, values in columns.items():
            values[bad] = 0 if name in counts else np.nan
        for name in ("weight_nonfinite", "activation_nonfinite"):
            columns[name][bad] = 100
    if records > 1 and norm != "none":
        # Every fifth record measures the operator norm; the others leave it null.
        columns["operator_norm"][np.repeat(np.arange(records) % 5 != 0, count)] = np.inf
    steps = np.repeat(np.arange(records) * spec.every, count)
    return {
        schema.STEP: pa.array(steps, pa.int64()),
        schema.EPOCH: pa.array(steps // (10 * spec.every), pa.int32()),
        schema.LAYER: words([name for name, _ in named] * records),
        schema.LAYER_INDEX: pa.array(np.tile(np.arange(count), records), pa.int16()),
        schema.LAYER_TYPE: words([kind for _, kind in named] * records),
        **{
            column.name: pa.array(columns[column.name].astype(np.float32), mask=np.isposinf(columns[column.name])).cast(
                column.type
            )
            for column in LAYERS_COLUMNS
            if column.name not in spec.without_columns
        },
    }


def words(values: list[str]) -> pa.Array:
    return pa.array(values, pa.string()).dictionary_encode()


def histogram_rows(spec: Synthetic, run: str, norm: str, seed: int, lr: float) -> dict[str, Any]:
    """Return gradient histograms of Laplace-like gradients whose width shrinks with the step."""
    named = layer_list(spec.model, norm)
    records = spec.stop_after.get(run, spec.records)
    noise = np.random.default_rng([seed, 7, sum(run.encode())])
    kept = range(0, records, max(records // 4, 1))
    length, first = 4 * 44, 4 * 100
    edges = schema.bin_edges(first, length, mantissa_bits=2)
    out: dict[str, list[Any]] = {
        key: [] for key in ("step", "layer", "index", "kind", "first", "counts", "n", "zero", "nonfinite")
    }
    for record in kept:
        for index, (name, kind) in enumerate(named):
            scale = 2e-3 * np.exp(-1.2 * record / spec.records) * {"bn": 2.0, "sn": 0.6, "msn": 0.5}.get(norm, 1)
            scale *= 0.6 + index / len(named)
            tail = np.exp(-edges / scale)
            half = noise.poisson(5e3 * (tail[:-1] - tail[1:])).astype(np.int32)
            zero = int(half.sum() * 0.2)
            # negative bins -first-length .. -first-1, then nothing, then the positive ones
            counts = np.concatenate([half[::-1], np.zeros(2 * first, np.int32), half])
            counts[half.size + first] += zero
            out["step"].append(record * spec.every)
            out["layer"].append(name)
            out["index"].append(index)
            out["kind"].append(kind)
            out["first"].append(-first - length)
            out["counts"].append(counts)
            broken = run in spec.nan_from and record >= spec.nan_from[run]
            out["n"].append(int(counts.sum()))
            out["zero"].append(0 if broken else zero)
            out["nonfinite"].append(int(counts.sum()) if broken else 0)
            if broken:
                counts[:] = 0
    rows = len(out["step"])
    return {
        schema.STEP: pa.array(out["step"], pa.int64()),
        schema.EPOCH: pa.array([0] * rows, pa.int32()),
        schema.LAYER: words(out["layer"]),
        schema.LAYER_INDEX: pa.array(out["index"], pa.int16()),
        schema.LAYER_TYPE: words(out["kind"]),
        schema.TENSOR: words(["gradient"] * rows),
        "mantissa_bits": pa.array([2] * rows, pa.int8()),
        "first_bin": pa.array(out["first"], pa.int16()),
        "counts": pa.array(out["counts"], pa.list_(pa.int32())),
        "n": pa.array(out["n"], pa.int64()),
        "n_zero": pa.array(out["zero"], pa.int64()),
        "n_nonfinite": pa.array(out["nonfinite"], pa.int64()),
    }


def spectra_rows(spec: Synthetic, run: str, norm: str, seed: int, lr: float) -> dict[str, Any]:
    """Return spectra that decay as a power and flatten for BN as training goes on."""
    named = [(i, n, k) for i, (n, k) in enumerate(layer_list(spec.model, norm)) if k in ("Conv2d", "Linear")]
    records = spec.stop_after.get(run, spec.records)
    kept = range(0, records, max(records // 4, 1))
    rows = [(r, i, n, k) for r in kept for i, n, k in named]
    rank = np.arange(1, 25)
    top = {r: 1.0 if norm in ("sn", "msn") else 0.6 + 1.5 * r / spec.records for r in kept}
    top |= {r: np.nan for r in kept if r >= spec.nan_from.get(run, records)}
    return {
        schema.STEP: pa.array([r * spec.every for r, *_ in rows], pa.int64()),
        schema.EPOCH: pa.array([0] * len(rows), pa.int32()),
        schema.LAYER: words([n for _, _, n, _ in rows]),
        schema.LAYER_INDEX: pa.array([i for _, i, _, _ in rows], pa.int16()),
        schema.LAYER_TYPE: words([k for *_, k in rows]),
        schema.VIEW: words(["unfolded"] * len(rows)),
        "singular_values": pa.array(
            [(top[r] * rank ** -(0.3 + 0.5 * r / spec.records)).astype(np.float32) for r, *_ in rows],
            pa.list_(pa.float32()),
        ),
    }


def steps_rows(spec: Synthetic, run: str, norm: str, seed: int, lr: float) -> dict[str, Any]:
    """Return training losses at every record and a test accuracy after every tenth."""
    records = spec.stop_after.get(run, spec.records)
    noise = np.random.default_rng([seed, 3, sum(run.encode())])
    best = {"bn": 0.98, "sn": 0.90, "msn": 0.97, "none": 0.95}.get(norm, 0.9) - 0.02 * abs(np.log10(lr) + 3)
    rows: list[tuple[int, str, float | None, float | None, float | None, float]] = []
    pace = {"bn": 1.0, "sn": 0.74, "msn": 0.85}.get(norm, 0.9)
    for record in range(records):
        t = record / max(spec.records - 1, 1)
        seconds = 0.02 * record * spec.every * pace
        loss = 2.3 * np.exp(-3 * t) + 0.05 + 0.02 * noise.normal()
        rows.append((record * spec.every, "train", loss, best + 0.01 - 0.8 * np.exp(-6 * t), lr, seconds))
        if record % max(spec.records // 10, 1) == 0 or record == records - 1:
            accuracy = best - 0.85 * np.exp(-7 * t) + 0.004 * noise.normal()
            rows.append((record * spec.every, "test", loss + 0.1, accuracy, None, seconds))
    step, split, loss_, accuracy_, lr_, seconds_ = zip(*rows, strict=True)
    tested = np.array([name == "test" for name in split])
    return {
        schema.STEP: pa.array(step, pa.int64()),
        schema.EPOCH: pa.array([s // (10 * spec.every) for s in step], pa.int32()),
        schema.SPLIT: words(list(split)),
        "loss": pa.array(loss_, pa.float64()),
        "accuracy": pa.array(accuracy_, pa.float64()),
        "lr": pa.array(lr_, pa.float64()),
        "seconds": pa.array(seconds_, pa.float64()),
        **network_values(np.array(step, float), tested, wide={"bn": 40.0}.get(norm, 2.0)),
    }


def network_values(step: np.ndarray, tested: np.ndarray, *, wide: float) -> dict[str, pa.Array]:
    """Return bounds and landscape, measured where the network is tested: a lower bound below an upper one."""
    growth = 1 + step / 1000
    values = {column.name: wide * growth for column in schema.NETWORK_COLUMNS}
    values |= {"lipschitz_bound": 20 * wide * growth, "unfolded_product": growth}
    values |= {name: np.zeros(len(step)) for name in values if name.endswith("_min")}
    return {name: pa.array(value, pa.float64(), mask=~tested) for name, value in values.items()}


def runs_rows(spec: Synthetic, run: str, norm: str, seed: int, lr: float) -> dict[str, Any]:
    config = {"norm": norm, "model": spec.model, "data": "mnist", "learning_rate": lr, "seed": seed, "batch_size": 64}
    records = spec.stop_after.get(run, spec.records)
    when = pa.array([1_700_000_000_000_000], pa.timestamp("us", tz="UTC"))
    return {
        "status": pa.array(["finished"]),
        "started": when,
        "updated": when,
        "last_step": pa.array([(records - 1) * spec.every], pa.int64()),
        "config": pa.array([json.dumps(config) if spec.with_config else None], pa.string()),
        "versions": pa.array([json.dumps({"python": "3.11"})]),
        "device": pa.array(["cpu"]),
        "gaps": pa.array(["[]"]),
        "schema_version": pa.array([1], pa.int32()),
    }


def channel_rows(spec: Synthetic, run: str, norm: str, seed: int, lr: float) -> dict[str, Any]:
    """Return four channels of what each nonlinearity sees, whose means move apart as training goes on."""
    named = layer_list(spec.model, norm)
    normalises = any(kind in NORM_LAYER.values() for _, kind in named)
    seen = [(i, n, k) for i, (n, k) in enumerate(named[:-1]) if (k in NORM_LAYER.values()) == normalises]
    records = spec.stop_after.get(run, spec.records)
    rows = [(r, i, n, k, c) for r in range(records) for i, n, k in seen for c in range(4)]
    t = np.array([r / max(spec.records - 1, 1) for r, *_ in rows])
    place = np.array([c - 1.0 + i for _, i, _, _, c in rows])
    mean = np.where(np.array([r for r, *_ in rows]) >= spec.nan_from.get(run, records), np.nan, t * place)
    numbers = {name: pa.array(mean.astype(np.float32)) for name in ("mean", "maximum", "input_mean", "running_mean")}
    ones = pa.array(np.ones(len(rows), np.float32))
    return {
        schema.STEP: pa.array([r * spec.every for r, *_ in rows], pa.int64()),
        schema.EPOCH: pa.array([0] * len(rows), pa.int32()),
        schema.LAYER: words([n for _, _, n, _, _ in rows]),
        schema.LAYER_INDEX: pa.array([i for _, i, _, _, _ in rows], pa.int16()),
        schema.LAYER_TYPE: words([k for *_, k, _ in rows]),
        schema.CHANNEL: pa.array([c for *_, c in rows], pa.int32()),
        "nonlinearity": words(["relu"] * len(rows)),
        **{column.name: numbers.get(column.name, ones) for column in schema.CHANNEL_NUMBERS},
    }


def unit_rows(spec: Synthetic, run: str, norm: str, seed: int, lr: float) -> dict[str, Any]:
    """Return two heads and three experts of every layer with a weight, as if each attended and routed."""
    named = [(i, n, k) for i, (n, k) in enumerate(layer_list(spec.model, norm)) if k not in NORM_LAYER.values()]
    records = spec.stop_after.get(run, spec.records)
    rows = [(r, i, n, k, unit) for r in range(records) for i, n, k in named for unit in range(5)]
    t = np.array([(1 + r / max(spec.records - 1, 1)) * (1 + i + unit) for r, i, _, _, unit in rows])
    value = np.where(np.array([r for r, *_ in rows]) >= spec.nan_from.get(run, records), np.nan, t)
    heads = np.array([unit < 2 for *_, unit in rows])
    of_heads = {column.name for column in schema.ATTENTION_COLUMNS}
    return {
        schema.STEP: pa.array([r * spec.every for r, *_ in rows], pa.int64()),
        schema.EPOCH: pa.array([0] * len(rows), pa.int32()),
        schema.LAYER: words([n for _, _, n, _, _ in rows]),
        schema.LAYER_INDEX: pa.array([i for _, i, _, _, _ in rows], pa.int16()),
        schema.LAYER_TYPE: words([k for _, _, _, k, _ in rows]),
        schema.UNIT: pa.array([unit if unit < 2 else unit - 2 for *_, unit in rows], pa.int32()),
        **{
            column.name: pa.array(value.astype(np.float32), mask=heads ^ (column.name in of_heads))
            for column in schema.UNIT_COLUMNS
        },
    }


TABLES: dict[str, tuple[Callable[..., dict[str, Any]], Sequence[Column]]] = {
    schema.LAYERS: (layers_rows, LAYERS_COLUMNS),
    schema.HISTOGRAMS: (histogram_rows, schema.HISTOGRAM_COLUMNS),
    schema.SPECTRA: (spectra_rows, schema.SPECTRA_COLUMNS),
    schema.CHANNELS: (channel_rows, schema.CHANNEL_COLUMNS),
    schema.UNITS: (unit_rows, schema.UNIT_COLUMNS),
    schema.STEPS: (steps_rows, (*schema.STEPS_COLUMNS, *schema.NETWORK_COLUMNS)),
    schema.RUNS: (runs_rows, schema.RUNS_COLUMNS),
}


def write_part(store: Path, table: str, run: str, rows: dict[str, Any], columns: Sequence[Column]) -> None:
    fields = {column.name: column.arrow_field() for column in (*schema.KEYS[table], *columns)}
    part = pa.table(
        [rows[key] for key in rows if key in fields], schema=pa.schema([fields[key] for key in rows if key in fields])
    )
    folder = store / table / f"run={run}"
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(part, folder / "part-0.parquet")


def write_store(store: Path, spec: Synthetic) -> Path:
    """Write a store: a run for each norm, learning rate and seed."""
    for norm in spec.norms:
        for lr in spec.learning_rates:
            for seed in spec.seeds:
                run = f"{norm}-s{seed}" if len(spec.learning_rates) == 1 else f"{norm}-lr{lr:g}-s{seed}"
                for table, (rows, columns) in TABLES.items():
                    if table not in spec.without_tables:
                        kept = [column for column in columns if column.name not in spec.without_columns]
                        write_part(store, table, run, rows(spec, run, norm, seed, lr), kept)
    return store


@pytest.fixture
def make_store(tmp_path: Path) -> Callable[..., Path]:
    """Return a maker of synthetic stores: ``make_store(model="densenet", seeds=range(10))``."""

    def make(name: str = "store", **settings: Any) -> Path:
        return write_store(tmp_path / name, Synthetic(**settings))

    return make


@pytest.fixture(scope="session")
def small_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of three runs, one a norm, of the 3-layer network. Read only."""
    return write_store(tmp_path_factory.mktemp("small") / "runs", Synthetic())


@pytest.fixture(scope="session")
def sick_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small store, but run ``sn-s0`` meets NaN at step 1,500. Read only."""
    return write_store(tmp_path_factory.mktemp("sick") / "runs", Synthetic(nan_from={"sn-s0": 30}))


@pytest.fixture(scope="session")
def deep_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of three runs of a network of 100 layers. Read only."""
    return write_store(tmp_path_factory.mktemp("deep") / "runs", Synthetic(model="densenet", records=12))


@pytest.fixture(scope="session")
def seeds_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of three norms with ten seeds each; one run stops early, one meets NaN. Read only."""
    spec = Synthetic(seeds=range(10), records=16, nan_from={"sn-s3": 10}, stop_after={"bn-s2": 8})
    return write_store(tmp_path_factory.mktemp("seeds") / "runs", spec)


@pytest.fixture(scope="session")
def lone_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of one run, with settings, of the 3-layer network without a norm. Read only."""
    return write_store(tmp_path_factory.mktemp("lone") / "runs", Synthetic(norms=["none"], records=8))


@pytest.fixture
def tree_of() -> Callable[[Path], dict[str, tuple[int, int, bytes]]]:
    """Return a reader of all that a folder holds: size, time of change and content of each file, by its path."""

    def tree(folder: Path) -> dict[str, tuple[int, int, bytes]]:
        found = [(path, path.lstat()) for path in sorted(folder.rglob("*"))]
        return {
            str(path.relative_to(folder)): (
                about.st_size,
                about.st_mtime_ns,
                path.read_bytes() if stat.S_ISREG(about.st_mode) else b"",
            )
            for path, about in found
        }

    return tree


class Reader:
    """What a test asks of a drawn figure."""

    def panels(self, figure: Figure) -> dict[str, Axes]:
        """Return the panels by title."""
        return {
            axes.get_title(loc="left") or axes.get_title(): axes
            for axes in figure.axes
            if axes.get_visible() and axes.get_subplotspec() is not None
        }

    def lines(self, axes: Axes) -> list[np.ndarray]:
        """Return the points of each unbroken piece of a line, ``(points, 2)``."""
        collections = [c for c in axes.collections if isinstance(c, LineCollection)]
        return [np.asarray(piece) for c in collections for piece in c.get_segments()]

    def colors(self, axes: Axes) -> list[tuple[float, ...]]:
        """Return the colour of each piece of :meth:`lines`."""
        collections = [c for c in axes.collections if isinstance(c, LineCollection)]
        return [tuple(color) for c in collections for color in c.get_colors()]

    def legend(self, figure: Figure) -> list[str]:
        """Return the labels of the legend."""
        return [text.get_text() for legend in figure.legends for text in legend.get_texts()]

    def texts(self, axes: Axes) -> list[str]:
        """Return the notes in a panel."""
        return [text.get_text() for text in axes.texts]


@pytest.fixture
def read() -> Reader:
    return Reader()


@pytest.fixture
def plain() -> Callable[..., pd.DataFrame]:
    """Read a table with pandas alone, sorted, keys as text."""

    def load(store: Path, table: str = "layers", **wanted: str) -> pd.DataFrame:
        rows = pd.read_parquet(store / table)
        rows = rows.astype({name: str for name in ("run", "layer") if name in rows})
        for column, value in wanted.items():
            rows = rows[rows[column] == value]
        return rows.sort_values([name for name in ("run", "layer", "step") if name in rows], ignore_index=True)

    return load
