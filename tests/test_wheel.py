"""The wheel of a commit is the same, byte for byte, whoever builds it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def wheel_of(clone: Path, *, umask: int, modified: float) -> bytes:
    """Return the wheel of a new clone, made under a mask and with files of an age."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True, umask=umask)
    for path in clone.rglob("*.py"):
        os.utime(path, (modified, modified))
    subprocess.run([str(clone / ".ci" / "wheel"), str(clone / "out")], check=True, umask=umask, capture_output=True)
    [wheel] = (clone / "out").glob("*.whl")
    return wheel.read_bytes()


@pytest.mark.slow
@pytest.mark.skipif(not (ROOT / ".git").exists() or shutil.which("git") is None, reason="needs a clone of the project")
def test_two_clones_build_the_same_wheel(tmp_path: Path) -> None:
    first = wheel_of(tmp_path / "first", umask=0o022, modified=1e9)
    assert first == wheel_of(tmp_path / "second", umask=0o077, modified=1.5e9)
