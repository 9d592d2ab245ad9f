from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from dynamics.classifier.config import RunConfig
from dynamics.classifier.config_sources import stored_config
from dynamics.classifier.run import run
from dynamics.runtime.checkpoint import checkpoint_path
from dynamics.runtime.events import Began, Ended, Event, Scored, Stepped
from dynamics.runtime.stored_run import stored_run

TABLES = ("layers", "histograms", "spectra", "steps")
WALL_CLOCK = ["seconds"]


@pytest.fixture
def config(tiny_data: str) -> RunConfig:
    """Return a run of two epochs of four steps."""
    return RunConfig(norm="msn", data=tiny_data, batch_size=16, epochs=2, every=1, augmentation="crop-flip")


def table(store: Path, name: str, run_id: str) -> pd.DataFrame:
    """Return a run's rows in the order they were recorded, without what a clock wrote."""
    rows = pd.read_parquet(store / name, filters=[("run", "==", run_id)])
    rows = rows.drop(columns=["run", *(column for column in WALL_CLOCK if column in rows)])
    order = [key for key in ("step", "split", "layer_index", "tensor", "view") if key in rows]
    return rows.sort_values(order, kind="stable").reset_index(drop=True)


def assert_same_run(store: Path, first: str, second: str) -> None:
    for name in TABLES:
        pd.testing.assert_frame_equal(table(store, name, first), table(store, name, second), check_exact=True)
    one, other = (torch.load(checkpoint_path(store, name), weights_only=True) for name in (first, second))
    assert list(one["model"]) == list(other["model"])
    assert all(torch.equal(one["model"][name], other["model"][name]) for name in one["model"])


def interrupt_after(steps: int, number: int = signal.SIGINT) -> object:
    def watch(event: Event) -> None:
        if isinstance(event, Stepped) and event.steps >= steps:
            os.kill(os.getpid(), number)

    return watch


@pytest.fixture
def watch_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dynamics.runtime.events.REFRESH_SECONDS", -1.0)


def test_a_run_tells_its_story_and_ends_finished(config: RunConfig, tmp_path: Path) -> None:
    events: list[Event] = []
    ended = run(config, store=tmp_path, name="whole", watch=events.append)
    assert events[0] == Began("whole", epochs=2, steps=8, start=0)
    assert [event.epoch for event in events if isinstance(event, Scored)] == [0, 1]
    assert events[-1] == ended
    assert isinstance(ended, Ended)
    assert (ended.steps, ended.diverged) == (8, False)
    found = stored_run(tmp_path, "whole")
    assert found is not None
    assert found.status == "finished"


def test_the_store_holds_every_step_and_a_test_after_each_epoch(config: RunConfig, tmp_path: Path) -> None:
    run(config, store=tmp_path, name="whole")
    steps = table(tmp_path, "steps", "whole")
    train, test = steps[steps["split"] == "train"], steps[steps["split"] == "test"]
    assert train["step"].tolist() == list(range(8))
    assert train["epoch"].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert test["step"].tolist() == [4, 8]
    assert test["epoch"].tolist() == [0, 1]
    assert test["accuracy"].between(0, 1).all()


def test_one_seed_gives_one_run_bit_for_bit(config: RunConfig, tmp_path: Path) -> None:
    run(config, store=tmp_path, name="first")
    run(config, store=tmp_path, name="again")
    assert_same_run(tmp_path, "first", "again")


def test_another_seed_gives_another_run(config: RunConfig, tmp_path: Path) -> None:
    run(config, store=tmp_path, name="first")
    run(replace(config, seed=1), store=tmp_path, name="other")
    with pytest.raises(AssertionError):
        assert_same_run(tmp_path, "first", "other")


def test_a_stored_configuration_repeats_its_run(config: RunConfig, tmp_path: Path) -> None:
    run(config, store=tmp_path, name="first")
    run(stored_config(tmp_path, "first"), store=tmp_path, name="again")
    assert_same_run(tmp_path, "first", "again")


@pytest.mark.usefixtures("watch_every_step")
@pytest.mark.parametrize(
    ("steps", "number"), [(1, signal.SIGINT), (4, signal.SIGINT), (6, signal.SIGTERM), (7, signal.SIGINT)]
)
def test_a_run_that_is_stopped_and_resumed_is_the_run_never_stopped(
    config: RunConfig, tmp_path: Path, steps: int, number: int
) -> None:
    run(config, store=tmp_path, name="whole")
    with pytest.raises(KeyboardInterrupt):
        run(config, store=tmp_path, name="parted", watch=interrupt_after(steps, number))  # type: ignore[arg-type]
    found = stored_run(tmp_path, "parted")
    assert found is not None
    assert found.status == "interrupted"
    run(config, store=tmp_path, name="parted", resume=True)
    assert_same_run(tmp_path, "whole", "parted")


def test_rows_past_the_last_checkpoint_are_superseded(config: RunConfig, tmp_path: Path) -> None:
    class CrashError(Exception):
        pass

    def crash(event: Event) -> None:
        if isinstance(event, Scored) and event.epoch == 1:
            raise CrashError  # everything is recorded; the last checkpoint is of the end of the epoch

    run(config, store=tmp_path, name="whole")
    with pytest.raises(CrashError):
        run(config, store=tmp_path, name="crashed", watch=crash)
    run(config, store=tmp_path, name="crashed", resume=True)
    assert_same_run(tmp_path, "whole", "crashed")


