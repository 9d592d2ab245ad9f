"""Spectral norm: torch's numbers, the paper's gradients, and what a parametrization must survive."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from dynamics.norms import SpectralNorm, spectral_norm
from dynamics.norms.weight_matrix import output_dimension, unfold_weight

LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(6, 5), (4, 6)),
    "conv1d": (lambda: nn.Conv1d(4, 6, 3, stride=2, padding=1), (2, 4, 9)),
    "conv2d": (lambda: nn.Conv2d(3, 5, 3, padding=2, dilation=2), (2, 3, 8, 8)),
    "conv2d grouped": (lambda: nn.Conv2d(4, 6, (3, 2), stride=(2, 1), groups=2), (2, 4, 7, 7)),
    "conv3d": (lambda: nn.Conv3d(2, 3, 2, bias=False), (2, 2, 4, 4, 4)),
    "transposed 1d": (lambda: nn.ConvTranspose1d(3, 4, 3, stride=2), (2, 3, 5)),
    "transposed 2d": (lambda: nn.ConvTranspose2d(4, 3, 4, stride=2, padding=1), (2, 4, 5, 5)),
    "transposed 2d grouped": (lambda: nn.ConvTranspose2d(4, 6, 3, groups=2, output_padding=1, stride=2), (2, 4, 5, 5)),
    "transposed 3d": (lambda: nn.ConvTranspose3d(2, 3, 2), (2, 2, 3, 3, 3)),
}
every_layer = pytest.mark.parametrize("kind", LAYERS)


def make(kind: str, seed: int, dtype: torch.dtype = torch.float64) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(seed)
    layer, shape = LAYERS[kind][0]().to(dtype), LAYERS[kind][1]
    return layer, torch.randn(shape, dtype=dtype)


def pair(kind: str, seed: int, dtype: torch.dtype) -> tuple[nn.Module, nn.Module, Tensor]:
    """Return the same layer under our spectral norm and under torch's, from the same random numbers."""
    layer, x = make(kind, seed, dtype)
    theirs = copy.deepcopy(layer)
    torch.manual_seed(seed)
    spectral_norm(layer)
    torch.manual_seed(seed)
    parametrizations.spectral_norm(theirs)
    return layer, theirs, x


def state(layer: nn.Module) -> SpectralNorm:
    norm = layer.get_submodule("parametrizations.weight.0")
    assert isinstance(norm, SpectralNorm)
    return norm


def original(layer: nn.Module) -> nn.Parameter:
    return layer.get_parameter("parametrizations.weight.original")


def matrix(layer: nn.Module) -> Tensor:
    return unfold_weight(original(layer).detach(), dim=output_dimension(layer))


@every_layer
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_fifty_noisy_updates_agree_with_torch(kind: str, dtype: torch.dtype, tolerance: float, seed: int) -> None:
    ours, theirs, x = pair(kind, seed, dtype)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(50):
        outputs = [layer(x) for layer in (ours, theirs)]
        direction = torch.randn(outputs[0].shape, generator=generator, dtype=dtype)
        for layer, output in zip((ours, theirs), outputs, strict=True):
            layer.zero_grad()
            (output * direction).sum().backward()
        found, wanted = state(ours), theirs.get_submodule("parametrizations.weight.0")
        torch.testing.assert_close(outputs[0], outputs[1], rtol=tolerance, atol=tolerance)
        for a, b in ((found._u, wanted._u), (found._v, wanted._v), (original(ours).grad, original(theirs).grad)):
            scale = float(b.abs().max())
            torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance * scale)
        noise = 0.05 * torch.randn(original(ours).shape, generator=generator, dtype=dtype)
        with torch.no_grad():
            for layer in (ours, theirs):
                original(layer).add_(noise)


@every_layer
def test_evaluation_agrees_with_torch_where_the_vectors_are_stale(kind: str, seed: int) -> None:
    ours, theirs, x = pair(kind, seed, torch.float64)
    with torch.no_grad():
        for layer in (ours, theirs):
            original(layer).mul_(torch.linspace(0.5, 2, original(layer).numel()).view_as(original(layer)))
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x), rtol=1e-12, atol=1e-12)


