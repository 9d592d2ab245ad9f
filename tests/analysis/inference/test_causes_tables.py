"""The tables of figures/causes: right on a store whose truth is known, and the committed page is what they say."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

from analysis.inference.mediators import mediators
from analysis.inference.run_scores import EQUAL, run_scores
from analysis.reading.tables import channels
from analysis.summaries.nonlinearities.channel_drift import channel_drift
from dynamics.classifier.measures.thinned_records import thinned
from dynamics.sweeps.plans.plan import load_plan, shipped_plans
from probes import Probe
from tests.scripts import load_script
from tests.stores import write_rows

CAUSES = Path(__file__).parents[3] / "figures" / "causes"
PLANS = ("c1-forward-backward", "c4-scale")
SLOPE = -0.05  # accuracy lost for a deviation of drift
tables, committed_store = load_script(CAUSES / "tables.py"), load_script(CAUSES / "committed_store.py")


def write_run(store: Path, run: str, *, seed: int, accuracies: dict[int, float], **layer: float) -> None:
    """Write a finished run: tests at steps, and two layers with a centring each before the last layer."""
    write_rows(store, "runs", run, pd.DataFrame({"status": ["finished"], "config": [json.dumps({"seed": seed})]}))
    last = max(accuracies)
    steps = [(step, "test", 0.5, accuracy) for step, accuracy in accuracies.items()]
    steps += [(step, "train", 0.5, 0.9) for step in (0, last - 1)]
    write_rows(store, "steps", run, pd.DataFrame(steps, columns=["step", "split", "loss", "accuracy"]))
    rows = [
        (step, name, index, kind, 4.0, rank, angle)
        for step in (0, last - 1)
        for index, (name, kind, rank, angle) in enumerate(
            [
                ("conv", "Conv2d", layer["rank"], layer["angle"]),
                ("norm", "InterventionalCentring", None, None),
                ("classifier", "Linear", 1.0, 1.0),
            ]
        )
    ]
    names = ["step", "layer", "layer_index", "layer_type", "activation_var"]
    frame = pd.DataFrame(rows, columns=[*names, "effective_rank", "update_angle"])
    frame = frame.astype({"layer": "category", "layer_type": "category"})
    frame.loc[frame["step"] == last - 1, "activation_var"] *= layer["scale"] ** 2
    write_rows(store, "layers", run, frame)
    if "unlearned" in layer:
        write_rows(store, "channels", run, moved_channels((0, 100, last - 1), **layer))


def moved_channels(steps: tuple[int, ...], **layer: float) -> pd.DataFrame:
    """Return two channels of deviation 2: since step 100 their mean has moved by 2 ``drift``, by 2 ``unlearned`` of it
    without m.
    """
    start, end = steps[1], steps[-1]
    moved = {steps[0]: 100.0, start: 0.5, end: 0.5 + 2 * layer["drift"]}
    m = {steps[0]: 0.0, start: 0.25, end: 0.25 + 2 * (layer["drift"] - layer["unlearned"])}
    rows = [(step, "norm", 1, "InterventionalCentring", channel) for step in steps for channel in (0, 1)]
    frame = pd.DataFrame(rows, columns=["step", "layer", "layer_index", "layer_type", "channel"])
    numbers = {"mean": frame["step"].map(moved), "shift": frame["step"].map(m), "deviation": 2.0, "maximum": 1.0}
    rest = dict.fromkeys(("positive_fraction", "input_mean", "input_deviation", "running_mean"), 1.0)
    return frame.assign(nonlinearity="leaky_relu", **numbers, **rest).astype({"layer": "category"})


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store of two plans in which accuracy is 0.8 - 0.05 drift, plus an effect of each seed."""
    store, rng = tmp_path_factory.mktemp("known"), np.random.default_rng(0)
    arms = {arm: rng.uniform(0, 1, 5) for plan in PLANS for arm in load_plan(plan).arms}
    for arm, (drift, scale, rank, angle, learned) in arms.items():
        for seed in range(3):
            accuracy = 0.8 + SLOPE * drift + 0.01 * seed
            drifts = {"drift": drift, "unlearned": drift * learned}
            layer = {**drifts, "scale": 1 + scale, "rank": 10 + 9 * rank, "angle": 0.01 + 0.01 * angle}
            tests = {step: accuracy - 0.1 * (step < 3124) for step in (781, 1562, 2343, 3124)}
            write_run(store, f"vgg7-{arm}-s{seed}", seed=seed, accuracies=tests, **layer)
    return store


