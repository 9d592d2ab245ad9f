import pytest
import torch
import torch.nn.functional as F
from torch import nn

from probes.metrics.operator_norm import Convolution, conv_operator_norm, largest_singular_value, operator_norms

CASES = [
    ((5, 3, 3, 3), (3, 6, 6), {"padding": 1}),
    ((4, 2, 3, 3), (4, 7, 6), {"stride": 2, "padding": 1, "groups": 2}),
    ((4, 3, 3, 2), (3, 6, 7), {"stride": (2, 1), "padding": (0, 1), "dilation": (1, 2)}),
    ((4, 2, 3), (2, 11), {"dilation": 2, "padding": "same"}),
    ((3, 2, 2, 2, 2), (2, 3, 4, 3), {}),
    ((4, 3, 3, 3), (3, 6, 5), {"padding": 1, "padding_mode": "circular"}),
    ((4, 2, 3, 2), (4, 6, 7), {"padding": (2, 1), "stride": 2, "groups": 2, "padding_mode": "reflect"}),
    ((4, 3, 4), (3, 9), {"padding": "same", "dilation": 2, "padding_mode": "replicate"}),
    ((2, 2, 3, 3), (2, 5, 5), {"padding": "valid", "padding_mode": "circular"}),
]
MODULES = {3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}


def dense(weight, shape, settings):
    """The convolution as a matrix: its action on every unit input."""
    n = torch.Size(shape).numel()
    out_channels, _, *kernel = weight.shape
    layer = MODULES[weight.ndim](shape[0], out_channels, kernel, bias=False, dtype=torch.float64, **settings)
    with torch.no_grad():
        layer.weight.copy_(weight)
        return layer(torch.eye(n, dtype=torch.float64).reshape(n, *shape)).flatten(1)


@pytest.mark.parametrize(("weight_shape", "input_shape", "settings"), CASES)
def test_the_operator_norm_equals_that_of_the_dense_matrix(weight_shape, input_shape, settings):
    weight = torch.randn(weight_shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    truth = torch.linalg.matrix_norm(dense(weight, input_shape, settings), 2).item()
    found = conv_operator_norm(weight, input_shape=input_shape, iterations=60, **settings)
    assert found.item() == pytest.approx(truth, rel=1e-10)


def test_25_iterations_in_float32_come_within_a_thousandth_from_below():
    weight = torch.randn(16, 16, 3, 3, generator=torch.Generator().manual_seed(2))
    truth = torch.linalg.matrix_norm(dense(weight.double(), (16, 8, 8), {"padding": 1}), 2).item()
    found = conv_operator_norm(weight, input_shape=(16, 8, 8), padding=1).item()
    assert truth * 0.999 < found <= truth * (1 + 1e-6)


def test_the_vector_is_stretched_by_the_value():
    weight = torch.randn(6, 4, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    value, vector = largest_singular_value(Convolution(weight, (4, 7, 7), padding=1), iterations=40)
    stretch = F.conv2d(vector[None], weight, padding=1).norm() / vector.norm()
    assert stretch.item() == pytest.approx(value.item(), rel=1e-6)


def test_a_start_from_the_last_vector_is_not_worse():
    operator = Convolution(
        torch.randn(16, 16, 3, 3, generator=torch.Generator().manual_seed(4)), (16, 12, 12), padding=1
    )
    first, vectors = operator_norms([operator], [None])
    second, _ = operator_norms([operator], vectors)
    assert second.item() >= first.item() * (1 - 1e-6)


def test_zero_and_one_by_one_kernels_have_their_closed_forms():
    assert conv_operator_norm(torch.zeros(2, 2, 3, 3), input_shape=(2, 4, 4)).item() == 0
    weight = torch.randn(3, 4, 1, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    found = conv_operator_norm(weight, input_shape=(4, 5, 5)).item()
    assert found == pytest.approx(torch.linalg.matrix_norm(weight[:, :, 0, 0], 2).item(), rel=1e-10)


def test_nan_gives_nan_and_a_recovered_layer_recovers():
    sick = Convolution(torch.full((2, 2, 3, 3), torch.nan), (2, 5, 5))
    healthy = Convolution(torch.ones(2, 2, 3, 3), (2, 5, 5))
    value, vectors = operator_norms([sick], [None])
    assert value.isnan().all()
    assert operator_norms([healthy], vectors)[0].isfinite().all()


def test_no_random_number_generator_moves():
    before = torch.get_rng_state()
    conv_operator_norm(torch.ones(2, 2, 3, 3), input_shape=(2, 4, 4))
    assert torch.equal(before, torch.get_rng_state())


def test_a_shape_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"input_shape=\(3, 4, 4\): expected .* in = 2 and 2 spatial sizes"):
        conv_operator_norm(torch.ones(2, 2, 3, 3), input_shape=(3, 4, 4))
    with pytest.raises(ValueError, match="expected \\(out, in, \\*kernel\\)"):
        conv_operator_norm(torch.ones(2, 2), input_shape=(2,))
