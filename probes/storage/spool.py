"""The spool: a local folder for what a store cannot hold.

An object store cannot hold logs, owner files and parts under way, so they stand in the spool. A local store that
refuses rows to the end, because its disk is full or it was deleted, leaves them in the spool too, until they are
recovered.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from urllib.parse import urlsplit


def spool_folder(url: str) -> Path:
    """Return the local folder for the logs of the store at this URL, one for each URL."""
    parts = urlsplit(url)
    return _base() / f"{parts.scheme}-{parts.hostname or ''}-{_digest(url)}"  # no more of it: it may hold a password


def spill_folder(root: Path) -> Path:
    """Return the folder for rows that the local store in this folder refused, one for each store."""
    return _base() / f"{root.name or 'root'}-{_digest(str(root.resolve()))}"


def _base() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(os.environ.get("MEANDRIFT_SPOOL") or Path(state) / "meandrift").absolute()


def _digest(name: str) -> str:
    return hashlib.sha256(name.rstrip("/").encode()).hexdigest()[:12]
