"""The numbers among what a framework logs."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from probes.recording.step_rows import RESERVED


def logged_numbers(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that :meth:`probes.Probe.log` takes: single real numbers under names that are free.

    A name of a key column (``step``, ``epoch``, ``seconds``) is left out: the probe fills these itself.
    """
    return {name: value for name, value in values.items() if name not in RESERVED and _is_number(value)}


def _is_number(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.numel() == 1 and not value.is_complex()
    return isinstance(value, numbers.Real) and not isinstance(value, bool)
