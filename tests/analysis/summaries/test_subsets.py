from __future__ import annotations

import pandas as pd
import pytest

from analysis.summaries.subsets import at_last_common_step, common_steps, having

ROWS = pd.DataFrame({"split": ["test", "train", "test"], "accuracy": [0.1, 0.2, 0.3]})


def test_the_rows_of_the_name_are_kept_in_their_order() -> None:
    assert having(ROWS, "split", "test", what="accuracy on split")["accuracy"].tolist() == [0.1, 0.3]


def test_a_name_that_is_not_there_raises_and_lists_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"^no accuracy on split 'real'; the store has: test, train$"):
        having(ROWS, "split", "real", what="accuracy on split")
    with pytest.raises(ValueError, match=r"the store has: none$"):
        having(ROWS.iloc[:0], "split", "real", what="accuracy on split")


def test_common_steps_are_those_of_every_run() -> None:
    rows = pd.DataFrame({"run": list("aaabb"), "step": [0, 10, 20, 0, 10]})
    assert common_steps(rows, what="things").tolist() == [0, 10]
    assert at_last_common_step(rows, what="things")["run"].tolist() == ["a", "b"]


@pytest.mark.parametrize("steps", [[0, 10, 20, 0, 5], [0, 10, 20, 1, 5]])
def test_runs_without_a_late_step_in_common_do_not_compare(steps: list[int]) -> None:
    rows = pd.DataFrame({"run": list("aaabb"), "step": steps})
    with pytest.raises(ValueError, match=r"in common at which things were recorded \(a at 0 to 20"):
        common_steps(rows, what="things")


def test_a_lone_record_is_common_to_itself() -> None:
    assert common_steps(pd.DataFrame({"run": ["a", "b"], "step": [0, 0]}), what="things").tolist() == [0]
