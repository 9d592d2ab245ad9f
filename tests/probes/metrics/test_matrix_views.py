import numpy as np
import torch

from probes.metrics.matrix_views import kernel_slices, unfolded


def test_a_convolution_unfolds_to_one_row_an_output():
    weight = torch.arange(24.0).reshape(2, 3, 2, 2)
    np.testing.assert_array_equal(unfolded(weight), weight.reshape(2, 12))


def test_a_transposed_convolution_brings_its_outputs_first():
    weight = torch.randn(3, 2, 4, 4)
    torch.nn.utils.parametrizations.spectral_norm(layer := torch.nn.ConvTranspose2d(3, 2, 4))
    assert unfolded(weight, transposed=True).shape == (2, 48)
    assert layer.parametrizations.weight[0]._u.shape == (2,)  # torch's spectral norm takes the same matrix


def test_kernel_slices_are_one_matrix_for_each_pair_of_channels():
    weight = torch.randn(2, 3, 4, 5)
    np.testing.assert_array_equal(kernel_slices(weight)[1 * 3 + 2], weight[1, 2])
    assert kernel_slices(torch.randn(2, 3, 4)).shape == (6, 1, 4)
    assert kernel_slices(torch.randn(2, 3, 4, 5, 6)).shape == (6, 4, 30)
