from __future__ import annotations

import pytest

from analysis.reading.selection import abbreviated, matching, spread_over

NAMES = ["stem", "a.conv1", "a.conv2", "b.conv1", "head"]


@pytest.mark.parametrize(
    ("patterns", "chosen"),
    [
        (None, NAMES),
        ("*.conv1", ["a.conv1", "b.conv1"]),
        ("head, stem", ["stem", "head"]),
        (["b.*", "stem"], ["stem", "b.conv1"]),
        (0, ["stem"]),
        ([-1, 1], ["a.conv1", "head"]),
    ],
)
def test_patterns_choose_names_in_their_natural_order(patterns: object, chosen: list[str]) -> None:
    assert matching(patterns, NAMES, what="layer") == chosen


@pytest.mark.parametrize("pattern", ["c.*", 5, -6])
def test_a_pattern_that_matches_nothing_raises_and_lists_what_there_is(pattern: object) -> None:
    with pytest.raises(ValueError, match=r"no layer matches .*; there are: stem, a.conv1, a.conv2, b.conv1, head"):
        matching(pattern, NAMES, what="layer")


def test_a_pattern_is_not_a_regular_expression() -> None:
    with pytest.raises(ValueError, match="no layer matches"):
        matching("a.conv.", NAMES, what="layer")


def test_long_lists_are_shortened_in_the_middle_and_say_by_how_many() -> None:
    assert abbreviated(range(20), most=4) == "0, 1, ... (16 more) ..., 18, 19"
    assert abbreviated(range(4), most=4) == "0, 1, 2, 3"
    assert abbreviated([]) == "none"


@pytest.mark.parametrize("most", [2, 3, 7, 100])
def test_a_spread_keeps_first_and_last_and_order(most: int) -> None:
    names = [f"layer{i}" for i in range(100)]
    chosen = spread_over(names, most=most)
    assert len(chosen) == min(most, 100)
    assert (chosen[0], chosen[-1]) == ("layer0", "layer99")
    assert [names.index(name) for name in chosen] == sorted(names.index(name) for name in chosen)


def test_a_spread_over_one_takes_the_first() -> None:
    assert spread_over(["a", "b"], most=1) == ["a"]
