"""Shifts that change with time: the random walk and the replay."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from dynamics.norms.interventions.centring import InterventionalCentring
from dynamics.norms.interventions.random_walk import RandomWalk
from dynamics.norms.interventions.replayed_means import ReplayedMeans
from dynamics.norms.interventions.shift import bind_shifts


def walked(steps: int, *, layer: str = "a", seed: int = 0, channels: int = 4000) -> RandomWalk:
    walk = RandomWalk(channels, 0.01).double()
    walk.bind(layer, seed)
    for _ in range(steps):
        walk.advance()
    return walk


def test_a_random_walk_is_as_long_as_its_steps_say() -> None:
    for steps in (1, 25):
        position = walked(steps).position
        assert float(position.square().mean().sqrt()) == pytest.approx(0.01 * steps**0.5, rel=0.05)
        assert abs(float(position.mean())) < 4 * 0.01 * (steps / 4000) ** 0.5


def test_a_random_walk_depends_on_seed_layer_and_step_alone() -> None:
    state = torch.get_rng_state()
    assert torch.equal(walked(3).position, walked(3).position)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(walked(3, layer="b").position, walked(3).position)
    assert not torch.equal(walked(3, seed=1).position, walked(3).position)


def test_a_resumed_walk_goes_on_where_it_was() -> None:
    resumed = walked(0)
    resumed.load_state_dict(walked(2).state_dict())
    resumed.advance()
    assert torch.equal(resumed.position, walked(3).position)


def test_a_walk_is_in_units_of_the_deviation() -> None:
    deviation = torch.linspace(1, 3, 4000, dtype=torch.float64)
    walk = walked(2)
    assert torch.equal(walk.values(deviation), walk.position * deviation)


@pytest.fixture
def means(tmp_path: Path) -> str:
    file = str(tmp_path / "means.npz")
    np.savez(file, steps=[0, 10, 20], layer=[[0.0, 0], [1, -2], [3, -2]])
    return file


def network(means: str, *, layer: str = "layer") -> nn.Module:
    replayed = InterventionalCentring(2, form="full", shift=ReplayedMeans(2, means))
    return bind_shifts(nn.ModuleDict({layer: replayed}), seed=0)


def test_a_replay_is_linear_between_records_and_stays_past_the_last(means: str, seed: int) -> None:
    model = network(means).double()
    module = model["layer"]  # type: ignore[index]
    h = torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found = np.array([module(h).mean((0, 2)).tolist() for _ in range(25)])
    expected = np.stack([np.interp(np.arange(25), [0, 10, 20], column) for column in ([0, 1, 3], [0, -2, -2])], axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    module.eval()
    for _ in range(2):  # evaluation does not go on
        module.running_mean.copy_(h.mean((0, 2)))
        np.testing.assert_allclose(module(h).mean((0, 2)).tolist(), [3, -2], atol=1e-12)


def test_a_copy_and_a_checkpoint_of_a_replay_go_on_where_it_is(means: str, seed: int) -> None:
    model = network(means)
    h = torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(seed))
    for _ in range(7):
        model["layer"](h)  # type: ignore[index]
    resumed = network(means)
    resumed.load_state_dict(model.state_dict())
    for twin in (copy.deepcopy(model), resumed):
        assert torch.equal(twin["layer"](h), copy.deepcopy(model)["layer"](h))  # type: ignore[index]


@pytest.mark.parametrize(
    ("layer", "channels", "message"),
    [("other", 2, "expected means of 'other', there are layer"), ("layer", 3, r"shape \(3, 2\); expected \(3, 3\)")],
)
def test_a_file_of_another_network_is_told(means: str, layer: str, channels: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ReplayedMeans(channels, means).bind(layer, 0)


def test_a_missing_file_is_told() -> None:
    with pytest.raises(ValueError, match=r"replay:none\.npz: no such file\. Train the run that writes it first"):
        ReplayedMeans(2, "none.npz")
