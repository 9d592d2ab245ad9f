"""The numbers of README.md, computed from the store beside it.

    python figures/verdicts.py           # print the numbers by name
    python figures/verdicts.py --write   # write README.md from README.template.md

In the template, ``{name}`` stands for a number of :func:`numbers`. A test holds README.md against the store.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

import numpy as np
import pandas as pd
from measured import measured_numbers
from stored_runs import CNN3, CNN3_ONE, HERE, NETWORKS, RELEASED, STORE, THREE, VGG7, WEIGHT_NORM, at_all_rates

from analysis import histograms, layers
from analysis.gallery.figure import prepare
from analysis.reading.run_table import runs as read_runs
from analysis.reading.store import Store
from analysis.summaries.comparison_arms import arms
from analysis.summaries.gradient_concentration import KURTOSIS, SHARE, gradient_concentration
from analysis.summaries.layer_choice import convolutions, readable, weight_layers
from analysis.summaries.nonlinearities.layers_before import pre_activation_layers
from analysis.summaries.subsets import at_last_common_step, common_steps

LATE = 5  # records averaged for values that one record takes from one batch


def numbers() -> dict[str, str]:
    """Return every number of the page by name, formatted as on the page."""
    store = Store(STORE)
    found = accuracies(store) | learning_rates(store)
    for network, runs in (NETWORKS | {"released": RELEASED}).items():
        parts = [drift(store, runs), gradients(store, runs), spectra(store, runs), dead(store, runs)]
        found |= {f"{network}_{name}": text for part in parts for name, text in part.items()}
    return found | causes(store) | taken_apart() | measured_numbers()


def by_norm(values: pd.Series, form: str, *, sign: str = "") -> str:
    """Return values indexed by norm as "BN 1.0, SN 2.0, MSN 3.0"."""
    named = [f"{norm.upper()} {_in_digits(values[norm], form)}{sign}" for norm in THREE if norm in values.index]
    return ", ".join(named).replace("-", "−")


def _in_digits(value: float, form: str) -> str:
    """Return a number in the format ``form``, a small number without an exponent: 0.000039 for 3.9e-05."""
    text = f"{value:{form}}"
    return np.format_float_positional(float(text), trim="-") if "e-" in text else text


def accuracies(store: Store) -> dict[str, str]:
    """Return the best test accuracy of each network and norm, and details on VGG-7."""
    found = {}
    for network, runs in (NETWORKS | {"released": RELEASED}).items():
        table = prepare("accuracy", store, runs=runs).table
        best = table[table["split"] == "test"].drop_duplicates("norm").set_index("norm")
        found[f"{network}_best"] = by_norm(100 * best["best"], ".2f", sign=" %")
        deviations = [f"{100 * best.loc[norm, 'best_spread']:.2f}" for norm in THREE]
        found[f"{network}_best_deviations"] = ", ".join(deviations)
    tests = (
        prepare("accuracy", store, runs=VGG7)
        .table.query("split == 'test'")
        .pivot(index="step", columns="norm", values="mean")
    )
    gap = 100 * (tests["bn"] - tests["sn"])
    found["vgg7_gap_first"], found["vgg7_gap_last"] = f"{gap.iloc[0]:.1f}", f"{gap.iloc[-1]:.1f}"
    wn = prepare("accuracy", store, runs=WEIGHT_NORM).table.drop_duplicates("split").set_index("split")["best"]
    found["wn_best"] = f"{100 * wn['test']:.2f} %"
    return found


def learning_rates(store: Store) -> dict[str, str]:
    """Return the best accuracies at the three rates, by definition and norm."""
    found = {}
    for name, released in (("equations", False), ("scripts", True)):
        table = prepare("learning_rates", store, runs=at_all_rates(released=released)).table.sort_values(
            "learning_rate"
        )
        for norm, mine in table.groupby("norm"):
            found[f"rates_{name}_{norm}"] = ", ".join(f"{100 * value:.2f}" for value in mine["mean"]) + " %"
    return found


def drift(store: Store, runs: Sequence[str]) -> dict[str, str]:
    """Return drifts in deviations, their signs and spreads, of the weights and before the nonlinearities."""
    table = prepare("drift_by_depth", store, runs=runs).table.assign(size=lambda t: t["drift"].abs())
    seen, weights = (table[table["tensor"] == tensor] for tensor in ("activation", "weight"))
    deepest = seen[seen["depth"] == 1].groupby("norm")["drift"].mean()
    rows = with_arms(store, layers(store, columns=["weight_mean", "activation_mean", "activation_var"], runs=runs))
    means = weight_layers(rows[rows["weight_mean"].notna()], None)
    last = at_last_common_step(means, what="means")
    first = means[means["step"] == means["step"].min()].set_index(["run", "layer"])["weight_mean"]
    fell = last.set_index(["run", "layer"])["weight_mean"] < first
    before = pre_activation_layers(rows[rows["activation_mean"].notna()])
    end = at_last_common_step(before, what="means")
    start = before[before["step"] == before["step"].min()]
    negative = 100 * (end["activation_mean"] < 0).groupby(end["norm"]).mean()
    spread = [part["activation_var"].pow(0.5).groupby(part["norm"]).median() for part in (start, end)]
    arm = last.drop_duplicates("run").set_index("run")["norm"]
    fell = 100 * fell.groupby(fell.index.get_level_values("run").map(arm)).mean()
    return {
        "drift_median": by_norm(seen.groupby("norm")["size"].median(), ".2g"),
        "drift_most": by_norm(seen.groupby("norm")["size"].max(), ".2f"),
        "drift_deepest": by_norm(deepest, "+.2f"),
        "weight_drift_most": by_norm(weights.groupby("norm")["size"].max(), ".2f"),
        "weight_mean_lowest": by_norm(last.groupby("norm")["weight_mean"].min(), ".4f"),
        "weight_mean_fell": by_norm(fell, ".0f", sign=" %"),
        "negative": by_norm(negative, ".0f", sign=" %"),
        "deviation_start": by_norm(spread[0], ".2f"),
        "deviation_end": by_norm(spread[1], ".2f"),
    }


def gradients(store: Store, runs: Sequence[str]) -> dict[str, str]:
    """Return exact zeros and widths of the convolutions' gradients, and concentration and tails for a dozen layers."""
    rows = with_arms(store, weight_layers(layers(store, columns=["grad_var", "grad_sparsity"], runs=runs), None))
    rows = convolutions(rows[rows["grad_var"].notna()])
    steps = common_steps(rows, what="gradients")
    ratio = {}
    for when, chosen in (("first", steps[:1]), ("late", steps[-LATE:])):
        mean = (
            rows[rows["step"].isin(chosen)].groupby(["norm", "layer"], observed=True)["grad_var"].mean().unstack("norm")
        )
        ratio[when] = mean.div(mean["bn"], axis="index").median().drop("bn")
    shown = readable(weight_layers(with_arms(store, histograms(store, runs=runs)), None), None, most=12)
    late = common_steps(shown, what="histograms")[-LATE:]
    concentrated = gradient_concentration(shown[shown["step"].isin(late)])
    by_layer = concentrated.groupby(["norm", "layer"], observed=True)[[SHARE, KURTOSIS]].mean()
    medians = by_layer.groupby("norm").median()
    return {
        "zeros_most": f"{100 * rows['grad_sparsity'].max():.2g} %",
        "variance_first": by_norm(ratio["first"], ".2g"),
        "variance_late": by_norm(ratio["late"], ".2g"),
        "mass": by_norm(medians[SHARE], ".2f"),
        "kurtosis": by_norm(medians[KURTOSIS], ".1f"),
    }


