"""Observers and mirrors: what a probe records is shown elsewhere too, and costs the training nothing."""

from __future__ import annotations

import importlib.util
import sys
import threading

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from probes import Probe
from probes.mirrors.mirror import Mirror
from probes.mirrors.mirrors import mirrors_of
from probes.mirrors.table_rows import Histogram


def train(store, *, steps=6, after=lambda _: None, **options):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Probe(model, optimizer, store=store, run="a", every=1, **options) as probe:
        for step in range(steps):
            optimizer.zero_grad()
            loss = model(torch.ones(2, 3)).square().mean()
            loss.backward()
            optimizer.step()
            probe.log(loss=loss)
            after(step)
    return model


class Screen:
    """Keeps what it is shown."""

    def __init__(self, show=lambda _: True):
        self.shown, self.closed, self._show = [], False, show

    def show(self, values, *, newer):  # noqa: ARG002
        if taken := self._show(values):
            self.shown.append(values)
        return taken

    def close(self, rest):
        self.shown += rest
        self.closed = True


def scalars(screen):
    """Return the scalars of each step, by name and step."""
    return {(name, values.step): value for values in screen.shown for name, value in values.scalars.items()}


def test_an_observer_is_given_the_tables_of_every_step_in_another_thread(store, table):
    seen, threads = [], set()

    def observe(tables):
        threads.add(threading.current_thread())
        seen.append(tables)

    train(store, observers=[observe])
    rows = pd.concat([tables["layers"].to_pandas() for tables in seen if "layers" in tables])
    stored = table("layers")
    assert rows["spectral_norm"].tolist() == stored["spectral_norm"].tolist()
    assert rows["layer_type"].tolist() == stored["layer_type"].tolist()
    assert sum(tables["steps"].num_rows for tables in seen if "steps" in tables) == 6
    assert {"histograms", "spectra", "parameters"} <= set().union(*seen)


def test_an_observer_that_raises_is_a_gap(store, table):
    def observe(tables):
        raise RuntimeError("no network")

    with pytest.warns(RuntimeWarning, match="no network"):
        model = train(store, observers=[observe])
    assert "no network" in table("runs")["gaps"].item()
    bare = train(store.with_name("bare"))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), bare.parameters(), strict=True))
    assert len(table("layers")) == 12


def test_a_mirror_shows_scalars_and_histograms_of_each_step(store, table):
    screen = Screen()
    train(store, observers=[Mirror("screen", lambda _: screen)])
    found = scalars(screen)
    layers, steps = table("layers"), table("steps")
    for _, row in layers.iterrows():
        assert found[f"{row['layer']}/spectral_norm", row["step"]] == row["spectral_norm"]
    for _, row in steps.iterrows():
        assert found["train/loss", row["step"]] == row["loss"]
    histograms = {name for values in screen.shown for name in values.histograms}
    assert histograms == {f"{layer}/{tensor}" for layer in "02" for tensor in ("weight", "gradient", "activation")}
    assert screen.closed


def test_a_screen_that_hangs_does_not_hold_the_training_up(store, table):
    goes_on = threading.Event()
    screen = Screen(lambda _: goes_on.wait(60))
    trained = []

    def after(step):
        trained.append(goes_on.is_set())
        if step == 5:
            goes_on.set()

    train(store, observers=[Mirror("screen", lambda _: screen)], after=after)
    assert trained == [False] * 6
    assert len({values.step for values in screen.shown}) == 6
    assert table("runs")["gaps"].item() == "[]"


def test_steps_that_a_screen_does_not_take_now_come_later(store):
    screen = Screen(lambda _: False)
    train(store, observers=[Mirror("screen", lambda _: screen)])
    assert [values.step for values in screen.shown] == list(range(6))
    assert all("train/loss" in values.scalars for values in screen.shown)  # the row of a step comes in two parts


def test_a_screen_that_does_not_open_is_a_gap(store, table):
    def fail(run):
        raise ValueError(f"no run is open for {run}")

    with pytest.warns(RuntimeWarning, match="no run is open for a"):
        train(store, observers=[Mirror("screen", fail)])
    assert "mirror 'screen'" in table("runs")["gaps"].item()


