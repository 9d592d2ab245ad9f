"""Attaching, logging, resuming, failing, ending."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from probes import Probe
from probes.background.budget import Limits
from probes.metrics import metric
from probes.schedule import at
from probes.schema import Column

ROOT = Path(__file__).parents[2]
NOT_AT_ONCE = Limits(eager=0.0)  # rows wait for a second, in which the test takes the disk away


class Loop:
    """A small training that can be stopped and gone on with."""

    def __init__(self, lr=0.1):
        self.model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(inplace=True), nn.Flatten())
        self.model.append(nn.Linear(3 * 36, 4))
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=lr)

    def step(self, scale=1.0):
        loss = F.cross_entropy(self.model(torch.randn(6, 1, 8, 8) * scale), torch.tensor([0, 1, 2, 3, 0, 1]))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss

    def probe(self, store, run="a", **how):
        return Probe(self.model, self.optimizer, store=store, run=run, **{"every": 1, "strict": True, **how})


def test_numbers_logged_on_either_side_of_the_optimizer_step_belong_to_it(store, table):
    loop = Loop()
    with loop.probe(store) as probe:
        for step in range(3):
            loss = F.cross_entropy(loop.model(torch.randn(2, 1, 8, 8)), torch.tensor([0, 1]))
            probe.log(before=10 + step)
            loss.backward()
            loop.optimizer.step()
            probe.log(loss=loss, after=torch.tensor(step))
    steps = table("steps")
    assert steps["step"].tolist() == steps["after"].tolist() == (steps["before"] - 10).tolist() == [0, 1, 2]
    assert steps["split"].tolist() == ["train"] * 3
    assert steps["lr"].tolist() == [0.1] * 3
    assert steps["seconds"].is_monotonic_increasing
    assert steps["loss"].dtype == float


def test_an_evaluation_has_its_own_row_at_the_number_of_steps_taken(store, table):
    loop = Loop()
    with loop.probe(store) as probe:
        probe.epoch = 4
        loop.step()
        probe.log(split="test", loss=0.5, accuracy=0.75)
    row = table("steps", split="test").loc[0]
    assert (row["step"], row["epoch"], row["loss"], row["accuracy"]) == (1, 4, 0.5, 0.75)
    assert np.isnan(row["lr"])
    assert set(table("layers")["epoch"]) == {4}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"step": 3}, "'step' is a key of table 'steps'"),
        ({"loss": torch.ones(3)}, r"tensor of shape \(3,\); expected a single number"),
        ({"loss": torch.tensor(1 + 2j)}, "a complex number; expected a real one"),
        ({"note": "hello"}, "expected a number or a tensor of one element, not str"),
    ],
)
def test_what_is_no_number_is_not_logged(values, message, store):
    with Loop().probe(store) as probe, pytest.raises(ValueError, match=message):
        probe.log(**values)


def test_each_metric_follows_its_own_schedule(store, table):
    loop = Loop()
    every = {"weights": 2, "grad_moments": at([1]), "activations": lambda step: step == 3, "gradient_histogram": 3}
    with loop.probe(store, every=every, metrics=["weights", "grad_moments", "activations", "gradient_histogram"]):
        for _ in range(5):
            loop.step()
    layers = table("layers", layer="0").set_index("step")
    recorded = {c: layers.index[layers[c].notna()].tolist() for c in ("weight_mean", "grad_mean", "activation_mean")}
    assert recorded == {"weight_mean": [0, 2, 4], "grad_mean": [1], "activation_mean": [3]}
    assert table("histograms")["step"].unique().tolist() == [0, 3]


def test_several_optimizers_make_one_step_together(store, table):
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
    first, second = (torch.optim.SGD(layer.parameters(), lr=0.1) for layer in model)
    with Probe(model, [first, second], store=store, run="a", every=1, strict=True):
        for _ in range(2):
            model(torch.randn(4, 3)).square().mean().backward()
            first.step()
            second.step()
    layers = table("layers")
    assert layers[["step", "layer"]].to_numpy().tolist() == [[0, "0"], [0, "1"], [1, "0"], [1, "1"]]
    assert layers[["grad_mean", "activation_mean", "update_ratio"]].notna().all(axis=None)


def test_an_optimizer_that_steps_more_rarely_is_recorded_when_it_does(store, table):
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
    often, rarely = (torch.optim.SGD(layer.parameters(), lr=0.1) for layer in model)
    with Probe(model, [often, rarely], store=store, run="a", every=1, strict=True):
        for step in range(4):
            model(torch.randn(4, 3)).square().mean().backward()
            often.step()
            if step % 2:
                rarely.step()
    layers = table("layers")
    steps = {name: layers[layers["layer"] == name].dropna(subset="grad_mean")["step"].tolist() for name in "01"}
    assert steps["1"] == [1, 3]
    assert steps["0"] == [0, 1, 2, 3]


def test_two_models_of_a_gan_keep_two_runs(store, table):
    generator, critic = nn.Linear(2, 3), nn.Linear(3, 1)
    optimizers = [torch.optim.Adam(m.parameters(), lr=0.01) for m in (generator, critic)]
    settings = {"store": store, "every": 1, "strict": True}
    with (
        Probe(generator, optimizers[0], run="generator", **settings),
        Probe(critic, optimizers[1], run="critic", **settings),
    ):
        for _ in range(2):
            for optimizer, sign in zip(optimizers, (1, -1), strict=True):
                optimizer.zero_grad()
                (sign * F.softplus(critic(generator(torch.randn(5, 2)))).mean()).backward()
                optimizer.step()
    for run in ("generator", "critic"):
        assert table("layers", run=run)["step"].tolist() == [0, 1]


def test_a_loop_without_an_optimizer_counts_by_hand(store, table):
    model = nn.Linear(3, 2)
    with Probe(model, store=store, run="a", every=1, strict=True) as probe:
        for _ in range(3):
            model(torch.randn(4, 3)).sum().backward()
            probe.step()
            with torch.no_grad():
                model.weight -= 0.1 * model.weight.grad
    assert table("layers")["step"].tolist() == [0, 1, 2]
    assert table("layers")["grad_mean"].notna().all()


def test_counting_by_hand_beside_an_optimizer_is_refused(store):
    with Loop().probe(store) as probe, pytest.raises(ValueError, match="this one has one: drop the call"):
        probe.step()


def test_a_detached_probe_sees_nothing_and_a_reattached_one_goes_on(store, table):
    loop = Loop()
    with loop.probe(store) as probe:
        loop.step()
        probe.detach()
        loop.step()
        loop.step()
        probe.attach(step=3)
        loop.step()
    assert table("layers", layer="0")["step"].tolist() == [0, 3]


def test_a_resumed_run_goes_on_where_the_checkpoint_stood(store, table):
    loop = Loop()
    with loop.probe(store) as probe:
        for step in range(5):
            if step == 3:
                checkpoint = {"probe": probe.state_dict(), "model": loop.model.state_dict()}
            loop.step()
    again = Loop()
    again.model.load_state_dict(checkpoint["model"])
    with again.probe(store, resume_step=checkpoint["probe"]["step"]) as probe:
        probe.load_state_dict(checkpoint["probe"])
        for _ in range(3):
            again.step()
    for name in ("layers", "steps"):
        found = table(name) if name == "steps" else table(name, layer="0")
        assert found["step"].tolist() == [0, 1, 2, 3, 4, 5]
    drift = table("layers", layer="1")["activation_drift"]
    assert drift.iloc[0] == 0
    assert (drift.iloc[1:] > 0).all()  # the reference is that of step 0, not of the resumption
    assert table("steps")["seconds"].is_monotonic_increasing


def test_loading_an_earlier_state_takes_back_what_came_after(store, table):
    loop = Loop()
    with loop.probe(store) as probe:
        loop.step()
        state = probe.state_dict()
        loop.step(scale=1000)
        loop.step(scale=1000)
        probe.load_state_dict(state)
        loop.step()
    rows = table("layers", layer="0")
    assert rows["step"].tolist() == [0, 1]
    assert (rows["activation_var"] < 100).all()


def test_a_state_that_is_none_is_refused(store):
    with Loop().probe(store) as probe, pytest.raises(ValueError, match="probe state lacks seconds, carried"):
        probe.load_state_dict({"step": 0, "epoch": None})


def test_an_existing_run_is_not_written_over(store, table):
    loop = Loop()
    with loop.probe(store):
        loop.step()
    with pytest.raises(ValueError, match="a"):
        loop.probe(store)
    assert table("layers", layer="0")["step"].tolist() == [0]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"every": -5}, "every=-5: expected a whole number of steps, 1 or more"),
        ({"every": {"spektrum": 5}}, "unknown metric or group 'spektrum'; groups are .*weights"),
        ({"metrics": ["weigths"]}, "unknown metric or group 'weigths'"),
        ({"include": ["conv*"]}, r"include='conv\*' matches no layer"),
        ({"run": "nan"}, "run id 'nan'"),
        ({"resume_step": -1}, "step -1: expected the number of optimizer steps finished"),
    ],
)
def test_bad_input_is_refused_in_one_line_and_nothing_is_written(how, message, store):
    with pytest.raises(ValueError, match=message) as raised:
        Loop().probe(store, **how)
    assert "\n" not in str(raised.value)
    assert not store.exists()


def test_a_store_path_that_is_a_file_is_refused(tmp_path):
    path = tmp_path / "runs"
    path.write_text("mine")
    with pytest.raises((OSError, ValueError)):
        Loop().probe(path)
    assert path.read_text() == "mine"


@metric(reads="weight", columns=[Column("weight_max_abs", "1", "max |W|", tensor="effective weight")])
def weight_max_abs(weights):
    return torch.stack([weight.abs().max() for weight in weights])


@metric(reads="gradient", columns=[Column("broken", "1", "none")])
def broken(_gradients):
    raise ArithmeticError("no such number")


def test_a_metric_of_ones_own_is_a_column_like_any_other(store, table):
    loop = Loop()
    with loop.probe(store, metrics=["weights", weight_max_abs]):
        truth = loop.model[4].weight.abs().max().item()
        loop.step()
    assert table("layers", layer="4")["weight_max_abs"].item() == pytest.approx(truth, rel=1e-6)


def test_a_metric_needs_columns_of_its_own(store):
    with pytest.raises(ValueError, match="columns: got none, expected at least one Column"):
        metric(reads="weight", columns=[])
    double = metric(reads="weight", columns=[Column("weight_mean", "1", "again")])(lambda weights: weights)
    with pytest.raises(ValueError, match="both fill column 'weight_mean': rename one"):
        Loop().probe(store, metrics=["weights", double])


def test_a_failing_metric_is_said_once_counted_and_stops_nothing(store, table):
    loop = Loop()
    with loop.probe(store, metrics=["weights", broken], strict=False):
        with pytest.warns(RuntimeWarning, match="broken could not be recorded at step 0: ArithmeticError") as warned:
            loop.step()
        loop.step()
        loop.step()
    assert len(warned) == 1
    assert table("layers", layer="0")["weight_mean"].notna().tolist() == [True] * 3
    (gap,) = json.loads(table("runs")["gaps"].item())
    assert (gap["what"], gap["count"], gap["first_step"], gap["last_step"]) == ("broken", 3, 0, 2)


@pytest.mark.parametrize("split", [3, "", None])
def test_a_split_that_is_no_word_is_refused_at_the_call(split, store):
    loop = Loop()
    with loop.probe(store) as probe:
        loop.step()
        with pytest.raises(ValueError, match="expected a word"):
            probe.log(split=split, loss=1.0)


def test_an_epoch_that_is_no_number_is_refused_where_it_is_set(store, table):
    loop = Loop()
    with loop.probe(store) as probe:
        with pytest.raises(ValueError, match="epoch 'one': expected a whole number"):
            probe.epoch = "one"
        with pytest.raises(ValueError, match=r"expected a number below 2\^31"):
            probe.epoch = 2**31
        probe.epoch = np.int64(3)
        loop.step()
    assert set(table("layers")["epoch"]) == {3}


def test_a_schedule_that_fails_is_a_gap_and_training_goes_on(store, table):
    loop = Loop()
    probe = loop.probe(store, every=lambda step: 1 / (1 - step) > 0, strict=False)
    with pytest.warns(RuntimeWarning, match="the schedule could not be recorded at step 1"):
        loop.step()
    loop.step()
    probe.close()
    assert set(table("layers")["step"]) == {0}


def test_a_metric_that_reads_what_there_is_not_is_refused(store):
    @metric(reads="wieght", columns=[Column("mine", "1", "x")])
    def mine(weights):
        return weights

    with pytest.raises(ValueError, match="metric 'mine' reads 'wieght': expected one of weight, raw_weight"):
        Loop().probe(store, metrics=[mine])


def test_strict_raises_the_failure(store):
    loop = Loop()
    with loop.probe(store, metrics=[broken]), pytest.raises(ArithmeticError, match="no such number"):
        loop.step()


def test_a_disk_that_is_full_for_a_while_delays_rows_and_loses_none(store, table, monkeypatch):
    loop = Loop()
    with loop.probe(store, strict=False, _limits=NOT_AT_ONCE) as probe:
        loop.step()
        probe.flush()
        with monkeypatch.context() as full:
            full.setattr(probe._run._recorder, "write", _no_space)
            for _ in range(2):
                loop.step()
            with pytest.warns(RuntimeWarning, match="the store refuses rows: .* No space left") as warned:
                probe.flush()
            assert len(warned) == 1
        loop.step()
    assert table("layers", layer="0")["step"].tolist() == [0, 1, 2, 3]
    assert table("runs")["gaps"].item() == "[]"


def test_a_disk_that_takes_no_more_rows_but_parts_loses_none(store, table, monkeypatch):
    loop = Loop()
    with loop.probe(store, strict=False, _limits=NOT_AT_ONCE) as probe:
        loop.step()
        probe.flush()
        monkeypatch.setattr(probe._run._recorder, "write", _no_space)
        for _ in range(3):
            loop.step()
    assert table("layers", layer="0")["step"].tolist() == [0, 1, 2, 3]
    assert table("runs")["gaps"].item() == "[]"


def test_rows_that_neither_store_nor_spool_take_are_named(store, table, monkeypatch):
    loop = Loop()
    probe = loop.probe(store, strict=False, _limits=NOT_AT_ONCE)
    loop.step()
    probe.flush()
    for name in ("write", "spill"):
        monkeypatch.setattr(probe._run._recorder, name, _no_space)
    for _ in range(3):
        loop.step()
    with pytest.warns(RuntimeWarning, match="rows that neither the store nor the spool took are lost"):
        probe.close()
    assert table("layers", layer="0")["step"].tolist() == [0]
    (gap,) = json.loads(table("runs")["gaps"].item())
    assert (gap["first_step"], gap["last_step"]) == (1, 3)
    assert "No space left" in gap["why"]


def _no_space(*_):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(("error", "status"), [(RuntimeError, "failed"), (KeyboardInterrupt, "interrupted")])
def test_an_exception_in_the_loop_leaves_no_hook_and_a_readable_store(error, status, store, table):
    loop = Loop()

    def crash():
        with loop.probe(store):
            loop.step()
            loop.step()
            raise error

    with pytest.raises(error):
        crash()
    assert table("layers", layer="0")["step"].tolist() == [0, 1]
    assert table("runs")["status"].item() == status
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in loop.model.modules())
    loop.step()


def test_diverging_training_is_recorded_to_the_end_and_found_by_one_query(store, table):
    loop = Loop()
    groups = ("weights", "gradients", "activations", "singular_values", "spectrum", "operator_norm", "kernel_slices")
    with loop.probe(store, every=dict.fromkeys((*groups, "updates", "saturation"), 1)):
        for step in range(6):
            loop.step(scale=float("nan") if step == 3 else 1.0)
    layers = table("layers")
    assert layers["step"].max() == 5
    assert layers.query("grad_nonfinite > 0 or weight_nonfinite > 0")["step"].min() == 3
    after = layers[(layers["step"] > 3) & (layers["layer"] == "0")]
    assert after[["weight_mean", "spectral_norm", "operator_norm", "kernel_singular_value_mean"]].isna().all(axis=None)
    assert np.isnan(table("spectra", step=5)["singular_values"].iloc[0]).all()
    (note,) = json.loads(table("runs")["gaps"].item())  # a NaN is a finding, not a failure
    assert (note["what"], note["first_step"]) == ("values that are not finite", 3)


FORGETS = """
import sys, torch
from probes import Probe

model = torch.nn.Linear(2, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
probe = Probe(model, optimizer, store=sys.argv[1], run="a", every=1)
model(torch.ones(3, 2)).sum().backward()
optimizer.step()
probe.log(loss=0.5)
"""


def test_a_probe_that_was_forgotten_is_closed_at_exit(store, table):
    done = subprocess.run(
        [sys.executable, "-c", FORGETS, str(store)], capture_output=True, text=True, check=False, cwd=ROOT, timeout=100
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert table("runs")["status"].item() == "interrupted"
    assert table("layers")["step"].tolist() == [0]
    assert table("steps")["loss"].tolist() == [0.5]
