"""One training step after another: starts the hooks, reads before and after the update, hands the record on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from probes.background.budget import Budget
from probes.gaps import Gaps
from probes.hooks.convolutions import CONVOLUTION
from probes.hooks.functions.function_calls import SOURCES as CALLS
from probes.hooks.functions.function_calls import FunctionCalls
from probes.hooks.gradient_hooks import CARRIED, MICRO_BATCHES, GradientHooks, tell_missing_gradients
from probes.hooks.optimizers.grad_scaler import loss_scale
from probes.hooks.optimizers.optimizer_steps import OptimizerSteps, Updated
from probes.hooks.optimizers.optimizers_inside import first_learning_rate, stepping_optimizers
from probes.hooks.optimizers.sources import optimizer_sources
from probes.hooks.optimizers.unseen_steps import UnseenSteps
from probes.hooks.outputs import OutputHooks
from probes.hooks.training_passes import TrainingPasses
from probes.measuring.measurement import State
from probes.measuring.observation import Observation
from probes.measuring.parameter_values import parameter_value_sources
from probes.measuring.plan import Plan
from probes.measuring.pricing import SpectraSchedule
from probes.measuring.sources import DERIVED, PRICED, in_turns, parameter_sources
from probes.metrics import Metric
from probes.metrics.channels import PROBE_BATCH
from probes.model.new_modules import NewModules
from probes.model.parameters import Parameter
from probes.model.selection import Selection
from probes.model.training_mode import TrainingMode
from probes.probe_pass.batch import ProbeBatch
from probes.probe_pass.probe_pass import ProbePass
from probes.ranks import Ranks
from probes.recording.nonfinite import NonfiniteWatch
from probes.recording.step import StepInProgress
from probes.schema import FEEDS

_OF_SHAPES = {CONVOLUTION, *PRICED, PROBE_BATCH.reads, FEEDS}  # and what else needs hooks without a reducer
_OF_HOOKS = {MICRO_BATCHES, CARRIED, "parameter_gradient"}
_OF_GRADIENTS = {"gradient", "gradient_histogram", "parameter_gradient"}


def offered_sources(ranks: Ranks) -> list[str]:
    """Return the names of the sources that a metric without a reducer may read; ``_observation`` says how each is read.

    Those of layers are in ``probes.measuring.sources``, those of parameters in ``probes.measuring.parameter_values``,
    the others beside their hooks in ``probes.hooks``.
    """
    of_parameters = [*parameter_sources(ranks), *parameter_value_sources(ranks)]
    of_hooks = [*optimizer_sources([], ranks), CONVOLUTION, MICRO_BATCHES, CARRIED, PROBE_BATCH.reads, FEEDS, *CALLS]
    return [*of_parameters, *DERIVED, *of_hooks]


class StepCycle:
    """The hooks of one probe, and the step that they observe.

    Attributes:
        step: Optimizer steps finished.
        first_step: The step at which the hooks were attached.
        nonfinite: Looks for the first gradient or logged loss that is not finite.
    """

    def __init__(
        self,
        selection: Selection,
        parameters: Sequence[Parameter],
        plan: Plan,
        optimizers: Sequence[Any],
        *,
        step: int,
        ranks: Ranks,
        gaps: Gaps,
        state: State,
        budget: Budget | None,
        evaluation: bool,
        batch: ProbeBatch | None,
        finished: Callable[[StepInProgress], None],
    ) -> None:
        """Attach the hooks and begin with a step.

        Args:
            selection: The observed layers.
            parameters: All parameters of the model.
            plan: Which metrics are due at which steps.
            optimizers: All optimizers, or wrappers of them; none is allowed.
            step: Optimizer steps finished by now.
            ranks: The ranks that measure together.
            gaps: Failures are reported here.
            state: The tensors that metrics keep from one record to the next.
            budget: The budget of metrics that are computed in the background; without it none are.
            evaluation: Count passes in eval mode or under no_grad as well.
            batch: The probe batch, or None.
            finished: Called at the end of each step that is measured.
        """
        self.step = self.first_step = step
        self.learning_rate: dict[str, Any] = {}  # of the newest step, as `lr`: a scheduler may have changed it since
        self._everything = Updated(None, lambda: (selection.layers, parameters))
        self._plan, self._ranks, self._gaps = plan, ranks, gaps
        self._state, self._budget = state, budget
        self._finished = finished
        self._stepping = stepping_optimizers(optimizers)
        self._unseen_steps = UnseenSteps(
            [parameter.value for parameter in parameters if parameter.value is not None], self._step_seen, gaps
        )
        self._passes = TrainingPasses(selection.root, self._pass_begins)
        self._outputs = OutputHooks(
            selection.root,
            selection.layers,
            {metric.reads: metric.reducer for metric in plan.metrics if metric.reducer is not None},
            ranks=ranks,
            shapes=any(metric.reads in _OF_SHAPES for metric in plan.metrics),
            report=self._fail,
            passes=self._passes,
            evaluation=evaluation,
        )
        self._calls = FunctionCalls(selection, plan.metrics, self._fail, ranks=ranks, gaps=gaps, evaluation=evaluation)
        self._gradients = GradientHooks(parameters, ranks=ranks, report=self._fail)
        self._optimizer_steps = OptimizerSteps(
            self._stepping,
            self._everything,
            before=self._before_update,
            after=self._after_update,
            over=self.finish_step,
            report=self._fail,
        )
        self._spectra_schedule = SpectraSchedule(selection.layers, plan.spectra_interval, gaps.note)
        self._probe_pass = ProbePass(selection, batch, ranks=ranks, interval=plan.passes_interval, note=gaps.note)
        self._new_modules = NewModules(selection.root)
        self._training_mode = TrainingMode(selection.root, evaluation=evaluation)
        self.nonfinite = NonfiniteWatch(plan.metrics, gaps, rank=ranks.rank, ranks=ranks.count)
        self._captured = False
        self._observations: list[Observation] = []
        self._measured: StepInProgress | None = None
        self._start_step()

    @property
    def just_stepped(self) -> bool:
        """Whether no training pass has begun since the last optimizer step."""
        return self.step > self.first_step and not self._passes.passed

    def close(self) -> None:
        """Remove the hooks at the end of a run, and report if no step was seen."""
        self.remove()
        self._unseen_steps.close()

    def remove(self) -> None:
        """Remove all hooks. Model, optimizers and torch's settings are then as they were before."""
        for hooks in (self._passes, self._outputs, self._calls, self._gradients, self._optimizer_steps):
            hooks.remove()

    def observe(self) -> None:
        """Measure before the update, for a loop whose optimizer has no hooks."""
        self._before_update(self._everything, None)

    def capture(self) -> None:
        """Measure before the update now, and not when the optimizer is about to step."""
        if not self._captured:
            self._before_update(self._everything, None)
            self._captured = True

    def finish_step(self, *, late: bool = False) -> None:
        """Pass the record on and begin the next step.

        Args:
            late: Whether the passes of the next step may have begun already.
        """
        try:
            if self._measured is not None:
                self._finished(self._measured)
                self._outputs.check_fired(self._gaps)
                self._outputs.compiled.report(self._gaps, asked=self._plan.asks_for_gradients_of_outputs)
        except Exception as failure:
            self._fail("the step", failure)
        self.step += 1
        self._start_step(late=late)

    def _pass_begins(self) -> None:
        self._unseen_steps.note_pass()
        self._optimizer_steps.pass_begins()

    def _step_seen(self) -> bool:
        return self.step > self.first_step or self._captured or self._optimizer_steps.seen

    def _start_step(self, *, late: bool = False) -> None:
        due = self.nonfinite.due(self._due())
        sources = {metric.reads for metric in due}
        self._outputs.start_step(sources, keep_passes_since_optimizer=late)
        self._calls.start_step(sources)
        self._gradients.start_step(measured=bool(sources & _OF_HOOKS))
        self._captured = False
        self._observations = []
        self._measured = self._new_record(due) if due else None

    def _due(self) -> list[Metric]:
        try:
            return self._plan.due(self.step)
        except Exception as failure:  # from the user's own schedule
            self._fail("the schedule", failure)
            return []

    def _new_record(self, due: Sequence[Metric]) -> StepInProgress:
        return StepInProgress(
            self.step,
            due,
            layers=self._everything.layers,
            parameters=len(self._everything.parameters),
            state=self._state,
            gaps=self._gaps,
            budget=self._budget,
        )

    def _before_update(self, updated: Updated, gradient_scale: Tensor | None) -> None:
        """Measure what is about to be updated; the optimizer will divide its gradients by ``gradient_scale``."""
        if not self._captured:
            self._look_for_nonfinite(updated, scaled=gradient_scale is not None)
        if self._measured is None or self._captured:
            return
        try:
            self._new_modules.look(self._gaps)
            if updated.optimizer is not None:
                self._training_mode.look(self._gaps)
            observation = self._observation(updated, gradient_scale)
            self._note_unclipped(observation)
            self._measured.measure(observation)
            self._tell_missing_gradients(observation)
            if self._measured.keep(observation):
                self._observations.append(observation)
        except Exception as failure:
            self._fail("the step", failure)
        # Later evaluations of the closure do not belong to this record.
        self._pause(paused=True)

    def _look_for_nonfinite(self, updated: Updated, *, scaled: bool) -> None:
        """Record at this step, whatever the schedule, if it is the first whose gradient or loss is not finite."""
        try:
            found = self.nonfinite.look(self.step, updated.optimizer, lambda: updated.parameters, scaled=scaled)
        except Exception as failure:
            self._fail("the look for values that are not finite", failure)
            return
        if not found:
            return
        if self._measured is None:
            self._measured = self._new_record(found)
        else:
            self._measured.add(found)

    def _observation(self, updated: Updated, gradient_scale: Tensor | None) -> Observation:
        solved = self._spectra_schedule.solved_at(self.step, self._outputs.shapes)
        sources = {
            **parameter_sources(self._ranks, gradient_scale=gradient_scale),
            **parameter_value_sources(self._ranks, gradient_scale=gradient_scale),
            **DERIVED,
            **({} if solved is None else in_turns(solved)),
            **self._outputs.sources(),
            **self._calls.sources(),
            **self._gradients.sources(),
            **optimizer_sources(self._stepping, self._ranks),
            **self._probe_pass.sources(self._outputs.shapes),
        }
        there = self._new_modules.holds
        layers = {layer.index: layer for layer in updated.layers if there(layer.module)}
        parameters = {one.index: one for one in updated.parameters if there(one.module)}
        return Observation(self.step, layers, sources, parameters)

    def _note_unclipped(self, observation: Observation) -> None:
        assert self._measured is not None
        if any(metric.reads == "parameter_gradient" for metric in self._measured.due):
            square = self._gradients.squared_length(observation.trained())
            self._measured.gradient_norms.add_unclipped(square, loss_scale())

    def _tell_missing_gradients(self, observation: Observation) -> None:
        assert self._measured is not None
        if self._passes.passed and any(metric.reads in _OF_GRADIENTS for metric in self._measured.due):
            tell_missing_gradients(observation.trained(), self._gaps)

    def _after_update(self) -> None:
        self.learning_rate = first_learning_rate(self._stepping)
        self._pause(paused=False)
        if len(self._stepping) > 1:
            self._outputs.end_of_optimizer_step()
        if self._measured is None:
            return
        try:
            for observation in self._observations:
                self._measured.measure(observation, after_update=True)
        except Exception as failure:
            self._fail("the update", failure)
        self._observations.clear()

    def _pause(self, *, paused: bool) -> None:
        for hooks in (self._outputs, self._calls, self._gradients):
            hooks.pause(paused=paused)

    def _fail(self, what: str, failure: Exception) -> None:
        self._gaps.fail(what, failure, self.step)