@every_layer
def test_first_and_second_derivative_are_those_of_the_function(kind: str, seed: int) -> None:
    layer, _ = make(kind, seed)
    norm = SpectralNorm(layer.weight, dim=output_dimension(layer)).eval()
    weight = layer.weight.detach().requires_grad_()
    assert torch.autograd.gradcheck(norm, weight)
    assert torch.autograd.gradgradcheck(norm, weight)


def test_gradient_of_an_entry_is_equation_9(seed: int) -> None:
    torch.manual_seed(seed)
    W = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    norm = SpectralNorm(W)
    for _ in range(500):
        W_hat = norm(W)
    U, S, V = torch.linalg.svd(W.detach())
    for i in range(4):
        for j in range(3):
            (slope,) = torch.autograd.grad(W_hat[i, j], W, retain_graph=True)
            unit = torch.zeros_like(W)
            unit[i, j] = 1
            # Eq. 9 read along row and column of the entry: d W_hat[i, j] / d W = (I_ij - u1 v1^T W_hat[i, j]) / sigma
            expected = (unit - torch.outer(U[:, 0], V[0]) * W_hat[i, j].detach()) / S[0]
            torch.testing.assert_close(slope, expected, rtol=1e-9, atol=1e-9)


def test_equation_8_and_9_agree(seed: int) -> None:
    torch.manual_seed(seed)
    W = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    sigma = torch.linalg.matrix_norm(W, 2)
    (slope,) = torch.autograd.grad(sigma, W)
    U, _, V = torch.linalg.svd(W.detach())
    torch.testing.assert_close(slope, torch.outer(U[:, 0], V[0]))


def test_gradient_has_no_part_that_would_change_the_scale(seed: int) -> None:
    layer, x = make("conv2d", seed)
    spectral_norm(layer)
    layer(x).square().sum().backward()
    assert original(layer).grad.abs().max() > 1e-3
    # W / sigma(W) does not change with the scale of W, so its gradient is orthogonal to W (Euler).
    assert abs(float((original(layer).grad * original(layer).detach()).sum())) < 1e-12


@every_layer
def test_power_iteration_converges_to_the_largest_singular_value(kind: str, seed: int) -> None:
    layer, x = make(kind, seed)
    spectral_norm(layer)
    for _ in range(300):
        layer(x)
    W = unfold_weight(layer.weight.detach(), dim=output_dimension(layer))
    torch.testing.assert_close(torch.linalg.matrix_norm(W, 2), torch.ones((), dtype=W.dtype), rtol=1e-6, atol=0)


def test_each_training_forward_makes_one_power_iteration(seed: int) -> None:
    layer, x = make("linear", seed)
    spectral_norm(layer)
    W, v = matrix(layer), state(layer)._v.clone()
    u = W @ v / (W @ v).norm()
    layer(x)
    torch.testing.assert_close(state(layer)._u, u)
    torch.testing.assert_close(state(layer)._v, W.mT @ u / (W.mT @ u).norm())


def test_evaluation_moves_nothing(seed: int) -> None:
    layer, x = make("conv2d", seed)
    spectral_norm(layer).eval()
    before = copy.deepcopy(layer.state_dict())
    first = layer(x)
    torch.testing.assert_close(layer(x), first, rtol=0, atol=0)
    for name, tensor in layer.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_more_power_iterations_are_as_many_forwards(seed: int) -> None:
    (once, x), (thrice, _) = make("linear", seed), make("linear", seed)
    for layer, count in ((once, 1), (thrice, 3)):
        torch.manual_seed(seed)
        spectral_norm(layer, n_power_iterations=count)
    # Registering reads the weight: one forward of either.
    for _ in range(5):
        once(x)
    thrice(x)
    torch.testing.assert_close(state(once)._v, state(thrice)._v)


