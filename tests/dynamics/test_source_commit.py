from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from dynamics.source_commit import source_commit


def git(folder: Path, *words: str) -> str:
    name = ("-c", "user.name=a", "-c", "user.email=a@b")
    found = subprocess.run(["git", "-C", str(folder), *name, *words], capture_output=True, text=True, check=True)
    return found.stdout.strip()


@pytest.fixture(autouse=True)
def forget() -> None:
    source_commit.cache_clear()


def test_the_commit_is_that_of_the_checkout_and_says_if_files_differ(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "a.py").write_text("1")
    git(tmp_path, "add", "a.py")
    git(tmp_path, "commit", "-q", "-m", "a")
    git(tmp_path, "tag", "v1")
    head = git(tmp_path, "rev-parse", "HEAD")
    assert source_commit(tmp_path) == head
    source_commit.cache_clear()
    (tmp_path / "a.py").write_text("2")
    assert source_commit(tmp_path) == f"{head}-dirty"


def test_what_is_no_checkout_has_no_commit(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "installed").mkdir()  # within a repository that does not hold it
    assert source_commit(tmp_path / "installed") == ""
