"""Every number of this folder's README, from the committed store.

    python figures/sequence/tables.py                           # print what README.md must say
    python figures/sequence/tables.py --write                   # write it
    python figures/sequence/tables.py --store runs/sequence     # of another store

``README.template.md`` holds the text. Each ``${...}`` in it is a table or a sentence computed from the store:
``${grid}``, ``${norms}``, ``${differences}``, ``${layers}``, ``${verdict}``, ``${runs}``. Numbers of runs that the
store does not have yet read "not run". ``${figures}`` are the pictures that ``draw.py`` has put into this folder.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # a test loads this file by its path
from rates import ACCURACY, BITS, NORMS, RATES, best_rates, chosen, final_tests, grid  # noqa: E402

from analysis.inference.arm_intervals import mean_interval  # noqa: E402
from analysis.inference.paired_differences import paired_differences  # noqa: E402
from analysis.inference.run_scores import ARM  # noqa: E402
from analysis.paper.filled_page import filled, print_or_write  # noqa: E402
from analysis.paper.table_text import to_markdown  # noqa: E402
from analysis.reading.tables import layers  # noqa: E402
from analysis.summaries.norm_names import norm_label  # noqa: E402

STORE, TEMPLATE, README = HERE / "store", HERE / "README.template.md", HERE / "README.md"
NOT_RUN = "not run"
PAIRS = [("msn", "ln"), ("msn", "sn"), ("msn", "wn")]
"""The comparisons. They were chosen before the runs and are tested together (Holm)."""
FIGURES = {
    "loss": "Training and test loss, mean and deviation over seeds",
    "drift_by_depth": "Mean drift by depth at the end",
    "singular_values": "Singular values of the layers before a GELU",
    "spectrum": "Singular spectra of the last layer before a GELU",
    "accuracy": "Share of characters that were told right",
}
LATE = 5  # records averaged, because the drift of one record is that of one batch
BEFORE_GELU = "blocks.*.wide"
LEVEL = 0.05  # level of the adjusted test in the verdict


class Numbers:
    """The numbers of one store, by their names in the template."""

    def __init__(self, store: Path) -> None:
        self.store = store
        self.tests = final_tests(store)
        self.whole = {(norm, rate) for norm in NORMS for rate in RATES} <= set(grid(self.tests).index)
        self.chosen = chosen(self.tests) if self.whole else self.tests.iloc[:0]

    def __call__(self, words: str) -> str:
        """Return the text that replaces ``${words}``.

        Raises:
            ValueError: There is no such number.
        """
        made: dict[str, Callable[[], str]] = {
            "grid": self.grid,
            "norms": self.norms,
            "differences": self.differences,
            "layers": self.layers,
            "verdict": self.verdict,
            "figures": lambda: pictures(HERE),
            "runs": lambda: str(len(self.tests)),
        }
        if words not in made:
            raise ValueError(f"${{{words}}}: expected one of {', '.join(made)}.")
        return made[words]()

    def grid(self) -> str:
        """Return the bits per character of seed 0 at each rate; the lowest value of each norm is bold."""
        found, best = grid(self.tests), best_rates(self.tests) if self.whole else {}

        def cell(norm: str, rate: float) -> str:
            text = _number(found[norm, rate], "{:.3f}") if (norm, rate) in found.index else NOT_RUN
            return f"**{text}**" if best.get(norm) == rate else text

        rates = sorted(RATES)
        rows = [{"norm": norm} | {f"{rate:g}": cell(norm, rate) for rate in rates} for norm in NORMS]
        return _table(rows, "Bits per held-out character after two passes, seed 0, by learning rate")

    def norms(self) -> str:
        """Return bits and accuracy of each norm at its rate, with intervals over seeds."""
        if not self.whole:
            return f"*{NOT_RUN}: the grid of rates comes first*\n"
        rows = []
        for norm, rate in best_rates(self.tests).items():
            mine = self.chosen[self.chosen["norm"] == norm]
            bits, share = mean_interval(mine[BITS]), mean_interval(100 * mine[ACCURACY])
            rows.append(
                {
                    "norm": norm,
                    "learning rate": f"{rate:g}",
                    "seeds": str(len(mine)),
                    "bits per character": _number(bits[0], "{:.3f}"),
                    "95 % interval": _interval(*bits[1:], "{:.3f}"),
                    "next character, %": _number(share[0], "{:.1f}"),
                    "interval of it": _interval(*share[1:], "{:.1f}"),
                }
            )
        return _table(rows, "Held-out text, mean over seeds, t intervals")

    def differences(self) -> str:
        """Return the comparisons on equal seeds."""
        if not self.whole:
            return f"*{NOT_RUN}: the grid of rates comes first*\n"
        rows = [
            {
                "norm": norm_label(row["arm"]),
                "against": norm_label(row["against"]),
                "seeds": str(row["seeds"]),
                "bits more": _number(row["difference"], "{:+.3f}"),
                "95 % interval": _interval(row["low"], row["high"], "{:+.3f}"),
                "p, Holm": _number(row["p_holm"], "{:.3g}"),
                "seen with 80 % power": _number(row["detectable"], "{:.3f}"),
            }
            for _, row in self._paired().iterrows()
        ]
        return _table(rows, "Differences in bits per character on equal seeds")

    def layers(self) -> str:
        """Return drift before the GELU and spectral norms of the first and the last block, means over seeds."""
        if not self.whole:
            return f"*{NOT_RUN}: the grid of rates comes first*\n"
        found = layers(
            self.store,
            layers=BEFORE_GELU,
            runs=list(self.chosen["run"]),
            columns=["activation_mean", "activation_var", "spectral_norm", "stable_rank"],
        ).astype({"run": str, "layer": str})
        found["drift"] = found["activation_mean"].abs() / found["activation_var"] ** 0.5
        found = found.merge(self.chosen[["run", "norm"]], on="run")
        in_depth = found.sort_values("layer_index")["layer"]
        first, last = in_depth.iloc[0], in_depth.iloc[-1]
        rows = []
        for norm in NORMS:
            mine = found[found["norm"] == norm]
            late = mine[mine["step"].isin(sorted(mine["step"].unique())[-LATE:])]
            end = mine.dropna(subset="spectral_norm").sort_values("step").groupby(["run", "layer"]).last()
            row = {"norm": norm}
            for words, layer in (("first", first), ("last", last)):
                here = end.xs(layer, level="layer")
                row |= {
                    f"drift, {words} block": _number(late.loc[late["layer"] == layer, "drift"].mean(), "{:.2f}"),
                    f"sigma, {words}": _number(here["spectral_norm"].mean(), "{:.2f}"),
                    f"stable rank, {words}": _number(here["stable_rank"].mean(), "{:.1f}"),
                }
            rows.append(row)
        return _table(rows, f"Layers before a GELU: {first} and {last}, drift over the last {LATE} records")

    def verdict(self) -> str:
        """Return three sentences that compare MSN with LN, SN and WN by the tests on equal seeds."""
        if not self.whole:
            return f"*{NOT_RUN}*"
        pairs = self._paired().set_index(["arm", "against"])
        if pairs["seeds"].min() < 2:
            return f"*{NOT_RUN}: one seed tells no difference from chance*"
        answer = {
            "fewer": "MSN helps where layer norm is the rule",
            "more": "MSN does not help where layer norm is the rule",
            "": "Whether MSN helps where layer norm is the rule cannot be told",
        }
        ln, sn, wn = (pairs.loc["msn", against] for against in ("ln", "sn", "wn"))
        centring = {"fewer": "helps", "more": "harms", "": "is not seen to change"}[_direction(sn)]
        return (
            f"{answer[_direction(ln)]}: it needs {_in_words(ln)} a character than LN. "
            f"The centring {centring} spectral norm: MSN needs {_in_words(sn)} than SN. "
            f"It needs {_in_words(wn)} than weight norm, the other norm of weights."
        )

    def _paired(self) -> pd.DataFrame:
        return paired_differences(self.chosen.rename(columns={"norm": ARM}), PAIRS, column=BITS)


def pictures(folder: Path) -> str:
    """Return a link to each existing figure, in the order of ``FIGURES``."""
    there = [name for name in FIGURES if (folder / f"{name}.png").is_file()]
    return "\n\n".join(f"![{FIGURES[name]}]({name}.png)" for name in there) or "*not drawn*"


def rendered(template: str, store: Path) -> str:
    """Return the template with its numbers."""
    return filled(template, Numbers(store))


def _direction(row: pd.Series) -> str:
    """Return ``fewer`` or ``more``; empty if the adjusted test finds no difference."""
    if not row["p_holm"] <= LEVEL:
        return ""
    return "fewer" if row["difference"] < 0 else "more"


def _in_words(row: pd.Series) -> str:
    """Return a difference with its interval: ``0.123 bits more [0.1 to 0.2]``."""
    word = "more" if row["difference"] > 0 else "fewer"
    interval = _interval(row["low"], row["high"], "{:+.3f}")
    seen = "" if _direction(row) else f", not told from 0 (p = {row['p_holm']:.2g})"
    return f"{abs(row['difference']):.3f} bits {word} [{interval}{seen}]"


def _interval(low: float, high: float, form: str) -> str:
    return "–" if pd.isna(low) else f"{_number(low, form)} to {_number(high, form)}"


def _number(value: float, form: str) -> str:
    return "–" if pd.isna(value) else form.format(value).replace("-", "−")


def _table(rows: list[dict[str, str]], caption: str) -> str:
    return to_markdown(pd.DataFrame(rows), caption=caption)


if __name__ == "__main__":
    print_or_write(rendered, template=TEMPLATE, page=README, store=STORE, description=__doc__)
