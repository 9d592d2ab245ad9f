"""What is wrong before the first step is said once; what may be meant is a note in the run's row."""

from __future__ import annotations

import json
import warnings

import pytest
import torch
from torch import nn

from probes import Probe


def network():
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.1), nn.Linear(8, 2))


def sgd(*parameters):
    return torch.optim.SGD([each for some in parameters for each in some], lr=0.1)


@pytest.fixture
def said(store):
    """Return a function that makes a probe, trains a step, and returns warnings and the notes of the run's row."""

    def attach(model, optimizer, **options):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with Probe(model, optimizer, store=store, run="a", **options):
                loss = model(torch.randn(16, 4)).square().mean()
                if loss.requires_grad:
                    loss.backward()
                for each in optimizer if isinstance(optimizer, list) else [optimizer]:
                    each.step()
        import pandas as pd

        gaps = json.loads(pd.read_parquet(store / "runs")["gaps"].item())
        told = [str(one.message) for one in caught]
        notes = [g["why"] for g in gaps if g["what"] in ("parameters", "training mode")]
        return told, [why for why in notes if not any(why in one for one in told)]

    return attach


def test_a_training_as_it_should_be_says_nothing(said):
    model = network()
    assert said(model, sgd(model.parameters())) == ([], [])


def test_parameters_in_no_optimizer_are_named(said):
    model = network()
    (told,), _ = said(model, sgd(model[0].parameters(), model[1].parameters()))
    assert "in no optimizer, though they require a gradient: 4.weight, 4.bias. They are never updated" in told


def test_an_optimizer_of_a_copy_is_told(said):
    (told,), _ = said(network(), sgd(network().parameters()))
    assert "the optimizer holds none of the model's" in told


def test_copies_inside_a_wrapped_optimizer_may_be_master_weights(said):
    class Wrapped:
        def __init__(self, inside):
            self.inside = inside
            self.param_groups = inside.param_groups

        def step(self):
            self.inside.step()

    told, notes = said(network(), Wrapped(sgd(network().parameters())))
    assert told == []
    assert any("the optimizer holds none of the model's" in note for note in notes)


def test_parameters_in_two_optimizers_are_named(said):
    model = network()
    (told,), _ = said(model, [sgd(model.parameters()), sgd(model[4].parameters())])
    assert "held by two optimizers, so that each step moves them twice: 4.weight, 4.bias" in told


def test_frozen_parameters_are_a_note_and_a_model_without_others_a_warning(said):
    model = network()
    model[0].requires_grad_(False)
    assert said(model, sgd(model[1].parameters(), model[4].parameters())) == (
        [],
        ["frozen (requires_grad is False) at attaching: 0.weight, 0.bias"],
    )
    told, _ = said(model.requires_grad_(False), sgd(model.parameters()), overwrite=True)
    assert any("none requires a gradient: nothing is trained" in one for one in told)


def test_two_networks_with_an_optimizer_each_and_a_part_that_is_not_observed_say_nothing(said):
    model = network()
    assert said(model, [sgd(model[0].parameters(), model[1].parameters()), sgd(model[4].parameters())]) == ([], [])
    assert said(model, sgd(model[4].parameters()), include="4", overwrite=True) == ([], [])


def test_a_model_in_eval_mode_is_told_at_the_first_step_and_not_before(said):
    model = network().eval()
    (told,), _ = said(model, sgd(model.parameters()))
    assert "the model is in eval mode while it is trained" in told
    assert said(model, sgd(model.parameters()), overwrite=True, evaluation=True) == ([], [])


def test_single_modules_in_eval_mode_are_a_note(said):
    model = network()
    model[1].eval()
    assert said(model, sgd(model.parameters())) == ([], ["in eval mode while the model is trained: 1"])


def test_a_lazy_layer_is_refused_with_the_remedy(store):
    model = nn.Sequential(nn.LazyLinear(3))
    with pytest.raises(ValueError, match="layer '0' is lazy and has no weights yet: run one batch before attaching"):
        Probe(model, None, store=store, run="a")


def test_the_state_of_each_layer_is_in_the_store(store, table):
    model = network().to(torch.bfloat16)
    model[0].requires_grad_(False)
    model[1].eval()
    optimizer = torch.optim.SGD([{"params": model[1].parameters()}, {"params": model[4].weight}], lr=0.1)
    with pytest.warns(RuntimeWarning, match=r"in no optimizer, though they require a gradient: 4\.bias"):
        probe = Probe(model, optimizer, store=store, run="a", every=1, metrics=["state"])
    with probe:
        model(torch.randn(16, 4, dtype=torch.bfloat16)).sum().backward()
        optimizer.step()
    rows = table("layers").set_index("layer")
    assert rows["requires_grad"].tolist() == [0, 1, 1]
    assert rows["training"].tolist() == [1, 0, 1]
    assert rows["optimizer_group"].fillna(-1).tolist() == [-1, 0, 1]
    assert rows["weight_epsilon"].tolist() == [2**-7] * 3
