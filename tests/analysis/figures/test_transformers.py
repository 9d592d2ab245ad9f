"""Maps of transformers: values by hand, and a model of 32 layers as 32 rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.figures.attention_map import AttentionMap
from analysis.figures.block_map import BlockMap
from analysis.figures.residual_map import ResidualMap
from analysis.figures.router_map import RouterMap
from analysis.gallery.figure import prepare
from analysis.plotting.figure_spec import Prepared
from analysis.summaries.naming.blocks import block_and_part, repeated
from probes.schema import LAYERS, Column

ARM = {"run": "r", "arm": "a", "norm": "none", "arm_order": 0}
PARTS = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.up", "mlp.down")


def units(**columns: list[float]) -> pd.DataFrame:
    """Return two records of two heads of two attentions."""
    keys = [(step, index, unit) for step in (0, 10) for index in (0, 1) for unit in (0, 1)]
    table = pd.DataFrame(keys, columns=["step", "layer_index", "unit"]).assign(**ARM, **columns)
    return table.assign(layer=[f"h.{index}.attn" for index in table["layer_index"]])


def test_an_attention_has_the_largest_logit_of_its_heads_and_their_mean_entropy() -> None:
    logits = AttentionMap().prepare(units(attention_logit_max=[1, 2, 3, 4, 5, np.nan, 8, 7]))
    assert logits.sort_values(["step", "layer"])["mean"].tolist()[:2] == [2, 4]
    assert logits[logits["nan_runs"] > 0][["step", "layer"]].to_numpy().tolist() == [[10, "h.0.attn"]]
    entropies = AttentionMap(column="attention_entropy").prepare(units(attention_entropy=[1, 2, 3, 4, 5, 6, 8, 7]))
    assert entropies.sort_values(["step", "layer"])["mean"].tolist() == [1.5, 3.5, 5.5, 7.5]


def test_a_router_has_the_load_of_its_most_loaded_expert() -> None:
    loads = RouterMap().prepare(units(router_load=[0.25, 0.75, 0.5, 0.5, 1, 0, 0.1, 0.9]))
    assert loads.sort_values(["step", "layer"])["mean"].tolist() == [0.75, 0.5, 1.0, 0.9]


def layers(blocks: int) -> pd.DataFrame:
    """Return one record of a transformer: embedding, blocks of two norms and six matrices, a norm and a head."""
    named = [("embed", "Embedding")]
    for block in range(blocks):
        named += [(f"model.layers.{block}.norm_1", "RMSNorm")]
        named += [(f"model.layers.{block}.{part}", "Linear") for part in PARTS]
        named += [(f"model.layers.{block}.self_attn.q_norm", "RMSNorm"), (f"model.layers.{block}.norm_2", "RMSNorm")]
    named += [("model.norm", "RMSNorm"), ("head", "Linear")]
    index = np.arange(len(named))
    names, kinds = zip(*named, strict=True)
    table = pd.DataFrame({"layer": names, "layer_type": kinds, "layer_index": index, "step": 0})
    return table.assign(**ARM, input_rms=1.0 + index, weight_l2_norm=1.0 + index)


def test_the_stream_is_seen_by_the_norms_of_blocks_and_not_by_those_of_queries() -> None:
    names = ResidualMap().prepare(layers(2)).sort_values("layer_index")["layer"].tolist()
    blocks = [f"model.layers.{block}.norm_{place}" for block in (0, 1) for place in (1, 2)]
    assert names == [*blocks, "model.norm"]


def test_a_model_of_32_layers_reads_as_32_rows_of_its_parts() -> None:
    rows = layers(32)
    table = BlockMap().prepare(rows[rows["layer_type"] == "Linear"])
    assert table["block"].nunique() == 32
    assert sorted(table["part"].unique()) == sorted(PARTS)
    column = Column("weight_l2_norm", "1", "sqrt(sum(w^2))")
    figure = Prepared(BlockMap(), table, {"weight_l2_norm": column}, pd.DataFrame({"run": ["r"]})).draw()
    axes = figure.axes[0]
    figure.draw_without_rendering()
    rows_named = [label.get_text() for label in axes.get_yticklabels()]
    assert len(rows_named) == 32 or rows_named[0] == "model.layers.0"
    assert [label.get_text() for label in axes.get_xticklabels()] == list(PARTS)
    cells = axes.collections[0].get_array().reshape(32, 6)
    down = table.set_index(["block", "part"])["mean"]
    assert cells[3, 5] == down["model.layers.3", "mlp.down"]


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        ("transformer.h.11.attn.c_proj", ("transformer.h.11", "attn.c_proj")),
        ("layers.3.experts.2.up", ("layers.3", "experts.2.up")),
        ("blocks.0", ("blocks.0", "")),
        ("lm_head", ("", "lm_head")),
        ("conv2d", ("", "conv2d")),
    ],
)
def test_a_layer_is_in_the_block_of_the_first_number_of_its_name(layer: str, expected: tuple[str, str]) -> None:
    assert block_and_part(layer) == expected


def test_a_network_without_repeated_blocks_shows_all_layers(small_store: Path) -> None:
    table = prepare("block_map", small_store, column="weight_mean").table
    assert repeated(table.drop(columns=["block", "part"])).empty
    assert len(table) > 3
    assert prepare("block_map", small_store).spec.reads == LAYERS
