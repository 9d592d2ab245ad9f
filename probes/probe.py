"""The probe: records every layer of a model at scheduled steps, and leaves the training bitwise as it was."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

from torch import nn
from torch.optim import Optimizer

from probes.background.budget import Budget, Limits
from probes.gaps import Gaps
from probes.hooks.optimizers.attach_checks import check_parameters
from probes.hooks.optimizers.optimizers_inside import as_optimizers, first_learning_rate
from probes.measuring.measurement import State
from probes.measuring.plan import EVERY, Cadence, Plan
from probes.measuring.sources import check_sources
from probes.metrics import Metric
from probes.mirrors.mirrors import mirrors_of
from probes.model.parameters import parameters_of
from probes.model.selection import Pattern, select_layers
from probes.probe_pass.batch import ProbeBatch
from probes.ranks import Ranks
from probes.recording.open_run import OpenRun
from probes.recording.opening.off_switch import Switchable
from probes.recording.opening.open_probes import OPEN_PROBES
from probes.recording.opening.opening import Opening, checked_step
from probes.recording.opening.run_context import RunContext
from probes.recording.opening.saved_state import checked_state
from probes.recording.size.estimate import bytes_per_1000_steps
from probes.recording.step import StepInProgress
from probes.recording.step_rows import StepRows, checked_epoch
from probes.recording.tables.arrow_tables import Tables
from probes.recording.tables.observers import Observer
from probes.step_cycle import StepCycle, offered_sources
from probes.storage.run_start import HowToStart


class Probe(Switchable, RunContext):
    """Records the layers of a model during a training, which stays bitwise the same as without the probe.

    Weights and gradients are read when the optimizer is about to change the weights. The gradient is the one that the
    optimizer uses: summed over micro-batches, averaged over ranks, unscaled, and clipped if it was clipped
    (:meth:`capture` reads it earlier). If the optimizer has a closure, they are read after its first evaluation. A
    wrapped optimizer (of accelerate, Lightning, Lookahead, SAM) is observed where it steps. Activations are reduced in
    forward hooks, in training passes only. On the CPU, if a core is idle, singular values are computed in another
    thread from copies of the weights. A failure inside the probe is warned of once and kept as a gap in the run's row.

    In a model under ``torch.compile`` the gradients that arrive at outputs are not seen and stay null. Under autocast
    or in a model of reduced precision, Inductor may round differently where activations are observed, and the probe
    warns of it. All else is bitwise identical.

    Rows reach the store within about a second and then survive SIGKILL; :meth:`flush` makes readers see them now.

    Attributes:
        run: The run's id in the store.
        bytes_per_1000_steps: Estimated bytes written in 1,000 steps; None if a schedule is a function of your own.

    Examples:
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
        optimizer: Optimizer | Sequence[Optimizer] | Any | None = None,
        *,
        run: str | None = None,
        store: str | os.PathLike[str] = "runs",
        every: Cadence = EVERY,
        metrics: Sequence[str | Metric] | None = None,
        include: Pattern | Sequence[Pattern] | None = None,
        exclude: Pattern | Sequence[Pattern] | None = None,
        config: Any = None,
        evaluation: bool = False,
        strict: bool = False,
        observers: Sequence[Observer] = (),
        resume: Literal["auto"] | None = None,
        resume_step: int | None = None,
        overwrite: bool = False,
        distributed: bool | None = None,
        probe_batch: Any = None,
        mirror: Any = None,
        tags: Sequence[str] | None = None,
        max_bytes: int | None = None,
        enabled: bool = True,  # noqa: ARG002 - read where the class is chosen
        _limits: Limits = Limits(),  # noqa: B008 - frozen
    ) -> None:
        """Attach to a model.

        Args:
            model: Any module, before or after it is compiled or wrapped. Attach to a compiled module before its first
                call.
            optimizer: The model's optimizer, or several, from torch or a framework (accelerate, Lightning). Without
                one, call :meth:`step` before each update.
            run: The run's id in the store; None takes a new one from the model's class and the time (:attr:`run`).
            store: Folder or URL of the store.
            every: The steps to record: see :class:`probes.measuring.plan.Plan`.
            metrics: Names of metrics or groups, or metrics of your own (:func:`probes.metrics.metric`); None takes all.
            include: Names with wildcards, or module types: only these are observed.
            exclude: The same, to leave layers out.
            config: The run's configuration, kept with the run: a mapping, namespace, dataclass or anything else.
            evaluation: Count passes in eval mode or under no_grad as well.
            strict: Raise failures of the probe instead of keeping them as gaps.
            observers: Functions that get each record's rows as Arrow tables, in another thread. An error is a gap.
            resume: ``"auto"`` begins the run if the store lacks it. Otherwise it continues at ``resume_step`` (0 for a
                job without a checkpoint yet), at the step of :meth:`load_state_dict`, or after the last recorded step.
            resume_step: Continue an existing run at this step. Its rows from that step on are superseded. 0 begins the
                run if the store lacks it.
            overwrite: Delete an existing run of this id. As with ``resume`` and ``resume_step``, a probe of this
                process that still writes the run is closed first.
            distributed: Work with the other ranks of the process group; None: if there are several. Every rank then
                makes the same probe, and rank 0 writes.
            probe_batch: A batch, or a function that passes a batch through the model, for table ``channels``: see
                :class:`probes.probe_pass.batch.ProbeBatch` and docs/mean_drift.md.
            mirror: Another tool that shows scalars and histograms: "wandb", "tensorboard" or a `SummaryWriter`.
            tags: Words by which runs are chosen: ``runs="tag:baseline"``.
            max_bytes: Upper limit of the run's size. The run records more rarely as it grows, and a gap says how
                rarely.
            enabled: False records nothing: no hook, no thread, no file. So does ``MEANDRIFT=off`` in the environment.

        Raises:
            ValueError: The run exists already, or a run to be continued is missing; the id, a pattern, a metric or a
                schedule is not valid; or there is nothing to observe.
        """
        opening = Opening(store, run, HowToStart(resume, resume_step, overwrite), config, tags, max_bytes)
        self._epoch: int | None = None
        self._evaluation = evaluation
        self._optimizers = as_optimizers(optimizer)
        self._batch = None if probe_batch is None else ProbeBatch(probe_batch)
        self._plan = Plan(metrics, every, probe_batch=self._batch is not None)
        self._ranks = Ranks(distributed=distributed)
        check_sources(self._plan.metrics, offered_sources(self._ranks))
        self._selection = select_layers(model, include=include, exclude=exclude)
        self._ranks.check_same([layer.name for layer in self._selection.layers])
        self._parameters = parameters_of(self._selection.root)
        self._gaps = Gaps(self._selection.notes, strict=strict)
        self._state: State = {}
        self._budget = Budget(_limits)
        self.bytes_per_1000_steps = bytes_per_1000_steps(self._plan, self._selection.layers, self._parameters)
        self._run = OpenRun(
            opening,
            self._selection.root,
            tables=Tables(self._selection.layers, self._plan.metrics, self._parameters, self._selection.containers),
            gaps=self._gaps,
            budget=self._budget,
            ranks=self._ranks,
            observers=(*observers, *mirrors_of(mirror, store=store)),
            bytes_per_1000_steps=self.bytes_per_1000_steps,
        )
        self.run = self._run.name
        self._rows = StepRows(self._run.put_row, self._gaps)
        self._closed = False
        observed = [layer.module for layer in self._selection.layers]
        check_parameters(self._parameters, self._optimizers, self._gaps, of=observed)
        self._cycle = self._new_cycle(self._run.step)
        OPEN_PROBES.add(self, self._run, self._run.place)

    @property
    def epoch(self) -> int | None:
        """The current pass through the data, stored with each row. Set it when an epoch begins. None: unknown.

        Raises:
            ValueError: The value is no whole number.
        """
        return self._epoch

    @epoch.setter
    def epoch(self, epoch: int | None) -> None:
        self._epoch = checked_epoch(epoch)

    def log(self, *, split: str = "train", **scalars: Any) -> None:
        """Record numbers of the training loop: ``loss=``, ``accuracy=`` (0 to 1), or any other number.

        They go to the row of the current step in table ``steps``. The probe fills in ``lr`` and ``seconds``. Training
        numbers logged after an optimizer step and before the next forward belong to the step just taken. It therefore
        does not matter whether the call stands before or after ``optimizer.step()``. Tensors are taken without waiting
        for the device.

        Raises:
            ValueError: A value is no single number, the split no word, or a name is that of a key column.
        """
        training = split == "train"
        step = self._cycle.step - (taken := training and self._cycle.just_stepped)
        known = self._cycle.learning_rate if taken else first_learning_rate(self._optimizers) if training else {}
        on_host = self._rows.add(step, self.epoch, split, {**known, **scalars}, over=taken)
        if training:
            self._cycle.nonfinite.note_loss(step, scalars, on_host)

    def step(self) -> None:
        """Observe now and count a step. A loop without an optimizer calls this before each update of the weights."""
        if self._optimizers:
            raise ValueError("probe.step() is for a probe without an optimizer; this one has one: drop the call.")
        self._cycle.observe()
        self._cycle.finish_step()

    def capture(self) -> None:
        """Read weights and gradients of the coming step now, such as before clipping, not at ``optimizer.step()``."""
        self._cycle.capture()

    def flush(self) -> None:
        """Bring everything observed so far into finished parts of the store, where readers see it."""
        self._rows.flush()
        self._run.flush()
        self._run.report(self._cycle.step)

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a resumed run needs, for a checkpoint. Rows recorded so far then survive SIGKILL."""
        self._run.secure()
        names = [layer.name for layer in self._selection.layers]
        state = {metric: {names[i]: v.clone() for i, v in kept.items()} for metric, kept in self._state.items()}
        return {"run": self.run, "step": self._cycle.step, "epoch": self.epoch, **self._rows.state(), "carried": state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint. Rows of its step and of later steps are superseded for every reader.

        Raises:
            ValueError: The state lacks a key, or a value makes no sense.
        """
        if not state:
            return  # the state of a probe that was switched off
        checked_state(state)
        self._rows.flush()  # rows of earlier steps; later rows are superseded with the others
        held = state.get("rows", ()) if state.get("run") == self.run else ()  # another run begins without held rows
        held = self._run.rewind(state["step"], held)
        places = {layer.name: layer.index for layer in self._selection.layers}
        self._state = {
            metric: {places[name]: v.clone() for name, v in kept.items() if name in places}
            for metric, kept in state["carried"].items()
        }
        self.epoch = state["epoch"]
        self._rows = StepRows(self._run.put_row, self._gaps, seconds=state["seconds"], held=held)
        self.attach(step=state["step"])

    def attach(self, *, step: int | None = None) -> None:
        """Attach the hooks again after :meth:`detach`. A new probe is attached already.

        Args:
            step: Optimizer steps finished by now, if steps were made while the probe was detached.
        """
        self.detach()
        self._cycle = self._new_cycle(self._cycle.step if step is None else checked_step(step))

    def detach(self) -> None:
        """Remove all hooks. Model, optimizers and torch's settings are then as they were before."""
        self._cycle.remove()

    def close(self, status: str = "finished") -> None:
        """Remove the hooks and close the store. A second call does nothing.

        A full or missing store raises only with ``strict``. Otherwise a warning names the place of the last rows.
        """
        if self._closed:
            return
        self._closed = True
        OPEN_PROBES.remove(self._run)
        failures = []
        for end in (self._cycle.close, self._rows.flush, partial(self._run.close, status)):
            try:
                end()
            except Exception as error:
                failures.append(error)
        for failure in failures:
            self._gaps.fail("the end of the run", failure, self._cycle.step, raises=status == "finished")

    def __repr__(self) -> str:
        size = "" if self.bytes_per_1000_steps is None else f", {self.bytes_per_1000_steps / 1e6:.3g} MB in 1,000 steps"
        return f"Probe(run={self.run!r}, {len(self._selection.layers)} layers{size})"

    def _new_cycle(self, step: int) -> StepCycle:
        return StepCycle(
            self._selection,
            self._parameters,
            self._plan,
            self._optimizers,
            step=step,
            ranks=self._ranks,
            gaps=self._gaps,
            state=self._state,
            budget=self._budget if self._ranks.count == 1 else None,
            evaluation=self._evaluation,
            batch=self._batch,
            finished=self._hand_on,
        )

    def _hand_on(self, measured: StepInProgress) -> None:
        """Pass the record of a step to the writer, with the step's row in table ``steps``."""
        record = measured.finish(self._ranks, epoch=self.epoch)
        if record is not None:
            self._run.put(record)
        self._rows.add(self._cycle.step, self.epoch, "train", {**self._cycle.learning_rate, **measured.scalars})
        self._run.report(self._cycle.step)
