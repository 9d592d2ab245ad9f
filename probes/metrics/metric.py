"""A metric: a pure function over all tensors of one kind at one step, and the columns it fills."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from probes.metrics.reducer import Reducer
from probes.schema import LAYERS, Column

Compute = Callable[..., Any]


@dataclass(frozen=True)
class Metric:
    """One metric, or several that come from the same pass over the tensors.

    Attributes:
        name: The metric's key in ``METRICS`` and in a schedule.
        group: The group by which a schedule names several metrics together: ``weights``, ``gradients``, ...
        reads: The source that is passed to its function: ``weight``, ``gradient``, ...; see
            ``probes.measuring.sources``.
        compute: ``compute(tensors) -> (columns, layers)``: a tensor with a row for each of the metric's columns and a
            column for each entry of the list ``tensors``. Further rows are left out. A function that several metrics
            share is called once, with all their tensors.
        columns: The columns it fills in table ``layers`` or ``parameters``; empty in the other tables.
        table: ``layers``, ``parameters``, ``histograms`` or ``spectra``.
        label: In the other tables: the ``tensor`` or ``view`` of its rows.
        every_nth_record: Under a plain ``every=n``, the metric is recorded once in this number of due steps. It is more
            than 1 for metrics that take much memory.
        min_steps_between: Under a plain ``every=n``, the smallest number of optimizer steps between two records. It is
            more than 1 for metrics that take long.
        keeps_state: ``compute(tensors, state) -> (values, state)``: one tensor per layer is passed to the call of the
            next record (None at the first). This tensor is part of the probe's state in a checkpoint.
        finish: ``finish(array) -> (columns, layers)``: the last part of the computation, in NumPy on the host, outside
            the training thread. Its argument is the result of ``compute``, with many steps side by side in a further
            dimension before the layers. It works along the first dimension.
        after_update: Whether it is measured after the optimizer has changed the parameters, not before.
        deferrable: Whether it may be computed in another thread, from copies of the tensors that it reads. This is for
            metrics that take longer than the copies. ``reads`` is then a key of
            ``probes.measuring.sources.COMPUTED_FROM``.
        reducer: For metrics of activations: the function that reduces a tensor in the forward hook. ``reads`` then
            names the reducer. Metrics with the same reducer share its vectors.
        applies: ``applies(tensor) -> bool``: whether the metric is defined for a layer's tensor. Its columns are null
            if it is not. None: it is defined for all.
    """

    name: str
    group: str
    reads: str
    compute: Compute
    columns: tuple[Column, ...] = ()
    table: str = LAYERS
    label: str = ""
    every_nth_record: int = 1
    min_steps_between: int = 1
    keeps_state: bool = False
    finish: Callable[[np.ndarray], np.ndarray] | None = None
    after_update: bool = False
    deferrable: bool = False
    reducer: Reducer | None = None
    applies: Callable[[Any], bool] | None = None


def metric(*, reads: str, columns: Sequence[Column], group: str = "user") -> Callable[[Compute], Metric]:
    """Make a metric from a function, for ``Probe(..., metrics=[...])``.

    The function takes the list of all tensors of one kind at a step: detached, float32 or wider, one for each layer. It
    returns one row for each column: shape ``(columns, layers)``, or ``(layers,)`` for a single column. It must not
    change its argument, and on CUDA it should not wait for the device (no ``.item()``).

    Args:
        reads: The tensors in the list: ``weight`` (the effective weight), ``raw_weight``, ``bias``, ``gradient``,
            ``matrix`` (the unfolded weight), ``singular_values``, ``kernel_slices``, ``update``, ...
        columns: The columns that it fills, each with unit and formula.
        group: The name of its group in schedules.

    Examples:
        >>> import torch
        >>> from probes.metrics import metric
        >>> from probes.schema import Column
        >>> @metric(reads="weight", columns=[Column("weight_max_abs", "1", "max |W|", tensor="effective weight")])
        ... def weight_max_abs(weights):
        ...     return torch.stack([weight.abs().max() for weight in weights])
        >>> weight_max_abs.name
        'weight_max_abs'

    Raises:
        ValueError: No columns are passed.
    """
    if not columns:
        raise ValueError("columns: got none, expected at least one Column(name, unit, formula) that the metric fills.")

    def make(compute: Compute) -> Metric:
        def rows(tensors: list[Tensor]) -> Tensor:
            values: Tensor = compute(tensors)
            return values.reshape(len(columns), len(tensors))

        return Metric(compute.__name__, group, reads, rows, tuple(columns))

    return make
