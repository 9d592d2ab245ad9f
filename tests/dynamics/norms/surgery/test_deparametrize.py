"""A reparametrised layer read quietly and made plain again."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from dynamics.norms import spectral_norm
from dynamics.norms.surgery.deparametrize import deparametrize, is_reparametrised, original_weight, quiet_weight


def test_reading_quietly_changes_nothing(seed: int) -> None:
    torch.manual_seed(seed)
    layer = spectral_norm(nn.Linear(3, 2))
    before = copy.deepcopy(layer.state_dict())
    weight = quiet_weight(layer)
    assert all(torch.equal(tensor, before[name]) for name, tensor in layer.state_dict().items())
    assert all(module.training for module in layer.modules())
    torch.testing.assert_close(weight, layer.eval().weight.detach())


def test_a_plain_layer_is_what_it_was_before(seed: int) -> None:
    torch.manual_seed(seed)
    layer = nn.Conv2d(2, 3, 3)
    state = copy.deepcopy(layer.state_dict())
    spectral_norm(layer)
    assert is_reparametrised(layer)
    deparametrize(layer, original_weight(layer))
    assert not is_reparametrised(layer)
    assert type(layer) is nn.Conv2d
    assert list(layer.state_dict()) == list(state)
    assert torch.equal(layer.weight, state["weight"])


def test_the_layer_that_a_copy_was_taken_of_keeps_its_norm(seed: int) -> None:
    torch.manual_seed(seed)
    layer = spectral_norm(nn.Linear(3, 2))
    twin = copy.deepcopy(layer)
    deparametrize(twin, original_weight(twin))
    assert is_reparametrised(layer)
    assert layer(torch.ones(1, 3)).shape == twin(torch.ones(1, 3)).shape == (1, 2)


def test_a_second_reparametrised_tensor_is_refused() -> None:
    layer = parametrizations.weight_norm(spectral_norm(nn.Linear(3, 2)), "bias")
    with pytest.raises(ValueError, match=r"Linear: expected only its weight .* got \['weight', 'bias'\]"):
        deparametrize(layer, torch.ones(2, 3))
