"""How often each matrix gets its whole spectrum, so that spectra cost a fixed share of training on any model.

A record may spend a quarter of a training step on spectra. The costs of a spectrum and of a step are estimated from
shapes alone, so the schedule is the same on every machine and in every run of a network. Small matrices are solved at
every record. Large matrices take turns, and a matrix that costs more than one turn waits for several. Between two turns
its largest singular value and stable rank come from power iteration.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from probes.metrics.singular_values import SPECTRUM
from probes.model.layer import Layer, raw_parameter
from probes.model.module_kinds import CONVOLUTIONS

Shapes = Mapping[int, tuple[tuple[int, ...] | None, tuple[int, ...]]]  # by layer: shapes of its input and output

RECORD_SHARE = 0.25  # of a training step, for the spectra of one record
LEAST_INTERVAL = 10  # from this number of steps between records on, the share is kept; denser records get all spectra
_BACKWARD = 3  # a training step is about three forwards
_LEAST = 3e6  # flops that take as long as torch's calls for a small layer: forward, backward and update
_DOUBLE = 2  # a flop in float64, in flops in float32
_EIGENVALUES = 16  # flops in float32 that take as long as the eigenvalues of a matrix of side n, over n^3: LAPACK's
# tridiagonalisation runs from memory; measured with torch.linalg.eigvalsh on one core, sides 64 to 1024


def spectrum_flops(rows: int, columns: int) -> float:
    """Return the cost of a matrix's singular values in float32 flops: the Gram matrix and its eigenvalues."""
    small, large = min(rows, columns), max(rows, columns)
    return _DOUBLE * small**2 * large + _EIGENVALUES * small**3


def step_flops(layers: Mapping[int, Layer], shapes: Shapes) -> float:
    """Return the cost of a training step, in flops: the sum over layers of ``3 * 2 * |W| * positions``.

    The positions of a layer are the number of elements of its output divided by its channels. A small layer costs at
    least the time of its calls. Layers that were not seen and operators without a weight (attention's products) are
    left out, so the true cost of a step is somewhat higher.
    """
    total = 0.0
    for index, (_, output) in shapes.items():
        weight = getattr(layers[index].module, "weight", None)
        flops = 0.0
        if weight is not None and weight.ndim >= 2:
            channels = weight.shape[1] if layers[index].transposed else weight.shape[0]
            flops = _BACKWARD * 2 * weight.numel() * math.prod(output) / max(1, channels)
        total += max(flops, _LEAST)
    return total


@dataclass(frozen=True)
class Turns:
    """The matrices that are solved at each record.

    Attributes:
        always: Layers that are solved at every record.
        slots: The layers of each turn; a turn may be empty.
    """

    always: frozenset[int]
    slots: tuple[frozenset[int], ...]

    def at(self, record: int) -> frozenset[int]:
        """Return the layers to solve at a record, counted from 0."""
        return self.always | self.slots[record % len(self.slots)] if self.slots else self.always

    def intervals(self) -> dict[int, int]:
        """Return the number of records from one spectrum to the next, for each layer that takes turns."""
        return {index: len(self.slots) for slot in self.slots for index in slot}


def take_turns(costs: Mapping[int, float], step: float, *, share: float = RECORD_SHARE) -> Turns:
    """Share out a record's time among matrices.

    Args:
        costs: The cost of the spectrum of each layer's matrix.
        step: The cost of a training step, in the same unit.
        share: The part of a step that a record may take.

    Returns:
        All matrices at every record, if they fit into the time. Otherwise half of the time goes to the smallest
        matrices, which are solved at every record, and half to the others in turn.
    """
    room = share * step
    if sum(costs.values()) <= room:
        return Turns(frozenset(costs), ())
    always, spent = [], 0.0
    ascending = sorted(costs, key=lambda index: (costs[index], index))
    for index in ascending:
        if spent + costs[index] > room / 2:
            break
        spent += costs[index]
        always.append(index)
    slots: list[set[int]] = []
    left = 0.0
    for index in ascending[len(always) :]:
        if costs[index] > left:
            left = room / 2
            slots.append(set())
        slots[-1].add(index)
        left -= costs[index]
        while left < 0:  # more expensive than a turn: empty turns follow
            left += room / 2 if room else math.inf
            slots.append(set())
    while math.gcd(len(slots), SPECTRUM.every_nth_record) > 1:  # else some turns never meet a record of whole spectra
        slots.append(set())
    return Turns(frozenset(always), tuple(map(frozenset, slots)))


