from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from dynamics.classifier.config import RunConfig
from dynamics.classifier.setup import assemble, augmentation, check, model_options, prepare_data, set_up
from dynamics.data.sources import load_data


def test_digits_are_not_mirrored_unless_asked() -> None:
    assert augmentation(RunConfig(data="mnist")) == "crop"
    assert augmentation(RunConfig(data="cifar10")) == "crop-flip"
    assert augmentation(RunConfig(data="mnist", augmentation="crop-flip")) == "crop-flip"


def test_the_scripts_mirror_digits_and_leave_svhn_alone() -> None:
    assert augmentation(RunConfig(data="mnist", definition="released")) == "crop-flip"
    assert augmentation(RunConfig(data="svhn", definition="released")) == "none"
    assert augmentation(RunConfig(data="svhn", definition="released", augmentation="crop")) == "crop"


def test_the_released_statistics_come_with_the_released_definition(tiny_data: str) -> None:
    data = replace(load_data(tiny_data), name="mnist")
    assert prepare_data(RunConfig(data="mnist", definition="released"), data).mean == (0.4914,)
    assert prepare_data(RunConfig(data="mnist"), data).mean == data.mean


def test_the_released_vgg7_has_relu_and_dropout_with_batch_norm_alone() -> None:
    assert model_options(RunConfig(model="vgg7", norm="bn", definition="released")) == {
        "activation": nn.ReLU,
        "dropout": 0.3,
    }
    assert model_options(RunConfig(model="vgg7", norm="sn", definition="released")) == {}


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


def test_a_model_with_one_scope_refuses_the_other() -> None:
    with pytest.raises(ValueError, match="scope 'released': model 'cnn3' has one scope, 'full'; densenet_bc has both"):
        model_options(RunConfig(model="cnn3", scope="released"))


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
