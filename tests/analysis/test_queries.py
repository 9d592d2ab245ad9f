"""The page of queries and the examples in docstrings print what they say they print."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from pathlib import Path

import pandas as pd
import pytest

import analysis

PAGE = Path(__file__).parents[2] / "docs" / "queries.md"
MODULES = sorted(module.name for module in pkgutil.walk_packages(analysis.__path__, "analysis."))


def test_ten_queries_print_what_the_page_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parent / "recorded")
    with pd.option_context("display.width", 120):
        result = doctest.testfile(str(PAGE), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0
    assert result.attempted > 30
    assert PAGE.read_text().count("\n## ") == 11  # ten questions, and SQL


def test_the_page_of_comparisons_prints_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parent / "recorded")
    with pd.option_context("display.width", 120):
        page = PAGE.with_name("comparing.md")
        result = doctest.testfile(str(page), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert (result.failed, result.attempted) == (0, 9)


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_are_true(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0