def test_a_run_without_a_checkpoint_is_begun_again(config: RunConfig, tmp_path: Path) -> None:
    run(config, store=tmp_path, name="whole")
    run(config, store=tmp_path, name="lost")
    checkpoint_path(tmp_path, "lost").unlink()
    run(config, store=tmp_path, name="lost", resume=True)
    assert_same_run(tmp_path, "whole", "lost")


def test_a_finished_run_may_go_on_for_more_epochs(config: RunConfig, tmp_path: Path) -> None:
    longer = replace(config, epochs=3)
    run(longer, store=tmp_path, name="whole")
    run(config, store=tmp_path, name="longer")
    run(longer, store=tmp_path, name="longer", resume=True)
    assert_same_run(tmp_path, "whole", "longer")


def test_an_existing_run_is_not_written_over(config: RunConfig, tmp_path: Path) -> None:
    run(config, store=tmp_path, name="kept")
    before = table(tmp_path, "layers", "kept")
    with pytest.raises(ValueError, match="run 'kept' exists"):
        run(config, store=tmp_path, name="kept")
    pd.testing.assert_frame_equal(table(tmp_path, "layers", "kept"), before)


def test_overwrite_begins_anew(config: RunConfig, tmp_path: Path) -> None:
    run(replace(config, seed=1), store=tmp_path, name="new")
    run(config, store=tmp_path, name="new", overwrite=True)
    run(config, store=tmp_path, name="whole")
    assert_same_run(tmp_path, "new", "whole")


def test_a_run_begun_anew_is_never_resumed_from_the_checkpoint_of_the_old(config: RunConfig, tmp_path: Path) -> None:
    def stop_in_the_first_epoch(event: Event) -> None:
        if isinstance(event, Stepped):
            raise RuntimeError("power cut")

    run(config, store=tmp_path, name="whole")
    run(config, store=tmp_path, name="twice")
    with pytest.raises(RuntimeError, match="power cut"):
        run(config, store=tmp_path, name="twice", overwrite=True, watch=stop_in_the_first_epoch)
    run(config, store=tmp_path, name="twice", resume=True)
    assert_same_run(tmp_path, "whole", "twice")


def test_a_run_that_diverges_is_recorded_and_ends_there(config: RunConfig, tmp_path: Path) -> None:
    ended = run(replace(config, norm="none", learning_rate=1e30, epochs=5), store=tmp_path, name="wild")
    assert ended.diverged
    assert ended.steps < 20
    losses = table(tmp_path, "steps", "wild")["loss"]
    assert losses.isna().any() or (losses.abs() == float("inf")).any()


def test_a_second_signal_interrupts_at_once(config: RunConfig, tmp_path: Path) -> None:
    def twice(event: Event) -> None:
        if isinstance(event, Stepped):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(config, store=tmp_path, name="twice", watch=twice)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("settings", [{"precision": "bfloat16"}, {"accumulate": 4}, {"norm": "bn", "accumulate": 2}])
def test_every_way_of_computing_resumes_bit_for_bit(
    config: RunConfig, tmp_path: Path, settings: dict[str, object], watch_every_step: None
) -> None:
    config = replace(config, **settings)  # type: ignore[arg-type]
    run(config, store=tmp_path, name="whole")
    with pytest.raises(KeyboardInterrupt):
        run(config, store=tmp_path, name="parted", watch=interrupt_after(5))  # type: ignore[arg-type]
    run(config, store=tmp_path, name="parted", resume=True)
    assert_same_run(tmp_path, "whole", "parted")


@pytest.mark.slow
@pytest.mark.usefixtures("float64", "inductor_cache")
@pytest.mark.filterwarnings("ignore")  # the compiler's own
def test_a_compiled_run_records_what_a_plain_one_does(config: RunConfig, tmp_path: Path) -> None:
    run(config, store=tmp_path, name="plain")
    run(replace(config, compile=True), store=tmp_path, name="compiled")
    plain, compiled = (table(tmp_path, "layers", name) for name in ("plain", "compiled"))
    columns = ["weight_mean", "weight_l2_norm", "grad_l2_norm", "activation_mean", "spectral_norm"]
    assert plain[columns].notna().any(axis=0).all()
    # The store's float32. A mean behind a centring is 0 but for rounding.
    pd.testing.assert_frame_equal(plain[columns], compiled[columns], check_exact=False, rtol=1e-6, atol=1e-9)


def test_an_unknown_device_is_told(config: RunConfig, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"device 'gpu': .*Expected auto, cpu, or a GPU of this machine"):
        run(replace(config, device="gpu"), store=tmp_path)
    assert not list(tmp_path.iterdir())


def test_more_images_than_a_class_has_are_refused(config: RunConfig, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="train_images 17: class 0 has only 16 images"):
        run(replace(config, train_images=17), store=tmp_path)


def test_a_subset_is_the_first_of_each_class(config: RunConfig, tmp_path: Path) -> None:
    events: list[Event] = []
    run(replace(config, train_images=8), store=tmp_path, name="half", watch=events.append)
    assert events[0] == Began("half", epochs=2, steps=4, start=0)
