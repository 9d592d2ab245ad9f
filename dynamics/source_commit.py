"""The git commit of the source code that trains a run."""

from __future__ import annotations

import subprocess
from functools import lru_cache
from pathlib import Path

FOLDER = Path(__file__).parent


@lru_cache(maxsize=1)
def source_commit(folder: Path = FOLDER) -> str:
    """Return the git commit of a folder's checkout, with the suffix ``-dirty`` if tracked files differ from it.

    Empty if git is missing, or if the folder is in no repository, such as an installed package.
    """
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        if not _is_tracked(folder):  # an installed package may lie within another repository
            return ""
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _is_tracked(folder: Path) -> bool:
    command = ["git", "-C", str(folder), "ls-files", "--error-unmatch", "."]
    return subprocess.run(command, capture_output=True, check=False, timeout=10).returncode == 0
