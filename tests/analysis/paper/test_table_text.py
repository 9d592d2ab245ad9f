from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.paper.table_text import to_csv, to_latex, to_markdown

ACCURACY = pd.DataFrame(
    {
        "model": ["cnn3", "vgg7"],
        "norm": ["bn", "msn"],
        "learning_rate": [0.001, 0.1],
        "accuracy": [0.98123, 0.9],
        "std": [0.001, np.nan],
        "runs": [3, 1],
        "difference": [0.0112, -0.002],
    }
)


def test_markdown_has_percentages_signs_and_no_number_where_there_is_none() -> None:
    assert to_markdown(ACCURACY, caption="Table I: accuracy").splitlines() == [
        "**Table I: accuracy**",
        "",
        "| model | norm | learning rate | accuracy [%] | std [%] | runs | difference [%] |",
        "| :-- | :-- | --: | --: | --: | --: | --: |",
        "| cnn3 | BN | 0.001 | 98.12 | 0.10 | 3 | +1.12 |",
        "| vgg7 | MSN | 0.1 | 90.00 | – | 1 | -0.20 |",
    ]


def test_latex_has_rules_and_escapes() -> None:
    text = to_latex(ACCURACY, caption="A & B")
    assert r"\caption{A \& B}" in text
    assert r"\begin{tabular}{llrrrrr}" in text
    assert r"vgg7 & MSN & 0.1 & 90.00 & -- & 1 & -0.20 \\" in text
    assert text.count(r"\toprule") == text.count(r"\midrule") == text.count(r"\bottomrule") == 1


def test_csv_keeps_names_and_plain_numbers() -> None:
    back = pd.read_csv(pd.io.common.StringIO(to_csv(ACCURACY, caption="")))
    pd.testing.assert_frame_equal(back, ACCURACY, check_dtype=False)


@pytest.mark.parametrize(("count", "text"), [(1_009_730, "1,009,730"), (2122, "2,122"), (0, "+0")])
def test_counts_are_grouped_by_thousands(count: int, text: str) -> None:
    table = pd.DataFrame({"difference" if text == "+0" else "parameters": [count]})
    assert f"| {text} |" in to_markdown(table, caption="")
