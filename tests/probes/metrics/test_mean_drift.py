import pytest
import torch

from probes.metrics.activation_moments import reduce_moments
from probes.metrics.mean_drift import has_channels, mean_drift


def example():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(6, 5, 7, 3, generator=generator) * torch.rand(5, 1, 1, generator=generator) - 0.3


def test_drift_is_the_rms_shift_of_the_channel_means_since_the_first_record():
    x = example()
    shift = torch.tensor([0.0, 1.0, -2.0, 0.5, 0.0])[:, None, None]
    start, first = mean_drift([reduce_moments(x, 1)], [None])
    assert start.item() == 0
    values, again = mean_drift([reduce_moments(x + shift, 1)], first)
    assert values.item() == pytest.approx(shift.square().mean().sqrt().item(), rel=1e-5)
    assert torch.equal(again[0], first[0])


def test_layers_of_unlike_widths_drift_each_by_its_own_means():
    x, y = example(), example()[:, :2]
    _, first = mean_drift([reduce_moments(x, 1), reduce_moments(y, 1)], [None, None])
    values, _ = mean_drift([reduce_moments(x + 1, 1), reduce_moments(y - 3, 1)], first)
    assert values.tolist()[0] == pytest.approx([1, 3], rel=1e-5)


def test_drift_begins_anew_where_the_first_record_had_other_channels():
    now = reduce_moments(torch.randn(4, 3), 1)
    values, references = mean_drift([now], [torch.zeros(9, dtype=torch.float64)])
    assert values.item() == 0
    assert references[0] is now


def test_an_empty_batch_has_no_drift():
    assert mean_drift([reduce_moments(torch.empty(0, 4, 3), 1)], [None])[0].isnan().all()


def test_a_diverged_channel_has_no_finite_drift():
    sick = example()
    sick[2, 1, 3] = torch.inf
    assert not mean_drift([reduce_moments(sick, 1)], [reduce_moments(example(), 1)])[0].isfinite().any()


def test_without_means_of_channels_there_is_no_drift():
    assert not has_channels(torch.zeros(4))
    assert has_channels(torch.zeros(5))
