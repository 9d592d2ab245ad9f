import numpy as np
import pytest
import torch

from probes.metrics.activation_gradient import gradient_statistics, merge_gradient, reduce_gradient


def example():
    g = torch.randn(6, 4, 5, 5, generator=torch.Generator().manual_seed(0)) * 1e-4
    g[g < 0] = 0
    return g


def test_variance_and_sparsity_equal_numpy():
    g = example()
    variance, sparsity = gradient_statistics([reduce_gradient(g, 1)])[:, 0].tolist()
    assert variance == pytest.approx(g.double().numpy().var(), rel=1e-5)
    assert sparsity == np.mean(g.numpy() == 0)


def test_merged_micro_batches_give_the_whole():
    g = example()
    parts = torch.stack([reduce_gradient(g[:2], 1), reduce_gradient(g[2:], 1)])
    np.testing.assert_allclose(merge_gradient(parts), reduce_gradient(g, 1), rtol=1e-6, atol=1e-12)


def test_nan_in_nan_out_and_empty_is_nan():
    found = gradient_statistics([reduce_gradient(x, 1) for x in (torch.full((2, 2), torch.nan), torch.empty(0, 2))])
    assert found[0].isnan().all()
    assert found[1].isnan().tolist() == [False, True]
