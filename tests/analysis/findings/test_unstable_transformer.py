"""The committed trainings of ``figures/transformers``: attention logits grow before the loss does, or not at all."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from analysis.findings import findings

STORE = Path(__file__).parents[3] / "figures" / "transformers" / "store"
WINDOW = 50  # steps that the loss is averaged over


def mean_loss(run: str) -> pd.Series:
    rows = pd.read_parquet(STORE / "steps", filters=[("run", "==", run)]).sort_values("step")
    return rows.set_index("step")["loss"].rolling(WINDOW).mean().dropna()


def test_the_finding_names_layer_and_head_of_the_training_without_norm_alone() -> None:
    found = findings(STORE)
    (row,) = found[found["kind"] == "attention logits"].to_dict("records")
    assert (row["run"], row["layer"]) == ("plain", "blocks.0.attn")
    assert "head 1 " in row["message"]


def test_the_logits_grow_before_the_loss_does() -> None:
    loss = mean_loss("plain")
    (step,) = findings(STORE, runs="plain").query("kind == 'attention logits'")["from_step"]
    least = loss.idxmin()
    assert step < least - WINDOW
    assert loss.loc[least:].max() > loss.min() + 0.1


def test_with_qk_norm_the_logits_stay_small_and_the_loss_falls() -> None:
    units = pd.read_parquet(STORE / "units", filters=[("run", "==", "qk-norm")])
    assert units["attention_logit_max"].max() < 50
    assert mean_loss("qk-norm").iloc[-1] < mean_loss("plain").min() - 0.5


def test_the_store_is_small() -> None:
    assert 0 < sum(path.stat().st_size for path in STORE.rglob("*.parquet")) < 300_000
