"""Gaps: values that could not be recorded. Each is warned of once, counted, and kept in the run's row."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterable
from typing import Any

_MAX = 1000  # different gaps kept; further gaps are only counted


class Gaps:
    """The list of missing values and their reasons. A failure inside the probe ends here, never in the training.

    With ``strict`` the first failure is raised instead.
    """

    def __init__(self, notes: Iterable[dict[str, Any]] = (), *, strict: bool = False) -> None:
        self._entries: dict[tuple[str, str], dict[str, Any]] = {}
        self._delays: set[str] = set()
        self._warned: set[tuple[str, str]] = set()  # failures, regardless of their place
        self._strict = strict
        self._lock = threading.Lock()
        self.changed = False
        for note in notes:
            self.note(**note)

    def note(self, *, what: str, why: str, **place: Any) -> None:
        """Keep a fact that is no error, such as a weight that is recorded under another layer's name."""
        with self._lock:
            self._entries[_placed(what, place), why] = {"what": what, "why": why, **place}
            self.changed = True

    def warn(self, *, what: str, why: str, **place: Any) -> None:
        """Keep a fact, marked as ``warned``, and warn of it once."""
        if (_placed(what, place), why) not in self._entries:
            self.note(what=what, why=why, **place)
            with self._lock:
                self._entries[_placed(what, place), why]["warned"] = True
            where = ", ".join(f"{name} {value}" for name, value in place.items())
            warnings.warn(f"probe: {what}{f' ({where})' if where else ''}: {why}", RuntimeWarning, stacklevel=3)

    def fail(self, what: str, failure: Exception, step: int, /, *, raises: bool = True, **place: Any) -> None:
        """Keep a failure and warn of it the first time.

        Raise it if strict, unless another error is already being raised.

        Args:
            what: The metric that could not be recorded.
            failure: The exception or the reason in words.
            step: The step.
            raises: Whether ``strict`` raises it.
            place: The place, such as ``layer=``. Each place is a separate gap. The same failure at another place gives
                no second warning.
        """
        if self._strict and raises:
            raise failure
        why = f"{type(failure).__name__}: {failure}"
        entry = {"what": what, "why": why, **place}
        key = _placed(what, place), why
        with self._lock:
            if key not in self._entries and len(self._entries) >= _MAX:
                entry, key = {"what": "more failures", "why": ""}, ("more failures", "")
            said = entry["what"], entry["why"]
            first = said not in self._warned
            self._warned.add(said)
            entry = self._entries.setdefault(key, {**entry, "first_step": step, "count": 0})
            entry["count"] += 1
            entry["last_step"] = step
            self.changed = True
        if first:
            where = "".join(f" of {name} {value!r}" for name, value in place.items())
            message = (
                f"probe: {what}{where} could not be recorded at step {step}: {why}. Training goes on; the gap is kept"
            )
            warnings.warn(
                f"{message} in the run's row. Further ones like it are only counted.", RuntimeWarning, stacklevel=3
            )

    def delay(self, failure: Exception) -> None:
        """Warn once that rows wait because the store refuses them.

        This is no gap yet. Raise the failure if strict.
        """
        if self._strict:
            raise failure
        why = f"{type(failure).__name__}: {failure}"
        if why not in self._delays:
            self._delays.add(why)
            warnings.warn(
                f"probe: the store refuses rows: {why}. Training goes on; they are kept in memory and tried again each "
                "second.",
                RuntimeWarning,
                stacklevel=3,
            )

    def keep(self, failure: OSError, *, raises: bool) -> None:
        """Warn once, in the words of the recorder, that the run could not be closed.

        Raise the failure if strict.
        """
        if self._strict and raises:
            raise failure
        warnings.warn(f"probe: {failure}.", RuntimeWarning, stacklevel=3)

    @property
    def count(self) -> int:
        """Number of different gaps and notes."""
        return len(self._entries)

    def entries(self) -> list[dict[str, Any]]:
        """Return all gaps, and mark them as seen."""
        with self._lock:
            self.changed = False
            return [dict(entry) for entry in self._entries.values()]


def _placed(what: str, place: dict[str, Any]) -> str:
    return f"{what} {place}"
