import numpy as np
import pytest
import torch

from probes.metrics.singular_values import (
    _SCRATCH,
    PADDING,
    gram,
    in_columns,
    single_in_columns,
    singular_values,
    spectra_of,
    spectrum_statistics,
    stacked_spectra,
)


def with_spectrum(values, rows, columns):
    generator = torch.Generator().manual_seed(3)
    left = torch.linalg.qr(torch.randn(rows, rows, dtype=torch.float64, generator=generator))[0]
    right = torch.linalg.qr(torch.randn(columns, rows, dtype=torch.float64, generator=generator))[0]
    return (left * torch.tensor(values)) @ right.mT


SPECTRA = {
    "random": None,
    "rank 1": [1.0] + [0.0] * 47,
    "1/i": [1 / (i + 1) for i in range(48)],
    "ill-conditioned": list(np.logspace(0, -8, 48)),
}


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("wide", [True, False])
def test_singular_values_are_within_1e_6_of_lapack(name, wide):
    matrix = torch.randn(48, 480, generator=torch.Generator().manual_seed(4))
    if SPECTRA[name] is not None:
        matrix = with_spectrum(SPECTRA[name], 48, 480).float()
    matrix = matrix if wide else matrix.mT
    truth = np.linalg.svd(matrix.double().numpy(), compute_uv=False)
    found = singular_values([matrix])[0].numpy()
    np.testing.assert_allclose(found, truth, rtol=1e-12, atol=3e-8 * truth[0])  # the floor that the docstring states
    assert np.abs(found - truth).max() <= 1e-6 * truth[0]


@pytest.mark.parametrize("shape", [(64, 300), (128, 1152), (300, 160), (256, 256)])
@pytest.mark.parametrize("name", SPECTRA)
def test_large_matrices_are_within_1e_6_of_lapack_whatever_their_spectrum(name, shape):
    side = min(shape)
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(5))
    if SPECTRA[name] is not None:
        values = {"rank 1": [1.0] + [0.0] * (side - 1), "1/i": [1 / (i + 1) for i in range(side)]}
        matrix = with_spectrum(values.get(name, list(np.logspace(0, -8, side))), side, max(shape)).float()
        matrix = matrix if shape[0] < shape[1] else matrix.mT
    truth = np.linalg.svd(matrix.double().numpy(), compute_uv=False)
    found = singular_values([matrix])[0].numpy()
    assert np.abs(found - truth).max() <= 1e-6 * truth[0]
    assert found.mean() == pytest.approx(truth.mean(), rel=1e-6)


@pytest.mark.parametrize("condition", [2.0, 5.0, 7.9, 8.1, 50.0])
def test_single_precision_is_used_only_where_it_is_good_enough(condition):
    values = list(np.linspace(1, 1 / condition, 128))
    matrix = with_spectrum(values, 128, 1024).float()
    found = singular_values([matrix])[0].numpy()
    np.testing.assert_allclose(found, np.linalg.svd(matrix.double().numpy(), compute_uv=False), atol=1e-6, rtol=0)


@pytest.mark.parametrize("transposed", [False, True])
def test_a_gram_matrix_taken_piece_by_piece_is_that_of_the_whole(transposed):
    matrix = torch.randn(96, 12_345, generator=torch.Generator().manual_seed(5))  # two whole pieces and a rest
    assert 2 * _SCRATCH < matrix.numel() < 3 * _SCRATCH
    whole = np.tril(matrix.double().numpy() @ matrix.double().numpy().T)
    found = gram(matrix.mT if transposed else matrix).tril().numpy()
    np.testing.assert_allclose(found, whole, rtol=0, atol=1e-12 * np.abs(whole).max())


def test_matrices_of_one_batch_keep_their_order_and_sides():
    shapes = [(3, 40), (20, 7), (16, 16), (40, 3), (1, 5), (20, 300)]
    matrices = [torch.randn(shape, generator=torch.Generator().manual_seed(i)) for i, shape in enumerate(shapes)]
    for matrix, found in zip(matrices, singular_values(matrices), strict=True):
        np.testing.assert_allclose(found, np.linalg.svd(matrix.double().numpy(), compute_uv=False), rtol=1e-6)


@pytest.mark.parametrize("side", [4, 20])
def test_a_nan_spoils_its_own_layer_alone(side):
    matrices = [torch.eye(side), torch.full((side, side), torch.nan), torch.full((side, side), torch.inf)]
    found = singular_values(matrices)
    assert torch.equal(found[0], torch.ones(side, dtype=torch.float64))
    assert found[1].isnan().all()
    assert found[2].isnan().all()


