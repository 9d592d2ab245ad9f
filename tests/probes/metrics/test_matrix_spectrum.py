"""Spectra of gradients and updates: numpy's in float64, whether solved or from below."""

import numpy as np
import pytest
import torch

from probes.metrics.matrix_spectrum import numbers_from_below, spectrum_numbers
from probes.metrics.operator_norm import Matrices, largest_singular_values
from probes.metrics.singular_values import scaled_columns, stacked_spectra


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def numbers_of_numpy(stack: torch.Tensor) -> list[float]:
    """Return largest singular value, stable rank, effective rank and RMS norm of a stack, by numpy's SVD."""
    spectra = np.linalg.svd(stack.numpy(), compute_uv=False)
    share = spectra / spectra.sum(1, keepdims=True)
    rows, columns = stack.shape[1:]
    return [
        spectra.max(),
        ((spectra**2).sum(1) / spectra[:, 0] ** 2).mean(),
        np.exp(-(share * np.log(share)).sum(1)).mean(),
        np.sqrt(columns / rows) * spectra.max(),
    ]


def solved(*stacks: torch.Tensor) -> np.ndarray:
    factors = [torch.tensor((stack.shape[2] / stack.shape[1]) ** 0.5, dtype=torch.float64) for stack in stacks]
    return spectrum_numbers(scaled_columns(list(zip(stacked_spectra(list(stacks)), factors, strict=True))).numpy())


STACKS = [random(1, 7, 5), random(1, 5, 40, seed=1), random(3, 6, 4, seed=2), random(1, 90, 70, seed=3)]


def test_a_solved_spectrum_gives_the_numbers_of_numpy():
    wanted = np.array([numbers_of_numpy(stack) for stack in STACKS]).T
    np.testing.assert_allclose(solved(*STACKS), wanted, rtol=1e-9)


def test_from_below_the_numbers_of_small_matrices_are_those_of_numpy():
    wanted = np.array([numbers_of_numpy(stack) for stack in STACKS[:3]]).T
    np.testing.assert_allclose(numbers_from_below(STACKS[:3]).numpy(), wanted[[0, 1, 3]], rtol=1e-9)


def test_from_below_a_large_random_matrix_is_within_a_hundredth_and_one_that_stands_out_is_exact():
    noise = random(1, 300, 500, seed=4)
    found = numbers_from_below([noise])[0, 0].item()
    truth = np.linalg.norm(noise[0].numpy(), 2)
    assert 0.99 * truth < found <= truth * (1 + 1e-12)
    low = (noise + 10 * random(300, 1, seed=5) @ random(1, 500, seed=6)).float()
    truth = np.linalg.norm(low[0].double().numpy(), 2)
    assert numbers_from_below([low])[0, 0].item() == pytest.approx(truth, rel=1e-6)


def test_a_stack_has_the_largest_value_of_each_of_its_matrices():
    stack = random(4, 6, 9)
    wanted = np.linalg.norm(stack.numpy(), 2, axis=(1, 2))
    np.testing.assert_allclose(largest_singular_values(Matrices(stack)).numpy(), wanted, rtol=1e-10)


def test_zero_and_nan_matrices():
    zero, nan = torch.zeros(1, 4, 6), torch.full((1, 4, 6), torch.nan)
    healthy = random(1, 4, 6).float()
    for found in (solved(zero, nan, healthy), numbers_from_below([zero, nan, healthy]).numpy()):
        assert found[0, 0] == found[-1, 0] == 0
        assert np.isnan(found[1, 0])
        assert np.isnan(found[:, 1]).all()
        assert np.isfinite(found[:, 2]).all()
