"""Inspection of models and checkpoints: the numbers of a live probe, from files, executing nothing."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import meandrift as md
from dynamics.norms import convert
from probes import Probe
from probes.checkpoints.inspection import inspect
from probes.checkpoints.weight_record import weight_metrics
from probes.schema import LAYERS

WEIGHT_COLUMNS = [c.name for m in weight_metrics(None) if m.table == LAYERS for c in m.columns]


class Net(nn.Module):
    """Layers of many kinds: convolutions, norms, recurrence, attention, stacked matrices, ties and shared modules."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ConvTranspose2d(4, 6, 3))
        self.plain_norm = nn.BatchNorm1d(6, affine=False)
        self.spectral = parametrizations.spectral_norm(nn.Conv2d(6, 8, 3))
        self.older = nn.utils.spectral_norm(nn.Linear(8, 8))
        self.weight_norm = parametrizations.weight_norm(nn.Linear(8, 8))
        self.embed, self.attention, self.rnn = nn.Embedding(11, 8), nn.MultiheadAttention(8, 2), nn.LSTM(8, 8)
        self.experts = nn.Module()
        self.experts.gate_up_proj = nn.Parameter(torch.randn(3, 8, 5))
        self.again, self.head = self.rnn, nn.Linear(8, 11, bias=False)
        self.head.weight = self.embed.weight
        self.register_buffer("positions", torch.arange(7))

    def forward(self, images, words):
        maps = self.spectral(self.conv(images)).mean((2, 3))
        maps = self.weight_norm(self.older(maps)) + self.plain_norm(maps[:, :6]).mean()
        words = self.attention(*[self.embed(words)] * 3)[0]
        return self.head(self.again(self.rnn(words)[0])[0]).mean() + maps.mean() + self.experts.gate_up_proj.sum()


def rows_of(frame, step=None):
    """Return the weight columns of a step by layer, without layers that have none."""
    frame = frame if step is None else frame[frame["step"] == step]
    kept = frame.set_index(frame["layer"].astype(str))[[c for c in WEIGHT_COLUMNS if c in frame]]
    return kept.dropna(how="all").astype("float64")


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    """Train under a probe, and save a checkpoint just before each update; return folder, rows and first model."""
    folder = tmp_path_factory.mktemp("live")
    torch.manual_seed(3)
    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    with Probe(model, optimizer, store=folder / "runs", run="a", every=lambda _: True, metrics=weight_metrics(None)):
        for step in range(20):
            optimizer.zero_grad()
            model(torch.randn(5, 1, 8, 8), torch.randint(11, (4, 5))).backward()
            torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, folder / f"step_{step}.pt")
            optimizer.step()
    return folder, pd.read_parquet(folder / "runs" / "layers"), model


def test_20_checkpoints_of_a_run_give_the_columns_that_the_probe_gave_live(live, tmp_path):
    folder, rows, _ = live
    files = sorted(folder.glob("*.pt"))
    inspect(files, store=tmp_path / "runs", run="a")
    found = pd.read_parquet(tmp_path / "runs" / "layers")
    assert sorted(set(found["step"])) == list(range(20))
    for step in range(20):
        expected, came = rows_of(rows, step), rows_of(found, step)
        pd.testing.assert_frame_equal(came.loc[expected.index], expected, rtol=1e-5)
        assert set(came.index) == set(expected.index)
    order, live_order = (each.drop_duplicates("layer").set_index("layer")["layer_index"] for each in (found, rows))
    assert order.to_dict() == live_order.to_dict()
    for table in ("histograms", "spectra", "parameters"):
        expected, came = (pd.read_parquet(place / "runs" / table) for place in (folder, tmp_path))
        assert len(expected) == len(came) > 0


def test_a_model_gives_the_numbers_of_its_own_state_dict(live):
    _, _, model = live
    before = {name: value.clone() for name, value in model.state_dict().items()}
    of_model, of_state = rows_of(inspect(model)), rows_of(inspect(model.state_dict()))
    # Torch's older hook keeps the weight of the last forward, which the optimizer has moved on from.
    pd.testing.assert_frame_equal(of_model.drop("older"), of_state.drop("older"), rtol=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert md.inspect is inspect


def test_a_compiled_model_is_inspected_without_a_warning():
    model = nn.Sequential(nn.Linear(3, 2))
    pd.testing.assert_frame_equal(inspect(torch.compile(model)), inspect(model))  # warnings are errors here


def test_weights_under_a_norm_that_is_not_torchs_need_the_model(tmp_path):
    torch.manual_seed(0)
    model = convert(nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3)), "msn")
    bounded = nn.Sequential(nn.Linear(3, 3))
    nn.utils.parametrize.register_parametrization(bounded[0], "weight", nn.Tanh())
    for number, one in enumerate((model, bounded)):
        torch.save(one.state_dict(), tmp_path / f"{number}.pt")
    with pytest.warns(RuntimeWarning, match="a parametrization that is not torch's: give the model too"):
        unknown = inspect(tmp_path / "1.pt")
    assert unknown["spectral_norm"].isna().all()
    assert unknown["raw_weight_mean"].notna().all()
    known = inspect(tmp_path / "1.pt", model=bounded)
    assert known["spectral_norm"].item() == pytest.approx(torch.linalg.matrix_norm(bounded[0].weight, 2).item())
    assert inspect(tmp_path / "0.pt")["spectral_norm"].max() == pytest.approx(1, abs=0.1)
    with pytest.raises(ValueError, match="does not fit the model Sequential"):
        inspect(tmp_path / "0.pt", model=bounded)


