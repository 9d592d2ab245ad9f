import numpy as np
import pytest
import torch

from probes.metrics.activation_range import RANGE, merge_range, reduce_range, saturated_share
from probes.metrics.dead_channels import dead_share, has_channels


def example():
    x = torch.randn(8, 5, 6, 6, generator=torch.Generator().manual_seed(0)) * 2
    x[:, 1] = -x[:, 1].abs()
    x[:, 4] = 0
    return x


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_dead_and_saturated_shares_equal_numpy(layout, dtype):
    x = example().to(dtype).to(memory_format=layout)
    dead, saturated = (share([reduce_range(x, 1)]).item() for share in (dead_share, saturated_share))
    array = x.double().numpy()
    assert dead == np.mean(array.max(axis=(0, 2, 3)) <= 0) == 0.4
    assert saturated == pytest.approx(np.mean(np.abs(array) > 3))


def test_a_channel_is_dead_only_if_it_is_dead_in_every_part():
    x = example()
    x[0, 1, 0, 0] = 0.1
    halves = torch.stack([reduce_range(x[:4], 1), reduce_range(x[4:], 1), torch.zeros(7, dtype=torch.float64)])
    assert torch.equal(merge_range(halves), reduce_range(x, 1))
    assert dead_share([merge_range(halves)]).item() == 0.2


def test_nan_is_not_taken_for_dead():
    x = example()
    x[0, 0, 0, 0] = torch.nan
    assert dead_share([reduce_range(x, 1)]).isnan().all()


def test_an_empty_batch_has_no_shares():
    for share in (dead_share, saturated_share):
        assert share([reduce_range(torch.empty(0, 3, 2), 1)]).isnan().all()


@pytest.mark.parametrize("shape", [(), (7,)])
def test_outputs_of_no_and_one_dimension_have_shares(shape):
    x = torch.randn(shape) - 0.5
    vector = reduce_range(x, 0)
    assert dead_share([vector]).item() == (x <= 0).double().mean().item()
    assert saturated_share([vector]).item() == 0


def test_outputs_of_unlike_widths_share_what_is_no_channels():
    x, y = example(), torch.full((2, 3), 4.0)
    merged = RANGE.whole([reduce_range(x, 1), reduce_range(y, 1)])
    expected = torch.cat([x.flatten(), y.flatten()]).abs().gt(3).double().mean().item()
    assert saturated_share([merged]).item() == pytest.approx(expected)
    assert not has_channels(merged)
