import numpy as np
import pytest
import torch

from probes.metrics import histogram, rows
from probes.metrics.histogram import exponent_counts
from probes.metrics.rows import WIDTH, InRows, sums

SIZES = [0, 1, WIDTH - 1, WIDTH, WIDTH + 1, 3 * WIDTH, 5000]


@pytest.fixture(params=["all at once", "a few at a time", "in pieces"])
def tensors(request, monkeypatch):
    rows._layouts.cache_clear()
    if request.param != "all at once":
        monkeypatch.setattr(rows, "MOST_TENSORS", 2)
    if request.param == "in pieces":
        monkeypatch.setattr(rows, "MOST_ELEMENTS", 2 * WIDTH)
        monkeypatch.setattr(histogram, "_ON_DEVICE", 2 * WIDTH)
    generator = torch.Generator().manual_seed(0)
    yield [torch.randn(size, generator=generator) + 3 for size in SIZES]
    rows._layouts.cache_clear()


def test_sums_equal_numpy_in_float64(tensors):
    expected = [tensor.double().numpy().sum() for tensor in tensors]
    np.testing.assert_allclose(sums(tensors).numpy(), expected, rtol=1e-12)


def test_squares_about_a_centre_are_those_of_the_elements_alone(tensors):
    centres = torch.linspace(-1, 4, len(tensors), dtype=torch.float64)
    squares = torch.zeros(len(tensors), dtype=torch.float64)
    for some in InRows(tensors):
        some.add_to(squares, some.squares_about(centres))
    expected = [((t.double() - c) ** 2).sum().item() for t, c in zip(tensors, centres, strict=True)]
    np.testing.assert_allclose(squares.numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_stays_in_its_own_tensor(tensors, bad):
    tensors[4][-1] = bad
    assert sums(tensors).isfinite().tolist() == [place != 4 for place in range(len(SIZES))]


def test_tensors_in_any_layout_of_memory_are_read_whole_and_left_alone():
    base = torch.arange(24.0).reshape(2, 3, 2, 2)
    given = [base, base.mT, base[:, 1:], base.contiguous(memory_format=torch.channels_last), base.double()]
    kept = [tensor.clone() for tensor in given]
    assert sums(given).tolist() == [tensor.sum().item() for tensor in given]
    assert all(map(torch.equal, given, kept))


def test_histograms_on_a_device_are_those_of_the_host(tensors, as_on_a_device, monkeypatch):
    odd = [0.0, -0.0, 1e-45, -1e-45, float("nan"), float("inf"), -float("inf"), 3e38, -3e38, 0.0]
    given = [*tensors, torch.tensor(odd), torch.zeros(2000), tensors[3].double() * 1e-300]
    found = exponent_counts(given)
    monkeypatch.setattr("probes.metrics.waiting.ASYNCHRONOUS", {"cuda"})
    assert torch.equal(found, exponent_counts(given))
