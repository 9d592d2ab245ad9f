"""Layers of repeated blocks as ``block`` and ``part``: ``transformer.h.3.attn.c_proj`` is part ``attn.c_proj`` of 3."""

from __future__ import annotations

import re

import pandas as pd

from probes.schema import LAYER, LAYER_INDEX, LAYER_TYPE

BLOCK, PART = "block", "part"
_NUMBERED = re.compile(r"((?:[^.]+\.)*?)(\d+)(?:\.(.+))?$")


def block_and_part(layer: str) -> tuple[str, str]:
    """Return the block of a layer, its name up to the first number in it, and the rest of the name.

    A layer in no block is a part of the block named ``""``; a layer that is itself a member of a list is part ``""`` of
    its block.

    >>> block_and_part("transformer.h.3.attn.c_proj"), block_and_part("lm_head"), block_and_part("blocks.0")
    (('transformer.h.3', 'attn.c_proj'), ('', 'lm_head'), ('blocks.0', ''))
    """
    found = _NUMBERED.match(layer)
    return (found[1] + found[2], found[3] or "") if found else ("", layer)


def with_blocks(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with columns ``block`` and ``part``, from :func:`block_and_part` of its layers."""
    known = {name: block_and_part(name) for name in map(str, table[LAYER].unique())}
    names = table[LAYER].astype(str)
    blocks = names.map({name: block for name, (block, _) in known.items()})
    return table.assign(**{BLOCK: blocks, PART: names.map({name: part for name, (_, part) in known.items()})})


def repeated(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of layers in blocks that repeat: of the list of blocks that has the most layers.

    A network without repeated blocks gives no rows.
    """
    rows = with_blocks(table)
    rows = rows[rows[BLOCK] != ""]
    if rows.empty:
        return rows
    lists = rows[BLOCK].str.rpartition(".")[0]
    layers = rows.assign(_list=lists).groupby("_list", observed=True)[[BLOCK, LAYER]].nunique()
    several = layers[layers[BLOCK] > 1]
    if several.empty:
        return rows.iloc[:0]
    return rows[lists == several[LAYER].idxmax()]


def norms_of_the_stream(table: pd.DataFrame, *, is_norm: set[str]) -> pd.DataFrame:
    """Return the rows of norms whose input is the residual stream: norms that are a block's own parts, or in no block.

    Norms inside a part, such as those of queries and keys, have another input. If all norms are inside parts, all are
    returned.

    Args:
        table: Rows with ``layer``, ``layer_type`` and ``layer_index``.
        is_norm: The layer types that normalise.
    """
    norms = with_blocks(table[table[LAYER_TYPE].astype(str).isin(is_norm)])
    own = norms[(norms[BLOCK] == "") | ~norms[PART].str.contains(".", regex=False)]
    return (own if len(own) else norms).sort_values(LAYER_INDEX, kind="stable")
