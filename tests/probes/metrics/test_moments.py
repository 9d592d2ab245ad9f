import numpy as np
import pytest
import torch

from probes.metrics.moments import _on_device, moments


def tensors():
    torch.manual_seed(0)
    return {
        "random": torch.randn(3, 5, 4) * 0.1 - 0.02,
        "far from zero": torch.randn(400) + 1000,
        "constant": torch.full((7,), 0.1),
        "one": torch.tensor([-3.0]),
        "tiny": torch.randn(50) * 1e-30,
        "huge": torch.randn(50) * 1e25,
        "longer than a piece": torch.randn(1_100_000) + 0.5,
        "double": torch.randn(9, dtype=torch.float64),
    }


@pytest.mark.parametrize("compute", [moments, _on_device])
def test_moments_equal_numpy_in_float64(compute):
    found = compute(list(tensors().values())).numpy()
    for column, tensor in zip(found.T, tensors().values(), strict=True):
        x = tensor.double().numpy()
        scale = np.abs(x).max()
        np.testing.assert_allclose(column[0], x.mean(), atol=1e-6 * x.std() + 1e-7 * abs(x.mean()))
        np.testing.assert_allclose(column[1], x.var(), rtol=3e-6, atol=1e-13 * scale**2)
        np.testing.assert_allclose(column[2], np.linalg.norm(x), rtol=1e-6)
        assert column[3] == 0


@pytest.mark.parametrize("size", [100, 70_000])
def test_a_narrow_spread_in_float64_keeps_its_digits(size):
    x = 1.1 + 1e-9 * torch.randn(size, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    assert moments([x])[1].item() == pytest.approx(x.numpy().var(), rel=1e-5)


def test_variance_of_a_constant_is_zero_not_negative():
    assert moments([torch.full((1000,), 0.3)])[1].item() == pytest.approx(0, abs=1e-15)


def test_variance_survives_a_mean_far_from_zero():
    x = torch.randn(10_000, generator=torch.Generator().manual_seed(1)) + 1000
    difference_of_squares = (x.square().mean() - x.mean().square()).item()
    truth = x.double().var(correction=0).item()
    assert moments([x])[1].item() == pytest.approx(truth, rel=1e-5)
    assert abs(difference_of_squares - truth) > 0.01 * truth  # what the two passes are for


@pytest.mark.parametrize("compute", [moments, _on_device])
def test_an_empty_tensor_has_no_mean_and_no_length(compute):
    mean, variance, l2_norm, nonfinite = compute([torch.empty(0), torch.ones(3)])[:, 0].tolist()
    assert np.isnan(mean)
    assert np.isnan(variance)
    assert (l2_norm, nonfinite) == (0, 0)


SIZES = [4, 5_000, 150_000]  # side by side, alone, in several runs


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_divergence_is_visible_and_counted_in_its_own_layer_alone(bad, size):
    healthy, sick = torch.ones(4), torch.ones(size)
    sick[1:3] = bad
    found = moments([healthy, sick])
    assert found[:, 0].tolist() == [1, 0, 2, 0]
    assert not found[:3, 1].isfinite().any()
    assert found[3, 1] == 2


@pytest.mark.parametrize("size", SIZES)
def test_nan_beside_an_infinity_is_nan(size):
    sick = torch.ones(size)
    sick[0], sick[-1] = torch.inf, torch.nan
    assert moments([sick])[:3].isnan().all()
    assert moments([sick])[3].item() == 2


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scale", [1e-320, 1e-200, 1e-30, 1e37, 1e200, 1e307])
def test_extreme_numbers_give_numbers_and_no_exception(scale, size):
    """Squares beyond float64 are infinite and below it 0, as NumPy has them; a mean is never lost."""
    ramp = torch.linspace(0.5, 1, size, dtype=torch.float64) * scale
    tensors = [ramp, torch.ones(size), ramp.float()]
    mean, variance, length, nonfinite = moments(tensors).numpy()
    assert mean[1] == 1
    assert variance[1] == pytest.approx(0, abs=1e-12)
    assert nonfinite[:2].tolist() == [0, 0]
    if 1e-100 < scale < 1e100:
        x = ramp.numpy()
        assert mean[0] == pytest.approx(x.mean(), rel=1e-6)
        assert variance[0] == pytest.approx(x.var(), rel=1e-5)
        assert length[0] == pytest.approx(np.linalg.norm(x), rel=1e-6)


def test_a_sum_beyond_float32_is_not_taken_for_an_infinite_element():
    assert moments([torch.full((4,), 3e38)])[3].item() == 0


def test_moments_change_nothing_they_are_given():
    given = [torch.arange(4.0), torch.ones(2)]
    kept = [tensor.clone() for tensor in given]
    moments(given)
    assert all(torch.equal(a, b) for a, b in zip(given, kept, strict=True))
