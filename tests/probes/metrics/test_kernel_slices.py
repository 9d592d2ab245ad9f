import numpy as np
import pytest
import torch

from probes.metrics.kernel_slices import largest_singular_values, largest_slice_mean
from probes.metrics.matrix_views import kernel_slices


@pytest.mark.parametrize("kernel", [(1, 1), (1, 4), (2, 2), (2, 3), (3, 2), (3, 3), (3, 5), (4, 4), (5, 5), (7, 7)])
def test_largest_singular_values_equal_lapack_slice_by_slice(kernel):
    matrices = torch.randn(200, *kernel, generator=torch.Generator().manual_seed(0))
    truth = np.linalg.svd(matrices.double().numpy(), compute_uv=False)[:, 0]
    np.testing.assert_allclose(largest_singular_values(matrices), truth, rtol=1e-7)


@pytest.mark.parametrize(
    "matrix", [torch.eye(3), torch.zeros(3, 3), torch.ones(3, 3), torch.diag(torch.tensor([1.0, 1, -2]))]
)
def test_degenerate_slices_are_exact_too(matrix):
    truth = np.linalg.svd(matrix.numpy(), compute_uv=False)[0]
    assert largest_singular_values(matrix[None]).item() == pytest.approx(truth, abs=1e-7)


def test_the_mean_over_slices_is_each_layers_own():
    weights = [torch.randn(4, 3, 3, 3), torch.randn(2, 2, 5, 5), torch.randn(5, 1, 3, 3), torch.randn(3, 2, 4)]
    found = largest_slice_mean([kernel_slices(weight) for weight in weights])
    expected = [
        np.mean([np.linalg.norm(np.atleast_2d(s), 2) for s in weight.flatten(0, 1).numpy()]) for weight in weights
    ]
    np.testing.assert_allclose(found[0], expected, rtol=1e-6)


def test_a_slice_with_nan_makes_its_layer_nan_and_no_other():
    for side in (3, 5):
        sick = torch.ones(2, side, side)
        sick[1, 0, 0] = torch.nan
        found = largest_slice_mean([torch.ones(2, side, side), sick])[0]
        assert found[0].item() == pytest.approx(side)
        assert found[1].isnan()
