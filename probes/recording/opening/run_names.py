"""Names of runs that their user left unnamed: the model's class and the time, ``ResNet-20261127-130459``."""

from __future__ import annotations

import logging
import os
import re
import secrets
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import count
from typing import TypeVar

from probes.schema import check_run_id, local_folder
from probes.storage.run_start import RunExistsError
from probes.storage.writer_lock import RunIsOwnedError

log = logging.getLogger("meandrift")
MAX_LETTERS = 80  # of the class; a run id has 120 at most
_Opened = TypeVar("_Opened")


def open_unnamed(store: str | os.PathLike[str], subject: str, open_run: Callable[[str], _Opened]) -> _Opened:
    """Open a run under the first name that no run of the store has, and log the name once.

    A name belongs to whoever gets the writer's lock of its run, so that processes that start in the same second get
    different names. An object store has no lock that other machines see: names there end in a random number.

    Args:
        store: Folder or URL of the store.
        subject: What is observed: the class of the model.
        open_run: Opens the run of a name.
    """
    for name in names(subject, now=datetime.now(UTC), locked=local_folder(store) is not None):
        try:
            opened = open_run(name)
        except (RunExistsError, RunIsOwnedError):
            continue
        log.info("run %r is recorded in store %s", name, store)
        return opened
    raise AssertionError("names do not end")


def names(subject: str, *, now: datetime, locked: bool) -> Iterator[str]:
    """Yield ``ResNet-20261127-130459``, then the same with ``-2``, ``-3``, ...

    Args:
        subject: The class of the model. Of its letters, those that a run id may have are taken.
        now: The time, in UTC.
        locked: Whether the store tells that another machine has just taken a name. If not, a random number is added.
    """
    word = re.sub(r"[^A-Za-z0-9_]", "", subject).lstrip("0123456789_")[:MAX_LETTERS]
    stem = f"{word or 'run'}-{now:%Y%m%d-%H%M%S}"
    if not locked:
        stem = f"{stem}-{secrets.token_hex(3)}"  # from the system: no random generator of the training moves
    for number in count(1):
        yield check_run_id(stem if number == 1 else f"{stem}-{number}")
