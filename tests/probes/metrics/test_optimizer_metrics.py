"""What optimizers do: each number against float64, and against the optimizer's own state."""

import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from probes import Probe
from probes.metrics.effective_lr import effective_learning_rates, step_lengths
from probes.metrics.optimizer_moments import first_moment_rms, moment_ratio, second_moment_root
from probes.metrics.update import update_size_and_angle

BATCHES = torch.randn(5, 16, 6, generator=torch.Generator().manual_seed(0))
COLUMNS = ["first_moment_rms", "second_moment_root", "moment_ratio"]


def make() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))


def trained(store, optimizer, model=None, *, given=None, every=1):
    """Train a few steps under a probe of the optimizer's side; return the rows of the last step, by layer."""
    model = make() if model is None else model
    optimizer = optimizer(model.parameters())
    cadence = {"optimizer": every, "singular_values": every}
    probe = Probe(model, given(optimizer) if given else optimizer, store=store, run="a", every=cadence)
    with probe:
        for x in BATCHES:
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()
    rows = pd.read_parquet(store / "layers").astype({"layer": str})
    return model, optimizer, rows[rows["step"] == len(BATCHES) - 1].set_index("layer")


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_moments_equal_numpy_in_float64():
    first, second = random(40, 30), random(40, 30, seed=1).square()
    rms, root = np.sqrt((first.numpy() ** 2).mean()), np.sqrt(second.numpy().mean())
    assert first_moment_rms([first]).item() == pytest.approx(rms, rel=1e-12)
    assert second_moment_root([second]).item() == pytest.approx(root, rel=1e-12)
    assert moment_ratio([(first, second)]).item() == pytest.approx(rms / root, rel=1e-12)


def test_moments_of_nothing_are_nan_and_nan_stays():
    for function in (first_moment_rms, second_moment_root):
        nan, nothing, zero = function([torch.tensor([1.0, torch.nan]), torch.zeros(0), torch.zeros(3)])[0].tolist()
        assert math.isnan(nan)
        assert math.isnan(nothing)
        assert zero == 0
    assert moment_ratio([(torch.zeros(2), torch.zeros(2))]).isnan().all()


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.AdamW, torch.optim.NAdam])
def test_the_moments_are_those_of_adams_state_after_the_step(store, optimizer):
    model, optimizer, rows = trained(store, lambda p: optimizer(p, lr=0.01))
    for name in ("0", "2"):
        state = optimizer.state[model.get_submodule(name).weight]
        first, second = state["exp_avg"].double(), state["exp_avg_sq"].double()
        wanted = [first.square().mean().sqrt(), second.mean().sqrt(), (first.square().sum() / second.sum()).sqrt()]
        np.testing.assert_allclose(rows.loc[name, COLUMNS].astype(float), wanted, rtol=1e-6)


def test_independent_gradients_have_the_moment_ratio_of_noise():
    generator = torch.Generator().manual_seed(0)
    weight = nn.Parameter(torch.zeros(200, 50))
    adam = torch.optim.Adam([weight], betas=(0.9, 0.99))
    for _ in range(600):
        weight.grad = torch.randn(weight.shape, generator=generator)
        adam.step()
    state = adam.state[weight]
    assert moment_ratio([(state["exp_avg"], state["exp_avg_sq"])]).item() == pytest.approx(
        math.sqrt(0.1 / 1.9), rel=0.02
    )


def test_a_moment_that_the_optimizer_does_not_keep_is_null(store, tmp_path):
    *_, plain = trained(store, lambda p: torch.optim.SGD(p, lr=0.01))
    assert plain[COLUMNS].isna().all(axis=None)
    model, momentum, rows = trained(tmp_path / "m", lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9))
    buffer = momentum.state[model[0].weight]["momentum_buffer"]
    assert rows.loc["0", "first_moment_rms"] == pytest.approx(buffer.square().mean().sqrt().item(), rel=1e-6)
    assert rows[COLUMNS[1:]].isna().all(axis=None)
    model, rms, rows = trained(tmp_path / "r", lambda p: torch.optim.RMSprop(p, lr=0.01))
    average = rms.state[model[0].weight]["square_avg"]
    assert rows.loc["0", "second_moment_root"] == pytest.approx(average.mean().sqrt().item(), rel=1e-6)
    assert rows[[COLUMNS[0], COLUMNS[2]]].isna().all(axis=None)
    *_, factored = trained(tmp_path / "f", lambda p: torch.optim.Adafactor(p, lr=0.01))
    assert factored[COLUMNS].isna().all(axis=None)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch has Muon from 2.9 on")
