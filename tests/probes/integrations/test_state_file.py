"""The file of a probe's state beside a framework's checkpoint: whole or told, whoever wrote it."""

from __future__ import annotations

import os
import pickle
import random
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from probes import Probe
from probes.integrations.opening import began, open_probe
from probes.integrations.state_file import read_state, write_state
from probes.storage.safe_files import UnsafePathError

STATE = {"run": "a", "began": None, "step": 2, "epoch": 0, "seconds": 1.5, "carried": {"update": {"0": torch.ones(4)}}}


def train(store: Path, run: str, *, steps: int = 5) -> None:
    model = nn.Sequential(nn.Linear(3, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Probe(model, optimizer, store=store, run=run, every=1) as probe:
        for _ in range(steps):
            model(torch.ones(2, 3)).sum().backward()
            optimizer.step()
            probe.log(loss=1.0)


def test_a_state_comes_back(tmp_path: Path) -> None:
    write_state(tmp_path / "meandrift.pt", STATE)
    back = read_state(tmp_path / "meandrift.pt")
    assert torch.equal(back.pop("carried")["update"]["0"], torch.ones(4))
    assert back == {name: value for name, value in STATE.items() if name != "carried"}
    assert [path.name for path in tmp_path.iterdir()] == ["meandrift.pt"]


def test_no_file_is_no_state(tmp_path: Path) -> None:
    assert read_state(tmp_path / "meandrift.pt") == {}


def test_a_state_that_torch_alone_has_written_is_read(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "meandrift.pt")
    assert read_state(tmp_path / "meandrift.pt")["step"] == 2


def test_a_flipped_bit_anywhere_is_told(tmp_path: Path, seed: int) -> None:
    place, chance = tmp_path / "meandrift.pt", random.Random(seed)
    write_state(place, STATE)
    whole = place.read_bytes()
    for at in [0, len(whole) - 1, *(chance.randrange(len(whole)) for _ in range(50))]:
        place.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << chance.randrange(8))]) + whole[at + 1 :])
        with pytest.raises(
            ValueError, match=r"meandrift.pt is not the state of a probe \(.+\): remove it to begin a run"
        ):
            read_state(place)


class Harm:
    def __reduce__(self):
        return os.mkdir, ("harmed",)


HOSTILE = {
    "nothing": b"",
    "a pickle that runs code": pickle.dumps(Harm()),
    "noise": b"\xff" * 999,
    "no archive": b"PK\x03\x04",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_bytes_that_are_no_state_are_told_and_run_nothing(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "meandrift.pt").write_bytes(HOSTILE[kind])
    with pytest.raises(ValueError, match=r"meandrift.pt is not the state of a probe \(.+\): remove it"):
        read_state(tmp_path / "meandrift.pt")
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize(
    "content", [[1], {"step": 1}, {"run": 7}, torch.ones(2)], ids=["list", "no run", "run", "tensor"]
)
def test_a_foreign_state_is_told(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "meandrift.pt")
    with pytest.raises(ValueError, match=r"meandrift.pt is not the state of a probe"):
        read_state(tmp_path / "meandrift.pt")


def test_a_compressed_state_is_not_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "meandrift.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10_000_000))
    with pytest.raises(ValueError, match="it is compressed, as torch writes none"):
        read_state(tmp_path / "meandrift.pt")


def test_a_byte_array_of_any_length_is_not_made(tmp_path: Path) -> None:
    torch.save(
        {"run": "a", "step": bytearray(b"12")}, tmp_path / "meandrift.pt"
    )  # a file may ask for bytearray(10**11)
    with pytest.raises(ValueError, match="it has a byte array"):
        read_state(tmp_path / "meandrift.pt")


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    write_state(tmp_path / "other.pt", STATE)
    (tmp_path / "meandrift.pt").symlink_to("other.pt")
    with pytest.raises(UnsafePathError, match="is a symbolic link"):
        read_state(tmp_path / "meandrift.pt")


WRONG = {
    "a step that is a word": {"step": "one"},
    "a step below 0": {"step": -1},
    "an epoch that is a list": {"epoch": [1]},
    "seconds that are no number": {"seconds": float("nan")},
    "nothing carried": {"carried": [1]},
    "words carried": {"carried": {"update": {"0": "word"}}},
    "a tensor of four terabytes in four bytes": {"carried": {"update": {"0": torch.ones(1).expand(10**12)}}},
    "rows that are words": {"rows": ["word"]},
    "a sparse tensor": {"carried": {"update": {"0": torch.ones(2).to_sparse()}}},
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_state_that_makes_no_sense_supersedes_no_row(kind: str, tmp_path: Path) -> None:
    train(tmp_path, "a")
    model = nn.Sequential(nn.Linear(3, 2))
    saved = STATE | {"began": began(tmp_path, "a")} | WRONG[kind]
    with pytest.raises(ValueError, match="expected"):
        open_probe(model, None, run=None, store=tmp_path, step=5, saved=saved, options={})
    assert len(list((tmp_path / "layers" / "run=a").glob("*.parquet"))) == 1
    assert rows(tmp_path) == 5


def rows(store: Path) -> int:
    import pandas as pd

    return len(pd.read_parquet(store / "layers"))


def test_a_checkpoint_of_another_training_supersedes_no_row_of_a_run_of_the_same_name(tmp_path: Path) -> None:
    train(tmp_path / "theirs", "a")
    train(tmp_path / "mine", "a")
    saved = STATE | {"began": began(tmp_path / "theirs", "a"), "carried": {}}
    model = nn.Sequential(nn.Linear(3, 2))
    with pytest.raises(ValueError, match=r"the checkpoint goes on with run 'a', but .*mine has another of this name"):
        open_probe(model, None, run=None, store=tmp_path / "mine", step=2, saved=saved, options={})
    assert rows(tmp_path / "mine") == 5
    open_probe(model, None, run="a", store=tmp_path / "mine", step=2, saved=saved, options={}).close()  # as asked for
    assert rows(tmp_path / "mine") == 2


@pytest.mark.parametrize("run", ["../../victim", "\x1b[2J", ""])
def test_a_name_in_a_checkpoint_that_is_no_run_id_is_refused(run: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"run id"):
        open_probe(nn.Linear(3, 2), None, run=None, store=tmp_path, step=2, saved=STATE | {"run": run}, options={})
    assert not (tmp_path.parent / "victim").exists()
