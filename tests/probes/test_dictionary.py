import pandas as pd

from probes.dictionary import columns_by_table, data_dictionary
from probes.metrics import METRICS


def test_every_measured_column_is_in_the_dictionary_with_what_it_was_taken_on():
    lines = data_dictionary().splitlines()
    for metric in METRICS.values():
        for column in metric.columns:
            found = [line for line in lines if line.startswith(f"| `{column.name}` ")]
            assert any(column.tensor in line for line in found)


def test_bars_in_formulas_do_not_break_the_table():
    rows = [line for line in data_dictionary().splitlines() if line.startswith("| `")]
    assert {line.replace("\\|", "").count("|") for line in rows} == {8}
    assert len(rows) == sum(len(columns) for columns in columns_by_table().values())
    assert len(pd.Series(rows).unique()) >= len(METRICS)
