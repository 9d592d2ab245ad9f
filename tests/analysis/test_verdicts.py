"""The page of verdicts says what the committed store says, and shows pictures that are there."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

FIGURES = Path(__file__).parents[2] / "figures"


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"figures_{name}", FIGURES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_number_of_the_page_comes_from_the_store() -> None:
    written = (FIGURES / "README.md").read_text(encoding="utf-8")
    assert written == script("verdicts").page(), "run `python figures/verdicts.py --write`"


def test_the_page_shows_pictures_that_are_there() -> None:
    links = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", (FIGURES / "README.md").read_text(encoding="utf-8"))
    assert len(links) > 20
    assert [link for link in links if not (FIGURES / link).exists()] == []


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
