"""Limits of what a reader takes from a stranger's file, before any memory is taken for it."""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import analysis
from analysis.figures.gan_samples import read_grid
from dynamics.classifier.config import RunConfig
from dynamics.data.own_images import load_folder, load_npz
from probes.schema.stored_json import stored_json
from probes.storage.files import open_store
from probes.storage.recorder import Recorder
from probes.storage.verify import verify


@pytest.mark.parametrize("kind", ["rows", "words"])
def test_a_part_that_unpacks_to_far_more_than_its_size_is_not_read(kind: str, tmp_path: Path) -> None:
    for run in ("sound", "bomb"):
        with Recorder(tmp_path, run) as recorder:
            keys = {"step": 0, "layer": "conv", "layer_index": 0, "layer_type": "Conv2d"}
            recorder.write("layers", pa.RecordBatch.from_pylist([{**keys, "weight_mean": 0.0}]))
    count, word = (1_500_000, "conv") if kind == "rows" else (1, "x" * 70_000_000)
    rows = pa.table({"step": np.zeros(count, np.int64), "layer": pa.repeat(word, count).dictionary_encode()})
    [part] = tmp_path.glob("layers/run=bomb/*.parquet")
    pq.write_table(rows, part, compression="zstd")
    assert part.stat().st_size < 40_000
    with pytest.warns(UserWarning, match=r"run=bomb/.* is left out: .* no part of meandrift is like that"):
        assert analysis.layers(tmp_path)["run"].tolist() == ["sound"]
    assert any("so it is not read" in problem for _, problem in verify(open_store(tmp_path)).faults)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[" * 100_000 + "]" * 100_000, "is nested more than 64 deep"),
        ("[" * 70 + "]" * 70, "is nested more than 64 deep"),
        (f"[{'1,' * 60_000}1]", "holds more than 50,000 values"),
        ("{}", "is not a JSON list"),
        ("[", "is not JSON"),
        (" " * (17 << 20), "expected 16,777,216 at most"),
    ],
)
def test_json_of_a_store_is_read_within_limits(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        stored_json(text, list)


def picture(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "content", [picture(40_000, 40_000), picture(9_000, 9_000), b"\x89PNG\r\n\x1a\n", b"", picture(2, 2)[:40]]
)
def test_a_picture_whose_header_asks_for_all_memory_is_refused(content: bytes, tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / split / "cat").mkdir(parents=True)
        (tmp_path / split / "cat" / "a.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"picture .*a.png cannot be read"):
        load_folder(tmp_path)
    with pytest.raises(ValueError, match=r"sample grid .*a.png cannot be read"):
        read_grid(tmp_path / "train" / "cat" / "a.png", rows=1, columns=1)


def array_file(shape: str, data: bytes) -> bytes:
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + data


@pytest.mark.parametrize("shape", ["(1000000000000,)", "(4, 28, 28)", "(-1, 3)", "(2,)"])
def test_an_array_that_is_not_what_its_header_says_is_refused(shape: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "data.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("train_images", "train_labels", "test_images", "test_labels"):
            archive.writestr(f"{name}.npy", array_file(shape, bytes(100)))
    with pytest.raises(ValueError, match=r"data.npz' cannot be read: .*which do not fit its header"):
        load_npz(tmp_path / "data.npz")


@pytest.mark.parametrize(
    "settings",
    [
        {"epochs": "many"},
        {"epochs": -1},
        {"threads": 10**6},
        {"seed": 2**70},
        {"norm": None},
        {"learning_rate": [1]},
        {"x": 1},
    ],
)
def test_settings_of_a_stored_run_are_checked_for_type_and_range(settings: dict) -> None:
    with pytest.raises(ValueError, match="expected"):
        RunConfig.from_dict(settings)
