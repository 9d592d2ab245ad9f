"""Every number of this folder's README, from the committed store.

    python figures/causes/tables.py                        # print what README.md must say
    python figures/causes/tables.py --write                # write it
    python figures/causes/tables.py --store runs/causes    # of another store

``README.template.md`` holds the text. Each ``${...}`` in it is a number or a table computed from the store:

- ``${arms:PLAN}``: the arms of a shipped plan with their intervals over seeds;
- ``${differences:PLAN}``: its comparisons on equal seeds;
- ``${accuracy:PLAN:ARM}`` and ``${difference:PLAN:ARM:AGAINST}``: one of these numbers, in a sentence;
- ``${between}`` and ``${within}``: regressions of the accuracy on drift, scale, rank and update angle;
- ``${runs}``: the number of finished runs.

Numbers of runs that the store does not have yet read "not run".
"""

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from analysis.inference.arm_intervals import arm_intervals
from analysis.inference.mediation import between_arms, within_arms
from analysis.inference.mediators import MEDIATORS, mediators
from analysis.inference.paired_differences import paired_differences
from analysis.inference.run_scores import ARM, EQUAL, PLATEAU, of_prefix, run_scores
from analysis.paper.filled_page import filled, print_or_write
from analysis.paper.table_text import to_markdown
from analysis.reading.run_table import runs
from dynamics.sweeps.plans.plan import load_plan

HERE = Path(__file__).parent
STORE, TEMPLATE, README = HERE / "store", HERE / "README.template.md", HERE / "README.md"
NOT_RUN = "not run"
NORMS = [("msn", "sn"), ("msn", "bn"), ("sn", "bn")]
COMPARED = {
    "c1-forward-backward": [
        *((arm, "sn") for arm in ("sn-forward", "sn-backward", "sn-both", "msn")),
        *(("msn", "sn-both"), ("sn-forward", "msn"), ("sn-backward", "msn")),
    ],
    "c2-dose": [("msn-a25", "sn-shift"), ("msn-a50", "sn-shift"), ("msn-a75", "sn-shift"), ("msn", "sn-shift")],
    "c3-injected": [
        (f"msn-{how}", "msn") for how in ("replayed", "minus25", "minus50", "minus100", "minus200", "walk")
    ],
    "c4-scale": [("sn-scale", "sn"), ("sn-shift", "sn"), ("sn-sigma2", "sn"), ("msn", "sn"), ("msn-scale", "msn")],
    "c5-scripts": [
        *((arm, "plain") for arm in ("shift", "scale", "centring", "centring-scale-shift")),
        *(("centring-scale-shift", arm) for arm in ("scale-shift", "centring-shift", "centring-scale")),
    ],
    "c6-controls": [
        *(*NORMS, ("sn", "none"), ("none-centred", "none"), ("msn", "none-centred"), ("msn", "wn_mean")),
        *(("wn_mean", "wn"), ("sn_beta", "sn"), ("none-regularised", "none")),
    ],
    "c7-activation": [(f"{norm}-relu", norm) for norm in ("bn", "sn", "msn")] + [("msn-relu", "sn-relu")],
    "c8-plateau": NORMS,
    "densenet-40": [*NORMS, ("sn-shift", "sn"), ("msn", "sn-shift"), ("sn", "none")],
    "learning-rates": [
        (f"{norm}-lr{rate}", f"bn-lr{rate}")
        for rate in ("0p0001", "0p0003", "0p001", "0p003", "0p01", "0p03", "0p1")
        for norm in ("sn", "msn")
    ],
    "batch-sizes": [(f"{norm}-b{size}", f"sn-b{size}") for size in (1, 2, 4, 8, 16) for norm in ("msn", "running")],
}
"""The comparisons of each plan. They were chosen before its runs and are tested together (Holm)."""
SCORE = {"c8-plateau": PLATEAU}  # the score of other plans is the accuracy at equal steps
MEDIATED = ("c1-forward-backward", "c2-dose", "c3-source", "c3-injected", "c4-scale", "c6-controls", "c7-activation")
"""The plans whose arms enter the regressions. They have the same network, data set and length."""


