"""The probe: attached to a model, it records every layer at scheduled steps and leaves the training as it was."""

from __future__ import annotations

import atexit
import operator
import os
import weakref
from collections.abc import Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from probes.activations import ActivationWatch
from probes.gaps import Gaps
from probes.head_start import HeadStart
from probes.layers import Layer, Pattern, select_layers
from probes.metrics import Metric
from probes.micro_batches import MicroBatchWatch
from probes.observation import Observation, Reading, check_sources
from probes.optimizer_steps import OptimizerSteps
from probes.output import Output
from probes.plan import EVERY, Cadence, Plan
from probes.ranks import Ranks
from probes.recording import Carried, Recording
from probes.records import Tables
from probes.replacement import ReplacementCheck
from probes.schema import check_run_id
from probes.step_rows import StepRows
from probes.store import Recorder


class Probe:
    """Records what the layers of a model do while it is trained; training goes on bit for bit as without.

    Weights and gradients are read when the optimizer is about to move the weights: the gradient is the one it uses,
    summed over micro-batches, averaged over ranks, unscaled, and clipped if it was clipped (:meth:`capture` reads it
    earlier). Activations are reduced in forward hooks, in training passes only. On the CPU, where training uses one
    thread or at most half of the cores, weights and gradients of a small network are copied and looked at in another
    thread, many steps at once; of a large one, singular values are taken on an idle core while the backward pass runs.
    A failure inside the probe is warned of once and kept as a gap in the run's row.

    In a model under ``torch.compile`` the gradients that arrive at outputs are not seen and stay null. Under autocast
    or in a model of reduced precision, metrics of activations then leave Inductor other roundings, of which the probe
    warns; all else is bitwise as without.

    Rows reach the store within about a second and then survive SIGKILL; :meth:`flush` makes readers see them now.

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
        include: Pattern | Sequence[Pattern] | None = None,
        exclude: Pattern | Sequence[Pattern] | None = None,
        config: Mapping[str, Any] | None = None,
        evaluation: bool = False,
        strict: bool = False,
        resume_step: int | None = None,
        overwrite: bool = False,
        distributed: bool | None = None,
    ) -> None:
        """Attach to a model.

        Args:
            model: Any module, before it is compiled or wrapped, or after; a compiled one before its first call.
            optimizer: What trains it, one or several; without one, call :meth:`step` before each update.
            run: The run's id in the store.
            store: Folder of the store.
            every: When to record: see :class:`probes.plan.Plan`.
            metrics: What to record, by metric or group name, or metrics of one's own (:func:`probes.metrics.metric`);
                None is everything.
            include: Names with wildcards, or module types: only these are observed.
            exclude: The same, to leave layers out.
            config: The run's configuration, kept with the run.
            evaluation: Count forward passes in eval mode or under no_grad as well.
            strict: Raise failures of the probe instead of keeping them as gaps.
            resume_step: Go on with an existing run from this step; its rows from there on are superseded.
            overwrite: Delete an existing run of this id.
            distributed: Work with the other ranks of the process group; None: if there are several. Every rank then
                makes the same probe, and rank 0 writes.

        Raises:
            ValueError: The run exists, the id is not allowed, a pattern, metric or schedule is none, or there is
                nothing to observe.
        """
        check_run_id(run)
        self._epoch: int | None = None
        self._model = model
        self._evaluation = evaluation
        self._optimizers = [optimizer] if isinstance(optimizer, Optimizer) else list(optimizer or ())
        self._plan = Plan(metrics, every)
        check_sources(self._plan.metrics)
        selection = select_layers(model, include=include, exclude=exclude)
        self._layers = selection.layers
        self._ranks = Ranks(distributed=distributed)
        self._gaps = Gaps(selection.notes, strict=strict)
        self._step = self._first_step = _checked_step(resume_step)
        self._carried: Carried = {}
        self._output = Output(
            partial(Recorder, store, run, device=_device(model)) if self._ranks.rank == 0 else None,
            Tables(self._layers, self._plan.metrics),
            self._gaps,
            config=config,
            resume_step=resume_step,
            overwrite=overwrite,
        )
        self._rows = StepRows(self._output.put_row)
        self._recording: Recording | None = None
        self._captured = self._closed = False
        self._hooks: list[Any] = []
        self.attach()
        self._process = os.getpid()
        self._at_exit = partial(_close_at_exit, weakref.ref(self))
        atexit.register(self._at_exit)

    @property
    def epoch(self) -> int | None:
        """Pass through the data, kept with each row; set it as the loop goes on. None: unknown.

        Raises:
            ValueError: What it is set to is no whole number.
        """
        return self._epoch

    @epoch.setter
    def epoch(self, epoch: int | None) -> None:
        try:
            number = None if epoch is None else operator.index(epoch)
        except TypeError:
            raise ValueError(f"epoch {epoch!r}: expected a whole number, or None.") from None
        if number is not None and not -(2**31) <= number < 2**31:
            raise ValueError(f"epoch {epoch!r}: expected a number below 2^31.")
        self._epoch = number

    def log(self, *, split: str = "train", **scalars: Any) -> None:
        """Record numbers of the training loop: ``loss=``, ``accuracy=`` (0 to 1), anything else that is a number.

        They go to the row of the current step in table ``steps``; ``lr`` and ``seconds`` are filled in. Training
        numbers logged after an optimizer step and before the next forward belong to the step just taken, so that it
        does not matter on which side of ``optimizer.step()`` the call stands. Tensors are taken without waiting for the
        device.

        Raises:
            ValueError: A value is no single number, the split no word, or a name is that of a key column.
        """
        training = split == "train"
        just_taken = training and self._step > self._first_step and not self._activations.passed
        self._rows.add(self._step - just_taken, self.epoch, split, {**(self._lr() if training else {}), **scalars})

    def step(self) -> None:
        """Observe now and count a step: where no optimizer was given, call this before each update of the weights."""
        if self._optimizers:
            raise ValueError(
                "probe.step() is for probes without an optimizer: this one counts the optimizer's own steps."
            )
        self._before_update(self._layers, None)
        self._finish_step()

    def capture(self) -> None:
        """Read weights and gradients of the coming step now, before clipping say, not at ``optimizer.step()``."""
        if not self._captured:
            self._before_update(self._layers, None)
            self._captured = True

    def flush(self) -> None:
        """Bring everything observed so far into finished parts of the store, where readers see it."""
        self._rows.flush()
        self._output.flush()
        self._output.report(self._step)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint needs for a resumed run to go on where this one stands."""
        names = [layer.name for layer in self._layers]
        carried = {m: {names[i]: v.clone() for i, v in kept.items()} for m, kept in self._carried.items()}
        return {"step": self._step, "epoch": self.epoch, "seconds": self._rows.seconds, "carried": carried}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint: rows of its step and later ones are superseded, for every reader.

        Raises:
            ValueError: The state lacks a key.
        """
        missing = [key for key in ("step", "epoch", "seconds", "carried") if key not in state]
        if missing:
            raise ValueError(f"probe state lacks {', '.join(missing)}: expected what Probe.state_dict() returned.")
        if state["step"] != self._step:
            self._output.rewind(_checked_step(state["step"]))
        places = {layer.name: layer.index for layer in self._layers}
        self._carried = {
            metric: {places[name]: v.clone() for name, v in kept.items() if name in places}
            for metric, kept in state["carried"].items()
        }
        self.epoch = state["epoch"]
        self._rows = StepRows(self._output.put_row, seconds=state["seconds"])
        self.attach(step=state["step"])

    def attach(self, *, step: int | None = None) -> None:
        """Put the hooks on; a probe is attached when it is made.

        Args:
            step: Optimizer steps finished by now, where some were made while the probe was detached.
        """
        self.detach()
        if step is not None:
            self._step = _checked_step(step)
        self._first_step = self._step
        self._solved_later = False  # whether singular values were set aside when last due
        metrics = self._plan.metrics
        reducers = {metric.reads: metric.reducer for metric in metrics if metric.reducer is not None}
        shaped = any(metric.reads == "convolution" for metric in metrics)
        self._activations = ActivationWatch(
            self._model, self._layers, reducers, shapes=shaped, report=self._fail, evaluation=self._evaluation
        )
        counted = self._layers if any(metric.reads == "micro_batches" for metric in metrics) else ()
        self._micro_batches = MicroBatchWatch(counted, ranks=self._ranks, report=self._fail)
        self._head_start = HeadStart(self._model, self._layers, self._weights)
        steps = OptimizerSteps(
            self._optimizers,
            self._layers,
            before=self._before_update,
            after=self._after_update,
            over=self._finish_step,
        )
        self._hooks = [self._activations, self._micro_batches, self._head_start, steps]
        self._replaced = ReplacementCheck(self._model)
        self._arm()

    def detach(self) -> None:
        """Take all hooks off: model and optimizers are as they were before."""
        for hooks in self._hooks:
            hooks.remove()
        self._hooks.clear()

    def close(self, status: str = "finished") -> None:
        """Take the hooks off and close the store; closing again does nothing.

        A store that is full, or gone, raises nothing unless ``strict``: a warning says where the last rows are kept.
        """
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self._at_exit)
        failures = []
        for end in (self.detach, self._rows.flush, partial(self._output.close, status)):
            try:
                end()
            except Exception as error:
                failures.append(error)
        for failure in failures:
            self._gaps.fail("the end of the run", failure, self._step, raises=status == "finished")

    def __enter__(self) -> Probe:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.close("interrupted" if issubclass(kind, KeyboardInterrupt) else "failed")

    def _arm(self, *, late: bool = False) -> None:
        """Prepare for the coming step, whose forward passes may have begun if the last one ends late."""
        due = self._due()
        sources = {metric.reads for metric in due}
        self._activations.arm(sources, keep_since_mark=late)
        self._micro_batches.arm("micro_batches" in sources)
        room = self._output.room if due and self._ranks.count == 1 else 0
        self._head_start.arm("singular_values" in sources and not self._solved_later)
        self._captured = False
        self._observations: list[Observation] = []
        self._recording = (
            Recording(
                self._step,
                due,
                layers=self._layers,
                carried=self._carried,
                gaps=self._gaps,
                room=room,
            )
            if due
            else None
        )

    def _due(self) -> list[Metric]:
        try:
            return self._plan.due(self._step)
        except Exception as failure:  # of a schedule of the user's own
            self._fail("the schedule", failure)
            return []

    def _before_update(self, layers: Sequence[Layer], gradient_scale: Tensor | None) -> None:
        if self._recording is None or self._captured:
            return
        try:
            observation = Observation(
                {layer.index: layer for layer in layers},
                ranks=self._ranks,
                activations=self._activations,
                micro_batches=self._micro_batches,
                head_start=self._head_start,
                gradient_scale=gradient_scale,
            )
            self._recording.measure(observation)
            if any(metric.reads == "singular_values" for metric in self._recording.due):
                self._solved_later = "singular_values" in self._recording.read_later
            if self._recording.awaits_update:
                observation.remember_parameters()
                self._observations.append(observation)
        except Exception as failure:
            self._fail("the step", failure)

    def _weights(self, layers: Sequence[Layer]) -> Reading:
        chosen = {layer.index: layer for layer in layers}
        return Observation(chosen, ranks=self._ranks, activations=self._activations).read("weight")

    def _after_update(self) -> None:
        if len(self._optimizers) > 1:
            self._activations.mark()
        if self._recording is None:
            return
        try:
            for observation in self._observations:
                self._recording.measure(observation, after_update=True)
        except Exception as failure:
            self._fail("the update", failure)
        self._observations.clear()

    def _finish_step(self, *, late: bool = False) -> None:
        try:
            if self._recording is not None:
                self._finish_recording(self._recording)
        except Exception as failure:
            self._fail("the step", failure)
        self._step += 1
        self._arm(late=late)

    def _finish_recording(self, recording: Recording) -> None:
        record = recording.finish(self._ranks, epoch=self.epoch)
        if record is not None:
            self._output.put(record)
        self._rows.add(self._step, self.epoch, "train", self._lr())
        self._replaced.look(self._gaps)
        self._activations.check_fired(self._gaps)
        self._activations.compiled.report(self._gaps, asked=self._plan.asks_for_gradients_of_outputs)
        self._output.report(self._step)

    def _fail(self, what: str, failure: Exception) -> None:
        self._gaps.fail(what, failure, self._step)

    def _lr(self) -> dict[str, Any]:
        return {"lr": self._optimizers[0].param_groups[0]["lr"]} if self._optimizers else {}


def _checked_step(step: int | None) -> int:
    if step is None:
        return 0
    if isinstance(step, bool) or not isinstance(step, int) or step < 0:
        raise ValueError(f"step {step!r}: expected the number of optimizer steps finished, 0 or more.")
    return step


def _device(model: nn.Module) -> str:
    return next((str(parameter.device) for parameter in model.parameters()), "cpu")


def _close_at_exit(reference: weakref.ref[Probe]) -> None:
    probe = reference()
    if probe is not None and probe._process == os.getpid():  # a forked child has no writer, and no say in the store
        probe.close("interrupted")
