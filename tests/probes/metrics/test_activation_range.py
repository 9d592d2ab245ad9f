import numpy as np
import pytest
import torch

from probes.metrics.activation_range import merge_range, range_shares, reduce_range


def example():
    x = torch.randn(8, 5, 6, 6, generator=torch.Generator().manual_seed(0)) * 2
    x[:, 1] = -x[:, 1].abs()
    x[:, 4] = 0
    return x


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_dead_and_saturated_shares_equal_numpy(layout, dtype):
    x = example().to(dtype).to(memory_format=layout)
    dead, saturated = range_shares([reduce_range(x, 1)])[:, 0].tolist()
    array = x.double().numpy()
    assert dead == np.mean(array.max(axis=(0, 2, 3)) <= 0) == 0.4
    assert saturated == pytest.approx(np.mean(np.abs(array) > 3))


def test_a_channel_is_dead_only_if_it_is_dead_in_every_part():
    x = example()
    x[0, 1, 0, 0] = 0.1
    halves = torch.stack([reduce_range(x[:4], 1), reduce_range(x[4:], 1), torch.zeros(7, dtype=torch.float64)])
    assert torch.equal(merge_range(halves), reduce_range(x, 1))
    assert range_shares([merge_range(halves)])[0].item() == 0.2


def test_nan_is_not_taken_for_dead():
    x = example()
    x[0, 0, 0, 0] = torch.nan
    assert range_shares([reduce_range(x, 1)])[0].isnan().all()


def test_an_empty_batch_has_no_shares():
    assert range_shares([reduce_range(torch.empty(0, 3, 2), 1)]).isnan().all()
