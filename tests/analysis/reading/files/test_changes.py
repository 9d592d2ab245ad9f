from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from analysis.reading.files.changes import fingerprint
from probes.storage.recorder import Recorder


def test_the_word_is_another_at_each_change_and_the_same_between(tmp_path: Path) -> None:
    words = [fingerprint(tmp_path)]
    with Recorder(tmp_path, "run") as recorder:
        words.append(fingerprint(tmp_path))
        for step in range(2):
            recorder.write("steps", pa.RecordBatch.from_pylist([{"step": step, "split": "train", "loss": 1.0}]))
            words.append(fingerprint(tmp_path))
            assert fingerprint(tmp_path) == words[-1]
    words.append(fingerprint(tmp_path))
    shutil.rmtree(tmp_path / "runs")
    words.append(fingerprint(tmp_path))
    assert len(set(words)) == len(words)


def test_a_store_that_is_not_there_has_a_word_too(tmp_path: Path) -> None:
    assert fingerprint(tmp_path / "nowhere") == fingerprint(tmp_path / "nowhere")


def test_a_store_elsewhere_is_looked_at_too(make_store: Callable[..., Path], request: pytest.FixtureRequest) -> None:
    memory = pytest.importorskip("fsspec", reason="memory:// is an fsspec file system").filesystem("memory")
    store = make_store(norms=["bn"], records=2)
    memory.put(str(store), f"/{request.node.name}", recursive=True)
    url = f"memory://{request.node.name}"
    before = fingerprint(url)
    memory.rm(f"/{request.node.name}/steps", recursive=True)
    assert fingerprint(url) != before
