"""Landscape, curvature and covariate shift against explicit float64 formulas of small networks."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from dynamics.landscape.along_gradient import along_gradient
from dynamics.landscape.batch_loss import BatchLoss, Gradient
from dynamics.landscape.covariate_shift import (
    Shift,
    after_step,
    covariate_shifts,
    layers_to_follow,
    mean_shift,
)
from dynamics.landscape.hessian import top_hessian_eigenvalue
from dynamics.models import build

EPS = 1e-5


@pytest.fixture
def batch(seed: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(seed)
    return torch.randn(9, 4, dtype=torch.float64), torch.arange(9) % 3


def network(norm: str) -> nn.Module:
    """Return linear, batch norm or nothing, tanh, linear: in float64."""
    between = [nn.BatchNorm1d(5, eps=EPS)] if norm == "bn" else []
    return nn.Sequential(nn.Linear(4, 5), *between, nn.Tanh(), nn.Linear(5, 3)).double()


def explicit(norm: str, x: Tensor, y: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the loss as a function of all parameters in one vector, in the network's order, written out."""
    sizes = [(5, 4), (5,), *([(5,), (5,)] if norm == "bn" else []), (3, 5), (3,)]

    def loss(vector: Tensor) -> Tensor:
        parts = [part.view(size) for part, size in zip(vector.split([math.prod(s) for s in sizes]), sizes, strict=True)]
        h = x @ parts[0].T + parts[1]
        if norm == "bn":
            h = (h - h.mean(0)) / (((h - h.mean(0)) ** 2).mean(0) + EPS).sqrt() * parts[2] + parts[3]
        f = torch.tanh(h) @ parts[-2].T + parts[-1]
        return (f.exp().sum(1).log() - f[torch.arange(len(y)), y]).mean()

    return loss


def vector(model: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().reshape(-1) for parameter in model.parameters()])


def gradient(loss: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    return torch.autograd.functional.jacobian(loss, at)


@pytest.mark.parametrize("norm", ["none", "bn"])
def test_along_the_gradient_loss_and_gradient_vary_as_written_out(norm: str, batch: tuple[Tensor, Tensor]) -> None:
    model, lengths = network(norm), [0.1, 1.0, 8.0]
    loss, w = explicit(norm, *batch), vector(model)
    g = gradient(loss, w)
    losses = [float(loss(w - eta * g)) for eta in lengths]
    changes = [float((gradient(loss, w - eta * g) - g).norm()) for eta in lengths]
    smoothness = max(change / (eta * float(g.norm())) for change, eta in zip(changes, lengths, strict=True))
    assert along_gradient(BatchLoss(model, *batch), step_lengths=lengths) == pytest.approx(
        {
            "loss_along_gradient_min": min(losses),
            "loss_along_gradient_max": max(losses),
            "gradient_change_min": min(changes),
            "gradient_change_max": max(changes),
            "effective_smoothness": smoothness,
            "batch_gradient_norm": float(g.norm()),
        },
        rel=1e-9,
    )


@pytest.mark.parametrize("norm", ["none", "bn"])
def test_the_top_eigenvalue_is_that_of_the_dense_hessian(norm: str, batch: tuple[Tensor, Tensor]) -> None:
    model = network(norm)
    H = torch.autograd.functional.hessian(explicit(norm, *batch), vector(model))
    expected = float(torch.linalg.eigvalsh(H)[-1])
    found = top_hessian_eigenvalue(BatchLoss(model, *batch), iterations=60, tolerance=1e-12)
    assert found == pytest.approx(expected, rel=1e-8)
    rough = top_hessian_eigenvalue(BatchLoss(model, *batch), iterations=3)
    assert rough <= expected * (1 + 1e-9)


class Quadratic:
    """``sum_i lambda_i x_i^2 / 2``, in the place of a network's loss."""

    def __init__(self, *eigenvalues: float) -> None:
        self.eigenvalues = torch.tensor(eigenvalues, dtype=torch.float64)
        self.parameters = {"x": torch.ones(len(eigenvalues), dtype=torch.float64)}

    def gradient(self, parameters: dict[str, Tensor], *, create_graph: bool) -> Gradient:
        x = parameters["x"].clone().requires_grad_()
        loss = (self.eigenvalues * x.square()).sum() / 2
        (g,) = torch.autograd.grad(loss, x, create_graph=create_graph)
        return Gradient(loss.detach(), {"x": x}, {"x": g})


@pytest.mark.parametrize(
    ("eigenvalues", "top"), [((4.0, 1.0, -2.0), 4.0), ((-5.0, 2.0, 1.0), 2.0), ((-5.0, -2.0), -2.0), ((0.0, 0.0), 0.0)]
)
def test_the_largest_eigenvalue_is_found_where_another_is_larger_in_magnitude(
    eigenvalues: tuple[float, ...], top: float
) -> None:
    found = top_hessian_eigenvalue(Quadratic(*eigenvalues), iterations=30, tolerance=1e-12)  # type: ignore[arg-type]
    assert found == pytest.approx(top, abs=1e-6)


@pytest.mark.parametrize("norm", ["none", "bn"])
def test_a_layers_shift_is_the_change_of_its_gradient_after_an_update_of_those_before(
    norm: str, batch: tuple[Tensor, Tensor]
) -> None:
    model = network(norm)
    loss, w = explicit(norm, *batch), vector(model)
    g = gradient(loss, w)
    eta, own = 0.7, slice(len(w) - 18, len(w))  # the last layer's 15 weights and 3 biases
    updated = {
        name: p.detach() - eta * part for (name, p), part in zip(model.named_parameters(), split(g, model), strict=True)
    }
    moved = w - eta * g
    moved[own] = w[own]
    G, after = g[own], gradient(loss, moved)[own]
    layer = "3" if norm == "bn" else "2"
    found = covariate_shifts(BatchLoss(model, *batch), updated, [layer, "0"])
    assert found[layer].l2 == pytest.approx(float((G - after).norm()), rel=1e-9)
    assert found[layer].cosine == pytest.approx(float(G @ after / (G.norm() * after.norm())), rel=1e-9)
    assert found["0"] == pytest.approx(Shift(0.0, 1.0))


def split(values: Tensor, model: nn.Module) -> list[Tensor]:
    parameters = list(model.parameters())
    parts = values.split([parameter.numel() for parameter in parameters])
    return [part.view(p.shape) for part, p in zip(parts, parameters, strict=True)]


def test_a_layer_without_parameters_is_refused(batch: tuple[Tensor, Tensor]) -> None:
    with pytest.raises(ValueError, match="expected layers with parameters that are trained, got '1'"):
        covariate_shifts(BatchLoss(network("none"), *batch), {}, ["1"])


def test_step_lengths_that_are_none_are_refused(batch: tuple[Tensor, Tensor]) -> None:
    loss = BatchLoss(network("none"), *batch)
    for lengths in ([], [0.1, 0.0]):
        with pytest.raises(ValueError, match="expected at least one, each above 0"):
            along_gradient(loss, step_lengths=lengths)
    with pytest.raises(ValueError, match="expected iterations >= 1, got 0"):
        top_hessian_eigenvalue(loss, iterations=0)


def test_layers_are_followed_at_even_distances_but_the_first() -> None:
    model = nn.Sequential(*(nn.Linear(2, 2) for _ in range(10)))
    assert layers_to_follow(model, most=3) == ["3", "6", "9"]
    assert layers_to_follow(model, most=20) == [str(i) for i in range(1, 10)]
    assert layers_to_follow(nn.Linear(2, 2), most=3) == []
    assert all(math.isnan(value) for value in mean_shift({}))
    assert mean_shift({"a": Shift(1.0, 0.5), "b": Shift(3.0, -0.5)}) == Shift(2.0, 0.0)


def test_the_step_after_is_the_optimizers_own_and_leaves_it_alone(batch: tuple[Tensor, Tensor]) -> None:
    model = network("bn")
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(2):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(batch[0]), batch[1]).backward()
        optimizer.step()
    loss = BatchLoss(model, *batch)
    before = copy.deepcopy(optimizer.state_dict())
    found = after_step(optimizer, loss.parameters, loss.gradient(loss.parameters).gradient)
    assert same_state(optimizer.state_dict(), before)
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(batch[0]), batch[1]).backward()
    optimizer.step()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(found[name], parameter.detach(), rtol=0, atol=1e-15)


