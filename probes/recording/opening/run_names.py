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
MAX_LETTERS = 80  # characters of the class name; a run id has 120 at most
_Opened = TypeVar("_Opened")


def open_unnamed(store: str | os.PathLike[str], subject: str, open_run: Callable[[str], _Opened]) -> _Opened:
    """Open a run under the first name that no run of the store has, and log the name once.

    A name belongs to the process that gets the writer's lock of its run. Processes that start in the same second
    therefore get different names. An object store has no lock that other machines see, so names there end in a random
    number.

    Args:
        store: Folder or URL of the store.
        subject: The class of the observed model.
        open_run: Opens the run under a name.
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
        subject: The class of the model. Only the characters that a run id may have are used.
        now: The time, in UTC.
        locked: Whether the store shows that another machine has just taken a name. If not, a random number is added.
    """
    word = re.sub(r"[^A-Za-z0-9_]", "", subject).lstrip("0123456789_")[:MAX_LETTERS]
    stem = f"{word or 'run'}-{now:%Y%m%d-%H%M%S}"
    if not locked:
        stem = f"{stem}-{secrets.token_hex(3)}"  # from the system, so that no random generator of the training changes
    for number in count(1):
        yield check_run_id(stem if number == 1 else f"{stem}-{number}")
