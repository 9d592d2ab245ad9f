from __future__ import annotations

import pandas as pd
import pytest

from analysis.summaries.subsets import having

ROWS = pd.DataFrame({"split": ["test", "train", "test"], "accuracy": [0.1, 0.2, 0.3]})


def test_the_rows_of_the_name_are_kept_in_their_order() -> None:
    assert having(ROWS, "split", "test", what="accuracy on split")["accuracy"].tolist() == [0.1, 0.3]


def test_a_name_that_is_not_there_raises_and_lists_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"^no accuracy on split 'real'; the store has: test, train$"):
        having(ROWS, "split", "real", what="accuracy on split")
    with pytest.raises(ValueError, match=r"the store has: none$"):
        having(ROWS.iloc[:0], "split", "real", what="accuracy on split")
