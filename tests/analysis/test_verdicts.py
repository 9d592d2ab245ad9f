"""The page of verdicts says what the committed store says, and shows pictures that are there."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from analysis import fields, steps

FIGURES = Path(__file__).parents[2] / "figures"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Return the import of a script of the folder, with the folder on the path, as where Python runs the script."""
    monkeypatch.syspath_prepend(str(FIGURES))
    return importlib.import_module


def test_every_number_of_the_page_comes_from_the_store(script: Callable[[str], ModuleType]) -> None:
    written = (FIGURES / "README.md").read_text(encoding="utf-8")
    assert written == script("verdicts").page(), "run `python figures/verdicts.py --write`"


def test_pictures_and_page_take_runs_that_are_in_the_store(script: Callable[[str], ModuleType]) -> None:
    stored = {path.name.removeprefix("run=") for path in (FIGURES / "store" / "runs").iterdir()}
    folders = script("redraw").FOLDERS
    assert folders["cnn3"].runs == script("stored_runs").CNN3
    drawn = {run for folder in folders.values() if folder.store == "store" for run in folder.runs}
    assert len(drawn) > 20
    assert drawn <= stored


def test_the_page_shows_pictures_that_are_there() -> None:
    links = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", (FIGURES / "README.md").read_text(encoding="utf-8"))
    assert len(links) > 20
    assert [link for link in links if not (FIGURES / link).exists()] == []


@pytest.mark.parametrize(
    ("store", "lower", "upper"),
    [
        ("store", "jacobian_norm", "lipschitz_bound"),
        ("gan/store", "critic_gradient_between", "critic_lipschitz_bound"),
    ],
)
def test_the_lower_bound_is_at_most_the_upper_at_every_record_of_every_run(store: str, lower: str, upper: str) -> None:
    if upper not in fields(FIGURES / store, "steps"):
        pytest.skip(f"{store} was recorded before the bracket was")
    rows = steps(FIGURES / store, columns=[lower, upper], measured=[lower, upper])
    assert len(rows) > 20
    wrong = rows[~(rows[lower] <= rows[upper] * (1 + 1e-5))]
    assert wrong.empty, wrong


def test_every_claim_has_a_verdict_and_a_strength() -> None:
    page = (FIGURES / "README.md").read_text(encoding="utf-8")
    claims = page.partition("## Every claim")[2].partition("\n## ")[0]
    rows = [line.split("|")[1:-1] for line in claims.splitlines() if line.startswith("| ")][1:]
    told = [row for row in rows if row[1].strip()]
    assert len(told) >= 39  # 41 claims of the paper, a few of them in one row
    for _, finding, verdict, strength in told:
        assert finding.strip()
        assert verdict.strip()
        assert strength.strip().partition(" ")[0].rstrip(":,") in {"strong", "fair", "weak", "–", "CNN"}
