"""The rows of table ``steps``: what the training loop logs, put to the step it belongs to."""

from __future__ import annotations

import numbers
import time
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from probes.records import READY
from probes.transfer import arrival, to_host

_RESERVED = {"run", "step", "epoch", "split", "seconds"}


class StepRows:
    """Holds the newest row of each split until the next step's row comes, so that several logs make one row."""

    def __init__(self, put: Callable[[dict[str, Any]], None], *, seconds: float = 0.0) -> None:
        self._put = put
        self._began = time.monotonic() - seconds
        self._rows: dict[str, dict[str, Any]] = {}

    @property
    def seconds(self) -> float:
        """Wall-clock time since the run began."""
        return time.monotonic() - self._began

    def add(self, step: int, epoch: int | None, split: str, values: Mapping[str, Any]) -> None:
        """Add values to the row of a step and split; a name given twice keeps the last value.

        Raises:
            ValueError: A name is taken by a key column, a value is no single number, or the split is no word.
        """
        if not isinstance(split, str) or not split:
            raise ValueError(f"log(split={split!r}): expected a word, such as 'train' or 'test'.")
        checked = {name: _checked(name, value) for name, value in values.items()}
        row = self._rows.get(split)
        if row is not None and row["step"] != step:
            self._put(self._rows.pop(split))
            row = None
        if row is None:
            row = self._rows[split] = {"step": step, "epoch": epoch, "split": split, "seconds": self.seconds}
        row.update(checked)
        row.setdefault(READY, []).extend(
            arrival(value.device) for value in values.values() if isinstance(value, Tensor) and value.is_cuda
        )

    def flush(self) -> None:
        """Hand over the rows held back."""
        for split in list(self._rows):
            self._put(self._rows.pop(split))


def _checked(name: str, value: Any) -> Any:
    if name in _RESERVED:
        raise ValueError(f"log({name}=...): {name!r} is a key of table 'steps'; choose another name.")
    if isinstance(value, Tensor):
        if value.numel() != 1:
            raise ValueError(f"log({name}=...): a tensor of shape {tuple(value.shape)}; expected a single number.")
        if value.is_complex():
            raise ValueError(f"log({name}=...): a complex number; expected a real one, its .abs() say.")
        return to_host(value.detach().reshape(()))
    if isinstance(value, numbers.Real) or value is None:
        return value if value is None else float(value)
    raise ValueError(
        f"log({name}={value!r}): expected a number or a tensor of one element, not {type(value).__name__}."
    )
