from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.summaries.operator_norms import with_operator_norms

NAN = np.nan


def table(spectral: list[list[float]], operator: list[list[float]], kinds: list[str]) -> pd.DataFrame:
    count, width = len(spectral), len(kinds)
    return pd.DataFrame(
        {
            "run": "r",
            "step": np.repeat(np.arange(count), width),
            "layer_type": kinds * count,
            "spectral_norm": np.ravel(spectral),
            "operator_norm": np.ravel(operator),
        }
    )


def test_a_matrix_takes_its_spectral_norm_and_a_convolution_its_own() -> None:
    got = with_operator_norms(table([[1.0, 2.0]], [[1.5, NAN]], ["Conv2d", "Linear"]))
    assert got["operator_norm"].tolist() == [1.5, 2.0]


def test_steps_at_which_it_was_not_measured_are_left_out() -> None:
    got = with_operator_norms(table([[1.0, 1.0]] * 3, [[2.0, NAN], [NAN, NAN], [3.0, NAN]], ["Conv2d", "Linear"]))
    assert got["step"].tolist() == [0, 0, 2, 2]


def test_steps_that_diverged_are_kept() -> None:
    got = with_operator_norms(table([[1.0], [NAN]], [[2.0], [NAN]], ["Conv2d"]))
    assert got["step"].tolist() == [0, 1]
    assert np.isnan(got["operator_norm"].iloc[1])


def test_a_network_of_matrices_needs_no_measurement() -> None:
    rows = table([[1.0, 2.0]], [[NAN, NAN]], ["Linear", "Linear"])
    for given in (rows, rows.drop(columns="operator_norm")):
        assert with_operator_norms(given)["operator_norm"].tolist() == [1.0, 2.0]


def test_convolutions_without_one_raise() -> None:
    with pytest.raises(ValueError, match="column operator_norm of table 'layers' is null for all convolutions"):
        with_operator_norms(table([[1.0]], [[NAN]], ["Conv2d"]))
