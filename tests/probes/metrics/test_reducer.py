import pytest
import torch

from probes.metrics.reducer import count


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("size", [0, 5, (1 << 16) + 3])
def test_counting_in_pieces_counts_every_element_once(dtype, size):
    x = torch.randint(-2, 3, (size,), generator=torch.Generator().manual_seed(0)).to(dtype)
    assert count(torch.eq, x, 0).item() == (x == 0).sum().item()
    assert count(torch.gt, x, 1).item() == (x > 1).sum().item()


def test_counting_changes_nothing_and_a_nan_compares_with_nothing():
    x = torch.tensor([[1.0, torch.nan], [-torch.inf, 0.0]])
    before = x.clone()
    assert count(torch.lt, x, 1).item() == 2
    torch.testing.assert_close(x, before, equal_nan=True, rtol=0, atol=0)
