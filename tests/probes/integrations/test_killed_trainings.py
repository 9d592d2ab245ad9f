"""Trainings by frameworks that are killed and go on from their own checkpoints leave the store of one that is not."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests.probes.integrations.killed_training import EVERY, STEPS

pytestmark = [pytest.mark.frameworks, pytest.mark.slow]
KEYS = ["step", "layer", "parameter", "tensor", "view", "split"]


def train(framework, folder, *, dies="nowhere"):
    command = [sys.executable, "-m", "tests.probes.integrations.killed_training", framework, str(folder), dies]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[3])
    assert done.returncode == (0 if dies == "nowhere" else -signal.SIGKILL), done.stderr


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return a function that returns the store of a training by a framework that nothing interrupts."""
    stores = {}

    def store(framework):
        if framework not in stores:
            folder = tmp_path_factory.mktemp(framework)
            train(framework, folder)
            stores[framework] = folder / "runs"
        return stores[framework]

    return store


def rows(store, table):
    found = pd.read_parquet(store / table)
    # Clocks, and what transformers' Trainer logs at its end of the steps that this process took.
    clocks = {"seconds", "total_flos", "eval_runtime", "eval_samples_per_second", "eval_steps_per_second"}
    found = found.drop(columns=[c for c in found if c in clocks or c.startswith("train_")])
    keys = [key for key in KEYS if key in found]
    assert not found.duplicated(keys).any()
    return found.astype(dict.fromkeys(keys[1:], str)).sort_values(keys).reset_index(drop=True)


@pytest.mark.parametrize("framework", ["transformers", "lightning"])
@pytest.mark.parametrize(
    "deaths",
    [["step 3"], ["step 7"], ["saved 4"], ["step 6", "step 11"]],
    ids=["before-a-checkpoint", "after-one", "at-once-after-one", "twice"],
)
def test_a_training_that_is_killed_and_goes_on_has_the_store_of_one_that_is_not(framework, deaths, tmp_path, whole):
    pytest.importorskip(framework)
    for place in deaths:
        train(framework, tmp_path, dies=place)
    train(framework, tmp_path)
    for table in ("layers", "parameters", "histograms", "spectra", "steps"):
        expected, came = rows(whole(framework), table), rows(tmp_path / "runs", table)
        assert sorted(set(came["step"])) == sorted(set(expected["step"]))
        pd.testing.assert_frame_equal(came, expected[came.columns])
    assert set(rows(tmp_path / "runs", "layers")["step"]) == set(range(STEPS))
    assert (rows(tmp_path / "runs", "steps")["split"] == "validation").sum() == STEPS // EVERY
    assert pd.read_parquet(tmp_path / "runs" / "runs")["status"].item() == "finished"