@pytest.mark.parametrize("mirror", ["neptune", 3])
def test_an_unknown_mirror_is_refused(mirror):
    with pytest.raises(ValueError, match="expected 'wandb' or 'tensorboard', a SummaryWriter"):
        mirrors_of(mirror, store="runs")


def test_a_mirror_whose_package_is_missing_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.delitem(sys.modules, "wandb")
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(ValueError, match=r"needs its package: pip install 'meandrift\[wandb\]'"):
        mirrors_of("wandb", store="runs")


def test_neighbouring_bins_are_joined_until_there_are_few():
    histogram = Histogram(np.array([1.0, 2.0, 3.0, 4.0, 5.0]), np.array([0.0, 1.0, 2.0, 3.0, 4.0, 5.0]))
    counts, edges = histogram.with_at_most(3)
    assert counts.tolist() == [3, 7, 5]
    assert edges.tolist() == [0, 2, 4, 6]


@pytest.mark.frameworks
@pytest.mark.filterwarnings("ignore")
class TestTensorBoard:
    @pytest.fixture(autouse=True)
    def _installed(self):
        pytest.importorskip("tensorboard")

    @staticmethod
    def read(folder):
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        return EventAccumulator(str(folder)).Reload()

    def test_event_files_beside_the_store_are_read_back(self, store, table):
        train(store, mirror="tensorboard")
        events = self.read(store / "tensorboard" / "run=a")
        rows = table("layers", layer="0")
        assert [event.step for event in events.Scalars("0/spectral_norm")] == list(range(6))
        values = [event.value for event in events.Scalars("0/spectral_norm")]
        assert values == rows["spectral_norm"].tolist()
        histogram = events.Histograms("0/gradient")[0].histogram_value
        assert histogram.num == 12

    def test_the_writer_that_is_open_stays_open(self, store, tmp_path):
        from torch.utils.tensorboard import SummaryWriter

        with SummaryWriter(str(tmp_path / "mine")) as writer:
            train(store, mirror=writer, after=lambda step: writer.add_scalar("mine", step, step))
            writer.add_scalar("after", 1.0, 0)
        events = self.read(tmp_path / "mine")
        assert {"mine", "after", "0/spectral_norm", "train/loss"} <= set(events.Tags()["scalars"])

    def test_a_run_that_is_written_anew_leaves_no_events_of_before(self, store):
        train(store, mirror="tensorboard", steps=6)
        train(store, mirror="tensorboard", steps=2, overwrite=True)
        events = self.read(store / "tensorboard" / "run=a")
        assert [event.step for event in events.Scalars("0/spectral_norm")] == [0, 1]


@pytest.mark.frameworks
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="pip install wandb")
class TestWandb:
    @pytest.fixture
    def rows(self, tmp_path, monkeypatch):
        """Open a run offline; return a function that ends it and returns its rows."""
        monkeypatch.setenv("WANDB_SILENT", "true")
        import wandb

        from tests.probes.mirrors.wandb_file import history

        run = wandb.init(project="test", dir=tmp_path, mode="offline")

        def end():
            run.finish()
            return history(next(tmp_path.glob("wandb/offline-run-*/*.wandb")))

        yield end
        run.finish()

    def test_steps_are_shown_in_the_run_that_is_open(self, store, table, rows):
        train(store, mirror="wandb")
        shown = {row["meandrift/step"]: row for row in rows()}
        layers = table("layers", layer="0").set_index("step")
        assert sorted(shown) == list(range(6))
        for step, row in shown.items():
            assert row["meandrift/0/spectral_norm"] == layers["spectral_norm"][step]
            assert row["meandrift/0/gradient._type"] == "histogram"
            assert np.isfinite(row["meandrift/train/loss"])

    @pytest.mark.parametrize("numbered", [True, False])
    def test_the_users_own_rows_keep_their_numbers(self, numbered, store, rows):
        import time

        import wandb

        def log(step):
            wandb.log({"mine": step}, step=10 * step if numbered else None)
            time.sleep(0.3)  # as a step of a training takes

        train(store, mirror="wandb", after=log)
        found = rows()
        own = {row["mine"]: row["_step"] for row in found if "mine" in row}
        assert own == {step: 10 * step if numbered else step for step in range(6)}
        assert {row["meandrift/step"] for row in found if "meandrift/step" in row} == set(range(6))
