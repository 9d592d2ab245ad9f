import pytest

from probes import gaps as gaps_module
from probes.gaps import Gaps


def test_a_failure_is_said_once_and_counted():
    gaps = Gaps()
    with pytest.warns(RuntimeWarning, match="rank could not be recorded at step 3: ValueError: no. Training goes on"):
        gaps.fail("rank", ValueError("no"), 3)
    gaps.fail("rank", ValueError("no"), 4)
    assert gaps.entries() == [{"what": "rank", "why": "ValueError: no", "first_step": 3, "count": 2, "last_step": 4}]


def test_strict_raises_the_failure_itself():
    failure = ValueError("no")
    with pytest.raises(ValueError, match="no") as raised:
        Gaps(strict=True).fail("rank", failure, 0)
    assert raised.value is failure


def test_a_note_is_silent_and_a_warning_comes_once():
    gaps = Gaps([{"what": "weight", "why": "tied", "layer": "b"}])
    assert gaps.changed
    with pytest.warns(RuntimeWarning, match="activations: no hook ran"):
        gaps.warn(what="activations", why="no hook ran")
    gaps.warn(what="activations", why="no hook ran")  # a second warning would be an error here
    assert [gap["what"] for gap in gaps.entries()] == ["weight", "activations"]
    assert [gap.get("warned", False) for gap in gaps.entries()] == [False, True]
    assert not gaps.changed


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_endless_different_failures_do_not_grow_the_list(monkeypatch):
    monkeypatch.setattr(gaps_module, "_MAX", 3)
    gaps = Gaps()
    for step in range(10):
        gaps.fail("rank", ValueError(str(step)), step)
    assert len(gaps.entries()) == 4
    assert gaps.entries()[-1]["count"] == 7
