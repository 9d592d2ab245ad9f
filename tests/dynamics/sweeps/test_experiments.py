from __future__ import annotations

from dataclasses import replace

import pytest

from dynamics.sweeps.experiments import EXPERIMENTS, experiments_named


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if name not in {"gan-cifar10", "causes"}])
@pytest.mark.parametrize("quick", [False, True])
def test_every_experiment_compares_the_papers_three_norms(name: str, quick: bool) -> None:
    runs = EXPERIMENTS[name].runs(quick=quick)
    assert {config.norm for config in runs.values()} == {"bn", "sn", "msn"}
    # Each norm meets each combination of the other settings.
    others = [{replace(c, norm="") for c in runs.values() if c.norm == norm} for norm in ("bn", "sn", "msn")]
    assert others[0] == others[1] == others[2]


def test_the_papers_rates_are_tried_on_full_data() -> None:
    rates = {config.learning_rate for config in EXPERIMENTS["cnn3-mnist"].runs().values()}
    assert rates == {0.1, 0.001, 0.0001}


def test_the_papers_critics_have_the_papers_losses() -> None:
    runs = EXPERIMENTS["gan-cifar10"].runs()
    assert {(config.norm, config.loss) for config in runs.values()} == {
        ("bn", "wasserstein"),
        ("sn", "softplus"),
        ("msn", "softplus"),
    }


def test_quick_is_the_same_comparison_made_shorter() -> None:
    full, quick = (EXPERIMENTS["cnn3-mnist"].runs(quick=quick) for quick in (False, True))
    assert list(full) == list(quick)
    assert all(replace(full[run], epochs=10) == quick[run] for run in full)


def test_all_is_all_of_the_papers() -> None:
    assert set(experiments_named("all")) == set(EXPERIMENTS) - {"cnn3-subset", "causes"}


def test_run_ids_of_all_experiments_differ() -> None:
    ids = [run for experiment in EXPERIMENTS.values() for run in experiment.runs()]
    assert len(set(ids)) == len(ids)


def test_an_unknown_experiment_is_answered_with_the_known() -> None:
    with pytest.raises(ValueError, match=r"no experiment 'mnist': expected one of cnn3-subset, cnn3-mnist, .* or all"):
        experiments_named("mnist")
