import numpy as np
import pytest
import torch

from probes import Probe
from probes.metrics.gradient_noise import gradient_noise


def parts(contributions, used, *, ranks=1):
    whole = contributions.sum(0) / ranks
    squares = [(contributions**2).sum(), (whole**2).sum(), (used**2).sum()]
    count = float(len(contributions))
    return torch.tensor([count, count / ranks, *squares, float(whole.size)], dtype=torch.float64)


@pytest.mark.parametrize("factor", [1.0, 1 / 65536, 0.01])  # as is, unscaled by a GradScaler, clipped
def test_noise_is_the_variance_between_micro_batches_in_units_of_the_gradient_used(factor):
    single = np.random.default_rng(0).normal(size=(4, 30)) + 1  # the gradient of each micro-batch alone
    contributions = single / len(single) / factor
    expected = single.var(axis=0, ddof=1).mean()
    noise, count, trace, signal = gradient_noise([parts(contributions, single.mean(axis=0))])[:, 0].tolist()
    assert noise == pytest.approx(expected, rel=1e-9)
    assert count == 4
    assert trace == pytest.approx(single.var(axis=0, ddof=1).sum(), rel=1e-9)
    assert signal == pytest.approx(np.square(single.mean(axis=0)).sum() - trace / 4, rel=1e-9)


def test_the_noise_scale_does_not_hang_on_how_a_batch_is_cut():
    """McCandlish's simple noise scale in samples, S = b tr(C) / |G|^2, on a problem where it is known."""
    rng = np.random.default_rng(3)
    true, per_sample = rng.normal(size=50), 2.0  # tr(Sigma) = 50 per_sample^2
    known = 50 * per_sample**2 / np.square(true).sum()
    for micro_batches, size in ((4, 8), (8, 4), (2, 2)):
        traces, signals = [], []
        for _ in range(4000):
            single = true + per_sample * rng.normal(size=(micro_batches, 50)) / np.sqrt(size)
            found = gradient_noise([parts(single / micro_batches, single.mean(axis=0))])[:, 0].tolist()
            traces.append(found[2])
            signals.append(found[3])
        assert size * np.mean(traces) / np.mean(signals) == pytest.approx(known, rel=0.03)


def test_equal_micro_batches_have_no_noise():
    assert gradient_noise([parts(np.ones((3, 8)), np.full(8, 3.0))])[0].item() == pytest.approx(0, abs=1e-12)


def test_passes_on_several_ranks_estimate_the_gradient_as_micro_batches_of_one_do():
    single = np.random.default_rng(0).normal(size=(6, 30)) + 1  # 2 ranks, 3 passes each
    found = gradient_noise([parts(single / 3, single.mean(axis=0), ranks=2)])
    assert found[0].item() == pytest.approx(single.var(axis=0, ddof=1).mean(), rel=1e-9)
    assert found[1].item() == 6


def test_a_gradient_that_is_not_set_to_zero_is_told_at_each_step(store, table):
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Probe(model, optimizer, store=store, run="a", every=1):
        for forget in (None, lambda: optimizer.zero_grad(set_to_none=False), optimizer.zero_grad, None, None):
            if forget is not None:
                forget()
            for _ in range(2):  # micro-batches of one step are no such thing
                model(torch.randn(4, 3)).square().mean().backward()
            optimizer.step()
    assert table("layers")["grad_carried"].tolist() == [0, 0, 0, 1, 1]
