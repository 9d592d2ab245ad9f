"""A learning rate that ends a training before the second record is told as the cause of what follows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from benchmark import found_in, in_short
from trainings import Training, adam, cnn, convolutional, plain, sgd

from analysis.findings import findings_in


def told(updates: list[float], *, every: int = 10, loss: list[float] | None = None, **columns: list[float]) -> list:
    """Return kind and first step of the findings of two layers that share their columns."""
    steps = np.arange(len(updates)) * every
    parts = [
        pd.DataFrame({"run": "r", "step": steps, "layer": name, "layer_index": i, "update_ratio": updates, **columns})
        for i, name in enumerate("ab")
    ]
    logged = pd.DataFrame({"run": "r", "step": np.arange(len(loss or [])), "split": "train", "loss": loss or []})
    found = findings_in(pd.concat(parts), logged)
    return list(zip(found["kind"], found["from_step"], strict=True))


@pytest.mark.parametrize(
    "training",
    [
        lambda: plain(optimizer=sgd(1e4), every=10),
        lambda: plain(optimizer=sgd(1e4), every=20),
        lambda: plain(optimizer=sgd(300.0, momentum=0.9), every=20),
        lambda: convolutional(optimizer=sgd(1e4), every=20),
        lambda: convolutional(model=cnn(norm=False), optimizer=adam(1e3), every=20),
    ],
)
def test_a_rate_that_is_far_too_large_heads_what_follows(training: object, tmp_path: Path) -> None:
    found = found_in(lambda store: training().run(store), tmp_path / "runs")
    first = found.iloc[0]
    assert (first["kind"], first["from_step"]) == ("large update", 0), in_short(found)
    assert first["cause"].startswith("a learning rate that is too large")
    assert len(found) > 1
    assert set(found["explained_by"][1:]) == {"large update"}


def test_a_rate_that_is_raised_between_two_records_is_the_cause_of_nan(tmp_path: Path) -> None:
    def train(store: Path) -> None:
        training: Training = plain(every=100, steps=20)
        training.changes = {2: lambda t: t.made.param_groups[0].update(lr=1e4)}
        training.run(store)

    first = found_in(train, tmp_path / "runs").iloc[0]
    assert first["kind"] == "NaN"
    assert first["cause"].startswith("a training that diverged")
    assert "the learning rate rose from 0.1 to 1e+04 at step 2" in first["cause"]
    assert "lower the learning rate" in first["remedy"]


@pytest.mark.parametrize(
    ("columns", "kind"),
    [
        ({"weight_nonfinite": [0, 1]}, "NaN"),
        ({"grad_nonfinite": [0, 1]}, "NaN"),
        ({"activation_nonfinite": [0, 1]}, "NaN"),
        ({"loss": [1.0, 1.0, np.nan]}, "NaN"),
        ({"loss": [1.0, 1.0, 20.0]}, None),
        ({"weight_l2_norm": [1.0, 20.0]}, None),
    ],
)
def test_one_update_longer_than_the_weight_is_enough_before_a_blow_up(columns: dict, kind: str | None) -> None:
    found = told([5.0, np.nan], **columns)
    assert found[0] == ("large update", 0)
    assert {name for name, _ in found[1:]} == ({kind} if kind else set())


@pytest.mark.parametrize(
    ("updates", "columns"),
    [
        ([5.0, 1e-3], {"weight_nonfinite": [0, 0], "loss": [1.0, 1.1], "weight_l2_norm": [1.0, 2.0]}),
        ([0.5, np.nan], {"weight_nonfinite": [0, 1]}),  # a first step that is large, and NaN by another cause
        ([5.0, 1e-3, 1e-3], {"weight_nonfinite": [0, 0, 1]}),  # the next record was sound
        ([5.0, 1e-3], {"loss": [1.0] * 11 + [50.0]}),
        ([5.0, 1e-3], {"loss": [-1.0, 5.0]}),
    ],
)
def test_one_large_update_alone_is_no_finding(updates: list[float], columns: dict) -> None:
    assert "large update" not in [kind for kind, _ in told(updates, **columns)]


def test_a_finding_of_one_record_stays_when_more_are_recorded() -> None:
    broken = {"weight_nonfinite": [0.0, 1.0, 0.0]}
    assert told([5.0, 1e-3, 1e-3], **broken)[0] == ("large update", 0)