def test_numbers_are_those_of_the_store(known: Path) -> None:
    numbers = tables.Numbers(known)
    drift = mediators(known).set_index("run")["seen_drift"]
    assert numbers("runs") == "27"
    expected = 100 * (0.8 + SLOPE * drift["vgg7-msn-s0"] + 0.01)
    assert numbers("accuracy:c1-forward-backward:msn").startswith(f"{expected:.2f} % [")
    difference = 100 * SLOPE * (drift["vgg7-msn-s0"] - drift["vgg7-sn-s0"])
    assert numbers("difference:c1-forward-backward:msn:sn").startswith(f"{difference:+.2f} points [")
    assert numbers("accuracy:c8-plateau:bn") == "not run"


def test_a_plan_that_was_not_run_is_told_once_and_one_without_pairs_is_told(known: Path, tmp_path: Path) -> None:
    numbers = tables.Numbers(known)
    assert numbers("arms:c8-plateau").rstrip("\n") == "*not run: c8-plateau, 3 arms x 3 seeds*"
    assert numbers("differences:c8-plateau") == ""
    shutil.copytree(known, tmp_path / "store")
    for folder in (tmp_path / "store").glob("*/run=vgg7-*"):
        if not folder.name.startswith("run=vgg7-msn-s"):
            shutil.rmtree(folder)
    alone = tables.Numbers(tmp_path / "store")("differences:c1-forward-backward")
    assert alone == "*no comparison yet: no pair of arms of c1-forward-backward shares a finished seed*"


