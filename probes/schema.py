"""The store's layout: tables, keys, columns, file names and histogram bins. All that writer and reader share.

A store is a folder of hive-partitioned Parquet tables, ``<store>/<table>/run=<id>/part-<first>-<last>.parquet``. The
run id stands in the path alone. Every measured column carries its unit, formula and reference in the Parquet field
metadata, so a file explains itself without this module.

Rows that are in no part yet stand in numbered log segments, ``<store>/_writers/<id>/<table>-<number>.arrows``: plain
Arrow IPC streams without an end mark, words as strings. A part is named after the first and the last segment whose
rows it holds, and is renamed into place before they are deleted.

This module imports pyarrow and numpy, never torch.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import url2pathname

import numpy as np
import pyarrow as pa

SCHEMA_VERSION = 1

LAYERS = "layers"
HISTOGRAMS = "histograms"
SPECTRA = "spectra"
PARAMETERS = "parameters"
STEPS = "steps"
RUNS = "runs"
TABLES = (LAYERS, HISTOGRAMS, SPECTRA, PARAMETERS, STEPS, RUNS)
DENSE_TABLES = (LAYERS, PARAMETERS)  # metrics fill their columns; the other tables have columns of their own

WRITERS = "_writers"  # begins with "_": readers of a Parquet folder pass over it
SAMPLES = "samples"  # beside the tables: grids of generated images, run=<id>/step-<step>.png
MAX_SEGMENT_BYTES = 256 << 20  # a reader holds a segment in memory; a writer ends one at 16 MiB

RUN, STEP, EPOCH = "run", "step", "epoch"
LAYER, LAYER_INDEX, LAYER_TYPE = "layer", "layer_index", "layer_type"
PARAMETER, PARAMETER_INDEX = "parameter", "parameter_index"
TENSOR, VIEW, SPLIT = "tensor", "view", "split"
TRAIN = "train"  # the split of the training steps themselves


@dataclass(frozen=True)
class Column:
    """One column and the sentence a physicist needs to read it.

    Attributes:
        name: The column's name, in the field's own words.
        unit: ``"1"`` for a pure number; else ``"steps"``, ``"s"``, ``"rad"``, ``"elements"``.
        formula: How the number follows from the tensor.
        tensor: The tensor it was taken on.
        reference: Paper, equation or routine it comes from; empty for textbook statistics.
        type: Arrow type; float32 unless the number is a count.
    """

    name: str
    unit: str
    formula: str
    tensor: str = ""
    reference: str = ""
    type: pa.DataType = field(default_factory=pa.float32)

    def arrow_field(self) -> pa.Field:
        """Return the Arrow field, its description in the field metadata."""
        described = {
            "unit": self.unit,
            "formula": self.formula,
            "tensor": self.tensor,
            "reference": self.reference,
        }
        return pa.field(self.name, self.type, metadata={k: v for k, v in described.items() if v})


_WORD = pa.dictionary(pa.int32(), pa.string())
STEP_KEYS = (
    Column(STEP, "steps", "optimizer steps finished before the observation", type=pa.int64()),
    Column(
        EPOCH,
        "epochs",
        "epoch the step belongs to, from 0; null if the training loop did not say",
        type=pa.int32(),
    ),
)
LAYER_KEYS = (
    *STEP_KEYS,
    Column(LAYER, "", 'dotted module name, without "parametrizations"', type=_WORD),
    Column(LAYER_INDEX, "1", "depth order: position among the observed layers, from 0", type=pa.int16()),
    Column(LAYER_TYPE, "", "class name of the module", type=_WORD),
)
KEYS: dict[str, tuple[Column, ...]] = {
    LAYERS: LAYER_KEYS,
    HISTOGRAMS: (*LAYER_KEYS, Column(TENSOR, "", "weight, gradient or activation", type=_WORD)),
    SPECTRA: (*LAYER_KEYS, Column(VIEW, "", "which matrix: unfolded (out, in*kh*kw)", type=_WORD)),
    PARAMETERS: (
        *STEP_KEYS,
        Column(PARAMETER, "", 'dotted name of the parameter, without "parametrizations"', type=_WORD),
        Column(PARAMETER_INDEX, "1", "position among the model's parameters, from 0", type=pa.int32()),
    ),
    STEPS: (*STEP_KEYS, Column(SPLIT, "", "train, test, or what log(split=...) named", type=_WORD)),
    RUNS: (),
}

HISTOGRAM_COLUMNS = (
    Column("mantissa_bits", "1", "bins per octave = 2^mantissa_bits", type=pa.int8()),
    Column("first_bin", "1", "signed exponent bin of counts[0]", type=pa.int16()),
    Column("counts", "elements", "finite elements in bin first_bin + i", type=pa.list_(pa.int32())),
    Column("n", "elements", "all elements: sum(counts) + n_nonfinite", type=pa.int64()),
    Column("n_zero", "elements", "elements exactly 0 (counted in bin 0 or -1 too)", type=pa.int64()),
    Column("n_nonfinite", "elements", "NaN and infinite elements, in no bin", type=pa.int64()),
)
SPECTRA_COLUMNS = (
    Column(
        "singular_values",
        "1",
        "singular values, descending",
        tensor="effective weight; stacked matrices (E, out, in) have no row",
        type=pa.list_(pa.float32()),
    ),
)
STEPS_COLUMNS = (
    Column("loss", "1", "training loss of the step, or mean loss of the evaluation", type=pa.float64()),
    Column("accuracy", "1", "share of right answers, 0 to 1", type=pa.float64()),
    Column("lr", "1", "learning rate of the first optimizer's first group", type=pa.float64()),
    Column(
        "grad_norm",
        "1",
        "sqrt(sum(g^2)) over all trained parameters",
        "gradients as the optimizer uses them: unscaled, and clipped if they were",
        type=pa.float64(),
    ),
    Column(
        "grad_norm_unclipped",
        "1",
        "sqrt(sum(g^2)) over all trained parameters, what torch.nn.utils.clip_grad_norm_ returns",
        "gradients as the last backward pass left them, unscaled",
        "Pascanu et al. 2013",
        type=pa.float64(),
    ),
    Column("seconds", "s", "wall-clock time since the run began", type=pa.float64()),
)
_FOLDED = "folded network in evaluation"
_BATCH = "one batch in training mode"
_SANTURKAR = "Santurkar et al. 2018"


def _network(name: str, formula: str, tensor: str, reference: str = "") -> Column:
    return Column(name, "1", formula, tensor, reference, type=pa.float64())


# Logged between epochs by trainings that measure the whole network; no other run has these columns.
NETWORK_COLUMNS = (
    _network("spectral_complexity", "R, unfolded matrices, about the first weights; chains alone", _FOLDED, "Eq. 4"),
    _network("margin_bound", "bound of the test error at its best margin; chains alone", _FOLDED, "Eq. 5"),
    _network(
        "lipschitz_bound",
        "product of operator norms along the forward: sums add, concatenations add in squares",
        _FOLDED,
        "Miyato et al. 2018, Eq. 7",
    ),
    _network(
        "unfolded_product", "the same with sigma of the unfolded matrices: no bound", _FOLDED, "the paper's sigma(W)"
    ),
    _network(
        "jacobian_norm", "max over inputs of max_v |J v| / |v|: a lower bound", _FOLDED, "Virmaux and Scaman 2018"
    ),
    _network("jacobian_norm_mean", "mean over inputs of max_v |J v| / |v|", _FOLDED, "Virmaux and Scaman 2018"),
    _network(
        "margin_gradient_norm",
        "max over inputs of |grad (f_y - max_j f_j)|, at most sqrt(2) lipschitz_bound",
        _FOLDED,
        "Tsuzuku et al. 2018",
    ),
    _network("layer_stretch_min", "least over layers of max |W^T d| / |d|, d the margin's gradient", _FOLDED),
    _network("layer_stretch_max", "largest over layers of max |W^T d| / |d|, d the margin's gradient", _FOLDED),
    _network("layer_tightness", "geometric mean over layers of stretch / operator norm", _FOLDED),
    _network("batch_gradient_norm", "|g(w)|", _BATCH),
    _network(
        "loss_along_gradient_min", "least L(w - eta g), 8 eta from 0.005 to 0.64", _BATCH, f"{_SANTURKAR}, Fig. 4a"
    ),
    _network("loss_along_gradient_max", "largest L(w - eta g)", _BATCH, f"{_SANTURKAR}, Fig. 4a"),
    _network("gradient_change_min", "least |g(w - eta g) - g(w)|", _BATCH, f"{_SANTURKAR}, Fig. 4b"),
    _network("gradient_change_max", "largest |g(w - eta g) - g(w)|", _BATCH, f"{_SANTURKAR}, Fig. 4b"),
    _network("effective_smoothness", "max |g(w - eta g) - g(w)| / (eta |g(w)|)", _BATCH, f"{_SANTURKAR}, Fig. 4c"),
    _network("hessian_top_eigenvalue", "top eigenvalue of d2L/dw2, from below by Lanczos", _BATCH, "Pearlmutter 1994"),
    _network(
        "covariate_shift_l2",
        "mean over layers of |G - G'|, G' the layer's gradient after an update of the layers before it",
        _BATCH,
        f"{_SANTURKAR}, definition 2.1",
    ),
    _network("covariate_shift_cosine", "mean over layers of cos(G, G')", _BATCH, f"{_SANTURKAR}, Fig. 2"),
)
RUNS_COLUMNS = (
    Column("status", "", "running, finished, interrupted or failed", type=pa.string()),
    Column("started", "", "wall-clock start, UTC", type=pa.timestamp("us", tz="UTC")),
    Column("updated", "", "wall-clock time of this row, UTC", type=pa.timestamp("us", tz="UTC")),
    Column("last_step", "steps", "largest step recorded", type=pa.int64()),
    Column("config", "", "the run's configuration, a JSON object", type=pa.string()),
    Column("versions", "", "python, torch, meandrift: a JSON object", type=pa.string()),
    Column("device", "", "device of the first observed parameter", type=pa.string()),
    Column("gaps", "", "what could not be recorded and why, a JSON list", type=pa.string()),
    Column("schema_version", "1", "version of this layout", type=pa.int32()),
)


def arrow_schema(table: str, columns: Iterable[Column]) -> pa.Schema:
    """Return the Arrow schema of a table: its keys first, then the given columns."""
    fields = [column.arrow_field() for column in (*KEYS[table], *columns)]
    return pa.schema(fields, metadata={"meandrift.schema_version": str(SCHEMA_VERSION)})


NONFINITE = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
"""In JSON, which has no such numbers, these words stand for them."""

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")


def local_folder(store: str | os.PathLike[str]) -> Path | None:
    """Return the folder that a store's name means on this machine; None for the URL of another file system.

    ``~`` is the home of the user. In a ``file://`` URL, ``%20`` is a space.

    Raises:
        ValueError: A ``file://`` URL names another machine, or holds ``?`` or ``#``, which end the path of a URL.

    >>> local_folder("file:///data/lr%3D0.5").as_posix(), local_folder("s3://bucket/runs")
    ('/data/lr=0.5', None)
    """
    name = os.fspath(store)
    scheme = _URL.match(name)
    if scheme is None:
        return Path(os.path.expanduser(name))  # noqa: PTH111  # Path.expanduser raises where there is no home
    if scheme[1].lower() != "file":
        return None
    path = name[scheme.end() :].removeprefix("localhost")
    if not path.startswith("/") or "?" in path or "#" in path:
        raise ValueError(
            f"store {name!r}: expected file:///FOLDER with %23 for '#' and %3F for '?'; or give the folder as a path"
        )
    return Path(url2pathname(path))


_RUN_ID = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,119}")
_READ_AS_VALUES = {"true", "false", "null", "none", "nan", "inf", "infinity"}


def is_run_id(run: str) -> bool:
    """Return whether every partition reader takes this run id for a string, and every file system for one name."""
    return isinstance(run, str) and bool(_RUN_ID.fullmatch(run)) and run.lower() not in _READ_AS_VALUES


def check_run_id(run: str) -> str:
    """Return a run id that every partition reader takes for a string; refuse any other.

    Raises:
        ValueError: The id does not start with a letter, has other characters than letters, digits, ``.``, ``_``
            and ``-``, is longer than 120 characters, or is a word that readers take for a value (``nan``).
    """
    if is_run_id(run):
        return run
    raise ValueError(
        f"run id {run!r}: expected a letter, then letters, digits, '.', '_' or '-', at most 120 in all, and no word "
        "that Parquet readers take for a value (nan, true, null). Example: 'bn-s0'."
    )


def run_folder(run: str) -> str:
    """Return the name of a run's folder within a table: ``run=bn-s0``."""
    return f"{RUN}={run}"


