"""Activation checkpointing makes a forward twice, and what a norm carries along moves once.

Source: pytorch/pytorch#96136 (BatchNorm statistics under checkpoint).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

from dynamics.norms import NORMS, MeanCentring, SpectralRegularisation, convert, spectral_norm
from dynamics.norms.operator_norm_bound import bound_operator_norm
from dynamics.norms.spectral.precompute import precompute_before_forward

Run = Callable[[nn.Module, Tensor], Tensor]


def checkpointed(reentrant: bool) -> Run:
    return lambda model, x: checkpoint(model, x, use_reentrant=reentrant)


CHECKPOINTED: dict[str, Run] = {
    "not reentrant": checkpointed(False),
    "reentrant": checkpointed(True),
    "in two segments": lambda model, x: checkpoint_sequential(model, 2, x, use_reentrant=True),
    "nested": lambda model, x: checkpoint(partial(checkpoint, model, use_reentrant=False), x, use_reentrant=False),
}
every_way = pytest.mark.parametrize("way", CHECKPOINTED)


def centred() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 3), MeanCentring(3, inplace=True), nn.Tanh(), nn.Linear(3, 3), MeanCentring(3))


def spectral() -> nn.Sequential:
    return nn.Sequential(
        spectral_norm(nn.Linear(4, 3)), nn.Tanh(), spectral_norm(nn.Linear(3, 3), n_power_iterations=3)
    )


def mean_spectral() -> nn.Sequential:
    bn = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Tanh(), nn.Linear(3, 3), nn.BatchNorm1d(3))
    return convert(bn, "msn")  # type: ignore[return-value] - the weights are made before the forward


def bounded() -> nn.Sequential:
    return nn.Sequential(bound_operator_norm(nn.Linear(4, 3), (4,), beta=0.1), nn.Tanh(), nn.Linear(3, 3))


def half() -> nn.Sequential:
    return nn.Sequential(spectral_norm(nn.Linear(4, 3).bfloat16()), nn.Tanh(), nn.Linear(3, 3).bfloat16())


MODELS = {f.__name__: f for f in (centred, spectral, mean_spectral, bounded, half)}


@every_way
@pytest.mark.parametrize("name", MODELS)
def test_buffers_and_gradients_are_those_of_one_forward(name: str, way: str, seed: int) -> None:
    torch.manual_seed(seed)
    plain = MODELS[name]()
    saving = copy.deepcopy(plain)
    start = copy.deepcopy(plain.state_dict())
    for model, run in ((plain, lambda model, x: model(x)), (saving, CHECKPOINTED[way])):
        generator = torch.Generator().manual_seed(seed)
        for micro_batch in range(3):  # gradients accumulate: each micro-batch moves the buffers once
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
            x = (torch.randn(8, 4, generator=generator) + 5 + micro_batch).to(model[0].bias.dtype)
            run(model, x.requires_grad_()).square().sum().backward()
    buffers = dict(plain.named_buffers())
    assert any(not torch.equal(buffer, start[key]) for key, buffer in buffers.items())
    for key, buffer in saving.named_buffers():
        torch.testing.assert_close(buffer, buffers[key], rtol=0, atol=0, msg=key)
    for a, b in zip(saving.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-5, atol=1e-6)


@every_way
def test_a_checkpointed_step_moves_the_running_mean_as_far_as_a_plain_one(way: str, seed: int) -> None:
    torch.manual_seed(seed)
    module, x = MeanCentring(3), (torch.randn(8, 3) + 5).requires_grad_()
    model = nn.Sequential(module, nn.Identity())
    CHECKPOINTED[way](model, x).square().sum().backward()
    torch.testing.assert_close(module.running_mean, 0.1 * x.detach().mean(0))


def test_a_regularisation_that_is_checkpointed_iterates_once(seed: int) -> None:
    torch.manual_seed(seed)
    model = nn.Linear(4, 3)
    plain = SpectralRegularisation(model, strength=1)
    saving = copy.deepcopy(plain)
    plain().backward()
    checkpoint(saving, use_reentrant=False).backward()
    assert all(torch.equal(a, b) for a, b in zip(plain.buffers(), saving.buffers(), strict=True))


@pytest.mark.parametrize("grad", [True, False])
def test_a_training_forward_moves_the_running_mean_with_and_without_gradient(grad: bool, seed: int) -> None:
    module, x = MeanCentring(3), torch.ones(2, 3)
    with torch.set_grad_enabled(grad):
        module(x)
        torch.testing.assert_close(module.running_mean, torch.full((3,), 0.1))
        module.eval()(x)
    torch.testing.assert_close(module.running_mean, torch.full((3,), 0.1))


def test_precomputed_weights_of_a_whole_model_that_is_checkpointed(seed: int) -> None:
    torch.manual_seed(seed)
    plain = precompute_before_forward(spectral())
    saving, x = copy.deepcopy(plain), torch.randn(8, 4)
    for _ in range(3):
        plain(x).square().sum().backward()
        checkpoint(saving, x, use_reentrant=False).square().sum().backward()
    for a, b in zip(saving.parameters(), plain.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad)
    assert all(torch.equal(a, b) for a, b in zip(saving.buffers(), plain.buffers(), strict=True))


@pytest.mark.parametrize("name", ["msn", "wn_mean", "released_msn"])
def test_modules_of_the_registry_move_once(name: str, seed: int) -> None:
    torch.manual_seed(seed)
    plain = nn.Sequential(NORMS[name].module(3, 2), nn.Identity())
    assert list(plain.buffers())
    saving, x = copy.deepcopy(plain), torch.randn(4, 3, 5, 5) + 2
    plain((1 * x).requires_grad_() * 1).square().sum().backward()
    checkpoint(saving, (1 * x).requires_grad_() * 1, use_reentrant=False).square().sum().backward()
    assert all(torch.equal(a, b) for a, b in zip(saving.buffers(), plain.buffers(), strict=True))


def test_a_gradient_penalty_goes_through_a_checkpoint(seed: int) -> None:
    torch.manual_seed(seed)
    plain = mean_spectral().double()
    saving, x = copy.deepcopy(plain), torch.randn(8, 4).double().requires_grad_()
    for model, run in ((plain, lambda model, x: model(x)), (saving, CHECKPOINTED["not reentrant"])):
        (slope,) = torch.autograd.grad(run(model, x).sum(), x, create_graph=True)
        (slope.norm(dim=1) - 1).square().mean().backward()
    for a, b in zip(saving.parameters(), plain.parameters(), strict=True):
        assert (a.grad is None) == (b.grad is None)
        if a.grad is not None:
            torch.testing.assert_close(a.grad, b.grad)
    assert all(torch.equal(a, b) for a, b in zip(saving.buffers(), plain.buffers(), strict=True))
