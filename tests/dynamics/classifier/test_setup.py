from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from dynamics.classifier.config import RunConfig
from dynamics.classifier.setup import assemble, check, set_up
from dynamics.data.sources import load_data


def test_the_released_scope_reaches_the_network() -> None:
    data = replace(load_data(), name="cifar10")
    counts = {
        scope: sum(
            parameter.numel()
            for parameter in assemble(RunConfig(model="densenet_bc", norm="sn", scope=scope), data).model.parameters()
        )
        for scope in ("full", "released")
    }
    assert counts["released"] > counts["full"]  # its dense layers keep batch norm's gamma and beta


def test_one_seed_gives_one_initialisation(tiny_data: str) -> None:
    first, again, other = (set_up(RunConfig(data=tiny_data, batch_size=16, seed=seed)).model for seed in (0, 0, 1))
    state, same, different = first.state_dict(), again.state_dict(), other.state_dict()
    assert all(torch.equal(state[name], same[name]) for name in state)
    assert not torch.equal(state["classifier.bias"], different["classifier.bias"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"norm": "bnn"}, "no norm 'bnn'"),
        ({"model": "cnn4"}, "no model 'cnn4'"),
        ({"augmentation": "blur"}, "augmentation 'blur'"),
        ({"batch_size": 5001}, "batch size 5001: expected 1 to 5000"),
        ({"data": "mnits"}, "data set 'mnits'"),
    ],
)
def test_a_sweep_is_checked_before_anything_is_trained(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check([RunConfig(), replace(RunConfig(), **settings)])  # type: ignore[arg-type]
