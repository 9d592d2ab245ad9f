"""Checkpoints of strangers under ``meandrift inspect``: one line each, no memory beyond the file, no markup."""

from __future__ import annotations

import random
import re
import resource
import zipfile
from pathlib import Path

import pandas as pd
import pytest
import torch

from dynamics import cli
from dynamics.authors_checkpoints.checkpoint import load_checkpoint
from probes.checkpoints.inspection import inspect
from probes.checkpoints.step_names import steps_of

W = torch.arange(12.0).reshape(4, 3)

NO_NAMES = {
    "a method": {"forward.weight": W},
    "a flag": {"training": W},
    "no module": {"a..weight": W},
    "no parameter": {"a.": W},
    "a module and a tensor": {"a": W, "a.weight": W},
    "a tensor and a module": {"a.weight": W, "a.weight.weight": W},
    "torch's own": {"a._modules": W},
    "torch's own behind a suffix": {"a._modules_orig": W},
    "3,000 modules inside each other": {"x." * 3000 + "weight": W},
}


@pytest.mark.parametrize("kind", NO_NAMES)
def test_a_name_that_no_module_has_is_told_in_one_line(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(NO_NAMES[kind], tmp_path / "a.pt")
    assert cli.run(["inspect", str(tmp_path / "a.pt")]) == cli.USAGE
    said = capsys.readouterr().err
    assert re.fullmatch(r"error: the name '.*' (is of no module's parameter|has more than 100 modules).*\n", said)


NO_TENSORS = {
    "four terabytes in four bytes": torch.ones(1).expand(10**6, 10**6),
    "no memory": torch.empty(3, 3, device="meta"),
    "sparse": W.to_sparse(),
}


@pytest.mark.filterwarnings("ignore:Validating sparse", "ignore:Sparse invariant")
@pytest.mark.parametrize("kind", NO_TENSORS)
def test_a_tensor_that_is_larger_than_its_memory_is_not_measured(kind: str, tmp_path: Path) -> None:
    torch.save({"a.weight": NO_TENSORS[kind], "b.weight": W}, tmp_path / "a.pt")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.warns(RuntimeWarning, match="of layer 'a' is null: ValueError: shape .*: expected a dense tensor"):
        found = inspect(tmp_path / "a.pt").set_index("layer")
    assert "a" not in found.index
    assert found.loc["b", "weight_l2_norm"] == pytest.approx(W.norm().item())
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 20  # KiB


def compressed(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10_000_000))


def byte_array(path: Path) -> None:
    torch.save({"net": {"a.weight": W}, "x": bytearray(b"12")}, path)  # bytearray(10**11) is as short


def old_byte_array(path: Path) -> None:
    torch.save({"a.weight": W, "x": bytearray(b"12")}, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("write", [compressed, byte_array, old_byte_array])
def test_a_file_that_unpacks_to_more_than_its_size_is_refused(write, tmp_path: Path) -> None:
    write(tmp_path / "a.pt")
    for read in (inspect, load_checkpoint):
        with pytest.raises(
            ValueError,
            match=r"cannot be read: expected a file of torch\.save( or safetensors)?: it (is compressed|has a byte)",
        ):
            read(tmp_path / "a.pt")


def test_a_step_that_fits_no_column_is_no_step(tmp_path: Path) -> None:
    torch.save({"state_dict": {"a.weight": W}, "step": 2**70, "epoch": 2**40}, tmp_path / "a.pt")
    found = inspect(tmp_path / "a.pt")
    assert found["step"].isna().all()
    assert found["epoch"].isna().all()
    assert steps_of([Path("checkpoint-99999999999999999999.pt")]) == [None]
    assert steps_of([Path("a-99999999999999999999.pt"), Path("a-1.pt")]) == [None, None]


def test_names_are_text_on_the_terminal_and_in_csv(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")  # names stay on one line
    names = ["[/b]", "\x1b[2J", "\u202e", "=HYPERLINK(1)"]
    torch.save({f"{name}.weight": W.clone() for name in names}, tmp_path / "a.pt")
    assert cli.run(["inspect", str(tmp_path / "a.pt")]) == 0
    said = capsys.readouterr().out
    assert not set("\x1b\u202e") & set(said)
    assert all(name in said for name in ("[/b]", r"\x1b[2J", r"\u202e"))
    assert cli.run(["inspect", str(tmp_path / "a.pt"), "--out", str(tmp_path / "a.csv")]) == 0
    assert pd.read_csv(tmp_path / "a.csv")["layer"].tolist()[3] == "'=HYPERLINK(1)"


def write_safetensors(net: dict[str, torch.Tensor], path: Path) -> None:
    pytest.importorskip("safetensors.torch").save_file(net, path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["zip", "older", "safetensors"])
def test_no_mutation_of_a_file_gives_a_traceback(kind: str, tmp_path: Path, seed: int) -> None:
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(4, 2)).state_dict()
    place = tmp_path / ("a.safetensors" if kind == "safetensors" else "a.pt")
    if kind == "safetensors":
        write_safetensors(dict(net), place)
    else:
        torch.save({"net": net, "epoch": 3}, place, _use_new_zipfile_serialization=kind == "zip")
    whole, chance = place.read_bytes(), random.Random(seed)
    for _ in range(40):
        content = bytearray(whole)
        for _ in range(chance.choice([1, 1, 2, 8])):
            content[chance.randrange(len(content))] = chance.randrange(256)
        place.write_bytes(content[: chance.choice([len(content)] * 4 + [chance.randrange(len(content))])])
        assert cli.run(["inspect", str(place)]) in {0, cli.USAGE}
