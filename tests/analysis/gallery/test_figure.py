from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import analysis
from analysis.gallery.figure import choose, prepare


def test_an_unknown_figure_raises_and_lists_those_there_are(small_store: Path) -> None:
    with pytest.raises(ValueError, match="no figure 'mean-drift'; there are: gradient_sparsity, accuracy, layer_means"):
        analysis.figure("mean-drift", small_store)


def test_an_unknown_option_raises_and_lists_those_there_are() -> None:
    with pytest.raises(ValueError, match="figure 'mean_drift' has no option smoth; it has: layers, smooth, from_start"):
        choose("mean_drift", smoth=3)


def test_layers_of_different_networks_do_not_compare(make_store: Callable[..., Path]) -> None:
    store = make_store(records=2)
    other = make_store("other", model="densenet", norms=["bn"], records=2)
    for table in ("layers", "runs"):
        (other / table / "run=bn-s0").rename(store / table / "run=dense-bn")
    with pytest.raises(
        ValueError, match=r"compares the layers of one network; the runs differ in model \(cnn3, densenet"
    ):
        analysis.figure("mean_drift", store)
    assert analysis.figure("mean_drift", store, runs="dense-*")


def test_steps_are_cut_to_the_range_asked_for(small_store: Path) -> None:
    table = prepare("mean_drift", small_store, steps=(500, 1000)).table
    assert (table["step"].min(), table["step"].max()) == (500, 1000)


def test_a_figure_that_finds_no_row_says_which_column_was_never_measured(make_store: Callable[..., Path]) -> None:
    store = make_store(norms=["bn"], records=3)
    with pytest.raises(ValueError, match="figure 'spectrum': no row of table 'spectra' has singular_values measured"):
        analysis.figure("spectrum", store, steps=(1, 2))


def test_a_run_that_does_not_exist_raises(small_store: Path) -> None:
    with pytest.raises(ValueError, match="no run matches 'wn-s0'; there are: bn-s0, msn-s0, sn-s0"):
        analysis.figure("mean_drift", small_store, runs="wn-s0")


def test_public_names_are_what_they_say_whatever_was_imported_first() -> None:
    import importlib
    import pkgutil
    import types

    for module in pkgutil.walk_packages(analysis.__path__, "analysis."):
        importlib.import_module(module.name)
    for name in analysis.__all__:
        assert not isinstance(getattr(analysis, name), types.ModuleType), name


def test_an_unknown_public_name_raises() -> None:
    with pytest.raises(AttributeError, match="module 'analysis' has no attribute 'layer'; it has FIGURES,"):
        _ = analysis.layer