def test_two_forwards_before_one_backward_each_keep_their_vectors(seed: int) -> None:
    layer, x = make("conv2d", seed)
    spectral_norm(layer)
    together, apart = copy.deepcopy(layer), copy.deepcopy(layer)
    (together(x).sum() - together(2 * x).square().sum()).backward()
    apart(x).sum().backward()
    (-apart(2 * x).square().sum()).backward()
    torch.testing.assert_close(original(together).grad, original(apart).grad)


def test_a_hook_that_keeps_the_gradient_changes_no_bit(seed: int) -> None:
    torch.manual_seed(seed)
    layer = spectral_norm(nn.Linear(300, 300, bias=False))  # large enough for its gradient to be overwritten
    twin, x, kept = copy.deepcopy(layer), torch.randn(5, 300), []
    for module, hooked in ((layer, False), (twin, True)):
        weight = module.weight
        if hooked:
            weight.register_hook(lambda G: kept.append((G, G.clone())))
        torch.nn.functional.linear(x, weight).square().sum().backward()
    assert torch.equal(original(layer).grad, original(twin).grad)
    assert torch.equal(*kept[0])


def test_checkpoints_go_to_torch_and_back(seed: int) -> None:
    for kind in LAYERS:
        ours, theirs, x = pair(kind, seed, torch.float64)
        for _ in range(3):
            ours(x)
        theirs.load_state_dict(ours.state_dict())
        assert list(ours.state_dict()) == list(theirs.state_dict())
        torch.testing.assert_close(theirs(x), ours(x), rtol=1e-12, atol=1e-12)
        fresh, _ = make(kind, seed + 1)
        spectral_norm(fresh).load_state_dict(theirs.state_dict())
        torch.testing.assert_close(fresh.eval()(x), theirs.eval()(x), rtol=1e-12, atol=1e-12)


def test_a_deep_copy_goes_its_own_way(seed: int) -> None:
    layer, x = make("conv2d", seed)
    spectral_norm(layer)
    twin = copy.deepcopy(layer)
    torch.testing.assert_close(twin(x), layer(x), rtol=0, atol=0)
    before = state(layer)._u.clone()
    for _ in range(3):
        twin(x)
    assert torch.equal(state(layer)._u, before)


def test_assigning_a_weight_stores_it(seed: int) -> None:
    layer, _ = make("linear", seed)
    spectral_norm(layer)
    weight = torch.randn(5, 6, dtype=torch.float64)
    layer.weight = weight
    torch.testing.assert_close(original(layer).detach(), weight)


def test_removal_leaves_the_normalised_weight(seed: int) -> None:
    layer, x = make("conv2d", seed)
    spectral_norm(layer).eval()
    expected = layer(x)
    parametrize.remove_parametrizations(layer, "weight")
    assert type(layer) is nn.Conv2d
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=0)


def test_caching_reads_the_weight_once(seed: int) -> None:
    layer, x = make("linear", seed)
    spectral_norm(layer)
    with parametrize.cached():
        layer(x)
        u = state(layer)._u.clone()
        layer(x)
    assert torch.equal(state(layer)._u, u)


def test_an_all_zero_weight_stays_zero_and_finite(seed: int) -> None:
    layer, x = make("linear", seed)
    nn.init.zeros_(layer.weight)
    spectral_norm(layer)
    for mode in (True, False):
        layer.train(mode).zero_grad()
        layer(x).sum().backward()
        assert torch.equal(layer.weight, torch.zeros_like(layer.weight))
        assert original(layer).grad.isfinite().all()


def test_a_weight_that_was_zero_is_normalised_once_it_is_not(seed: int) -> None:
    layer, x = make("linear", seed)
    nn.init.zeros_(layer.weight)
    spectral_norm(layer)
    layer(x)
    with torch.no_grad():
        original(layer).copy_(torch.randn(5, 6))
    for _ in range(200):
        layer(x)
    torch.testing.assert_close(torch.linalg.matrix_norm(layer.weight, 2).detach(), torch.ones((), dtype=torch.float64))