def test_an_update_of_muon_has_nearly_all_directions_and_its_momentum_is_told(store):
    model = nn.Sequential(nn.Linear(16, 16, bias=False))
    batches = torch.randn(16, 16, generator=torch.Generator().manual_seed(3))

    def muon(_):
        return torch.optim.Muon([model[0].weight], lr=0.01, weight_decay=0.0)

    optimizer = muon(None)
    with Probe(model, optimizer, store=store, run="a", every={"optimizer": 1}):
        (model(batches) * torch.randn(16, 16, generator=torch.Generator().manual_seed(4))).sum().backward()
        optimizer.step()
    row = pd.read_parquet(store / "layers").iloc[0]
    buffer = optimizer.state[model[0].weight]["momentum_buffer"]
    assert row["first_moment_rms"] == pytest.approx(buffer.square().mean().sqrt().item(), rel=1e-6)
    assert row["update_effective_rank"] > 14 > row["grad_effective_rank"]


def test_a_wrapped_optimizer_shows_the_moments_of_the_one_inside(store):
    class Wrapper:
        def __init__(self, optimizer):
            self.optimizer, self.param_groups = optimizer, optimizer.param_groups

        def step(self):
            self.optimizer.step()

    model, optimizer, rows = trained(store, lambda p: torch.optim.Adam(p, lr=0.01), given=Wrapper)
    moment = optimizer.state[model[0].weight]["exp_avg"]
    assert rows.loc["0", "first_moment_rms"] == pytest.approx(moment.square().mean().sqrt().item(), rel=1e-6)


class Kept:
    """Parameters and gradients of each step, as a loop of its own sees them."""

    def __init__(self, optimizer):
        self.before, self.gradients, self.after = {}, {}, {}
        optimizer.register_step_pre_hook(self._pre)
        optimizer.register_step_post_hook(self._post)

    def _pre(self, optimizer, *_):
        parameters = optimizer.param_groups[0]["params"]
        self.before = {id(p): p.detach().double().clone() for p in parameters}
        self.gradients = {id(p): p.grad.double().clone() for p in parameters}

    def _post(self, optimizer, *_):
        self.after = {id(p): p.detach().double().clone() for p in optimizer.param_groups[0]["params"]}


def test_spectra_and_sizes_of_gradient_and_update_are_those_of_numpy(store):
    made = {}

    def adam(parameters):
        made["adam"] = torch.optim.Adam(parameters, lr=0.05)
        made["kept"] = Kept(made["adam"])
        return made["adam"]

    model, _, rows = trained(store, adam)
    kept = made["kept"]
    for name in ("0", "2"):
        weight = model.get_submodule(name).weight
        old, new, gradient = (each[id(weight)].numpy() for each in (kept.before, kept.after, kept.gradients))
        change = new - old
        rows_, columns = old.shape
        factor = math.sqrt(columns / rows_)
        spectra = {"grad": np.linalg.svd(gradient, compute_uv=False), "update": np.linalg.svd(change, compute_uv=False)}
        wanted = {
            "effective_lr": 0.05 / (old**2).sum(),
            "step_per_gradient": np.linalg.norm(change) / np.linalg.norm(gradient),
            "update_rms_norm": factor * spectra["update"][0],
            "weight_rms_norm": factor * np.linalg.norm(old, 2),
        }
        for kind, spectrum in spectra.items():
            share = spectrum / spectrum.sum()
            wanted[f"{kind}_spectral_norm"] = spectrum[0]
            wanted[f"{kind}_stable_rank"] = (spectrum**2).sum() / spectrum[0] ** 2
            wanted[f"{kind}_effective_rank"] = np.exp(-(share * np.log(share)).sum())
        found = rows.loc[name, list(wanted)].astype(float)
        np.testing.assert_allclose(found, list(wanted.values()), rtol=1e-4)


