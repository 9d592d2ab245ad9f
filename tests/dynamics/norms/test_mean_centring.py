"""Mean-centring: Eq. 7 and 10, the projection that its Jacobian is, and what must not change it."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from dynamics.norms import MeanCentring
from tests.dynamics.norms.output_and_gradients import gradients

SHAPES = {
    "linear": (6, 3),
    "1d": (4, 3, 5),
    "2d": (3, 3, 4, 5),
    "3d": (2, 3, 2, 3, 4),
}
every_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


def numbers(shape: tuple[int, ...], seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype) + 2


def naive(h: Tensor, m: Tensor) -> Tensor:
    """Return Eq. 7 channel by channel."""
    return torch.stack([h[:, c] - h[:, c].mean() + m[c] for c in range(h.shape[1])], dim=1)


def centring(seed: int, dtype: torch.dtype = torch.float64, **settings: bool) -> MeanCentring:
    module = MeanCentring(3, **settings).to(dtype)  # type: ignore[arg-type]
    if module.bias is not None:
        nn.init.normal_(module.bias, generator=torch.Generator().manual_seed(seed))
    return module


@every_shape
@pytest.mark.parametrize("inplace", [False, True])
def test_output_and_gradients_are_those_of_equation_7(shape: tuple[int, ...], inplace: bool, seed: int) -> None:
    module, h = centring(seed, inplace=inplace), numbers(shape, seed)
    found = gradients(module, h, module.bias)
    expected = gradients(lambda x: naive(x, module.bias), h, module.bias)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@every_shape
def test_float32_agrees_with_the_naive_formula_to_a_millionth(shape: tuple[int, ...], seed: int) -> None:
    module, h = centring(seed, torch.float32, inplace=True), numbers(shape, seed, torch.float32)
    expected = gradients(lambda x: naive(x, module.bias.double()), h.double())
    for a, b in zip(gradients(module, h), expected, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-6, atol=1e-6)


@every_shape
def test_every_channel_has_the_learned_mean(shape: tuple[int, ...], seed: int) -> None:
    module = centring(seed)
    output = module(numbers(shape, seed))
    torch.testing.assert_close(output.movedim(1, 0).flatten(1).mean(1), module.bias)


def test_gradient_is_equation_10(seed: int) -> None:
    module, h = centring(seed), numbers(SHAPES["2d"], seed).requires_grad_()
    output = module(h)
    G = numbers(SHAPES["2d"], seed + 1)
    (found,) = torch.autograd.grad(output, h, G)
    torch.testing.assert_close(found, G - G.mean((0, 2, 3), keepdim=True))


@every_shape
@pytest.mark.parametrize("inplace", [False, True])
def test_first_and_second_derivative_are_those_of_the_function(
    shape: tuple[int, ...], inplace: bool, seed: int
) -> None:
    module = centring(seed, inplace=inplace)

    def function(h: Tensor, m: Tensor) -> Tensor:
        module.bias.data = m.detach()
        return module(h * h)

    h = numbers(shape, seed).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: function(x, module.bias), h)
    assert torch.autograd.gradgradcheck(lambda x: function(x, module.bias), h)


def test_its_jacobian_is_a_projection_of_norm_one(seed: int) -> None:
    module = centring(seed)
    h = numbers((2, 3, 2, 2), seed)
    J = torch.autograd.functional.jacobian(module, h).reshape(h.numel(), h.numel())
    torch.testing.assert_close(J @ J, J)
    torch.testing.assert_close(J, J.mT)
    torch.testing.assert_close(torch.linalg.matrix_norm(J, 2), torch.ones((), dtype=torch.float64))
    # It takes one direction a channel away and leaves all others: the paper's claim in section IV.C.
    torch.testing.assert_close(torch.trace(J), torch.tensor(h.numel() - 3.0, dtype=torch.float64))


def test_recentring_leaves_the_lipschitz_constant_of_a_layer_alone(seed: int) -> None:
    torch.manual_seed(seed)
    conv, module = nn.Conv2d(2, 3, 3, padding=1).double(), centring(seed)
    x = numbers((2, 2, 4, 4), seed)

    def stretch(function: Callable[[Tensor], Tensor]) -> float:
        J = torch.autograd.functional.jacobian(function, x).reshape(-1, x.numel())
        return float(torch.linalg.matrix_norm(J, 2))

    plain, trained = stretch(conv), stretch(lambda z: module(conv(z)))
    evaluated = stretch(lambda z: module.eval()(conv(z)))
    assert trained <= plain * (1 + 1e-12)  # a projection cannot stretch
    assert trained >= 0.9 * plain  # and what it takes away is a little of one batch
    assert evaluated == pytest.approx(plain, rel=1e-12)  # at evaluation it is a shift


def test_evaluation_subtracts_the_running_mean(seed: int) -> None:
    module, h = centring(seed), numbers(SHAPES["2d"], seed)
    expected = torch.zeros(3, dtype=torch.float64)
    for step in range(5):
        batch = h + step
        module(batch)
        expected = 0.9 * expected + 0.1 * batch.mean((0, 2, 3))
    torch.testing.assert_close(module.running_mean, expected)
    shift = (module.bias - expected)[:, None, None]
    torch.testing.assert_close(module.eval()(h), h + shift)


def test_running_mean_is_batch_norms(seed: int) -> None:
    module, batch_norm = centring(seed), nn.BatchNorm2d(3).double()
    for step in range(4):
        h = numbers(SHAPES["2d"], seed + step)
        module(h), batch_norm(h)
    torch.testing.assert_close(module.running_mean, batch_norm.running_mean)


def test_evaluation_moves_nothing(seed: int) -> None:
    module = centring(seed).eval()
    module(numbers(SHAPES["2d"], seed))
    assert torch.equal(module.running_mean, torch.zeros(3, dtype=torch.float64))


def test_without_bias_the_mean_is_zero(seed: int) -> None:
    module = centring(seed, bias=False)
    assert not list(module.parameters())
    output = module(numbers(SHAPES["2d"], seed))
    torch.testing.assert_close(output.mean((0, 2, 3)), torch.zeros(3, dtype=torch.float64), atol=1e-12, rtol=0)


def test_in_place_it_overwrites_its_input(seed: int) -> None:
    module, h = centring(seed, inplace=True), numbers(SHAPES["2d"], seed)
    assert module(h).data_ptr() == h.data_ptr()
    assert module.eval()(h).data_ptr() == h.data_ptr()


def test_not_in_place_it_leaves_its_input(seed: int) -> None:
    module, h = centring(seed), numbers(SHAPES["2d"], seed)
    before = h.clone()
    module(h), module.eval()(h)
    assert torch.equal(h, before)


def test_overwriting_what_a_backward_needs_raises(seed: int) -> None:
    x = numbers(SHAPES["2d"], seed).requires_grad_()
    output = centring(seed, inplace=True)(x.sigmoid())  # sigmoid's backward reads its output
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


def test_it_saves_no_activation(seed: int) -> None:
    saved: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        saved.append(tensor.numel())
        return tensor

    x = numbers((8, 3, 16, 16), seed).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        centring(seed)(x)
    assert sum(saved) <= 3


def test_memory_format_changes_no_number_and_is_kept(seed: int) -> None:
    module, h = centring(seed, inplace=True), numbers(SHAPES["2d"], seed)
    other = h.contiguous(memory_format=torch.channels_last)
    found = gradients(module, other)
    for a, b in zip(found, gradients(module, h), strict=True):
        torch.testing.assert_close(a, b)
    assert found[0].is_contiguous(memory_format=torch.channels_last)


def test_bfloat16_means_are_taken_in_float32(seed: int) -> None:
    module = centring(seed, torch.float32)
    h = (numbers((64, 3, 16, 16), seed, torch.float32) + 30).bfloat16()
    output = module(h)
    assert output.dtype == torch.bfloat16
    exact = naive(h.double(), module.bias.double())
    torch.testing.assert_close(output.double(), exact, rtol=2**-8, atol=2**-8)


def test_compiles_into_one_graph_with_the_same_numbers(seed: int) -> None:
    module = centring(seed, torch.float32, inplace=True)
    twin = copy.deepcopy(module)
    compiled = torch.compile(lambda x: twin(x * 1).sigmoid(), backend="aot_eager", fullgraph=True)
    leaf, twin_leaf = (numbers(SHAPES["2d"], seed, torch.float32).requires_grad_() for _ in range(2))
    expected, found = module(leaf * 1).sigmoid(), compiled(twin_leaf)
    (expected**2).sum().backward()
    (found**2).sum().backward()
    for a, b in ((found, expected), (twin_leaf.grad, leaf.grad), (twin.bias.grad, module.bias.grad)):
        torch.testing.assert_close(a, b)
    torch.testing.assert_close(twin.running_mean, module.running_mean)


def test_a_deep_copy_and_a_checkpoint_carry_everything(seed: int) -> None:
    module, h = centring(seed), numbers(SHAPES["2d"], seed)
    module(h)
    fresh = MeanCentring(3).double()
    fresh.load_state_dict(module.state_dict())
    assert list(module.state_dict()) == ["bias", "running_mean"]
    for twin in (copy.deepcopy(module), fresh):
        torch.testing.assert_close(twin.eval()(h), module.eval()(h), rtol=0, atol=0)


@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 1, 1), (0, 3, 4, 4)])
def test_one_value_a_channel_is_refused_in_training_alone(shape: tuple[int, ...]) -> None:
    module = MeanCentring(3)
    with pytest.raises(ValueError, match=r"one value a channel.* Use a larger batch, or eval\(\)"):
        module(torch.ones(shape))
    assert module.eval()(torch.ones(shape)).shape == shape


@pytest.mark.parametrize("shape", [(3,), (2, 4), (2, 4, 3, 3)])
def test_a_wrong_number_of_channels_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"MeanCentring: expected \(N, 3, ...\), got \("):
        MeanCentring(3)(torch.ones(shape))


def test_a_nan_shows(seed: int) -> None:
    h = numbers(SHAPES["2d"], seed)
    h[0, 1, 0, 0] = torch.nan
    output = centring(seed)(h)
    assert output[:, 1].isnan().all()
    assert not output[:, [0, 2]].isnan().any()


def test_its_settings_show() -> None:
    assert repr(MeanCentring(3)) == "MeanCentring(3, bias=True, momentum=0.1)"
