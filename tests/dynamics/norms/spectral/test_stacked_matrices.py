"""Attention and recurrent cells: each stacked matrix divided by its own largest singular value."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import analysis
from dynamics.norms import fold
from dynamics.norms.spectral.stacked_matrices import (
    StackedSpectralNorm,
    is_divided,
    spectral_norm_of_matrices,
    stacked_weights,
)
from probes import Probe

MODULES = {
    "attention": lambda: nn.MultiheadAttention(4, 2, batch_first=True),
    "attention of three widths": lambda: nn.MultiheadAttention(4, 2, kdim=3, vdim=5, batch_first=True),
    "LSTM cell": lambda: nn.LSTMCell(3, 4),
    "GRU cell": lambda: nn.GRUCell(3, 4),
    "RNN cell": lambda: nn.RNNCell(3, 4),
}
MATRICES = {"attention": 3, "attention of three widths": 1, "LSTM cell": 4, "GRU cell": 3, "RNN cell": 1}
each = pytest.mark.parametrize("kind", MODULES)


def made(kind: str, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return MODULES[kind]().double()


def converged(kind: str, seed: int) -> nn.Module:
    """Return a divided module whose power iterations have converged."""
    module = spectral_norm_of_matrices(made(kind, seed), n_power_iterations=300)
    for name in stacked_weights(module):
        getattr(module, name)
    return module.eval()


def call(module: nn.Module, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)

    def numbers(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    if isinstance(module, nn.MultiheadAttention):
        query, key, value = numbers(2, 5, 4), numbers(2, 6, module.kdim), numbers(2, 6, module.vdim)
        return module(query, key, value)[0]
    output = module(numbers(2, 3))
    return output[0] if isinstance(output, tuple) else output


def naive(weight: Tensor, matrices: int) -> Tensor:
    """Return each matrix divided by the first of its singular values."""
    rows = weight.shape[0] // matrices
    parts = [weight[i * rows : (i + 1) * rows] for i in range(matrices)]
    return torch.cat([W / torch.linalg.svdvals(W)[0] for W in parts])


@each
def test_each_matrix_is_divided_by_its_own_sigma(kind: str, seed: int) -> None:
    plain, module = made(kind, seed), converged(kind, seed)
    for name, matrices in stacked_weights(plain).items():
        assert matrices == MATRICES[kind]
        expected = naive(getattr(plain, name).detach(), matrices)
        torch.testing.assert_close(getattr(module, name), expected, rtol=1e-9, atol=1e-9)


@each
def test_the_gradient_is_that_through_each_sigma(kind: str, seed: int) -> None:
    plain, module = made(kind, seed), converged(kind, seed)
    for name, matrices in stacked_weights(plain).items():
        weight = getattr(plain, name)
        G = torch.linspace(-1, 2, weight.numel(), dtype=torch.float64).view_as(weight)
        (expected,) = torch.autograd.grad((naive(weight, matrices) * G).sum(), weight)
        original = module.get_parameter(f"parametrizations.{name}.original")
        (found,) = torch.autograd.grad((getattr(module, name) * G).sum(), original)
        torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-7)


@each
def test_the_output_is_that_of_plain_weights(kind: str, seed: int) -> None:
    plain, module = made(kind, seed), converged(kind, seed)
    with torch.no_grad():
        for name, matrices in stacked_weights(plain).items():
            getattr(plain, name).copy_(naive(getattr(plain, name), matrices))
    torch.testing.assert_close(call(module, seed), call(plain.eval(), seed), rtol=1e-9, atol=1e-9)
    with torch.no_grad():  # torch's fast path of attention
        torch.testing.assert_close(call(module, seed), call(plain, seed), rtol=1e-9, atol=1e-9)


@each
def test_it_trains(kind: str, seed: int) -> None:
    module = spectral_norm_of_matrices(made(kind, seed))
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    for _ in range(20):
        optimizer.zero_grad()
        call(module, seed).square().mean().backward()
        optimizer.step()
    for name, matrices in stacked_weights(module).items():
        for W in getattr(module.eval(), name).detach().chunk(matrices):
            assert float(torch.linalg.svdvals(W)[0]) == pytest.approx(1, abs=0.05)


@each
def test_a_probe_reads_the_weights_and_leaves_the_training_as_it_is(kind: str, seed: int, tmp_path: Path) -> None:
    def trained(*, observed: bool) -> dict[str, Tensor]:
        network = nn.Sequential(spectral_norm_of_matrices(made(kind, seed)))
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        with Probe(network, optimizer, store=tmp_path, run="it", every=1, enabled=observed):
            for _ in range(3):
                optimizer.zero_grad()
                call(network[0], seed).square().sum().backward()
                optimizer.step()
        return network.state_dict()

    bare, observed = trained(observed=False), trained(observed=True)
    assert all(torch.equal(bare[name], observed[name]) for name in bare)
    assert analysis.layers(tmp_path, columns=["weight_l2_norm"])["weight_l2_norm"].gt(0).any()


class Around(nn.Module):
    """A network of one module."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        return self.module(x, x, x) if isinstance(self.module, nn.MultiheadAttention) else self.module(x)


@each
def test_a_folded_copy_has_plain_weights_in_their_old_order(kind: str, seed: int) -> None:
    module, plain = converged(kind, seed), made(kind, seed)
    before = copy.deepcopy(module.state_dict())
    folded = fold(Around(module)).module
    assert type(folded) is type(plain)
    assert list(folded.state_dict()) == list(plain.state_dict())
    torch.testing.assert_close(call(folded, seed), call(module, seed), rtol=1e-12, atol=1e-12)
    assert is_divided(module)
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


@each
def test_a_checkpoint_carries_everything(kind: str, seed: int) -> None:
    module, other = converged(kind, seed), spectral_norm_of_matrices(made(kind, seed + 1)).eval()
    other.load_state_dict(module.state_dict())
    assert torch.equal(call(other, seed), call(module, seed))
    assert torch.equal(call(copy.deepcopy(module), seed), call(module, seed))


@each
def test_what_is_divided_is_known(kind: str, seed: int) -> None:
    module = made(kind, seed)
    assert not is_divided(module)
    assert is_divided(spectral_norm_of_matrices(module))


@pytest.mark.parametrize("module", [nn.LSTM(2, 2), nn.Linear(2, 2)])
def test_other_modules_are_refused(module: nn.Module) -> None:
    with pytest.raises(TypeError, match="has no stacked matrices that we know: expected one of MultiheadAttention"):
        spectral_norm_of_matrices(module)


def test_rows_that_cannot_be_shared_out_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected rows of 3 matrices of one size, got a weight \(4, 2\)"):
        StackedSpectralNorm(torch.zeros(4, 2), matrices=3)
