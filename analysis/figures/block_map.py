"""A column at the end of training, block by part: a model of 32 layers reads as 32 rows and a few columns."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from analysis.plotting.axes.cells import color_scale
from analysis.plotting.column_words import axis_label, mathtext, meaning, sentence
from analysis.plotting.figure_spec import FigureSpec, Prepared
from analysis.plotting.page import color_bar, write_title
from analysis.plotting.panel_grid import name_panel, panels
from analysis.plotting.style import ALARM, PALE
from analysis.reading.tables import records
from analysis.summaries.comparison_arms import ARM, arms_of
from analysis.summaries.naming.blocks import BLOCK, PART, repeated, with_blocks
from analysis.summaries.transforms import MEAN, NAN_RUNS, last_value, over_runs
from probes.schema import LAYER_INDEX

_ROW, _MOST_PARTS = 0.12, 12  # inches per block; most parts whose names are written under the cells


@dataclass(frozen=True, kw_only=True)
class BlockMap(FigureSpec):
    """Block by part, one panel per arm: rows are the blocks, columns the parts of a block that have the column.

    Attributes:
        column: Any column of table ``layers``.
    """

    column: str = "weight_l2_norm"
    name = "block_map"
    title = "Blocks and their parts at the last record"

    def needed(self) -> tuple[str, ...]:
        """Return the chosen column."""
        return (self.column,)

    def prepare(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the column over runs at each layer's last record, with ``block`` and ``part``.

        A network without repeated blocks keeps all its layers.
        """
        last = last_value(over_runs(rows, column=self.column))
        in_blocks = repeated(last)
        return in_blocks if len(in_blocks) else with_blocks(last)

    def draw(self, figure: Figure, prepared: Prepared) -> None:
        """Draw one panel per arm, the first block at the top."""
        table, column = prepared.table, prepared.columns[self.column]
        arms = [arm[ARM] for arm in records(arms_of(table))]
        blocks, parts = _in_order(table, BLOCK), _in_order(table, PART)
        grid = panels(figure, len(arms), height=1.6 + _ROW * len(blocks))
        colors, colormap = color_scale(table[MEAN].to_numpy())
        for axes, arm in zip(grid, arms, strict=True):
            cells = table[table[ARM] == arm].pivot_table(index=BLOCK, columns=PART, values=MEAN, observed=True)
            values = cells.reindex(index=blocks, columns=parts)
            names = [name or "model" for name in blocks]
            few = len(parts) <= _MOST_PARTS
            sns.heatmap(
                values,
                ax=axes,
                norm=colors,
                vmin=0,
                vmax=1,  # the norm sets the limits; without these, seaborn searches for limits even if all is NaN
                cmap=colormap,
                cbar=False,
                xticklabels=[part or "layer" for part in parts] if few else False,
                yticklabels=names if axes is grid[0] else False,
                rasterized=True,
            )
            broken = table[(table[ARM] == arm) & (table[NAN_RUNS] > 0)]
            for block, part in dict.fromkeys(zip(broken[BLOCK], broken[PART], strict=True)):
                place = parts.index(str(part)) + 0.5, blocks.index(str(block)) + 0.5
                axes.text(*place, "NaN", ha="center", va="center", color=ALARM, fontsize="xx-small")
            axes.set(xlabel="", ylabel="")
            axes.tick_params(axis="x", rotation=90)
            axes.tick_params(axis="y", rotation=0)
            axes.set_facecolor(PALE)
            name_panel(axes, arm)
        color_bar(figure, grid[0].collections[0], grid, axis_label(column))
        note = f"{sentence(meaning(column))}; grey: the block has no such part, or it was not measured"
        write_title(figure, f"{self.title}: {axis_label(column)}", note, formula=mathtext(column), ylabel="block")


def _in_order(table: pd.DataFrame, column: str) -> list[str]:
    """Return the values of a column in the order of depth."""
    first = table.groupby(column, observed=True)[LAYER_INDEX].min() if LAYER_INDEX in table else None
    names = list(dict.fromkeys(table[column])) if first is None else list(first.sort_values(kind="stable").index)
    return [str(name) for name in names]