def test_the_coefficient_of_the_drift_is_recovered(known: Path) -> None:
    line = next(line for line in tables.Numbers(known)("between").splitlines() if line.startswith("| seen drift"))
    cells = [cell.strip() for cell in line.split("|")]
    drift = mediators(known).groupby(lambda i: i // 3)["seen_drift"].first()
    assert float(cells[2]) == pytest.approx(100 * SLOPE * drift.std(), abs=0.01)
    low, high = map(float, cells[3].split(" to "))
    assert low <= float(cells[2]) <= high < 0


def test_mediators_are_those_that_were_written(known: Path) -> None:
    found = mediators(known, runs="vgg7-msn-s0").iloc[0]
    layers = pd.read_parquet(known / "layers" / "run=vgg7-msn-s0").query("step > 0").set_index("layer")
    norm, conv = layers.loc["norm"], layers.loc["conv"]
    late = pd.read_parquet(known / "channels" / "run=vgg7-msn-s0").query("step > 0 and channel == 0").set_index("step")
    moved, learned = (late[name].iloc[-1] - late[name].iloc[0] for name in ("mean", "shift"))
    assert found["seen_drift"] == pytest.approx(moved / 2)
    assert found["unlearned_drift"] == pytest.approx((moved - learned) / 2)
    assert found["log_scale"] == pytest.approx(np.log(norm["activation_var"]) / 2)
    assert found["log_effective_rank"] == pytest.approx(np.log(conv["effective_rank"]))
    assert found["log_update_angle"] == pytest.approx(np.log(conv["update_angle"]))


def test_what_moves_in_training_mode_alone_is_no_drift(known: Path, tmp_path: Path) -> None:
    shutil.copytree(known, tmp_path / "store")
    path = tmp_path / "store" / "layers" / "run=vgg7-msn-s0" / "part-00000001-00000001.parquet"
    rows = pd.read_parquet(path)
    pq.write_table(pa.Table.from_pandas(rows.assign(activation_drift=9.0), preserve_index=False), path)
    pd.testing.assert_frame_equal(mediators(tmp_path / "store"), mediators(known))


def test_a_measured_nan_is_not_passed_over_and_a_null_is(known: Path, tmp_path: Path) -> None:
    shutil.copytree(known, tmp_path / "store")
    path = tmp_path / "store" / "layers" / "run=vgg7-msn-s0" / "part-00000001-00000001.parquet"
    rows, plain = pq.read_table(path), mediators(known, runs="vgg7-msn-s0").iloc[0]
    for value, expected in ((None, plain["log_effective_rank"]), (np.nan, np.nan)):
        later = rows.slice(3, 1)  # the convolution at the last record, measured again
        place = rows.schema.get_field_index("effective_rank")
        later = later.set_column(place, "effective_rank", pa.array([value], rows.schema.field(place).type))
        pq.write_table(pa.concat_tables([rows, later]), path)
        found = mediators(tmp_path / "store", runs="vgg7-msn-s0").iloc[0]
        assert found["log_effective_rank"] == pytest.approx(expected, nan_ok=True)


def test_the_committed_copy_has_the_same_mediators(known: Path, tmp_path: Path) -> None:
    committed_store.copy_finished(known, tmp_path / "copy")
    assert not (tmp_path / "copy" / "channels").exists()
    copied, whole = (tables.Numbers(store)._mediators(["vgg7-msn-s0"]).iloc[0] for store in (tmp_path / "copy", known))
    assert copied[["seen_drift", "unlearned_drift"]].tolist() == pytest.approx(
        whole[["seen_drift", "unlearned_drift"]].tolist(), rel=1e-6
    )


def test_a_store_without_the_channels_has_no_drift_and_says_so(known: Path, tmp_path: Path) -> None:
    shutil.copytree(known, tmp_path / "store")
    shutil.rmtree(tmp_path / "store" / "channels")
    assert "no table 'channels'" in tables.Numbers(tmp_path / "store")("between")


def test_the_whole_page_can_be_made_and_every_word_of_the_template_is_known(known: Path) -> None:
    page = tables.rendered(tables.TEMPLATE.read_text(), known)
    assert "${" not in page
    assert "| sn-backward |" in page
    assert "*not run: c8-plateau, 3 arms x 3 seeds*" in page
    with pytest.raises(ValueError, match=r"\$\{mean:x\}: expected one of arms, differences"):
        tables.rendered("${mean:x}", known)


def test_the_committed_page_is_what_the_committed_store_says() -> None:
    expected = tables.rendered(tables.TEMPLATE.read_text(), tables.STORE)
    assert tables.README.read_text() == expected, "run `python figures/causes/tables.py --write`"


def test_no_result_is_typed_into_the_template() -> None:
    prose = re.sub(r"\$\{[^}]*\}", "", tables.TEMPLATE.read_text())
    assert re.findall(r"\d+\.\d+ ?(?:%|points)", prose) == []


def test_the_experiment_reports_its_arms(known: Path) -> None:
    from dynamics.sweeps.experiments import PlannedExperiment
    from dynamics.sweeps.reproduce import as_text

    found = PlannedExperiment("two plans", PLANS, {}).results(str(known))
    assert sorted(found["arm"]) == sorted({f"vgg7-{arm}" for plan in PLANS for arm in load_plan(plan).arms})
    assert found["runs"].tolist() == [3] * 9
    assert found["mean"].is_monotonic_decreasing
    assert as_text(found, title="two plans").row_count == 9


def test_every_comparison_is_of_arms_that_the_plan_has() -> None:
    for plan, pairs in tables.COMPARED.items():
        assert {arm for pair in pairs for arm in pair} <= set(load_plan(plan).arms), plan
    assert set(shipped_plans()) - set(tables.COMPARED) == {"c3-source"}


def test_equal_steps_are_the_last_that_no_run_is_too_short_for(tmp_path: Path) -> None:
    layer = {"drift": 0.0, "scale": 1.0, "rank": 1.0, "angle": 1.0}
    write_run(tmp_path, "a-s0", seed=0, accuracies={10: 0.1, 20: 0.2, 30: 0.3}, **layer)
    write_run(tmp_path, "b-s0", seed=0, accuracies={10: 0.4, 20: 0.6}, **layer)
    found = run_scores(tmp_path).set_index("arm")
    assert found[EQUAL].to_dict() == {"a": 0.2, "b": 0.6}
    assert found["last_accuracy"].to_dict() == {"a": 0.3, "b": 0.6}
    assert found.loc["a", "plateau_accuracy"] == 0.3  # steps 21 to 30
    assert found.loc["a", "best_accuracy"] == 0.3
    assert found.loc["a", "train_accuracy"] == 0.9
    write_run(tmp_path, "c-s0", seed=0, accuracies={10: 0.15}, **layer)
    place = tmp_path / "steps" / "run=c-s0" / "part-00000001-00000001.parquet"
    steps = pd.read_parquet(place)
    steps.loc[steps["split"] == "train", "loss"] = np.nan
    steps.to_parquet(place, index=False)
    found = run_scores(tmp_path).set_index("arm")  # a run that diverged shortens nobody's
    assert found[EQUAL].to_dict() == {"a": 0.2, "b": 0.6, "c": 0.15}
    assert found["diverged"].to_dict() == {"a": False, "b": False, "c": True}


@pytest.fixture(scope="module")
def thinned_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the store of a run of 141 steps that is recorded as those of the plans are."""
    store = tmp_path_factory.mktemp("thinned")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x = torch.randn(16, 3)
    schedules: dict[str, Any] = thinned(8, steps=141, probe_batch=True)
    recorded = {"every": schedules, "metrics": list(schedules), "probe_batch": x}
    with Probe(model, optimizer, store=store, run="x-s0", **recorded) as probe:
        for _ in range(141):
            optimizer.zero_grad()
            loss = model(x).square().mean()
            loss.backward()
            optimizer.step()
            probe.log(loss=loss)
    return store


KEPT = [0, 60, 120, 140]  # of the records at 0, 20, ..., 140


def test_a_copy_for_the_repository_has_the_kept_rows_and_is_small(thinned_store: Path, tmp_path: Path) -> None:
    sizes = committed_store.copy_finished(thinned_store, tmp_path / "copy")
    assert list(sizes) == ["x-s0"]
    assert sizes["x-s0"] < 0.5 * sum(part.stat().st_size for part in thinned_store.rglob("*.parquet"))
    for table in ("layers", "steps", "histograms", "spectra", "runs"):
        whole, copy = pd.read_parquet(thinned_store / table), pd.read_parquet(tmp_path / "copy" / table)
        if table == "layers":
            whole = whole[whole["step"].isin(KEPT)].reset_index(drop=True)
        pd.testing.assert_frame_equal(whole.drop(columns=whole.columns.difference(copy.columns)), copy)
        assert set(whole.columns) - set(copy.columns) <= committed_store.NOT_MEASURED | committed_store.NOT_READ
    from dynamics.cli import run as command_line

    assert command_line(["verify", "--store", str(tmp_path / "copy")]) == 0


def test_a_copy_has_the_drift_of_the_channels_and_not_the_channels(thinned_store: Path, tmp_path: Path) -> None:
    committed_store.copy_finished(thinned_store, tmp_path / "copy")
    assert not (tmp_path / "copy" / "channels").exists()
    copy = pd.read_parquet(tmp_path / "copy" / "channel_drift")
    whole = channel_drift(channels(thinned_store), since=50)
    both = whole.merge(copy, on=["step", "layer_index"], suffixes=("", "_copy"))
    assert both["step"].tolist() == copy["step"].tolist() == KEPT
    for column in ("seen_drift", "unlearned_drift", "dead_share"):
        np.testing.assert_allclose(both[f"{column}_copy"], both[column], rtol=1e-6)
    assert copy["seen_drift"].notna().tolist() == [False, True, True, True]


def test_a_column_that_holds_numbers_is_never_left_out(tmp_path: Path) -> None:
    write_rows(tmp_path / "a", "runs", "x-s0", pd.DataFrame({"status": ["finished"], "config": ["{}"]}))
    write_rows(tmp_path / "a", "layers", "x-s0", pd.DataFrame({"step": [0], "grad_noise": [1.0]}))
    with pytest.raises(ValueError, match="grad_noise hold numbers"):
        committed_store.copy_finished(tmp_path / "a", tmp_path / "b")


def test_a_run_that_is_not_compacted_is_not_copied(tmp_path: Path) -> None:
    write_run(tmp_path / "a", "x-s0", seed=0, accuracies={10: 0.1}, drift=0.0, scale=1.0, rank=1.0, angle=1.0)
    part = tmp_path / "a" / "steps" / "run=x-s0" / "part-00000001-00000001.parquet"
    (part.parent / "part-00000002-00000002.parquet").write_bytes(part.read_bytes())
    with pytest.raises(ValueError, match="has 2 parts: run `meandrift compact --store"):
        committed_store.copy_finished(tmp_path / "a", tmp_path / "b")
