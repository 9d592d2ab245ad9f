import pandas as pd

from probes.dictionary import MARKDOWN, columns_by_table, data_dictionary
from probes.metrics import METRICS


def rows(text):
    return [line for line in text.splitlines() if line.startswith("| `")]


def test_every_measured_column_is_in_the_dictionary_with_what_it_was_taken_on():
    pages = data_dictionary()
    for metric in METRICS.values():
        for column in metric.columns:
            found = [line for line in rows(pages[metric.table]) if line.startswith(f"| `{column.name}` ")]
            assert any(column.tensor.translate(MARKDOWN) in line for line in found)


def test_each_column_of_each_table_has_one_row():
    for table, columns in columns_by_table().items():
        named = [line.split("`")[1] for line in rows(data_dictionary()[table])]
        assert sorted(named) == sorted(column.name for column in columns), table


def test_bars_in_formulas_do_not_break_the_table():
    lines = []
    for text in data_dictionary().values():
        for section in text.split("\n## "):
            found = [line for line in section.splitlines() if line.startswith("|")]
            assert len({line.replace("\\|", "").count("|") for line in found}) == 1
            lines += rows(section)
    assert len(lines) == sum(len(columns) for columns in columns_by_table().values())
    assert len(pd.Series(lines).unique()) >= len(METRICS)