def part_name(first: int, last: int) -> str:
    """Return the name of the part that holds log segments ``first`` to ``last``."""
    return f"part-{first:08d}-{last:08d}.parquet"


def part_range(name: str) -> tuple[int, int] | None:
    """Return the first and the last log segment that a part holds; None if the name is not a part's.

    >>> part_range("part-00000001-00000007.parquet"), part_range("part-0.parquet")
    ((1, 7), None)
    """
    match = _PART.fullmatch(name)
    return (int(match[1]), int(match[2])) if match else None


def segment_name(table: str, number: int) -> str:
    """Return the name of a table's log segment."""
    return f"{table}-{number:08d}.arrows"


def segment_number(name: str, table: str) -> int | None:
    """Return the number of a log segment of a table; None if the name is not one's.

    >>> segment_number("layers-00000003.arrows", "layers"), segment_number("damaged-layers-00000003.arrows", "layers")
    (3, None)
    """
    match = _SEGMENT.fullmatch(name)
    return int(match[2]) if match and match[1] == table else None


_PART = re.compile(r"part-([0-9]{8})-([0-9]{8})\.parquet")
_SEGMENT = re.compile(r"([a-z]+)-([0-9]{8})\.arrows")


def bin_edges(first_bin: int, length: int, *, mantissa_bits: int) -> np.ndarray:
    """Return the ``length + 1`` edges of signed exponent bins, ascending.

    Bin ``i >= 0`` holds the float32 numbers whose bit pattern, without sign, shifted right by
    ``23 - mantissa_bits``, is ``i``: ``2**mantissa_bits`` bins an octave. Bin ``-1 - i`` holds their negatives. Bins 0
    and -1 touch at zero and hold subnormal numbers and zeros too. The bins are the same for every tensor, step, rank
    and run, so counts add.

    Args:
        first_bin: Bin of the first count, from ``-255 * 2**mantissa_bits``.
        length: Number of bins.
        mantissa_bits: Bits of the mantissa that the bin index keeps, 0 to 7.
    """
    bins = np.arange(first_bin, first_bin + length + 1)
    # Bin i starts at the float whose bits are i << shift; a negative bin is the mirror image of -bin.
    magnitude = (np.abs(bins).astype(np.uint32) << np.uint32(23 - mantissa_bits)).view(np.float32)
    return np.copysign(magnitude.astype(np.float64), bins)