def spectra(store: Store, runs: Sequence[str]) -> dict[str, str]:
    """Return the spread of the convolutions' singular values, and the norms of layers, at the first and last step."""
    table = prepare("singular_values", store, runs=runs, layers=None).table
    wide = weight_layers(layers(store, columns=["kernel_singular_value_mean", "singular_value_mean"], runs=runs), None)
    wide = convolutions(with_arms(store, wide[wide["kernel_singular_value_mean"].notna()]))
    steps = common_steps(wide, what="singular values")
    found = {}
    for column, name in (("kernel_singular_value_mean", "slices"), ("singular_value_mean", "matrix")):
        for when, step in (("first", steps[0]), ("last", steps[-1])):
            at = wide[wide["step"] == step].groupby(["norm", "layer"], observed=True)[column].mean()
            spans = at.groupby("norm").max() / at.groupby("norm").min()
            found[f"{name}_{when}"] = by_norm(spans, ".1f")
    mean = table[table["column"] == "singular_value_mean"]
    rises = (
        mean[mean["norm"] == "bn"]
        .groupby("layer", observed=True)["mean"]
        .agg(lambda values: values.iloc[-1] > values.iloc[0])
    )
    return found | {"rises": f"{int(rises.sum())} of {len(rises)}"}


def dead(store: Store, runs: Sequence[str]) -> dict[str, str]:
    """Return the largest share of channels that are positive for no input, at any record and at the last record."""
    table = prepare("dead_fraction", store, runs=runs).table
    last = table[table["step"] == table.groupby("norm")["step"].transform("max")]
    most, end = (part.groupby("norm")["mean"].max() for part in (table, last))
    return {"dead_most": by_norm(100 * most, ".1f", sign=" %"), "dead_last": by_norm(100 * end, ".1f", sign=" %")}


