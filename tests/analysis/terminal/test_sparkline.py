from __future__ import annotations

import numpy as np
import pytest

from analysis.terminal.sparkline import sparkline


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([], ""),
        ([5.0], "▅"),
        ([1.0, 1.0], "▅▅"),
        ([0.0, 7.0], "▁█"),
        (list(range(8)), "▁▂▃▄▅▆▇█"),
        ([np.nan, 1.0, np.inf], "×▅×"),
    ],
)
def test_heights_follow_values_and_nan_is_marked(values: list[float], text: str) -> None:
    assert sparkline(values, width=20) == text


def test_many_values_share_the_letters_and_a_nan_shows_in_its_share() -> None:
    values = np.arange(1000.0)
    values[505] = np.nan
    line = sparkline(values, width=10)
    assert len(line) == 10
    assert line.index("×") == 5
    assert line[0] == "▁"
    assert line[-1] == "█"
