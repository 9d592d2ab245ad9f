import math

import numpy as np
import pytest
import torch

from probes.metrics.activation_moments import (
    MOMENTS,
    _from_channel_variances,
    activation_statistics,
    begin_moments,
    finish_moments,
    merge_moments,
    reduce_moments,
)


def example(kind):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(6, 5, 7, 3, generator=generator) * torch.rand(5, 1, 1, generator=generator) - 0.3
    return {
        "image": (x, 1),
        "channels last": (x.contiguous(memory_format=torch.channels_last), 1),
        "strided": (x[:, ::2, 1:], 1),
        "features": (x[:, :, 0, 0].contiguous(), -1),
        "tokens": (torch.randn(4, 9, 16, generator=generator), -1),
        "series": (torch.randn(4, 3, 50, generator=generator), 1),
        "far from zero": (x * 1e-3 + 300, 1),
        "tiny": (x * 1e-17, 1),
        "constant": (torch.full((4, 2, 3), 0.7), 1),
        "bfloat16": (x.bfloat16(), 1),
        "double": (x.double(), 1),
        "vector": (x[0, :, 0, 0].contiguous(), -1),
        "scalar": (torch.tensor(2.5), -1),
        "empty": (torch.empty(0, 4, 3), 1),
    }[kind]


KINDS = ["image", "channels last", "strided", "features", "tokens", "series", "far from zero", "tiny", "constant"]
KINDS += ["bfloat16", "double", "vector", "scalar"]


@pytest.mark.parametrize("reduce", [reduce_moments, _from_channel_variances])
@pytest.mark.parametrize("kind", KINDS)
def test_one_activation_equals_numpy_in_float64(kind, reduce):
    x, channel_dim = example(kind)
    x = x if x.ndim or reduce is reduce_moments else x.reshape(1, 1)
    mean, variance, nonfinite, rms = activation_statistics([reduce(x, channel_dim)])[:, 0].tolist()
    truth = x.double().numpy()
    assert mean == pytest.approx(truth.mean(), rel=2e-6, abs=1e-6 * np.abs(truth).max())
    welford = 0.0 if reduce is reduce_moments else (3e-7 * truth.mean()) ** 2  # what its float32 mean costs
    assert variance == pytest.approx(truth.var(), rel=2e-5, abs=1e-12 * truth.max() ** 2 + welford)
    assert nonfinite == 0
    assert rms == pytest.approx(math.sqrt(np.square(truth).mean()), rel=2e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_channel_means_equal_numpy(kind):
    x, channel_dim = example(kind)
    means = reduce_moments(x, channel_dim)[4:].numpy()
    truth = np.moveaxis(np.atleast_2d(x.double().numpy()), channel_dim, 0)
    truth = truth.reshape(len(truth), -1).mean(axis=1)
    np.testing.assert_allclose(means, truth, rtol=2e-6, atol=1e-6 * np.abs(truth).max())


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_divergence_is_visible_and_counted(bad):
    x = torch.ones(4, 3, 5)
    x[2, 1, 3] = bad
    mean, variance, nonfinite, rms = activation_statistics([reduce_moments(x, 1)])[:, 0]
    assert not mean.isfinite()
    assert not variance.isfinite()
    assert nonfinite == 1
    assert not rms.isfinite()


def test_activations_of_several_layers_are_finished_together_as_each_would_be_alone():
    examples = [example(kind) for kind in KINDS if kind != "double"]
    together = finish_moments([begin_moments(*each) for each in examples])
    for vector, each in zip(together, examples, strict=True):
        assert torch.equal(vector, reduce_moments(*each))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_left_to_be_finished_does_not_hang_on_the_activation(kind):
    x, channel_dim = example(kind)
    expected, begun = reduce_moments(x, channel_dim), begin_moments(x, channel_dim)
    x.fill_(99)
    assert torch.equal(begun if isinstance(begun, torch.Tensor) else finish_moments([begun])[0], expected)


def test_an_empty_batch_has_no_statistics():
    x, channel_dim = example("empty")
    mean, variance, nonfinite, rms = activation_statistics([reduce_moments(x, channel_dim)])[:, 0]
    assert mean.isnan()
    assert variance.isnan()
    assert nonfinite == 0
    assert rms.isnan()


def test_merging_unequal_parts_gives_the_whole():
    x, _ = example("image")
    parts = torch.stack([reduce_moments(part, 1) for part in (x[:1], x[1:3], x[3:], x[:0])])
    np.testing.assert_allclose(merge_moments(parts), reduce_moments(x, 1), rtol=1e-6, atol=1e-7)


def test_parts_of_unlike_widths_are_merged_in_what_is_no_channels():
    x, y = torch.randn(3, 4, 5), torch.randn(3, 8, 5)
    merged = MOMENTS.whole([reduce_moments(x, 1), reduce_moments(y, 1)])
    whole = torch.cat([x.flatten(), y.flatten()]).double()
    expected = [whole.numel(), whole.mean().item(), (whole - whole.mean()).square().sum().item(), 0]
    np.testing.assert_allclose(merged, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("scale", [1e18, 1e20, 1e37])
def test_squares_beyond_float32_are_summed_in_float64(dtype: torch.dtype, scale: float) -> None:
    x = (torch.randn(50, 4, 60, generator=torch.Generator().manual_seed(0)) + 1).mul(scale).to(dtype)
    truth = x.double().numpy()
    mean, variance, nonfinite, rms = activation_statistics([reduce_moments(x, 1)])[:, 0].tolist()
    assert mean == pytest.approx(truth.mean(), rel=1e-5)
    assert variance == pytest.approx(truth.var(), rel=1e-5)
    assert nonfinite == 0
    assert rms == pytest.approx(math.sqrt(np.square(truth).mean()), rel=1e-5)


def test_float32_partial_sums_lose_nothing_over_a_large_activation():
    x = torch.randn(2, 8, 300, 300, generator=torch.Generator().manual_seed(1)) * 3 + 2
    _, mean, squares, _ = reduce_moments(x, 1)[:4].tolist()
    assert mean == pytest.approx(x.double().mean().item(), rel=1e-6)
    assert squares / x.numel() == pytest.approx(x.double().var(correction=0).item(), rel=2e-6)


@pytest.mark.parametrize("channel_dim", [1, -1])
def test_infinities_of_both_signs_are_counted_without_a_warning(channel_dim: int) -> None:
    activation = torch.zeros(4, 3, 5)
    activation[0, 0, 0], activation[1, 0, 0], activation[2, 0, 0] = torch.inf, -torch.inf, torch.nan
    n, mean, _, nonfinite = reduce_moments(activation, channel_dim)[:4].tolist()
    assert (n, nonfinite) == (60, 3)
    assert math.isnan(mean)