class Numbers:
    """The numbers of one store, by their names in the template."""

    def __init__(self, store: Path) -> None:
        self.store = store
        recorded = runs(store) if (store / "runs").is_dir() else pd.DataFrame(columns=["run", "status"])
        self._scores: dict[tuple[str, ...], pd.DataFrame] = {}
        self.finished = set(recorded.loc[recorded["status"] == "finished", "run"].astype(str))

    def __call__(self, words: str) -> str:
        """Return the text that replaces ``${words}``.

        Raises:
            ValueError: There is no such number.
        """
        kind, *names = words.split(":")
        made: dict[str, Callable[..., str]] = {
            "arms": self.arms,
            "differences": self.differences,
            "accuracy": self.accuracy,
            "difference": self.difference,
            "between": lambda: self.mediation(between_arms),
            "within": lambda: self.mediation(within_arms),
            "runs": lambda: str(len(self.finished)),
        }
        if kind not in made:
            raise ValueError(f"${{{words}}}: expected one of {', '.join(made)}.")
        return made[kind](*names)

    def plan_scores(self, *plans: str) -> pd.DataFrame:
        """Return the scores of the finished runs of plans with one prefix, one row for each run."""
        asked = [load_plan(plan) for plan in plans]
        named = {f"{plan.prefix}-{arm}-s{seed}" for plan in asked for arm in plan.arms for seed in plan.seeds}
        if not (present := tuple(sorted(named & self.finished))):
            return pd.DataFrame(columns=[ARM])
        if present not in self._scores:
            self._scores[present] = of_prefix(run_scores(self.store, runs=present), asked[0].prefix)
        return self._scores[present]

    def arms(self, plan: str) -> str:
        """Return a plan's arms, in its order, with intervals."""
        asked, scores = load_plan(plan), self.plan_scores(plan)
        if scores.empty:
            return self._missing(plan)
        found = arm_intervals(scores, column=SCORE.get(plan, EQUAL)).set_index(ARM)
        rows = []
        for arm in asked.arms:
            row = found.loc[arm] if arm in found.index else None
            cells = (NOT_RUN,) * 4 if row is None else (int(row["runs"]), int(row["diverged"]), *_percents(row))
            rows.append(
                dict(zip(("arm", "seeds", "diverged", "accuracy %", "95 % interval"), (arm, *cells), strict=True))
            )
        what = "mean of the tests in the last third" if plan in SCORE else "test accuracy at equal steps"
        return _table(pd.DataFrame(rows), f"{asked.title}: {what}, mean over seeds")

    def differences(self, plan: str) -> str:
        """Return a plan's comparisons on equal seeds."""
        found = self._differences(plan)
        if self.plan_scores(plan).empty:
            return ""  # the table of the arms already reads "not run"
        if found.empty:
            return f"*no comparison yet: no pair of arms of {plan} shares a finished seed*"
        rows = pd.DataFrame(
            {
                "arm": found["arm"],
                "against": found["against"],
                "seeds": found["seeds"].astype(str),
                "difference, points": [_points(value) for value in found["difference"]],
                "95 % interval": [_interval(row, _points) for _, row in found.iterrows()],
                "p, Holm": [_number(value, "{:.3g}") for value in found["p_holm"]],
                "seen with 80 % power, points": [_number(100 * value, "{:.2f}") for value in found["detectable"]],
            }
        )
        return _table(rows, f"{load_plan(plan).title}: differences on equal seeds")

    def accuracy(self, plan: str, arm: str) -> str:
        """Return an arm's accuracy with its interval."""
        scores = self.plan_scores(plan)
        if arm not in load_plan(plan).arms:
            raise ValueError(f"plan {plan} has no arm {arm!r}.")
        if scores.empty or arm not in set(scores[ARM]):
            return NOT_RUN
        row = arm_intervals(scores[scores[ARM] == arm], column=SCORE.get(plan, EQUAL)).iloc[0]
        mean, interval = _percents(row)
        return f"{mean} % [{interval}]"

    def difference(self, plan: str, arm: str, against: str) -> str:
        """Return a difference on equal seeds with its interval, in points."""
        if (arm, against) not in COMPARED[plan]:
            raise ValueError(f"plan {plan} does not compare {arm!r} with {against!r}.")
        found = self._differences(plan)
        found = found[(found["arm"] == arm) & (found["against"] == against)]
        if found.empty:
            return NOT_RUN
        return f"{_points(found['difference'].iloc[0])} points [{_interval(found.iloc[0], _points)}]"

    def mediation(self, regression: Callable[..., pd.DataFrame]) -> str:
        """Return a regression of the accuracy on the mediators as a table."""
        scores = self.plan_scores(*MEDIATED)
        if scores.empty:
            return self._missing(MEDIATED[0])
        scores = scores[~scores["diverged"]]
        try:
            table = scores.merge(self._mediators(scores["run"].to_list()), on="run")
            found = regression(table, outcome=EQUAL, mediators=MEDIATORS)
        except ValueError as reason:
            return f"*{NOT_RUN}: {reason}*\n"
        rows = pd.DataFrame(
            {
                "mediator": [name.replace("_", " ") for name in found["mediator"]],
                "points a standard deviation": [_points(value) for value in found["coefficient"]],
                "95 % interval": [_interval(row, _points) for _, row in found.iterrows()],
                "p": [_number(value, "{:.3g}") for value in found["p"]],
                "inflation": [_number(value, "{:.1f}") for value in found["inflation"]],
            }
        )
        count, freedom = found["observations"].iloc[0], found["freedom"].iloc[0]
        return _table(rows, f"Accuracy by mediator: {count} observations, {freedom} degrees of freedom")

    def _mediators(self, runs: list[str]) -> pd.DataFrame:
        """Return the mediators. The committed store has the drift in place of table ``channels``."""
        kept = self.store / "channel_drift"
        drift = pd.read_parquet(kept, filters=[("run", "in", runs)]) if kept.is_dir() else None
        return mediators(self.store, runs=runs, drift=drift)

    def _differences(self, plan: str) -> pd.DataFrame:
        scores = self.plan_scores(plan)
        present = set(scores[ARM])
        pairs = [pair for pair in COMPARED[plan] if present >= set(pair)]
        if not pairs:
            return pd.DataFrame(columns=["arm", "against"])
        return paired_differences(scores, pairs, column=SCORE.get(plan, EQUAL))

    def _missing(self, plan: str) -> str:
        asked = load_plan(plan)
        return f"*{NOT_RUN}: {plan}, {len(asked.arms)} arms x {len(asked.seeds)} seeds*\n"


def rendered(template: str, store: Path) -> str:
    """Return the template with its numbers."""
    return filled(template, Numbers(store))


def _percents(row: pd.Series) -> tuple[str, str]:
    return _number(100 * row["mean"], "{:.2f}"), _interval(row, lambda value: _number(100 * value, "{:.2f}"))


def _points(value: float) -> str:
    return _number(100 * value, "{:+.2f}")


def _interval(row: pd.Series, text: Callable[[float], str]) -> str:
    return "–" if pd.isna(row["low"]) else f"{text(row['low'])} to {text(row['high'])}"


def _number(value: float, form: str) -> str:
    return "–" if pd.isna(value) else form.format(value)


def _table(rows: pd.DataFrame, caption: str) -> str:
    return to_markdown(rows.astype(str), caption=caption)


if __name__ == "__main__":
    print_or_write(rendered, template=TEMPLATE, page=README, store=STORE, description=__doc__)
