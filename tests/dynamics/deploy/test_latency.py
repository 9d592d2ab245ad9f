"""Latency before and after folding, with a control."""

from __future__ import annotations

import time
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from dynamics.deploy.latency import FEWEST, compare_latency, machine


class Sleeping(nn.Module):
    """Takes a known time, and notes its calls; copies note them in the same list."""

    calls: ClassVar[list[tuple[str, int]]] = []

    def __init__(self, name: str, seconds: float) -> None:
        super().__init__()
        self.name, self.seconds = name, seconds

    def forward(self, x: Tensor) -> Tensor:
        self.calls.append((self.name, torch.get_num_threads()))
        time.sleep(self.seconds)
        return x


@pytest.fixture(autouse=True)
def calls() -> list[tuple[str, int]]:
    Sleeping.calls.clear()
    return Sleeping.calls


def test_the_ratio_is_that_of_the_times_and_the_control_is_one() -> None:
    found = compare_latency(Sleeping("before", 0.004), Sleeping("after", 0.001), torch.zeros(1), rounds=10)
    assert found.rounds == 10
    assert 0.2 < found.ratio < 0.6
    assert 0.8 < found.control < 1.25
    assert found.before >= 0.004
    assert found.after >= 0.001


def test_networks_take_turns_at_being_first_on_one_thread(calls: list[tuple[str, int]]) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        compare_latency(Sleeping("b", 0), Sleeping("a", 0), torch.zeros(1), rounds=3)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert {threads for _, threads in calls} == {1}
    timed = "".join(name for name, _ in calls)[9:]  # behind three warm-up calls of each
    assert timed == "".join(5 * name for name in "bab" + "abb" + "bba")  # before, after, control; then one further each


def test_time_is_limited_but_for_a_few_rounds() -> None:
    found = compare_latency(Sleeping("b", 0), Sleeping("a", 0), torch.zeros(1), rounds=10_000, most_seconds=0)
    assert found.rounds == FEWEST


def test_no_round_is_refused() -> None:
    with pytest.raises(ValueError, match="rounds 0: expected 1 or more"):
        compare_latency(nn.Identity(), nn.Identity(), torch.zeros(1), rounds=0)


def test_the_machine_is_named() -> None:
    named = machine()
    assert named["torch"] == torch.__version__
    assert named["processor"]
