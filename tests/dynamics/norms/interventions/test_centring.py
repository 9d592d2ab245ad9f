"""Each part of centring alone, against the formula written out in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dynamics.norms.interventions.centring import InterventionalCentring
from dynamics.norms.interventions.held_shift import HeldShift, InjectedDrift
from dynamics.norms.interventions.shift import Shift
from dynamics.norms.mean_centring import MeanCentring
from dynamics.norms.released import ReleasedMeanCentring

SHAPE = (3, 4, 5, 5)


def numbers(seed: int, shape: tuple[int, ...] = SHAPE) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 2


def channel_means(h: Tensor) -> Tensor:
    return h.mean((0, 2, 3), keepdim=True)


def centring(form: str, *, shift: Shift | None = None, **settings: float) -> InterventionalCentring:
    return InterventionalCentring(4, form=form, shift=shift or HeldShift(0.0), **settings).double()  # type: ignore[arg-type]


def output_and_gradient(module: torch.nn.Module, h: Tensor, G: Tensor) -> tuple[Tensor, Tensor]:
    h = h.clone().requires_grad_()
    output = module(h)
    (gradient,) = torch.autograd.grad(output, h, G)
    return output.detach(), gradient


@pytest.mark.parametrize("strength", [1.0, 0.25])
@pytest.mark.parametrize("form", ["none", "full", "forward", "backward"])
def test_each_form_acts_where_it_says(form: str, strength: float, seed: int) -> None:
    h, G = numbers(seed), numbers(seed + 1)
    output, gradient = output_and_gradient(centring(form, strength=strength), h, G)
    forward, backward = form in {"full", "forward"}, form in {"full", "backward"}
    torch.testing.assert_close(output, h - strength * forward * channel_means(h), rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(gradient, G - strength * backward * channel_means(G), rtol=1e-13, atol=1e-13)


def test_backward_only_leaves_the_forward_bit_for_bit(seed: int) -> None:
    h, G = numbers(seed), numbers(seed + 1)
    output, gradient = output_and_gradient(centring("backward"), h, G)
    assert torch.equal(output, h)
    _, full = output_and_gradient(centring("full"), h, G)
    assert torch.equal(gradient, full)


def test_forward_only_leaves_the_gradient_bit_for_bit(seed: int) -> None:
    h, G = numbers(seed), numbers(seed + 1)
    output, gradient = output_and_gradient(centring("forward"), h, G)
    assert torch.equal(gradient, G)
    full, _ = output_and_gradient(centring("full"), h, G)
    assert torch.equal(output, full)


def test_with_all_its_parts_it_is_mean_centring(seed: int) -> None:
    h, G = numbers(seed), numbers(seed + 1)
    ours, theirs = centring("full", shift=Shift()), MeanCentring(4).double()
    for module in (ours, theirs):
        torch.nn.init.normal_(module.bias, generator=torch.Generator().manual_seed(seed))
    for _ in range(2):
        for found, expected in zip(output_and_gradient(ours, h, G), output_and_gradient(theirs, h, G), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ours.eval()(h), theirs.eval()(h), rtol=1e-12, atol=1e-12)
    (m, expected) = (torch.autograd.grad(module.train()(h), module.bias, G)[0] for module in (ours, theirs))
    torch.testing.assert_close(m, expected)


def test_with_a_scale_it_is_what_the_scripts_do(seed: int) -> None:
    h, G = numbers(seed), numbers(seed + 1)
    ours, theirs = centring("full", shift=Shift(), scale=True), ReleasedMeanCentring(4).double()
    for module in (ours, theirs):
        draws = torch.Generator().manual_seed(seed)
        torch.nn.init.normal_(module.bias, generator=draws)
        torch.nn.init.normal_(module.weight, generator=draws)
    for found, expected in zip(output_and_gradient(ours, h, G), output_and_gradient(theirs, h, G), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    for name in ("bias", "weight"):
        grads = [torch.autograd.grad(module(h), getattr(module, name), G)[0] for module in (ours, theirs)]
        torch.testing.assert_close(grads[0], grads[1], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ours.eval()(h), theirs.eval()(h), rtol=1e-12, atol=1e-12)


def test_running_means_centre_in_training_as_in_evaluation(seed: int) -> None:
    module, expected = centring("running", momentum=0.25), torch.zeros(1, 4, 1, 1, dtype=torch.float64)
    for step in range(4):
        h, G = numbers(seed + step, (1, 4, 3, 3)), numbers(seed)[:1, :, :3, :3]
        expected = 0.75 * expected + 0.25 * channel_means(h)
        output, gradient = output_and_gradient(module, h, G)
        torch.testing.assert_close(output, h - expected)
        assert torch.equal(gradient, G)
    assert torch.equal(module.eval()(h), output)


def test_running_means_take_one_value_a_channel_and_batch_means_do_not(seed: int) -> None:
    h = numbers(seed, (1, 4))
    assert centring("running")(h).shape == h.shape
    with pytest.raises(ValueError, match=r"one value a channel.*centring 'running'"):
        centring("full")(h)


@pytest.mark.parametrize("form", ["none", "backward"])
def test_what_leaves_the_forward_alone_leaves_evaluation_alone(form: str, seed: int) -> None:
    module, h = centring(form), numbers(seed)
    module(h)
    assert torch.equal(module.eval()(h), h)
    torch.testing.assert_close(module.running_mean, 0.1 * channel_means(h).flatten())  # kept, for others to replay


def test_a_weakened_centring_subtracts_the_same_share_in_evaluation(seed: int) -> None:
    module, h = centring("full", strength=0.5, momentum=1.0), numbers(seed)
    torch.testing.assert_close(module(h), module.eval()(h))


def test_a_held_mean_is_what_every_channel_gets_and_no_gradient_moves_it(seed: int) -> None:
    module, h = centring("full", shift=HeldShift(0.3)), numbers(seed)
    torch.testing.assert_close(channel_means(module(h)), torch.full((1, 4, 1, 1), 0.3, dtype=torch.float64))
    assert not module.bias.requires_grad
    torch.testing.assert_close(module.bias.detach(), torch.full((4,), 0.3, dtype=torch.float64))  # for the probe


def test_injected_drift_is_in_units_of_each_channels_deviation(seed: int) -> None:
    module = centring("full", shift=InjectedDrift(-0.5), momentum=1.0)
    h = numbers(seed) * torch.tensor([1.0, 2, 3, 4])[:, None, None]
    deviation = h.var((0, 2, 3), unbiased=False).sqrt()
    for output in (module(h), module.eval()(h)):
        torch.testing.assert_close(channel_means(output).flatten(), -0.5 * deviation)
    _, gradient = output_and_gradient(module.train(), h, numbers(seed + 1))
    torch.testing.assert_close(gradient, numbers(seed + 1) - channel_means(numbers(seed + 1)))


def test_the_running_mean_moves_once_under_activation_checkpointing(seed: int) -> None:
    from torch.utils.checkpoint import checkpoint

    module, h = centring("full"), numbers(seed).requires_grad_()
    checkpoint(module, h, use_reentrant=False).square().sum().backward()
    torch.testing.assert_close(module.running_mean, 0.1 * channel_means(h.detach()).flatten())


def test_an_unknown_form_and_a_wrong_shape_are_told() -> None:
    with pytest.raises(ValueError, match="centring 'half': expected one of none, full, forward, backward, running"):
        centring("half")
    with pytest.raises(ValueError, match=r"expected \(N, 4, ...\), got \(2, 3\)"):
        centring("full")(torch.ones(2, 3))