def test_plain_gradient_descent_moves_by_its_rate_per_gradient(store):
    *_, rows = trained(store, lambda p: torch.optim.SGD(p, lr=0.03))
    np.testing.assert_allclose(rows["step_per_gradient"], 0.03, rtol=1e-4)


def test_alignment_of_growth_is_one_of_decay_minus_one_and_across_zero():
    weight, across = torch.tensor([[3.0, 4.0]]), torch.tensor([[-4.0, 3.0]])
    pairs = [(weight, weight * 1.5), (weight, weight * 0.5), (weight, weight + across), (weight, weight.clone())]
    *three, still = update_size_and_angle(pairs)[2].tolist()
    assert three == pytest.approx([1, -1, 0], abs=1e-7)
    assert math.isnan(still)


def test_a_weight_of_zero_has_an_infinite_rate_and_a_step_without_gradient_an_infinite_length():
    rate = torch.tensor(0.1, dtype=torch.float64)
    assert effective_learning_rates([(rate, torch.zeros(2))]).item() == math.inf
    zero = torch.zeros((), dtype=torch.float64)
    assert step_lengths([(torch.zeros(2), torch.ones(2), zero)]).item() == math.inf
    assert step_lengths([(torch.ones(2), torch.ones(2), zero)]).isnan().all()


def test_a_matrix_that_is_not_solved_has_its_numbers_from_below(store):
    """Under ``every=10`` spectra may cost a quarter of a small step: a large matrix takes turns."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 700), nn.Linear(700, 600), nn.Linear(600, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with Probe(model, optimizer, store=store, run="a", every=10):
        for _ in range(101):  # to the second record of spectra: at the first it was this matrix's turn
            optimizer.zero_grad()
            model(BATCHES[0]).square().mean().backward()
            gradient = model[1].weight.grad.double().numpy()
            optimizer.step()
    row = pd.read_parquet(store / "layers").query("layer == '1' and step == 100").iloc[0]
    assert np.isnan(row["grad_effective_rank"])
    assert np.isnan(row["update_effective_rank"])
    norm = np.linalg.norm(gradient, 2)
    assert row["grad_spectral_norm"] == pytest.approx(norm, rel=1e-3)
    assert row["update_spectral_norm"] == pytest.approx(0.01 * norm, rel=1e-2)
    assert row["update_rms_norm"] == pytest.approx(math.sqrt(700 / 600) * row["update_spectral_norm"], rel=1e-5)
    assert row["weight_rms_norm"] == pytest.approx(math.sqrt(700 / 600) * row["spectral_norm"], rel=1e-5)
    gaps = json.loads(pd.read_parquet(store / "runs")["gaps"].item())
    assert "whole spectra" in {gap["what"] for gap in gaps}


@pytest.mark.parametrize("alone", ["optimizer", "gradient_spectrum", "spectra", "singular_values"])
def test_large_matrices_take_turns_whichever_spectra_are_recorded(alone, store):
    model = nn.Sequential(nn.Linear(6, 700), nn.Linear(700, 600), nn.Linear(600, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with Probe(model, optimizer, store=store, run="a", every=10, metrics=[alone]):
        optimizer.zero_grad()
        model(BATCHES[0]).square().mean().backward()
        optimizer.step()
    gaps = json.loads(pd.read_parquet(store / "runs")["gaps"].item())
    assert "whole spectra" in {gap["what"] for gap in gaps}


def test_the_optimizers_side_is_recorded_at_every_tenth_record(store):
    model = make()
    optimizer = torch.optim.Adam(model.parameters())
    with Probe(model, optimizer, store=store, run="a", every=1):
        for step in range(11):
            optimizer.zero_grad()
            model(BATCHES[step % 5]).square().mean().backward()
            optimizer.step()
    rows = pd.read_parquet(store / "layers")
    for column in (*COLUMNS, "grad_spectral_norm", "update_spectral_norm", "effective_lr"):
        assert sorted(rows.loc[rows[column].notna(), "step"].unique()) == [0, 10]