def statistics(*spectra):
    return spectrum_statistics(single_in_columns(list(spectra)).numpy())


def test_statistics_follow_their_formulas():
    sigma = np.array([4.0, 2.0, 1.0])
    share = sigma / sigma.sum()
    found = statistics(torch.tensor(sigma), torch.ones(5, dtype=torch.float64))[:, 0]
    expected = [sigma.mean(), 4.0, (sigma**2).sum() / 16, np.exp(-(share * np.log(share)).sum()), 4.0]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_an_orthogonal_matrix_has_full_stable_and_effective_rank():
    assert statistics(torch.ones(7, dtype=torch.float64))[:, 0].tolist() == pytest.approx([1, 1, 7, 7, 1])


def test_a_rank_one_matrix_has_rank_one_and_an_infinite_condition_number():
    matrix = torch.outer(torch.arange(1.0, 33), torch.arange(1.0, 65))
    _, largest, stable, effective, condition = statistics(*singular_values([matrix]))[:, 0].tolist()
    assert largest == pytest.approx(torch.linalg.norm(matrix).item(), rel=1e-6)
    assert stable == pytest.approx(1, abs=1e-6)
    assert effective == pytest.approx(1, abs=1e-4)
    assert condition == float("inf")


def test_a_zero_matrix_has_no_rank():
    mean, largest, *ranks = statistics(*singular_values([torch.zeros(20, 30)]))[:, 0].tolist()
    assert (mean, largest) == (0, 0)
    assert np.isnan(ranks).all()


def test_columns_hold_spectra_of_different_lengths():
    columns = single_in_columns([torch.tensor([2.0]), torch.tensor([3.0, 0.0])]).numpy()
    assert spectra_of(columns).T.tolist() == [[2.0, PADDING], [3.0, 0.0]]


def test_gram_matrices_solved_later_give_the_same_spectra():
    generator = torch.Generator().manual_seed(6)
    matrices = [torch.randn(shape, generator=generator) for shape in ((3, 8), (70, 90), (9, 5))]
    matrices.append(torch.full((4, 4), torch.nan))
    later = spectra_of(single_in_columns([gram(matrix) for matrix in matrices]).numpy())
    now = spectra_of(single_in_columns(singular_values(matrices)).numpy())
    np.testing.assert_allclose(later, now, atol=1e-6)
    stacked = np.stack([single_in_columns([gram(m) for m in matrices]).numpy()] * 3, axis=1)  # three steps at once
    np.testing.assert_array_equal(spectra_of(stacked)[:, 1], later)


def by_numpy(stack):
    """The five numbers of a stack of matrices, each matrix by itself."""
    sigma = np.linalg.svd(stack.to(torch.complex128 if stack.is_complex() else torch.float64).numpy(), compute_uv=False)
    share = sigma / sigma.sum(axis=1, keepdims=True)
    stable = (sigma**2).sum(axis=1) / sigma[:, 0] ** 2
    effective = np.exp(-(share * np.log(share)).sum(axis=1))
    return [sigma.mean(), sigma.max(), stable.mean(), effective.mean(), (sigma[:, 0] / sigma[:, -1]).max()]


@pytest.mark.parametrize("later", [False, True])
def test_a_stack_has_the_largest_norm_and_the_mean_ranks_of_its_matrices(later):
    generator = torch.Generator().manual_seed(7)
    stacks = [torch.randn(shape, generator=generator) for shape in ((4, 6, 9), (1, 5, 3), (3, 70, 80))]
    grams = [torch.stack([gram(matrix) for matrix in stack]) for stack in stacks]
    solved = grams if later else stacked_spectra(stacks)
    found = spectrum_statistics(in_columns(solved).numpy())
    for column, stack in zip(found.T, stacks, strict=True):
        np.testing.assert_allclose(column, by_numpy(stack), rtol=1e-5)


def test_a_nan_in_one_matrix_of_a_stack_is_seen():
    stack = torch.randn(3, 4, 5)
    stack[1, 0, 0] = torch.nan
    assert np.isnan(spectrum_statistics(in_columns(stacked_spectra([stack])).numpy())).all()


@pytest.mark.parametrize("shape", [(1, 4, 7), (2, 70, 30), (1, 66, 70)])
def test_a_complex_matrix_has_the_singular_values_of_lapack(shape):
    stack = torch.randn(shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(8))
    (found,) = stacked_spectra([stack])
    truth = np.linalg.svd(stack.to(torch.complex128).numpy(), compute_uv=False)
    np.testing.assert_allclose(found, truth, atol=3e-8 * truth.max(), rtol=1e-7)