def same_state(one: dict, other: dict) -> bool:
    pairs = [(value, other["state"][key][name]) for key, kept in one["state"].items() for name, value in kept.items()]
    return all(torch.equal(a, b) for a, b in pairs)


def test_every_evaluation_is_of_one_function_dropout_included(seed: int) -> None:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(6, 50), nn.Dropout(0.5), nn.Linear(50, 3))
    loss = BatchLoss(model, torch.randn(8, 6), torch.arange(8) % 3)
    assert torch.equal(loss(loss.parameters), loss(loss.parameters))
    other = BatchLoss(model, loss._inputs, loss._labels, seed=1)
    assert not torch.equal(loss(loss.parameters), other(loss.parameters))


@pytest.mark.parametrize("norm", ["bn", "sn", "msn", "released_sn", "released_msn", "sn_beta", "wn_mean"])
def test_the_network_and_the_random_stream_are_left_bitwise_alone(norm: str, seed: int) -> None:
    torch.manual_seed(seed)
    model = build("cnn3", norm, image_size=6, num_classes=3).train()
    model.features.block2.eval()
    images, labels = torch.randn(6, 1, 6, 6), torch.arange(6) % 3
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    nn.functional.cross_entropy(model(images), labels).backward()
    optimizer.step()
    state, moments = copy.deepcopy(model.state_dict()), copy.deepcopy(optimizer.state_dict())
    gradients = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    modes, random = [module.training for module in model.modules()], torch.get_rng_state()

    loss = BatchLoss(model, images, labels)
    updated = after_step(optimizer, loss.parameters, loss.gradient(loss.parameters).gradient)
    shifts = covariate_shifts(loss, updated, layers_to_follow(model, most=2))
    values = [*along_gradient(loss).values(), top_hessian_eigenvalue(loss, iterations=3), *mean_shift(shifts)]

    assert all(math.isfinite(value) for value in values)
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert same_state(optimizer.state_dict(), moments)
    for parameter, kept in zip(model.parameters(), gradients, strict=True):
        assert (parameter.grad is None) if kept is None else torch.equal(parameter.grad, kept)
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), random)


def test_the_loss_is_the_trainings_own(seed: int) -> None:
    """One power iteration and the batch's own mean, as the next training step would have them."""
    torch.manual_seed(seed)
    model = build("cnn3", "msn", image_size=6, num_classes=3).train()
    images, labels = torch.randn(6, 1, 6, 6), torch.arange(6) % 3
    loss = BatchLoss(model, images, labels)
    found = loss.gradient(loss.parameters)
    trained = nn.functional.cross_entropy(model(images), labels)
    trained.backward()
    assert torch.equal(found.loss, trained.detach())
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(found.gradient[name], parameter.grad)
