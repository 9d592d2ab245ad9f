"""The page that compares tools: its run has the faults that it says, and meandrift tells of them as it says."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import analysis

PAGE = Path(__file__).parents[2] / "docs" / "side_by_side.md"
PROGRAMS = dict(re.findall(r"```python title=\"(\w+)\"\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL))


def test_both_faults_are_told_with_layer_and_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(PROGRAMS["training"], str(PAGE), "exec"), names)
    with (
        caplog.at_level(logging.WARNING, logger="meandrift"),
        pytest.warns(RuntimeWarning, match=r"in no optimizer, though they require a gradient: 2\.weight, 2\.bias"),
    ):
        exec(compile(PROGRAMS["meandrift"], str(PAGE), "exec"), names)
    told = " ".join(caplog.messages)
    assert "NaN: 0: 512 entries of the gradient" in told
    assert "from step 237 (also in layers 2 and 4)" in told
    assert re.search(r"no update: 2: the weight has a gradient of norm 0\.\d+ and is not updated.*from step 0\.", told)
    assert "grave finding in run sick" in PAGE.read_text()
    assert sorted(set(analysis.layers("runs")["step"])) == [0, 100, 200, 237, 238, 300]
    assert pd.read_parquet("runs/steps")["loss"].isna().sum() == 400 - 237
