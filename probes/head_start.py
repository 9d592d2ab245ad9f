"""Singular values taken while the backward pass runs, on a core that training leaves idle."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any
from weakref import WeakSet

import torch
import torch.distributed as dist
from torch import Tensor, nn

from probes.layers import Layer, innermost, raw_parameter
from probes.matrix import unfolded
from probes.metrics.singular_values import singular_values

SIDE = 64  # of the matrices that are worth it; changes of hands cost more than a hundred smaller ones save

Solved = dict[int, tuple[float, Tensor]]  # by layer: the sum of the matrix, and its singular values
Read = Callable[[Sequence[Layer]], tuple[Sequence[int], Sequence[Tensor]]]

_alive: WeakSet[HeadStart] = WeakSet()


class HeadStart:
    """Begins with the coming step's singular values when its last forward pass is over.

    From there until the optimizer steps, the weights of an ordinary training stand still: a thread of its own reads
    them in place, and :meth:`singular_values` hands over what it found. Nothing that is recorded depends on whether it
    began. What it found for a matrix counts only if the sum of all entries is, to the last bit, still the sum that the
    thread took before it began; else the matrix is solved in the calling thread. So is everything where no core is
    idle, and where the thread has not begun, or has failed. Of changes before the optimizer's step the sum notices all
    but those that keep it by chance, and it sees those that a tensor's version counter does not
    (``weight.data.mul_(0.9)``).
    """

    def __init__(self, model: nn.Module, layers: Sequence[Layer], read: Read) -> None:
        """Attach the hook.

        Args:
            model: The model whose forward is waited for.
            layers: The layers it may begin with; it does with those whose matrix has ``SIDE`` rows and columns or more.
            read: Returns indices and weights of given layers, as they are at the moment. They are not copied.
        """
        self._root = innermost(model)
        self._layers = [layer for layer in layers if _smaller_side(layer) >= SIDE]
        self._transposed = {layer.index for layer in self._layers if layer.transposed}
        self._read = read
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="probe-singular-values")  # starts when first used
        self._process = os.getpid()
        self._begun: Future[Solved] | None = None
        self._open = False
        self._passes, self._passes_of_a_step = 0, 1
        self._handle = self._root.register_forward_hook(self._hook())
        _alive.add(self)

    def arm(self, wanted: bool) -> None:
        """Drop the last step's singular values; begin with the next ones if wanted."""
        self._begun = None
        self._open = wanted and bool(self._layers)
        self._passes_of_a_step, self._passes = max(1, self._passes), 0

    def singular_values(self, indices: Sequence[int], matrices: Sequence[Tensor]) -> list[Tensor]:
        """Return what :func:`probes.metrics.singular_values.singular_values` returns of the layers' matrices."""
        self._open = False  # what is read from now on is about to be updated
        solved = self._finished()
        found = {
            index: solved[index][1]
            for index, matrix in zip(indices, matrices, strict=True)
            if index in solved and solved[index][0] == _sum(matrix)
        }
        left = {index: matrix for index, matrix in zip(indices, matrices, strict=True) if index not in found}
        if left:
            found.update(zip(left, singular_values(list(left.values())), strict=True))
        return [found[index] for index in indices]

    def finish(self) -> None:
        """Wait until nothing is under way."""
        if self._begun is not None and not self._begun.cancel():
            self._begun.exception()

    def remove(self) -> None:
        """Remove the hook and end the thread."""
        self._handle.remove()
        self._thread.shutdown(cancel_futures=True)

    def _hook(self) -> Callable[..., None]:
        # No method: copies of the model share the hook, and must not copy the thread.
        def hook(module: nn.Module, *_: Any) -> None:
            if not torch.compiler.is_dynamo_compiling() and module is self._root:
                self._note_pass()

        return hook

    def _note_pass(self) -> None:
        """Begin after as many training passes as the last step had: every one may move a norm's singular vectors."""
        if self._root.training and torch.is_grad_enabled():
            self._passes += 1
            due = self._open and self._passes == self._passes_of_a_step
            if due and self._process == os.getpid() and not torch.compiler.is_compiling():  # nor exporting
                try:
                    self._begin()
                except Exception:  # it comes again at the optimizer's step, and is reported there
                    self._begun = None

    def _begin(self) -> None:
        parameter = next(self._root.parameters(), None)
        if parameter is not None and parameter.device.type == "cpu" and leaves_cores_idle():
            with torch.autocast("cpu", enabled=False):  # it is on in a forward pass, and not at the optimizer's step
                found = dict(zip(*self._read(self._layers), strict=True))
            weights = {index: weight for index, weight in found.items() if weight.device.type == "cpu"}
            if weights:
                self._begun = self._thread.submit(_solve, weights, self._transposed)

    def _finished(self) -> Solved:
        """Return what has been found; nothing if it has not begun or has failed, which happens again in place."""
        if self._begun is None or self._begun.cancel() or self._begun.exception() is not None:
            return {}
        return self._begun.result()


def leaves_cores_idle() -> bool:
    """Whether a second thread finds as many cores as training uses: cores it may use, and that nobody is busy on now.

    Never within a process group: its ranks are taken to share their machine, and FSDP2, with a single rank too, frees
    the memory of gathered weights while the thread reads them.
    """
    threads = torch.get_num_threads()
    if (dist.is_available() and dist.is_initialized()) or 2 * threads > usable_cores():
        return False
    return busy_threads() + threads <= (os.cpu_count() or 1)


def busy_threads(file: Path = Path("/proc/loadavg")) -> int:
    """Return how many threads of all processes run or wait for a core now, the caller's among them; 1 if unknown."""
    try:
        return int(file.read_text().split()[3].partition("/")[0])
    except (OSError, ValueError, IndexError):  # no Linux
        return 1


def usable_cores() -> float:
    """Return how many cores this thread may use: those of its affinity, and no more than the control group allows."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, quota())


@cache
def quota(file: Path = Path("/sys/fs/cgroup/cpu.max")) -> float:
    """Return the cores that a control group's ``cpu.max`` allows; infinite where it allows all or does not exist."""
    try:
        allowed, period = file.read_text().split()
        return int(allowed) / int(period)
    except (OSError, ValueError):  # no such file, or "max 100000"
        return float("inf")


def _smaller_side(layer: Layer) -> int:
    parameter = raw_parameter(layer)
    if parameter is None or parameter.ndim < 2 or not parameter.numel():
        return 0
    rows = parameter.shape[1 if layer.transposed else 0]
    return min(rows, parameter.numel() // rows)


def _solve(weights: dict[int, Tensor], transposed: set[int]) -> Solved:
    with torch.no_grad():
        matrices = [unfolded(weight, transposed=index in transposed) for index, weight in weights.items()]
        sums = [_sum(matrix) for matrix in matrices]
        return dict(zip(weights, zip(sums, singular_values(matrices), strict=True), strict=True))


def _sum(matrix: Tensor) -> float:
    return matrix.sum().item()


def _finish_all() -> None:
    for each in list(_alive):
        each.finish()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_finish_all)  # a library's lock that the thread holds would stay locked in the child