class SpectraSchedule:
    """Decides at a run's first record which matrices are solved at which records."""

    def __init__(self, layers: Sequence[Layer], interval: int | None, note: Callable[..., None]) -> None:
        """Prepare to decide.

        Args:
            layers: All observed layers.
            interval: Steps between two records; None solves all matrices at each.
            note: Called with the layers that take turns: see :meth:`probes.gaps.Gaps.note`.
        """
        self._note = note
        self._layers = {layer.index: layer for layer in layers}
        self._interval = interval
        self._turns: Turns | None = None

    def solved_at(self, step: int, shapes: Shapes) -> frozenset[int] | None:
        """Return the layers whose matrices are solved at a step; None for all.

        Args:
            step: The step.
            shapes: The shapes of the pass before the step. Without shapes the cost is unknown, and all matrices are
                solved.
        """
        if self._interval is None:
            return None
        if self._turns is None and shapes:
            costs = dict(self._costs())
            self._turns = take_turns(costs, step_flops(self._layers, shapes))
            self._tell(self._turns, self._interval)
        return None if self._turns is None else self._turns.at(step // self._interval)

    def _tell(self, turns: Turns, interval: int) -> None:
        if turns.slots:
            rarely = {self._layers[index].name: records * interval for index, records in turns.intervals().items()}
            self._note(
                what="whole spectra",
                why="of large matrices are recorded in turns, at these intervals in steps; in between spectral_norm and"
                " stable_rank come from power iteration. Name singular_values in every= to have them at each record",
                intervals=rarely,
            )

    def _costs(self) -> Iterator[tuple[int, float]]:
        for index, layer in self._layers.items():
            parameter = raw_parameter(layer)
            if parameter is not None and parameter.ndim >= 2 and parameter.numel():
                convolution = isinstance(layer.module, CONVOLUTIONS)
                # A single parameter of three dimensions is a stack of matrices, see metrics/matrix_views.py.
                shape = parameter.shape if parameter.ndim != 3 or convolution else parameter.shape[1:]
                one = spectrum_flops(shape[0], math.prod(shape[1:]))
                yield index, one * (parameter.numel() // math.prod(shape))


PASS_SHARE = 0.002  # of training, for the passes of the probe batch
# A pass of a batch of the same size costs 0.9 training steps. The forward takes a third of a step, and reducing the
# outputs takes another third. The rest is Python calls between them. It is measured by
# ``python tests/benchmarks/probe_pass.py``.
_PASS = 0.9
_LEAST_PASS = 0.35  # cost in training steps of a pass of a small batch: its calls alone
_UNKNOWN_PASS = 1.0


def pass_price(samples: int, shapes: Shapes) -> float:
    """Return the cost of a pass of the probe batch, in training steps.

    Args:
        samples: Samples in the batch; 0 if the number is not known.
        shapes: The shapes of a training pass; none of the batch.
    """
    trained = next((output[0] for _, output in shapes.values() if output), 0)
    return max(_LEAST_PASS, _PASS * samples / trained) if samples and trained else _UNKNOWN_PASS


class PassSchedule:
    """Decides at a run's first record at which records the model sees the probe batch."""

    def __init__(self, samples: int, interval: int | None, note: Callable[..., None]) -> None:
        """Prepare to decide.

        Args:
            samples: Samples in the batch.
            interval: Steps between two records; None passes the batch at each.
            note: Called with the interval of the passes: see :meth:`probes.gaps.Gaps.note`.
        """
        self._samples, self._interval, self._note = samples, interval, note
        self._steps_between = 0

    def due(self, step: int, shapes: Shapes) -> bool:
        """Return whether a pass is due at the step of a record.

        Args:
            step: The step.
            shapes: The shapes of the pass before the step.
        """
        if self._interval is None:
            return True
        if not self._steps_between:
            records = math.ceil(pass_price(self._samples, shapes) / (PASS_SHARE * self._interval))
            self._steps_between = records * self._interval
            self._note(
                what="probe batch",
                why="is passed through the model at this interval in steps, so that the passes cost a fixed share of"
                " training. Name channels in every= to choose another",
                interval=self._steps_between,
            )
        return step % self._steps_between == 0