def test_a_nan_in_the_weight_shows(seed: int) -> None:
    layer, x = make("linear", seed)
    spectral_norm(layer)
    with torch.no_grad():
        original(layer)[0, 0] = torch.nan
    assert layer(x).isnan().any()


@pytest.mark.parametrize("kind", ["conv2d", "transposed 2d", "conv2d grouped"])
def test_memory_format_changes_no_number(kind: str, seed: int) -> None:
    layer, x = make(kind, seed)
    spectral_norm(layer)
    other = copy.deepcopy(layer).to(memory_format=torch.channels_last)
    for _ in range(3):
        ours, theirs = layer(x), other(x.contiguous(memory_format=torch.channels_last))
        ours.square().sum().backward()
        theirs.square().sum().backward()
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(original(layer).grad, original(other).grad, rtol=1e-12, atol=1e-12)
    assert other.weight.is_contiguous(memory_format=torch.channels_last)


def test_a_one_channel_weight_keeps_its_channels_last_strides() -> None:
    layer = spectral_norm(nn.Conv2d(1, 8, 3)).to(memory_format=torch.channels_last)
    assert layer.weight.stride() == original(layer).stride() == (9, 1, 3, 1)


def test_autocast_takes_sigma_in_float32(seed: int) -> None:
    for mode in (True, False):
        layer, x = make("conv2d", seed, torch.float32)
        spectral_norm(layer).train(mode)
        expected, plain = copy.deepcopy(layer).weight, layer.weight
        torch.testing.assert_close(plain, expected, rtol=0, atol=0)
        twin = copy.deepcopy(layer)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output, inside = layer(x), layer.weight
        twin(x)
        assert output.dtype == torch.bfloat16
        torch.testing.assert_close(inside, twin.weight, rtol=0, atol=0)


@pytest.mark.parametrize("mode", [True, False])
def test_compiles_into_one_graph_with_the_same_numbers(mode: bool, seed: int) -> None:
    layer, x = make("conv2d", seed, torch.float64)  # in float32 two orders of a sum differ by more than a fault would
    spectral_norm(layer).train(mode)
    twin = copy.deepcopy(layer)
    compiled = torch.compile(twin, backend="aot_eager", fullgraph=True)
    for _ in range(3):
        expected, found = layer(x), compiled(x)
        expected.square().sum().backward()
        found.square().sum().backward()
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(original(twin).grad, original(layer).grad, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(state(twin)._u, state(layer)._u)


def test_a_gradient_penalty_reaches_the_weight(seed: int) -> None:
    layer, x = make("linear", seed)
    spectral_norm(layer)

    def penalty(weight: Tensor) -> Tensor:
        point = x.clone().requires_grad_()
        output = torch.nn.functional.linear(point, state(layer)(weight)).tanh().sum()
        (slope,) = torch.autograd.grad(output, point, create_graph=True)
        return (slope.norm(dim=1) - 1).square().mean()

    layer.eval()
    assert torch.autograd.gradcheck(penalty, original(layer).detach().requires_grad_())


def test_a_layer_without_such_a_weight_is_refused() -> None:
    with pytest.raises(TypeError, match="cannot normalise the weight of ReLU: expected one of Linear, Conv1d"):
        spectral_norm(nn.ReLU())


def test_a_vector_is_refused() -> None:
    with pytest.raises(ValueError, match=r"two or more dimensions, got \(3,\)"):
        SpectralNorm(torch.ones(3))


def test_no_power_iteration_is_refused() -> None:
    with pytest.raises(ValueError, match="n_power_iterations: expected at least 1, got 0"):
        SpectralNorm(torch.ones(3, 3), n_power_iterations=0)


def test_its_settings_show() -> None:
    assert "n_power_iterations=1, dim=0" in repr(spectral_norm(nn.Linear(2, 2)))


def test_a_weight_that_is_parametrized_already_is_normalised_behind_that():
    layer = spectral_norm(nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)))
    for _ in range(30):
        layer(torch.randn(2, 4))
    assert torch.linalg.matrix_norm(layer.weight, 2).item() == pytest.approx(1, rel=1e-4)