class Runs:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (exec, (f"open({str(self.path)!r}, 'w')",))


def test_a_file_that_would_execute_code_is_refused_and_not_executed(tmp_path):
    torch.save({"model": nn.Linear(2, 2).state_dict(), "args": Runs(tmp_path / "executed")}, tmp_path / "a.pth")
    torch.save(nn.Linear(2, 2), tmp_path / "b.t7", _use_new_zipfile_serialization=False)
    for name in ("a.pth", "b.t7"):
        with pytest.raises(ValueError, match="run code of the file, so it is refused"):
            inspect(tmp_path / name)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"nothing of torch's", "expected a file of torch.save or safetensors"),
        ({"a": {"w": torch.ones(2, 2)}, "b": {"w": torch.ones(2, 2)}}, "found several, 'a', 'b': choose one with key"),
        ({"epoch": 3}, "found none: it has 'epoch'"),
    ],
)
def test_a_file_without_a_state_dict_is_refused_in_words(content, told, tmp_path):
    file = tmp_path / "x.pt"
    file.write_bytes(content) if isinstance(content, bytes) else torch.save(content, file)
    with pytest.raises(ValueError, match=told):
        inspect(file)


def test_an_entry_is_named_and_a_wrapper_is_not_part_of_the_names(tmp_path):
    state = {f"module.{name}": value for name, value in nn.Sequential(nn.Linear(3, 2)).state_dict().items()}
    torch.save({"ema": {"model": state}, "model": {"x": torch.ones(2, 2)}, "global_step": 7}, tmp_path / "x.pt")
    rows = inspect(tmp_path / "x.pt", key="ema.model")
    assert (rows["layer"].item(), rows["step"].item(), rows["layer_type"].item()) == ("0", 7, "Linear")


def test_a_run_of_a_store_wants_a_step_of_each_and_the_same_layers(tmp_path):
    torch.save(nn.Linear(3, 2).state_dict(), tmp_path / "a.pt")
    torch.save(nn.Sequential(nn.Linear(3, 2)).state_dict(), tmp_path / "b.pt")
    files, store = [tmp_path / "a.pt", tmp_path / "b.pt"], tmp_path / "runs"
    assert inspect(files)["step"].isna().all()
    with pytest.raises(ValueError, match=r"a\.pt: no step; expected a step of its own for each file"):
        inspect(files, store=store, run="a")
    with pytest.raises(ValueError, match=r"b\.pt: its layers differ from those of the files before it"):
        inspect(files, step=[0, 1], store=store, run="b")
    with pytest.raises(ValueError, match="1 given for 2 files"):
        inspect(files, step=3)


def test_safetensors_give_the_same_rows(tmp_path):
    save_file = pytest.importorskip("safetensors.torch").save_file
    torch.manual_seed(0)
    model = nn.Sequential(*(nn.Linear(4, 4) for _ in range(11)), nn.Conv2d(2, 3, 3)).half()
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    rows = inspect(tmp_path / "model.safetensors")
    assert rows["layer"].tolist() == [str(number) for number in range(12)]
    pd.testing.assert_frame_equal(rows_of(rows), rows_of(inspect(model)))
    (tmp_path / "broken.safetensors").write_bytes(b"12345678901234567890")
    with pytest.raises(ValueError, match="cannot be read as a safetensors file"):
        inspect(tmp_path / "broken.safetensors")


LARGE = """
import resource, sys, time
import pandas, torch
from probes.checkpoints.inspection import inspect

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

before, began = peak(), time.perf_counter()
rows = inspect(sys.argv[1])
print(len(rows), int(rows["condition_number"].notna().sum()), time.perf_counter() - began, peak() - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_model_of_100_million_parameters_takes_20_seconds_and_less_than_twice_its_file(dtype, tmp_path):
    save_file = pytest.importorskip("safetensors.torch").save_file
    shapes = {"wte": (50257, 768), "wpe": (1024, 768)}
    for block in range(8):
        for name, shape in {"qkv": (2304, 768), "out": (768, 768), "up": (3072, 768), "down": (768, 3072)}.items():
            shapes[f"h.{block}.{name}"] = shape
    file = tmp_path / "model.safetensors"
    save_file({f"{name}.weight": torch.randn(shape).to(dtype) for name, shape in shapes.items()}, file)
    done = subprocess.run([sys.executable, "-c", LARGE, file], capture_output=True, text=True, check=True)
    rows, solved, seconds, nbytes = map(float, done.stdout.split())
    assert rows == solved == 34
    assert seconds < 20
    assert nbytes < 2 * file.stat().st_size


def test_the_command_shows_a_table_and_writes_every_column(tmp_path, capsys):
    from dynamics.cli import run

    torch.save(nn.Sequential(nn.Linear(3, 2)).state_dict(), tmp_path / "ckpt_0100.pt")
    assert run(["inspect", str(tmp_path / "ckpt_0100.pt")]) == 0
    shown = capsys.readouterr().out
    assert "spectral_norm" in shown
    assert "Linear" in shown
    assert run(["inspect", str(tmp_path / "ckpt_0100.pt"), "--out", str(tmp_path / "all.csv")]) == 0
    row = pd.read_csv(tmp_path / "all.csv")
    assert row["step"].item() == 100
    assert np.isfinite(row["effective_rank"].item())
    assert run(["inspect", str(tmp_path / "none.pt")]) == 2
    assert "there is no such file" in capsys.readouterr().err
