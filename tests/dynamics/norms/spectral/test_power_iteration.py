"""Power iteration on a pair of vectors."""

from __future__ import annotations

import torch

from dynamics.norms.spectral.power_iteration import EPS, iterate, multiply


def unit(size: int, seed: int) -> torch.Tensor:
    vector = torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return vector / vector.norm()


def test_a_diagonal_matrix_gives_its_largest_entry() -> None:
    W = torch.diag(torch.tensor([3.0, 2.0, 1.0], dtype=torch.float64))
    u, v = unit(3, 0), unit(3, 1)
    for _ in range(60):
        sigma = iterate(W, u, v)
    torch.testing.assert_close(sigma, torch.tensor(3.0, dtype=torch.float64))
    torch.testing.assert_close(u.abs(), torch.tensor([1.0, 0, 0], dtype=torch.float64), atol=1e-9, rtol=0)


def test_sigma_is_the_bilinear_form_of_the_new_vectors(seed: int) -> None:
    W = torch.randn(5, 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    u, v = unit(5, seed), unit(7, seed + 1)
    sigma = iterate(W, u, v)
    torch.testing.assert_close(sigma, u @ W @ v)
    torch.testing.assert_close(u.norm(), torch.ones((), dtype=torch.float64))


def test_a_zero_matrix_keeps_the_vectors() -> None:
    u, v = unit(3, 0), unit(2, 1)
    before = u.clone(), v.clone()
    assert iterate(torch.zeros(3, 2, dtype=torch.float64), u, v) < EPS
    torch.testing.assert_close((u, v), before)


def test_a_nan_in_the_matrix_shows() -> None:
    assert iterate(torch.full((2, 2), torch.nan), torch.ones(2), torch.ones(2)).isnan()


def test_autocast_does_not_round_the_product(seed: int) -> None:
    W = torch.randn(4, 4, generator=torch.Generator().manual_seed(seed))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        product = multiply(W, W[0])
    assert torch.equal(product, multiply(W, W[0]))
    assert product.dtype == torch.float32
