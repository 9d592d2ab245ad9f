"""The store's layout, which writers and readers share: tables, keys, columns, file names and histogram bins.

A store is a folder of hive-partitioned Parquet tables, ``<store>/<table>/run=<id>/part-<first>-<last>.parquet``. The
run id is only in the path. Every measured column carries its unit, formula and reference in the Parquet field metadata,
so a file explains itself without this module.

Rows that are in no part yet are in numbered log segments, ``<store>/_writers/<id>/<table>-<number>.arrows``. These are
plain Arrow IPC streams without an end mark, and their words are strings. A part is named after the first and the last
segment whose rows it holds. It is renamed into place before these segments are deleted.

This module imports pyarrow and numpy, never torch.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from urllib.request import url2pathname

import pyarrow as pa

from probes.schema.columns.channels import CHANNEL_COLUMNS as CHANNEL_COLUMNS
from probes.schema.columns.channels import CHANNEL_NUMBERS as CHANNEL_NUMBERS
from probes.schema.columns.column import Column
from probes.schema.columns.network import NETWORK_COLUMNS as NETWORK_COLUMNS
from probes.schema.columns.recorded import is_recorded as is_recorded
from probes.schema.columns.recorded import unified as unified
from probes.schema.columns.recorded import unrecorded as unrecorded
from probes.schema.columns.units import ATTENTION_COLUMNS as ATTENTION_COLUMNS
from probes.schema.columns.units import ROUTER_COLUMNS as ROUTER_COLUMNS
from probes.schema.columns.units import UNIT_COLUMNS as UNIT_COLUMNS
from probes.schema.file_names import check_portable as check_portable
from probes.schema.file_names import part_name as part_name
from probes.schema.file_names import part_range as part_range
from probes.schema.file_names import run_folder as run_folder
from probes.schema.file_names import segment_name as segment_name
from probes.schema.file_names import segment_number as segment_number
from probes.schema.file_names import segment_table as segment_table
from probes.schema.histogram_bins import bin_edges as bin_edges
from probes.schema.tags import has_tag_prefix as has_tag_prefix
from probes.schema.tags import is_tag as is_tag
from probes.schema.tags import parsed_tags as parsed_tags
from probes.schema.tags import with_tags as with_tags
from probes.schema.versions import SCHEMA_VERSION as SCHEMA_VERSION
from probes.schema.versions import VERSION_KEY as VERSION_KEY
from probes.schema.versions import NewerSchemaError as NewerSchemaError
from probes.schema.versions import check_readable as check_readable
from probes.schema.versions import since as since
from probes.schema.versions import version_of as version_of

LAYERS = "layers"
HISTOGRAMS = "histograms"
SPECTRA = "spectra"
PARAMETERS = "parameters"
CHANNELS = "channels"
UNITS = "units"
STEPS = "steps"
RUNS = "runs"
TABLES = (LAYERS, HISTOGRAMS, SPECTRA, PARAMETERS, CHANNELS, UNITS, STEPS, RUNS)
DENSE_TABLES = (LAYERS, PARAMETERS)  # metrics fill their columns; the columns of other tables are fixed

WRITERS = "_writers"  # begins with "_": readers of a Parquet folder ignore it
SAMPLES = "samples"  # beside the tables: grids of generated images, run=<id>/step-<step>.png
TENSORBOARD = "tensorboard"  # beside the tables: event files of a mirror
BESIDE = (SAMPLES, TENSORBOARD)
MAX_SEGMENT_BYTES = 256 << 20  # a reader holds a segment in memory; a writer ends one at 16 MiB

RUN, STEP, EPOCH = "run", "step", "epoch"
LAYER, LAYER_INDEX, LAYER_TYPE = "layer", "layer_index", "layer_type"
PARAMETER, PARAMETER_INDEX = "parameter", "parameter_index"
CHANNEL, UNIT = "channel", "unit"
FEEDS = "feeds_nonlinearity"
TENSOR, VIEW, SPLIT = "tensor", "view", "split"
TRAIN = "train"  # the split of the training steps themselves


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
    CHANNELS: (*LAYER_KEYS, Column(CHANNEL, "1", "position among the channels, from 0", type=pa.int32())),
    UNITS: (
        *STEP_KEYS,
        Column(LAYER, "", "dotted name of the module that attends or routes, which may hold layers", type=_WORD),
        Column(LAYER_INDEX, "1", "depth order: position of the module's first observed layer", type=pa.int16()),
        Column(LAYER_TYPE, "", "class name of the module", type=_WORD),
        Column(UNIT, "1", "position among the heads, or among the experts, from 0", type=pa.int32()),
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
RUNS_COLUMNS = (
    Column("status", "", "running, finished, interrupted or failed", type=pa.string()),
    Column("started", "", "wall-clock start, UTC", type=pa.timestamp("us", tz="UTC")),
    Column("updated", "", "wall-clock time of this row, UTC", type=pa.timestamp("us", tz="UTC")),
    Column("last_step", "steps", "largest step recorded", type=pa.int64()),
    Column("config", "", "the run's configuration, a JSON object", type=pa.string()),
    Column("versions", "", "python, torch, meandrift: a JSON object", type=pa.string()),
    Column("device", "", "device of the first observed parameter", type=pa.string()),
    Column("gaps", "", "what could not be recorded and why, a JSON list", type=pa.string()),
    Column("schema_version", "1", "version of this layout that the run began under", type=pa.int32()),
    Column("tags", "", "words that runs are chosen by, a JSON list", type=pa.string()),
    Column(
        "bytes_per_1000_steps",
        "bytes",
        "estimate of what 1,000 steps write, from layers and schedules; null where a schedule is a user's function",
        type=pa.int64(),
    ),
)


def arrow_schema(table: str, columns: Iterable[Column]) -> pa.Schema:
    """Return the Arrow schema of a table: its keys first, then these columns."""
    fields = [column.arrow_field() for column in (*KEYS[table], *columns)]
    return pa.schema(fields, metadata={VERSION_KEY: str(SCHEMA_VERSION)})


NONFINITE = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
"""The words that stand in JSON for NaN and the infinities, because JSON has no such numbers."""

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")


def local_folder(store: str | os.PathLike[str]) -> Path | None:
    """Return the folder that a store's name means on this machine; None for the URL of another file system.

    ``~`` is the home of the user. In a ``file://`` URL, ``%20`` is a space.

    Raises:
        ValueError: A ``file://`` URL names another machine, or has a ``?`` or ``#``, which end the path of a URL.

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
