"""A finding names its layers: up to three of them, or the first and how many others there are."""

import pytest

from analysis.findings.places import joined, other_layers, place


@pytest.mark.parametrize(
    ("layer", "affected", "words", "others"),
    [
        ("", [], "", ""),
        ("a", ["a"], "layer a", ""),
        ("a", ["a", "b"], "layers a and b", "layer b"),
        ("b", ["a", "b", "c"], "layers b, a and c", "layers a and c"),
        ("a", ["a", "b", "c", "d"], "layer a and 3 other layers", "3 other layers"),
    ],
)
def test_up_to_three_layers_are_named(layer: str, affected: list[str], words: str, others: str) -> None:
    assert place(layer, affected) == words
    assert other_layers(layer, affected) == others


def test_words_as_a_list_in_a_sentence() -> None:
    assert [joined(words) for words in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["", "a", "a and b", "a, b and c"]
