from __future__ import annotations

import pytest
from torch import nn

from dynamics.classifier.config import RunConfig
from dynamics.classifier.network import model_options


def test_the_released_vgg7_has_relu_and_dropout_with_batch_norm_alone() -> None:
    assert model_options(RunConfig(model="vgg7", norm="bn", definition="released")) == {
        "activation": nn.ReLU,
        "dropout": 0.3,
    }
    assert model_options(RunConfig(model="vgg7", norm="sn", definition="released")) == {}


def test_a_model_with_one_scope_refuses_the_other() -> None:
    with pytest.raises(ValueError, match="scope 'released': model 'cnn3' has one scope, 'full'; densenet_bc has both"):
        model_options(RunConfig(model="cnn3", scope="released"))
