"""Texts from files: the one that ships, those of the user, and the ones that are refused."""

from __future__ import annotations

import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
import torch

from dynamics.data.sources import load_data
from dynamics.data.text.text_file import SHIPPED, load_text
from dynamics.data.text.text_set import TextSet

ROOT = Path(__file__).parents[4]


def said(data: TextSet) -> str:
    """Return the whole text that the numbers stand for."""
    return "".join(data.alphabet[number] for number in torch.cat([data.train, data.test]))


def test_the_shipped_text_is_shakespeares_and_is_part_of_the_wheel() -> None:
    data = load_text("text:")
    assert said(data).startswith("First Citizen:\nBefore we proceed any further, hear me speak.")
    assert (len(data.train), len(data.test), data.num_classes) == (449_955, 49_994, 63)
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    assert any(fnmatch(SHIPPED.name, pattern) for pattern in patterns["dynamics.data.text"])


def test_a_text_is_numbered_by_code_points_and_its_last_tenth_is_held_out(tmp_path: Path) -> None:
    text = "ab" * 14 + "éz"
    path = tmp_path / "own.txt"
    path.write_text(text, encoding="utf-8")
    data = load_text(f"text:{path}")
    assert data.alphabet == "abzé"
    assert said(data) == text
    assert data.test.tolist() == [1, 3, 2]  # "béz": characters that only the test has are numbered too


def test_a_byte_order_mark_and_the_machines_line_ends_are_no_part_of_a_text(tmp_path: Path) -> None:
    path = tmp_path / "windows.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\n")
    assert said(load_text(f"text:{path}")) == "one\ntwo\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"data set 'text:.*own\.txt': there is no such file; text: alone reads the text that is shipped"),
        (b"", r"the text has no characters; expected two different characters or more"),
        (b"\xef\xbb\xbf", r"the text has no characters"),
        (b"aaaa", r"the text has only 'a'; expected two different characters or more"),
        (b"good\xff\xfe", r"byte 4 is not UTF-8; save the text as UTF-8"),
    ],
)
def test_a_text_that_cannot_be_learned_from_is_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "own.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises((FileNotFoundError, ValueError), match=message):
        load_text(f"text:{path}")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is a folder; expected a file of text"):
        load_text(f"text:{tmp_path}")


def test_a_text_larger_than_the_machines_memory_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.txt"
    with path.open("wb") as file:
        file.truncate(1 << 42)  # sparse
    with pytest.raises(ValueError, match=r"half of this machine's memory"):
        load_text(f"text:{path}")


def test_programs_that_need_images_refuse_a_text() -> None:
    with pytest.raises(ValueError, match=r"'text:' is a text, and images are needed here.*train --model transformer"):
        load_data("text:")
