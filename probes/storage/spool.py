"""The spool: a local folder for files that a store cannot hold.

An object store cannot hold logs, owner files and unfinished parts, so they are kept in the spool. If a local store
still refuses rows at the end, because its disk is full or it was deleted, these rows are kept in the spool until they
are recovered.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from urllib.parse import urlsplit


def spool_folder(url: str) -> Path:
    """Return the local folder for the logs of the store at this URL.

    Each URL has its own folder.
    """
    parts = urlsplit(url)
    return _base() / f"{parts.scheme}-{parts.hostname or ''}-{_digest(url)}"  # not the rest, which may hold a password


def spill_folder(root: Path) -> Path:
    """Return the folder for rows that the local store at ``root`` refused.

    Each store has its own folder.
    """
    return _base() / f"{root.name or 'root'}-{_digest(str(root.resolve()))}"


def _base() -> Path:
    if spool := os.environ.get("MEANDRIFT_SPOOL"):
        return Path(spool).absolute()
    if state := os.environ.get("XDG_STATE_HOME"):
        return Path(state).absolute() / "meandrift"
    try:
        return Path.home() / ".local" / "state" / "meandrift"
    except RuntimeError:  # a container's user may have no home
        return Path(tempfile.gettempdir()) / "meandrift"


def _digest(name: str) -> str:
    return hashlib.sha256(name.rstrip("/").encode()).hexdigest()[:12]
