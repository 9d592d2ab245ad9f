"""A training that loses its store goes on, saves its model, and what it recorded is found again."""

from __future__ import annotations

import errno
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn

from probes import Probe
from probes.background.budget import Limits
from probes.storage.files import open_store
from probes.storage.recovery import recover_dead
from probes.storage.verify import verify

FLUSHED, LOST, STEPS = 2, 4, 7  # the first step that is in no part, the first after the loss, the number of all


def train(store: Path, lose: Callable[[], object], *, model_file: Path, strict: bool = False) -> None:
    """Train as a user does, lose the store on the way, and save the model after the block."""
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Probe(model, optimizer, store=store, run="a", every=1, strict=strict, _limits=Limits(eager=0.0)) as probe:
        for step in range(STEPS):
            if step == FLUSHED:
                probe.flush()
            if step == LOST:
                probe._run._writer.flush()  # as if a second had passed: what came before is in the log
                lose()
            loss = model(torch.randn(8, 3)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            probe.log(loss=loss)
    torch.save(model.state_dict(), model_file)


def found_again(store: Path) -> dict[str, list[int]]:
    """Recover a store and return the steps of its tables."""
    recover_dead(open_store(store))
    files = open_store(store)
    assert verify(files).faults == []
    assert files.workspaces() == []
    layers = pd.read_parquet(store / "layers")
    return {
        "layers": sorted(layers.loc[layers["layer"] == "0", "step"]),
        "steps": sorted(pd.read_parquet(store / "steps")["step"]),
    }


def steps_from(first: int) -> dict[str, list[int]]:
    return {"layers": list(range(first, STEPS)), "steps": list(range(first, STEPS))}


def told(warned: pytest.WarningsRecorder) -> str:
    return " ".join(str(warning.message) for warning in warned)


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    """Return where the model is saved: on another disk than the store."""
    return tmp_path / "model.pt"


@contextmanager
def until_refused() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise


def take_all_space(disk: Path) -> None:
    (disk / "ballast").mkdir()
    with until_refused(), (disk / "ballast" / "file").open("wb", buffering=0) as file:
        while file.write(b"x" * 4096):
            pass


def take_all_inodes(disk: Path) -> None:
    (disk / "ballast").mkdir()
    with until_refused():
        for number in range(100_000):
            (disk / "ballast" / str(number)).touch()


@pytest.mark.parametrize(("limits", "take_all"), [("size=1m", take_all_space), ("nr_inodes=60", take_all_inodes)])
def test_a_full_disk_ends_no_training_and_loses_no_row(limits, take_all, make_disk, model_file):
    disk = make_disk(limits)
    with pytest.warns(RuntimeWarning) as warned:
        train(disk / "runs", lambda: take_all(disk), model_file=model_file)
    assert "could not be closed in store" in told(warned)
    assert "No space left on device" in told(warned)
    assert f"`meandrift recover a --store {disk / 'runs'}`" in told(warned)
    assert str(disk / "runs" / "_writers" / "a") in told(warned)
    assert model_file.exists()
    shutil.rmtree(disk / "ballast")
    assert found_again(disk / "runs") == steps_from(0)


def test_where_no_file_at_all_can_grow_training_goes_on_and_the_steps_that_are_lost_are_named(tmp_path):
    """As with a quota that store and spool share. A limit on the size of files stands for it."""
    store = tmp_path / "runs"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.warns(RuntimeWarning) as warned:
            train(
                store,
                lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1])),
                model_file=Path(os.devnull),
            )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "rows that neither the store nor the spool took are lost" in told(warned)
    assert f"first_step {LOST - 1}, last_step {STEPS - 1}): OSError: [Errno 27] File too large" in told(warned)
    # The row of losses waits until its step is over.
    assert found_again(store) == {"layers": list(range(LOST)), "steps": list(range(LOST - 1))}


def test_a_store_that_is_renamed_takes_its_log_with_it(tmp_path, model_file):
    store, moved = tmp_path / "runs", tmp_path / "moved"
    with pytest.warns(RuntimeWarning) as warned:
        train(store, lambda: store.rename(moved), model_file=model_file)
    assert str(moved / "_writers" / "a") in told(warned)
    assert model_file.exists()
    assert not store.exists()
    assert found_again(moved) == steps_from(0)


def test_a_store_that_is_deleted_leaves_the_rows_that_were_in_no_part_in_the_spool(tmp_path, model_file, spool):
    store = tmp_path / "runs"
    with pytest.warns(RuntimeWarning) as warned:
        train(store, lambda: shutil.rmtree(store), model_file=model_file)
    [kept] = {path.parent for path in spool.rglob("*.arrows")}
    assert str(kept) in told(warned)
    assert model_file.exists()
    assert not store.exists()
    assert found_again(store) == steps_from(FLUSHED)
    assert pd.read_parquet(store / "runs")["status"].tolist() == ["finished"]
    assert not spool.exists() or not any(spool.iterdir())


def test_rows_in_the_spool_come_back_when_the_run_goes_on(tmp_path, model_file):
    store = tmp_path / "runs"
    with pytest.warns(RuntimeWarning, match="could not be closed"):
        train(store, lambda: shutil.rmtree(store), model_file=model_file)
    model = nn.Linear(3, 2)
    Probe(model, torch.optim.SGD(model.parameters(), lr=0.1), store=store, run="a", resume_step=STEPS - 1).close()
    assert found_again(store) == {"layers": list(range(FLUSHED, STEPS - 1)), "steps": list(range(FLUSHED, STEPS - 1))}


def test_rows_in_the_spool_are_deleted_with_their_run(tmp_path, model_file, spool):
    store = tmp_path / "runs"
    with pytest.warns(RuntimeWarning, match="could not be closed"):
        train(store, lambda: shutil.rmtree(store), model_file=model_file)
    model = nn.Linear(3, 2)
    Probe(model, torch.optim.SGD(model.parameters(), lr=0.1), store=store, run="a", overwrite=True).close()
    assert not list(spool.rglob("*.arrows"))
    assert pd.read_parquet(store / "runs")["last_step"].isna().all()


def test_strict_raises_when_the_store_is_lost(tmp_path, model_file):
    store = tmp_path / "runs"
    with pytest.raises(OSError, match="could not be closed in store"):
        train(store, lambda: store.rename(tmp_path / "moved"), model_file=model_file, strict=True)
    assert not model_file.exists()


def test_an_error_of_the_loop_is_not_hidden_by_one_of_the_store(tmp_path, model_file):
    store = tmp_path / "runs"

    def lose_both() -> None:
        store.rename(tmp_path / "moved")
        raise ArithmeticError("the loop's own")

    with pytest.raises(ArithmeticError, match="the loop's own"), pytest.warns(RuntimeWarning, match="closed in store"):
        train(store, lose_both, model_file=model_file, strict=True)


def test_a_flush_into_a_lost_store_warns_and_raises_nothing(tmp_path, model_file):
    store = tmp_path / "runs"
    model = nn.Linear(3, 2)
    probe = Probe(model, torch.optim.SGD(model.parameters(), lr=0.1), store=store, run="a")
    shutil.rmtree(store)
    with pytest.warns(RuntimeWarning, match="the store refuses rows: FileNotFoundError"):
        probe.flush()
    with pytest.warns(RuntimeWarning, match="could not be closed in store"):
        probe.close()
