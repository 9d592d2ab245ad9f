import math

import numpy as np
import pytest
import torch

from probes.metrics.update import update_size_and_angle


@pytest.mark.parametrize("size", [1e-6, 1e-3, 0.5, 3.0])
def test_size_and_angle_equal_numpy_in_float64(size):
    generator = torch.Generator().manual_seed(0)
    before = torch.randn(6, 5, dtype=torch.float64, generator=generator)
    after = before + size * torch.randn(6, 5, dtype=torch.float64, generator=generator)
    ratio, angle, _ = update_size_and_angle([(before, after)])[:, 0].tolist()
    w, v = before.numpy().ravel(), after.numpy().ravel()
    a, b = w / np.linalg.norm(w), v / np.linalg.norm(v)
    assert ratio == pytest.approx(np.linalg.norm(v - w) / np.linalg.norm(w), rel=1e-10)
    assert angle == pytest.approx(2 * math.atan2(np.linalg.norm(a - b), np.linalg.norm(a + b)), rel=1e-6)


def test_a_right_angle_and_a_reversal_have_their_closed_forms():
    right = (torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]))
    reversal = (torch.tensor([1.0, 2.0]), torch.tensor([-1.0, -2.0]))
    still = (torch.tensor([3.0, 4.0]), torch.tensor([3.0, 4.0]))
    ratios, angles, _ = update_size_and_angle([right, reversal, still]).tolist()
    assert ratios == pytest.approx([math.sqrt(2), 2, 0])
    assert angles == pytest.approx([math.pi / 2, math.pi, 0], abs=1e-6)


def test_growth_alone_is_no_rotation():
    weight = torch.randn(100, generator=torch.Generator().manual_seed(1))
    assert update_size_and_angle([(weight, weight * 1.25)])[1].item() == pytest.approx(0, abs=2e-4)


def test_nan_and_a_zero_parameter_stay_visible():
    found = update_size_and_angle([(torch.ones(2), torch.full((2,), torch.nan)), (torch.zeros(2), torch.ones(2))])
    assert found[:, 0].isnan().all()
    assert found[0, 1] == math.inf


@pytest.mark.parametrize("lean", [0.0, 0.5, 0.69, 0.72, 0.999, 1.0])
def test_a_step_partly_along_the_parameter_equals_numpy_in_float64(lean):
    """Below and above the lean at which the angle is taken another way, in channels-last memory."""
    generator = torch.Generator().manual_seed(2)
    before = torch.randn(64, 32, 3, 3, generator=generator).to(memory_format=torch.channels_last)
    aside = torch.randn(64, 32, 3, 3, generator=generator)
    aside -= before * (aside * before).sum() / before.square().sum()
    step = 1e-3 * (lean * before + math.sqrt(1 - lean**2) * aside * before.norm() / aside.norm())
    after = before + step
    (ratio,), (angle,), _ = update_size_and_angle([(before, after)]).tolist()
    w, v = before.double().numpy().ravel(), after.double().numpy().ravel()
    a, b = w / np.linalg.norm(w), v / np.linalg.norm(v)
    assert ratio == pytest.approx(np.linalg.norm(v - w) / np.linalg.norm(w), rel=1e-5)
    assert angle == pytest.approx(2 * math.atan2(np.linalg.norm(a - b), np.linalg.norm(a + b)), rel=1e-4, abs=1e-7)


def test_memory_laid_out_otherwise_after_the_step_changes_nothing():
    generator = torch.Generator().manual_seed(3)
    before, after = torch.randn(2, 4, 6, 3, 3, generator=generator).unbind()
    wanted = update_size_and_angle([(before, after)])
    found = update_size_and_angle([(before.to(memory_format=torch.channels_last), after)])
    torch.testing.assert_close(found, wanted)


def test_a_large_parameter_is_taken_in_pieces_and_equals_numpy_in_float64():
    generator = torch.Generator().manual_seed(4)
    large = torch.randn(1500, 1000, generator=generator)
    small = torch.randn(7, generator=generator)
    moved = [(w, w + 1e-3 * torch.randn(w.shape, generator=generator)) for w in (small, large, small)]
    ratios, angles, _ = update_size_and_angle(moved)
    for (before, after), ratio, angle in zip(moved, ratios.tolist(), angles.tolist(), strict=True):
        w, v = before.double().numpy().ravel(), after.double().numpy().ravel()
        a, b = w / np.linalg.norm(w), v / np.linalg.norm(v)
        assert ratio == pytest.approx(np.linalg.norm(v - w) / np.linalg.norm(w), rel=1e-6)
        assert angle == pytest.approx(2 * math.atan2(np.linalg.norm(a - b), np.linalg.norm(a + b)), rel=1e-5)
