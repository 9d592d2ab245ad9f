"""The rows of table ``steps``: numbers that the training loop logs, each at its step."""

from __future__ import annotations

import numbers
import operator
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from torch import Tensor

from probes.arrow_arrays import number_array, word_array
from probes.background.to_host import arrival, to_host
from probes.gaps import Gaps
from probes.recording.repeated_logs import RepeatedLogs
from probes.schema import NETWORK_COLUMNS, STEPS, STEPS_COLUMNS, Column, arrow_schema

_READY = "_ready"  # entry of a row: CUDA events after which its tensors hold their values
RESERVED = {"run", "step", "epoch", "split", "seconds"}


def checked_epoch(epoch: Any) -> int | None:
    """Return an epoch as a number that column ``epoch`` holds; None stays None.

    Raises:
        ValueError: The epoch is no whole number, or has more than 31 bits.
    """
    try:
        number = None if epoch is None else operator.index(epoch)
    except TypeError:
        raise ValueError(f"epoch {epoch!r}: expected a whole number, or None.") from None
    if number is not None and not -(2**31) <= number < 2**31:
        raise ValueError(f"epoch {epoch!r}: expected a number below 2^31.")
    return number


class StepRows:
    """Holds the newest row of each split until the next step's row comes, so that several logs make one row."""

    def __init__(
        self,
        put: Callable[[dict[str, Any]], None],
        gaps: Gaps,
        *,
        seconds: float = 0.0,
        held: Iterable[Mapping[str, Any]] = (),
    ) -> None:
        """Begin to hold rows.

        Args:
            put: Takes a complete row.
            gaps: A name that is logged again and again for one step is reported here.
            seconds: Wall-clock time of the run so far.
            held: Rows that were held back when a checkpoint was written: see :meth:`state`.
        """
        self._put = put
        self._repeated = RepeatedLogs(gaps)
        self._began = time.monotonic() - seconds
        self._rows: dict[str, dict[str, Any]] = {row["split"]: dict(row) for row in held}

    @property
    def seconds(self) -> float:
        """Wall-clock time since the run began."""
        return time.monotonic() - self._began

    def add(
        self, step: int, epoch: int | None, split: str, values: Mapping[str, Any], *, over: bool = False
    ) -> dict[str, Any]:
        """Add values to the row of a step and split, and return them on the host, or being copied there.

        A name that is passed twice keeps the last value.

        Args:
            step: The step.
            epoch: Pass through the data, or None.
            split: The data of the values: train, test.
            values: Numbers, or tensors of one element, by name.
            over: Whether the step was taken before this call, and no training pass has begun since.

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
        if over:
            self._repeated.note(step, values.keys() - {"lr"})  # every log fills in lr
        row.setdefault(_READY, []).extend(
            arrival(value.device) for value in values.values() if isinstance(value, Tensor) and value.is_cuda
        )
        return checked

    def state(self) -> dict[str, Any]:
        """Return the wall-clock time and the rows held back, as plain numbers.

        The rows stay held back.
        """
        rows = [
            {name: value.item() if isinstance(value, Tensor) else value for name, value in _arrived(row).items()}
            for row in self._rows.values()
        ]
        return {"seconds": self.seconds, "rows": rows}

    def flush(self) -> None:
        """Write the rows held back."""
        for split in list(self._rows):
            self._put(self._rows.pop(split))


def _checked(name: str, value: Any) -> Any:
    if name in RESERVED:
        raise ValueError(f"log({name}=...): {name!r} is a key of table 'steps'; choose another name.")
    if isinstance(value, Tensor):
        if value.numel() != 1:
            raise ValueError(f"log({name}=...): a tensor of shape {tuple(value.shape)}; expected a single number.")
        if value.is_complex():
            raise ValueError(f"log({name}=...): a complex number; expected a real one, such as its .abs().")
        return to_host(value.detach().reshape(()))
    if isinstance(value, numbers.Real) or value is None:
        return value if value is None else float(value)
    raise ValueError(
        f"log({name}={value!r}): expected a number or a tensor of one element, not {type(value).__name__}."
    )


def steps_batch(rows: Sequence[dict[str, Any]]) -> pa.RecordBatch:
    """Return rows of table ``steps``.

    A column without a value in a row is null. The user's own columns come last.
    """
    for row in rows:
        _arrived(row)
    own = {name: None for row in rows for name in row if name not in _STEPS_NAMES}
    columns = [*STEPS_COLUMNS, *(_DESCRIBED.get(name, _logged_column(name)) for name in own)]
    schema = arrow_schema(STEPS, columns)
    arrays = [_logged([row.get(name) for row in rows], schema.field(name).type) for name in schema.names]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _arrived(row: dict[str, Any]) -> dict[str, Any]:
    """Wait until the tensors of a row hold their values, and return the row."""
    for event in row.pop(_READY, ()):
        event.synchronize()
    return row


_STEPS_NAMES = {"step", "epoch", "split", *(column.name for column in STEPS_COLUMNS)}
_DESCRIBED = {column.name: column for column in NETWORK_COLUMNS}


def _logged_column(name: str) -> Column:
    return Column(name, "1", "logged by the training loop", type=pa.float64())


def _logged(values: list[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_dictionary(kind):
        return word_array(values).dictionary_encode()
    missing = np.array([value is None for value in values])
    numbers = [0 if value is None else value.item() if isinstance(value, Tensor) else value for value in values]
    return number_array(np.array(numbers), kind, missing=missing)
