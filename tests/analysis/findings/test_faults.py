"""Sick trainings are told first of all findings, with layer and step; healthy ones raise no alarm."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from benchmark import found_in, heads, in_short, sick, tells
from faults import BY_NAME, FAULTS
from healthy import HEALTHY

from analysis import layers, steps
from analysis.findings import NOTE, findings_in

DEFAULT = (
    "30 sigmoid layers",
    "layer missing in the optimizer",
    "branch detached",
    "learning rate 0",
    "ReLU layer dies",
    "zero_grad forgotten",
    "batch norm in eval mode",
    "NaN in the targets",
)
QUIET = ("LoRA with Adam", "transformer with layer norm")


def assert_told(name: str, tmp_path: Path) -> None:
    fault = BY_NAME[name]
    training, found = sick(fault, tmp_path / "runs")
    assert tells(found, fault, every=training.every), in_short(found)
    assert heads(found, fault, every=training.every), in_short(found)


def assert_quiet(name: str, tmp_path: Path) -> None:
    found = found_in(HEALTHY[name], tmp_path / "runs")
    assert set(found["severity"]) <= {NOTE}, in_short(found)


@pytest.mark.parametrize("name", DEFAULT)
def test_a_fault_is_told_first_with_its_layer_and_step(name: str, tmp_path: Path) -> None:
    assert_told(name, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", [fault.name for fault in FAULTS if fault.name not in DEFAULT])
def test_every_fault_is_told_first_with_its_layer_and_step(name: str, tmp_path: Path) -> None:
    assert_told(name, tmp_path)


@pytest.mark.parametrize("name", QUIET)
def test_a_healthy_training_raises_no_alarm(name: str, tmp_path: Path) -> None:
    assert_quiet(name, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in HEALTHY if name not in QUIET])
def test_every_healthy_training_raises_no_alarm(name: str, tmp_path: Path) -> None:
    assert_quiet(name, tmp_path)


def test_there_are_enough_kinds_of_faults_and_of_healthy_trainings() -> None:
    assert len(FAULTS) == len(BY_NAME) >= 30
    assert len(HEALTHY) >= 15


def begun(found: pd.DataFrame) -> set[tuple[str, ...]]:
    return {tuple(map(str, row)) for row in found[["kind", "severity", "layer", "from_step"]].to_numpy()}


@pytest.mark.slow
@pytest.mark.parametrize("name", BY_NAME)
def test_nothing_that_is_recorded_later_takes_a_finding_back(name: str, tmp_path: Path) -> None:
    training, found = sick(BY_NAME[name], tmp_path / "runs")
    every = begun(found)
    of_layers, of_steps = layers(tmp_path / "runs"), steps(tmp_path / "runs", measured=["loss"])
    for last in range(2, training.steps, 6):
        found = findings_in(of_layers[of_layers["step"] <= last], of_steps[of_steps["step"] <= last])
        assert begun(found) <= every, last
