"""The probe: attached to a model, it records every layer at scheduled steps and leaves the training as it was."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from probes.layers import Pattern, raw_parameter, select_layers
from probes.metrics import Metric
from probes.observation import Observation
from probes.plan import EVERY, Cadence, Plan
from probes.records import Record, Result, Tables
from probes.schema import check_run_id
from probes.store import Recorder
from probes.writer import Writer


class Probe:
    """Records what the layers of a model do during training.

    Example:
        >>> with Probe(model, optimizer, store="runs", run="bn-s0", every=50) as probe:  # doctest: +SKIP
        ...     for x, y in batches:
        ...         loss = loss_function(model(x), y)
        ...         optimizer.zero_grad()
        ...         loss.backward()
        ...         optimizer.step()
        ...         probe.log(loss=loss)  # optional
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | Sequence[Optimizer] | None = None,
        *,
        run: str,
        store: str | os.PathLike[str] = "runs",
        every: Cadence = EVERY,
        metrics: Sequence[str | Metric] | None = None,
        include: Sequence[Pattern] | None = None,
        exclude: Sequence[Pattern] | None = None,
        config: Mapping[str, Any] | None = None,
        strict: bool = False,
        resume_step: int | None = None,
        overwrite: bool = False,
    ) -> None:
        check_run_id(run)
        selection = select_layers(model, include=include, exclude=exclude)
        self._layers = selection.layers
        self._plan = Plan(metrics, every)
        self._optimizers = [optimizer] if isinstance(optimizer, Optimizer) else list(optimizer or ())
        self._strict = strict
        self._step = resume_step or 0
        self._failures = 0
        self.epoch: int | None = None
        self._began = time.monotonic()
        self._row: dict[str, dict[str, Any]] = {}
        self._seen: set[int] = set()
        self._record: Record | None = None
        self._recorder = Recorder(
            store,
            run,
            config=config,
            device=_device(model),
            resume_step=resume_step,
            overwrite=overwrite,
        )
        self._gaps: list[dict[str, Any]] = list(selection.notes)
        if self._gaps:
            self._recorder.describe(gaps=self._gaps)
        self._writer = Writer(self._recorder, Tables(self._layers, self._plan.metrics))
        self._handles = [handle for each in self._optimizers for handle in self._attach(each)]
        self._owned = [{id(p) for group in each.param_groups for p in group["params"]} for each in self._optimizers]

    def _attach(self, optimizer: Optimizer) -> list[Any]:
        return [
            optimizer.register_step_pre_hook(self._before_update),
            optimizer.register_step_post_hook(self._after_update),
        ]

    def _before_update(self, optimizer: Optimizer, *_: Any) -> None:
        which = next(i for i, each in enumerate(self._optimizers) if each is optimizer)
        if which in self._seen:
            self._finish_step()
        due = self._plan.due(self._step)
        if due:
            self._observe(which, due)
        self._seen.add(which)

    def _after_update(self, *_: Any) -> None:
        if len(self._seen) == len(self._optimizers):
            self._finish_step()

    def step(self) -> None:
        """Observe now and count a step; for training loops without a torch optimizer, before they update."""
        due = self._plan.due(self._step)
        if due:
            self._observe(None, due)
        self._finish_step()

    def _observe(self, which: int | None, due: list[Metric]) -> None:
        if self._record is None:
            self._record = Record(self._step, self.epoch)
        try:
            scale = getattr(self._optimizers[which], "grad_scale", None) if which is not None else None
            observation = Observation(self._layers_of(which), gradient_scale=scale)
            with torch.no_grad():
                for metric in due:
                    indices, tensors = observation.read(metric.reads)
                    if tensors:
                        self._record.results.append(Result(metric, indices, metric.compute(tensors).cpu()))
        except Exception as failure:
            self._report(failure)

    def _layers_of(self, which: int | None) -> list[Any]:
        if which is None or len(self._optimizers) == 1:
            return list(self._layers)
        first = not self._seen
        return [layer for layer in self._layers if self._updates(which, raw_parameter(layer), first)]

    def _updates(self, which: int, parameter: Tensor | None, first: bool) -> bool:
        owner = next((i for i, owned in enumerate(self._owned) if id(parameter) in owned), None)
        return owner == which or (owner is None and first)

    def _finish_step(self) -> None:
        if self._record is not None:
            self._writer.put(self._record)
            self._record = None
        self._seen.clear()
        self._step += 1

    def log(self, *, split: str = "train", **scalars: Any) -> None:
        """Record numbers of the training loop at the current step."""
        row: dict[str, Any] = {"step": self._step, "epoch": self.epoch, "split": split}
        row["seconds"] = time.monotonic() - self._began
        if split == "train" and self._optimizers:
            row["lr"] = self._optimizers[0].param_groups[0]["lr"]
        row |= {name: v.detach().clone() if isinstance(v, Tensor) else v for name, v in scalars.items()}
        self._writer.put_row(row)

    def flush(self) -> None:
        """Bring everything observed so far into finished parts of the store."""
        self._writer.flush()
        self._recorder.flush()

    def close(self, status: str = "finished") -> None:
        """Remove the hooks and close the store; closing again does nothing."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._writer.close()
        if self._writer.failure is not None:
            self._report(self._writer.failure)
        self._recorder.close(status)

    def __enter__(self) -> Probe:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        interrupted = kind is not None and issubclass(kind, KeyboardInterrupt)
        self.close("interrupted" if interrupted else "failed" if kind is not None else "finished")

    def _report(self, failure: Exception) -> None:
        if self._strict:
            raise failure
        self._failures += 1
        if self._failures == 1:
            warnings.warn(
                f"the probe failed at step {self._step} and records a gap: {failure!r}",
                RuntimeWarning,
                stacklevel=2,
                source=failure,
            )


def _device(model: nn.Module) -> str:
    return next((str(p.device) for p in model.parameters()), "cpu")
