"""The first step whose gradient or logged loss is not finite, found by a small sum at every step."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from probes.background.to_host import arrival, to_host
from probes.gaps import Gaps
from probes.metrics import Metric
from probes.metrics.flat import first_entries
from probes.metrics.waiting import looks_wait
from probes.model.parameters import Parameter

AT_ONCE = frozenset({"state", "weights", "gradients", "updates"})
NEXT = AT_ONCE | {"activations", "saturation", "activation_gradients"}
MOST_ENTRIES = 4096  # entries of a gradient that are summed
MOST_TRIES = 8  # parameters that are searched for a gradient at a step
TURN_EVERY = 4  # steps
HELD = 4  # sums that wait on a GPU for a common copy: starting a copy takes longer than a sum
MOST_EPISODES = 10  # for each run, so that a loss that is sometimes NaN is not recorded for ever
MOST_WAITING = 1000  # numbers that were not looked at; beyond it the oldest are dropped
LOSS = "loss"
_RECORDED = "weights and gradients of all layers are recorded when it is noticed, activations too in the step after"
_OF_SEVERAL_RANKS = (
    "no record is made beside the schedule, because it would need all ranks, and they may not see the value at one step"
)


class _Number(NamedTuple):
    """A number of one step, perhaps on its way to the host."""

    step: int
    of: str
    value: Tensor | float
    event: Any = None  # reached when the value has arrived; None: it has arrived

    @property
    def is_there(self) -> bool:
        return self.event is None or bool(self.event.query())

    @property
    def is_finite(self) -> bool:
        return math.isfinite(float(self.value))


class NonfiniteWatch:
    """Decides when to record outside the schedule, because a gradient or the logged ``loss`` is not finite.

    A NaN in the loss reaches every gradient. A NaN that arises in the backward pass reaches the gradients of all layers
    before the layer in which it arises. The gradient of each optimizer's first trained parameter therefore shows nearly
    every NaN at the step at which it arises. Every fourth step one further parameter, a different one each time, is
    looked at. A NaN that stays in a single weight is in the loss one step later. At most 4,096 entries of a gradient
    are summed, because the norm of the whole gradient at every step would cost too much.

    On a GPU four sums are copied together and without waiting. Their values are known up to four steps later, and the
    step of each is kept. Gradients that are still scaled are not looked at, because a GradScaler skips a step whose
    gradients are not finite.

    With several ranks, the first rank looks and reports the step. No record is made outside the schedule, because a
    record adds up the numbers of all ranks. Ranks may differ in their losses, and in the step at which a copied number
    has arrived. A rank that saw no NaN would not take part, and the other ranks would wait for it. DDP averages
    gradients before they are looked at, so the first rank sees a NaN of any rank. Sharded gradients are not looked at,
    because reading such a gradient gathers it.
    """

    def __init__(self, metrics: Sequence[Metric], gaps: Gaps, *, rank: int = 0, ranks: int = 1) -> None:
        """Prepare to look.

        Args:
            metrics: All metrics that the user chose.
            gaps: Gets a note of the first step that was not finite, for the run's row.
            rank: The rank of this process.
            ranks: How many processes record together.
        """
        self._at_once = [metric for metric in metrics if metric.group in AT_ONCE]
        self._next = [metric for metric in metrics if metric.group in NEXT]
        self._gaps, self._active, self._records = gaps, rank == 0, ranks == 1
        self._candidates: dict[int, Sequence[Parameter]] = {}  # by optimizer
        self._places: dict[int, tuple[int, int]] = {}  # by optimizer: index of the first with a gradient, and turn
        self._numbers: deque[_Number] = deque(maxlen=MOST_WAITING)
        self._held: list[_Number] = []  # on a GPU
        self._episodes = 0
        self._broken = self._next_due = False

    def due(self, planned: Sequence[Metric]) -> list[Metric]:
        """Return the metrics of a step that starts: the planned ones, and activations in the step after a finding."""
        if not self._next_due:
            return list(planned)
        self._next_due = False
        return [*planned, *(metric for metric in self._next if metric not in planned)]

    def note_loss(self, step: int, given: Mapping[str, Any], on_host: Mapping[str, Any]) -> None:
        """Take the numbers that the loop has logged.

        Args:
            step: The step that it belongs to.
            given: The numbers as the loop passed them, which shows their device.
            on_host: The same numbers, already on the host or being copied to it.
        """
        value = on_host.get(LOSS)
        if self._active and value is not None:
            was = given.get(LOSS)
            event = arrival(was.device) if isinstance(was, Tensor) and was.is_cuda else None
            self._numbers.append(_Number(step, f"the logged {LOSS}", value, event))

    def look(
        self, step: int, optimizer: Any, parameters: Callable[[], Sequence[Parameter]], *, scaled: bool
    ) -> Sequence[Metric]:
        """Look at the gradients that an optimizer is about to use, and return the metrics to record at once, if any.

        Args:
            step: The step.
            optimizer: The optimizer; None if it is not known.
            parameters: Returns the parameters that the optimizer updates. It is called at the optimizer's first step.
            scaled: Whether the gradients still carry the factor of a GradScaler.
        """
        if not self._active:
            return ()
        if not scaled:
            self._sum_up(step, optimizer, parameters)
        there = []
        while self._numbers and self._numbers[0].is_there:
            there.append(self._numbers.popleft())
        broken = [number for number in there if not number.is_finite]
        begins = bool(broken) and not self._broken
        if there:
            self._broken = bool(broken)
        if not begins or self._episodes == MOST_EPISODES:
            return ()
        first = min(broken, key=lambda number: number.step)
        self._episodes += 1
        self._next_due = self._records
        self._gaps.note(
            what="values that are not finite",
            why=f"first seen in {first.of}; {_RECORDED if self._records else _OF_SEVERAL_RANKS}",
            first_step=first.step,
        )
        return self._at_once if self._records else ()

    def _sum_up(self, step: int, optimizer: Any, parameters: Callable[[], Sequence[Parameter]]) -> None:
        key = id(optimizer)
        if key not in self._candidates:
            self._candidates[key] = parameters()
            self._places[key] = 0, 0
        candidates = self._candidates[key]
        if not candidates:
            return
        first, turn = self._places[key]
        for _ in range(MOST_TRIES):
            if self._add_sum(step, candidates[first]):
                break
            first = (first + 1) % len(candidates)
        if step % TURN_EVERY == 0:
            turn = (turn + 1) % len(candidates)
            self._add_sum(step, candidates[turn])
        self._places[key] = first, turn

    def _add_sum(self, step: int, one: Parameter) -> bool:
        """Take the sum of some entries of a gradient; False if there is no gradient that can be summed."""
        parameter = one.value
        gradient = None if parameter is None else parameter.grad
        if gradient is None or gradient.layout != torch.strided or hasattr(gradient, "full_tensor"):
            return False
        if gradient.is_cuda and torch.cuda.is_current_stream_capturing():
            return False
        number = _Number(step, f"the gradient of {one.name}", _sum(gradient.detach()))
        if looks_wait(gradient):
            self._hold(number)
        else:
            self._numbers.append(number)
        return True

    def _hold(self, number: _Number) -> None:
        self._held.append(number)
        if len(self._held) < HELD:
            return
        held, self._held = self._held, []
        for device in {each.value.device for each in held if isinstance(each.value, Tensor)}:
            own = [each for each in held if isinstance(each.value, Tensor) and each.value.device == device]
            values = to_host(torch.stack([each.value for each in own if isinstance(each.value, Tensor)]))
            event = arrival(device)
            self._numbers += (each._replace(value=value, event=event) for each, value in zip(own, values, strict=True))


def _sum(gradient: Tensor) -> Tensor | float:
    """Return a number that is finite if the first entries of a gradient are finite."""
    part = first_entries(torch.view_as_real(gradient) if gradient.is_complex() else gradient, most=MOST_ENTRIES)
    if looks_wait(part):
        return part.sum(dtype=torch.float64)
    total = part.sum().item()
    if math.isfinite(total):
        return total
    return 0.0 if part.isfinite().all() else total  # the sum of finite numbers may overflow
