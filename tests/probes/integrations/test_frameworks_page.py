"""The page on frameworks: each of its programs runs, and leaves the run that it names."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

PAGE = Path(__file__).parents[3] / "docs" / "frameworks.md"
PROGRAMS = dict(re.findall(r"```python (\w+)\n(.*?)```", PAGE.read_text(), re.DOTALL))


def test_the_page_has_a_program_for_each_framework():
    assert set(PROGRAMS) == {"lightning", "transformers"}


@pytest.mark.frameworks
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_of_the_page_runs(name, tmp_path, monkeypatch):
    pytest.importorskip(name)
    monkeypatch.chdir(tmp_path)
    exec(compile(PROGRAMS[name], str(PAGE), "exec"), {"__name__": "__main__"})
    layers = pd.read_parquet("runs/layers")
    assert layers["grad_l2_norm"].notna().any()
    assert pd.read_parquet("runs/runs")["status"].tolist() == ["finished"]
