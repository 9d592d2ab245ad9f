"""One training step after another: starts the hooks, reads before and after the update, hands the record on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor
from torch.optim import Optimizer

from probes.background.budget import Budget
from probes.gaps import Gaps
from probes.hooks.convolutions import CONVOLUTION
from probes.hooks.micro_batches import MICRO_BATCHES, MicroBatchHooks
from probes.hooks.optimizer_steps import OptimizerSteps
from probes.hooks.outputs import OutputHooks
from probes.measuring.measurement import State
from probes.measuring.observation import Observation
from probes.measuring.plan import Plan
from probes.measuring.sources import DERIVED, parameter_sources
from probes.metrics import Metric
from probes.model.layer import Layer
from probes.model.new_modules import NewModules
from probes.model.selection import Selection
from probes.ranks import Ranks
from probes.recording.step import StepInProgress


def offered_sources(ranks: Ranks) -> list[str]:
    """Return the names of the sources that a metric without a reducer may read."""
    return [*parameter_sources(ranks), *DERIVED, CONVOLUTION, MICRO_BATCHES]


class StepCycle:
    """The hooks of one probe, and the step that they observe.

    Attributes:
        step: Optimizer steps finished.
        first_step: The step at which the hooks were attached.
    """

    def __init__(
        self,
        selection: Selection,
        plan: Plan,
        optimizers: Sequence[Optimizer],
        *,
        step: int,
        ranks: Ranks,
        gaps: Gaps,
        state: State,
        budget: Budget | None,
        evaluation: bool,
        finished: Callable[[StepInProgress], None],
    ) -> None:
        """Attach the hooks and begin with a step.

        Args:
            selection: The observed layers.
            plan: Which metrics are due at which steps.
            optimizers: All optimizers; none is allowed.
            step: Optimizer steps finished by now.
            ranks: The ranks that measure together.
            gaps: Told of failures.
            state: The tensors that metrics keep from one record to the next.
            budget: Pays for metrics that are computed in the background; without it none are.
            evaluation: Count passes in eval mode or under no_grad as well.
            finished: Called at the end of each step that is measured.
        """
        self.step = self.first_step = step
        self._layers = selection.layers
        self._plan, self._ranks, self._gaps = plan, ranks, gaps
        self._state, self._budget = state, budget
        self._finished = finished
        self._outputs = OutputHooks(
            selection.root,
            self._layers,
            {metric.reads: metric.reducer for metric in plan.metrics if metric.reducer is not None},
            ranks=ranks,
            shapes=any(metric.reads == CONVOLUTION for metric in plan.metrics),
            report=self._fail,
            evaluation=evaluation,
        )
        counted = self._layers if any(metric.reads == MICRO_BATCHES for metric in plan.metrics) else ()
        self._micro_batches = MicroBatchHooks(counted, ranks=ranks, report=self._fail)
        self._optimizer_steps = OptimizerSteps(
            optimizers, self._layers, before=self._before_update, after=self._after_update, over=self.finish_step
        )
        self._new_modules = NewModules(selection.root)
        self._several_optimizers = len(optimizers) > 1
        self._captured = False
        self._observations: list[Observation] = []
        self._measured: StepInProgress | None = None
        self._start_step()

    @property
    def just_stepped(self) -> bool:
        """Whether no training pass has begun since the last optimizer step."""
        return self.step > self.first_step and not self._outputs.passed

    def remove(self) -> None:
        """Remove all hooks: model, optimizers and torch's settings are as they were before."""
        for hooks in (self._outputs, self._micro_batches, self._optimizer_steps):
            hooks.remove()

    def observe(self) -> None:
        """Measure before the update, for a loop whose optimizer has no hooks."""
        self._before_update(self._layers, None)

    def capture(self) -> None:
        """Measure before the update now, and not when the optimizer is about to step."""
        if not self._captured:
            self._before_update(self._layers, None)
            self._captured = True

    def finish_step(self, *, late: bool = False) -> None:
        """Hand the record on and begin with the next step.

        Args:
            late: Whether the passes of the next step may have begun already.
        """
        try:
            if self._measured is not None:
                self._finished(self._measured)
                self._new_modules.look(self._gaps)
                self._outputs.check_fired(self._gaps)
                self._outputs.compiled.report(self._gaps, asked=self._plan.asks_for_gradients_of_outputs)
        except Exception as failure:
            self._fail("the step", failure)
        self.step += 1
        self._start_step(late=late)

    def _start_step(self, *, late: bool = False) -> None:
        due = self._due()
        sources = {metric.reads for metric in due}
        self._outputs.start_step(sources, keep_passes_since_optimizer=late)
        self._micro_batches.start_step(measured=MICRO_BATCHES in sources)
        self._captured = False
        self._observations = []
        self._measured = self._new_record(due) if due else None

    def _due(self) -> list[Metric]:
        try:
            return self._plan.due(self.step)
        except Exception as failure:  # of a schedule of the user's own
            self._fail("the schedule", failure)
            return []

    def _new_record(self, due: Sequence[Metric]) -> StepInProgress:
        return StepInProgress(
            self.step, due, layers=self._layers, state=self._state, gaps=self._gaps, budget=self._budget
        )

    def _before_update(self, layers: Sequence[Layer], gradient_scale: Tensor | None) -> None:
        if self._measured is None or self._captured:
            return
        try:
            observation = self._observation(layers, gradient_scale)
            self._measured.measure(observation)
            if self._measured.awaits_update:
                observation.read("before")
                self._observations.append(observation)
        except Exception as failure:
            self._fail("the step", failure)

    def _observation(self, layers: Sequence[Layer], gradient_scale: Tensor | None) -> Observation:
        sources = {
            **parameter_sources(self._ranks, gradient_scale=gradient_scale),
            **DERIVED,
            **self._outputs.sources(),
            **self._micro_batches.sources(),
        }
        return Observation(self.step, {layer.index: layer for layer in layers}, sources)

    def _after_update(self) -> None:
        if self._several_optimizers:
            self._outputs.end_of_optimizer_step()
        if self._measured is None:
            return
        try:
            for observation in self._observations:
                self._measured.measure(observation, after_update=True)
        except Exception as failure:
            self._fail("the update", failure)
        self._observations.clear()

    def _fail(self, what: str, failure: Exception) -> None:
        self._gaps.fail(what, failure, self.step)
