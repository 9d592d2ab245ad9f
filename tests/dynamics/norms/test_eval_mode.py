"""Evaluation mode for a block, and the modes before it back."""

from __future__ import annotations

import pytest
from torch import nn

from dynamics.norms.eval_mode import evaluating


def mixed() -> nn.Sequential:
    """Return a model in training whose second child is in evaluation."""
    model = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout()))
    model[1].eval()
    return model


def modes(model: nn.Module) -> list[bool]:
    return [module.training for module in model.modules()]


def test_every_module_is_in_evaluation_within_and_as_it_was_behind() -> None:
    model = mixed()
    with evaluating(model):
        assert modes(model) == [False] * 4
    assert modes(model) == [True, True, False, False]


def test_modes_come_back_after_an_error() -> None:
    model = mixed()
    with pytest.raises(KeyError), evaluating(model):
        raise KeyError
    assert modes(model) == [True, True, False, False]
