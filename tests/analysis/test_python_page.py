"""The page on Python: its blocks run one after another, and leave what they say."""

from __future__ import annotations

import contextlib
import re
import warnings
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

PAGE = Path(__file__).parents[2] / "docs" / "python.md"


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with contextlib.chdir(tmp_path_factory.mktemp("page")), warnings.catch_warnings():
        warnings.simplefilter("error")
        for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL):
            exec(compile(block, str(PAGE), "exec"), found)
    return found


def test_tables_and_helpers_give_what_the_page_says(names: dict[str, Any]) -> None:
    assert names["worst"]["run"].tolist() == ["first"]
    assert names["beside"]["loss"].notna().all()
    assert len(names["beside"]) == len(names["layers"]) == 2 * 12
    assert {"operator_norm", "weight_mean"} <= set(names["plain"].columns)


@pytest.mark.parametrize("name", ["lines", "heat", "weights", "gradients"])
def test_each_figure_is_one(name: str, names: dict[str, Any]) -> None:
    assert isinstance(names[name], Figure)


def test_the_observer_has_seen_an_update_of_each_record(names: dict[str, Any]) -> None:
    assert names["seen"]
    assert min(names["seen"]) > 0