def causes(store: Store) -> dict[str, str]:
    """Return the relation of drift and accuracy over all runs of the 3-layer CNN, and the layers' norms."""
    table = prepare("drift_by_depth", store, runs="cnn3-mnist-*").table
    deepest = table[(table["tensor"] == "activation") & (table["depth"] == 1)].set_index("run")["drift"].abs()
    steps = prepare("accuracy", store, runs="cnn3-mnist-*")
    best = best_by_run(store, list(steps.runs["run"]))
    together = pd.concat([deepest.rename("drift"), best.rename("best")], axis="columns").dropna()
    norms = {name: prepare("norms_by_layer", store, runs=runs).table for name, runs in (("cnn3", CNN3), ("vgg7", VGG7))}
    ratios = {
        name: t.assign(r=t["operator_norm"] / t["spectral_norm"]).groupby("norm")["r"].max()
        for name, t in norms.items()
    }
    rank = layers(
        store, columns=["effective_rank"], runs=["*-wn-*", *CNN3_ONE, *RELEASED], layers="features.block3.conv"
    )
    rank = rank[rank["effective_rank"].notna()].astype({"run": str}).groupby("run")["effective_rank"].last()
    return {
        "runs_of_cnn3": f"{len(together)}",
        "spearman": f"{together['drift'].rank().corr(together['best'].rank()):+.2f}".replace("-", "−"),
        "wn_drift": f"{deepest['cnn3-mnist-wn-lr0.001-s0']:.2f}",
        "cnn3_stretch": by_norm(ratios["cnn3"], ".1f"),
        "vgg7_stretch": by_norm(ratios["vgg7"], ".1f"),
        "rank_wn": f"{rank['cnn3-mnist-wn-lr0.001-s0']:.1f}",
        "rank_sn": f"{rank['cnn3-mnist-sn-lr0.001-s0']:.1f}",
        "rank_released_sn": f"{rank['cnn3-mnist-sn-released-lr0.001-s0']:.1f}",
        "rank_released_msn": f"{rank['cnn3-mnist-msn-released-lr0.001-s0']:.1f}",
    }


def taken_apart() -> dict[str, str]:
    """Return the table of the scripts' spectral norm, one of its differences at a time."""
    lines = []
    for variant in json.loads((HERE / "released" / "taken_apart.json").read_text(encoding="utf-8")):
        ranks = ", ".join(f"{rank:.1f}" for rank in variant["effective_rank"])
        lines.append(f"| {variant['what']} | {100 * variant['accuracy'][-1]:.2f} % | {ranks} |")
    return {"taken_apart": "\n".join(lines)}


def best_by_run(store: Store, runs: Sequence[str]) -> pd.Series:
    """Return the best test accuracy of each run."""
    from analysis.reading.tables import steps

    rows = steps(store, columns=["accuracy"], runs=list(runs), measured=["accuracy"])
    rows = rows[rows["split"] == "test"].astype({"run": str})
    return rows.groupby("run")["accuracy"].max()


def with_arms(store: Store, rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows with the norm and the arm of their run."""
    table = read_runs(store, runs=sorted(rows["run"].astype(str).unique()))
    return rows.astype({"run": str}).merge(arms(table), on="run")


def page() -> str:
    """Return README.md."""
    return (HERE / "README.template.md").read_text(encoding="utf-8").format_map(numbers())


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        (HERE / "README.md").write_text(page(), encoding="utf-8")
    elif sys.argv[1:]:
        sys.exit(__doc__)
    else:
        print("\n".join(f"{name:28} {text}" for name, text in numbers().items()))
