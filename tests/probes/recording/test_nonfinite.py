"""A gradient or logged loss that is not finite is recorded at its step, whatever the schedule, and nothing else is."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from probes import Probe
from probes.gaps import Gaps
from probes.metrics import METRICS
from probes.model.parameters import parameters_of
from probes.recording.nonfinite import MOST_EPISODES, NonfiniteWatch

NAN = float("nan")


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))


def as_given(_step, value):
    return value


def train(store=None, *, spoil=as_given, logged=as_given, steps=12, of_loss=torch.mean, **options):
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    probe = Probe(model, optimizer, store=store, run="a", strict=True, **options) if store else None
    losses = []
    for step in range(steps):
        x = spoil(step, torch.randn(16, 4, generator=torch.Generator().manual_seed(step)))
        loss = of_loss(model(x).square())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if probe is not None:
            probe.log(loss=logged(step, loss.detach()))
    if probe is not None:
        probe.close()
    return losses


def nan_at(*steps):
    return lambda step, x: x * NAN if step in steps else x


def began(table):
    gaps = json.loads(table("runs")["gaps"].item())
    return [(gap["first_step"], gap["why"].partition(";")[0]) for gap in gaps if "not finite" in gap["what"]]


def test_weights_and_gradients_are_recorded_at_that_step_and_activations_at_the_next(store, table):
    train(store, spoil=nan_at(7), every=100)
    rows = table("layers").set_index("step")
    assert sorted(set(rows.index)) == [0, 7, 8]
    assert (rows.loc[7, "grad_nonfinite"] > 0).all()
    assert (rows.loc[7, "weight_nonfinite"] == 0).all()
    assert rows.loc[7, "activation_mean"].isna().all()
    assert (rows.loc[8, "weight_nonfinite"] > 0).all()
    assert (rows.loc[8, "activation_nonfinite"] > 0).all()
    assert began(table) == [(7, "first seen in the gradient of 0.weight")]


def test_nan_of_the_backward_pass_alone_is_seen_at_its_step(store, table):
    def length_of_zeros_at_5(squares):  # the derivative of a root at 0
        return squares.mean() + (squares[0, 0] * 0).sqrt() if squares.mean() < 0.02 else squares.mean()

    train(store, every=100, of_loss=length_of_zeros_at_5)
    rows = table("layers").set_index("step")
    first = rows.index[rows["grad_nonfinite"] > 0].min()
    assert table("steps").set_index("step")["loss"].loc[first] < 0.02
    assert began(table)[0][0] == first > 0


def test_metrics_that_the_schedule_leaves_out_at_that_step_are_added(store, table):
    train(store, spoil=nan_at(7), every={"gradients": 1, "weights": 100})
    rows = table("layers").set_index("step")
    assert len(rows) == 12 * 3
    assert sorted(set(rows.index[rows["weight_mean"].notna() | (rows["weight_nonfinite"] > 0)])) == [0, 7, 8]


def test_a_logged_loss_alone_is_recorded_at_the_next_step(store, table):
    train(store, logged=lambda step, loss: NAN if step == 4 else loss, every=100)
    assert sorted(set(table("layers")["step"])) == [0, 5, 6]
    assert began(table) == [(4, "first seen in the logged loss")]


def test_only_what_was_chosen_is_recorded(store, table):
    train(store, spoil=nan_at(7), every=100, metrics=["gradients"])
    rows = table("layers")
    assert sorted(set(rows["step"])) == [0, 7, 8]
    assert rows["weight_mean"].isna().all()


def test_a_healthy_training_is_recorded_as_scheduled(store, table):
    train(store, every=5)
    assert sorted(set(table("layers")["step"])) == [0, 5, 10]
    assert began(table) == []


def test_the_training_is_bitwise_the_same(store):
    assert str(train(store, spoil=nan_at(9), every=5)) == str(train(spoil=nan_at(9)))


def watching(**ranks):
    model = network()
    model(torch.randn(16, 4)).square().mean().backward()
    gaps = Gaps()
    watch, parameters = NonfiniteWatch(list(METRICS.values()), gaps, **ranks), parameters_of(model)
    return model, gaps, lambda step, **how: watch.look(step, None, lambda: parameters, **{"scaled": False, **how})


@pytest.fixture
def watched():
    return watching()


@pytest.mark.parametrize(("rank", "told"), [(0, [3]), (1, [])])
def test_of_several_ranks_the_first_tells_the_step_and_none_records_beside_the_schedule(rank, told):
    model, gaps, look = watching(rank=rank, ranks=2)
    assert not look(2)
    model[0].weight.grad *= NAN
    assert not look(3)
    assert [gap["first_step"] for gap in gaps.entries()] == told


def test_a_run_that_is_not_finite_now_and_then_is_recorded_a_few_times(watched):
    model, gaps, look = watched
    finite = model[0].weight.grad.clone()
    begun = 0
    for step in range(50):
        model[0].weight.grad = finite * NAN if step % 2 else finite.clone()
        begun += bool(look(step))
    assert begun == MOST_EPISODES
    assert [gap["first_step"] for gap in gaps.entries()] == list(range(1, 2 * MOST_EPISODES, 2))


def test_finite_entries_whose_sum_overflows_are_finite(watched):
    model, _, look = watched
    model[0].weight.grad = torch.full_like(model[0].weight, 3e38)
    assert not look(0)
    model[0].weight.grad[0, 0] = float("inf")
    assert look(1)


def test_gradients_that_are_still_scaled_are_passed_over(watched):
    model, _, look = watched
    model[0].weight.grad *= NAN
    assert not look(0, scaled=True)
    assert look(1)


def test_a_branch_that_the_first_parameter_knows_nothing_of_comes_in_its_turn(watched):
    model, gaps, look = watched
    model[4].bias.grad *= NAN
    steps = [step for step in range(40) if look(step)]
    assert steps
    assert "4.bias" in gaps.entries()[0]["why"]


@pytest.mark.parametrize("spoiled", [0, 3, 5, 6])
def test_on_a_device_the_step_is_kept_and_known_a_few_steps_later(spoiled, store, table, as_on_a_device):
    train(store, spoil=lambda step, x: x * NAN if step == spoiled else x, every=100, steps=20)
    (note,) = [gap for gap in json.loads(table("runs")["gaps"].item()) if "not finite" in gap["what"]]
    assert note["first_step"] == spoiled
    first, *others = [step for step in sorted(set(table("layers")["step"])) if step]
    assert spoiled <= first <= spoiled + 5
    assert others == [first + 1]
