"""The page of figures/sequence: right on a store whose truth is known, and what the committed store says."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.scripts import load_script
from tests.stores import write_rows

FOLDER = Path(__file__).parents[1] / "figures" / "sequence"
LOSSES = {"ln": 2.5, "sn": 2.9, "msn": 2.7, "wn": 2.6}  # bits of seed 0 at the best rate
BEST = {"ln": 0.003, "sn": 0.01, "msn": 0.01, "wn": 0.001}
tables, rates = load_script(FOLDER / "tables.py"), load_script(FOLDER / "rates.py")


def write_run(store: Path, norm: str, rate: float, seed: int, bits: float, *, status: str = "finished") -> None:
    """Write a run with two tests, and two layers whose mean is 0.3 and 0.6 of a deviation."""
    run = f"{norm}-lr{rate:g}-s{seed}"
    config = json.dumps({"norm": norm, "learning_rate": rate, "seed": seed})
    write_rows(store, "runs", run, pd.DataFrame({"status": [status], "config": [config]}))
    tests = [(4, "test", bits + 1, 0.1), (8, "test", bits, 0.5), (7, "train", math.nan, 0.4)]
    write_rows(store, "steps", run, pd.DataFrame(tests, columns=["step", "split", rates.BITS, "accuracy"]))
    rows = [
        (step, f"blocks.{block}.wide", index, sign * mean, 4.0, sigma, 9.0)
        for step, sign, sigma in ((0, 1, 5.0), (3, -1, math.nan), (7, 1, 1.5))
        for block, index, mean in ((0, 2, 0.6), (3, 10, 1.2))
    ]
    names = ["step", "layer", "layer_index", "activation_mean", "activation_var", "spectral_norm", "stable_rank"]
    write_rows(store, "layers", run, pd.DataFrame(rows, columns=names))


def write_store(store: Path, *, other: dict[str, tuple[float, float]]) -> Path:
    """Write the grid, and seeds 1 and 2 of the best rates with the bits of ``other``."""
    for norm, best in LOSSES.items():
        for rate in rates.RATES:
            write_run(store, norm, rate, 0, best if rate == BEST[norm] else best + 0.5)
        for seed, bits in enumerate(other.get(norm, ()), start=1):
            write_run(store, norm, BEST[norm], seed, bits)
    return store


@pytest.fixture
def known(tmp_path: Path) -> Path:
    """Return a store where MSN needs 0.20, 0.21 and 0.19 bits more than LN, 0.2 fewer than SN, and WN scatters."""
    other = {"ln": (2.50, 2.52), "msn": (2.71, 2.71), "sn": (2.91, 2.92), "wn": (2.0, 3.3)}
    return write_store(tmp_path / "store", other=other)


def test_each_norm_has_the_rate_of_its_lowest_last_test_and_a_diverged_run_is_never_best(known: Path) -> None:
    assert rates.best_rates(rates.final_tests(known)) == BEST
    write_run(known, "ln", 0.003, 0, math.nan)
    assert rates.best_rates(rates.final_tests(known))["ln"] != 0.003


def test_runs_of_other_rates_do_not_count_as_seeds(known: Path) -> None:
    chosen = rates.chosen(rates.final_tests(known))
    assert len(chosen) == 12
    assert dict(zip(chosen["norm"], chosen["learning_rate"], strict=True)) == BEST


def test_a_run_that_is_not_finished_is_not_counted(known: Path) -> None:
    write_run(known, "msn", BEST["msn"], 2, 9.9, status="running")
    assert len(rates.final_tests(known)) == 19


def test_intervals_and_differences_are_those_of_the_t_distribution(known: Path) -> None:
    t = 4.302652729911275  # two degrees of freedom, 95 %
    differences = np.array([0.20, 0.21, 0.19])
    half = t * differences.std(ddof=1) / math.sqrt(3)
    assert f"| MSN | LN | 3 | +0.200 | +{0.2 - half:.3f} to +{0.2 + half:.3f} |" in tables.Numbers(known).differences()
    bits = np.array([2.7, 2.71, 2.71])
    low, high = (bits.mean() + sign * t * bits.std(ddof=1) / math.sqrt(3) for sign in (-1, 1))
    assert f"| MSN | 0.01 | 3 | {bits.mean():.3f} | {low:.3f} to {high:.3f} | 50.0 |" in tables.Numbers(known).norms()


def test_the_grid_shows_every_rate_and_the_best_in_bold(known: Path) -> None:
    assert "| SN | 3.400 | 3.400 | **2.900** |" in tables.Numbers(known).grid()


def test_drift_is_in_deviations_and_the_spectral_norm_is_the_last_measured(known: Path) -> None:
    found = tables.Numbers(known).layers()
    assert "| LN | 0.30 | 1.50 | 9.0 | 0.60 | 1.50 | 9.0 |" in found
    assert "blocks.0.wide and blocks.3.wide" in found


def test_the_verdict_says_more_fewer_or_that_it_cannot_be_told(known: Path, tmp_path: Path) -> None:
    said = tables.Numbers(known).verdict()
    assert said.startswith("MSN does not help where layer norm is the rule: it needs 0.200 bits more")
    assert "The centring helps spectral norm: MSN needs 0.203 bits fewer" in said
    assert re.search(r"It needs \d\.\d+ bits (more|fewer) \[.* not told from 0 \(p = .*\)\] than weight norm", said)
    other = {norm: (bits + 0.01, bits + 0.02) for norm, bits in LOSSES.items()} | {"msn": (2.40, 2.95)}
    unclear = write_store(tmp_path / "unclear", other=other)
    assert tables.Numbers(unclear).verdict().startswith("Whether MSN helps where layer norm is the rule cannot be told")


def test_what_is_not_there_reads_not_run(known: Path, tmp_path: Path) -> None:
    template = tables.TEMPLATE.read_text(encoding="utf-8")
    assert "*not run: the grid of rates comes first*" in tables.rendered(template, tmp_path / "nowhere")
    one_seed = write_store(tmp_path / "one", other={})
    assert tables.Numbers(one_seed).verdict() == "*not run: one seed tells no difference from chance*"
    whole = tables.rendered(template, known)
    assert "${" not in whole
    assert "not run" not in whole
    assert tables.pictures(tmp_path) == "*not drawn*"
    (tmp_path / "loss.png").touch()
    assert tables.pictures(tmp_path) == "![Training and test loss, mean and deviation over seeds](loss.png)"
    with pytest.raises(ValueError, match=r"\$\{mean\}: expected one of grid, norms"):
        tables.rendered("${mean}", known)


def test_the_rates_are_not_chosen_from_half_a_grid(tmp_path: Path) -> None:
    write_run(tmp_path, "ln", 0.003, 0, 2.5)
    with pytest.raises(ValueError, match=r"no finished run of seed 0 with ln at 0.001, ln at 0.01, sn at 0.003"):
        rates.best_rates(rates.final_tests(tmp_path))


def test_the_committed_copy_says_the_same_and_keeps_the_tests_alone_of_other_rates(known: Path, tmp_path: Path) -> None:
    sizes = load_script(FOLDER / "committed_store.py").copy(known, tmp_path / "copy")
    assert len(sizes) == 20
    assert all(size > 0 for size in sizes.values())
    template = tables.TEMPLATE.read_text(encoding="utf-8")
    assert tables.rendered(template, tmp_path / "copy") == tables.rendered(template, known)
    whole = {path.name.removeprefix("run=") for path in (tmp_path / "copy" / "layers").iterdir()}
    assert whole == set(rates.chosen(rates.final_tests(known))["run"])


def test_the_committed_page_is_what_the_committed_store_says() -> None:
    expected = tables.rendered(tables.TEMPLATE.read_text(encoding="utf-8"), tables.STORE)
    assert tables.README.read_text(encoding="utf-8") == expected, "run `python figures/sequence/tables.py --write`"


def test_no_result_is_typed_into_the_template() -> None:
    assert re.findall(r"\d\.\d", tables.TEMPLATE.read_text(encoding="utf-8")) == []
