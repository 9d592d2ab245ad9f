"""Counts training steps at the optimizers and notices when a step's gradients are complete.

One step is one round of all optimizers. An optimizer with a closure computes the gradients inside its step. They are
read when the closure has returned for the first time. If an optimizer calls the closure again (LBFGS), the record shows
the first evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from probes.hooks.optimizers.step_methods import Handle, observe_steps
from probes.model.layer import Layer, raw_parameter
from probes.model.parameters import Parameter

Report = Callable[[str, Exception], None]


class Updated:
    """The layers and parameters that a step will update.

    They are looked up on demand, because few steps need them.

    Attributes:
        optimizer: The optimizer; None if it is not known.
    """

    def __init__(self, optimizer: Any, find: Callable[[], tuple[Sequence[Layer], Sequence[Parameter]]]) -> None:
        self.optimizer = optimizer
        self._find = find

    @property
    def layers(self) -> Sequence[Layer]:
        """The layers."""
        return self._found[0]

    @property
    def parameters(self) -> Sequence[Parameter]:
        """The parameters."""
        return self._found[1]

    @cached_property
    def _found(self) -> tuple[Sequence[Layer], Sequence[Parameter]]:
        return self._find()


class OptimizerSteps:
    """Hooks on the optimizers of one model.

    A round ends when every optimizer has stepped once, or when one is about to step a second time. An optimizer may
    therefore step more rarely than another.

    Attributes:
        seen: Whether any step has been seen.
    """

    def __init__(
        self,
        optimizers: Sequence[Any],
        everything: Updated,
        *,
        before: Callable[[Updated, Tensor | None], None],
        after: Callable[[], None],
        over: Callable[..., None],
        report: Report,
    ) -> None:
        """Attach the hooks.

        Args:
            optimizers: All optimizers that make steps. The list may be empty.
            everything: All observed layers and all parameters.
            before: Called when the gradients of an optimizer's step are complete and no weight has changed. Its
                arguments are the layers and parameters that the optimizer updates, and the factor on the gradients if
                the optimizer will divide by one. In the first step of a round they include those that no optimizer
                updates.
            after: Called when the optimizer has stepped.
            over: Called at the end of a round, with ``late=True`` if the end is noticed only in the next round.
            report: Called with a description and the exception when something fails; training goes on.
        """
        self._optimizers = list(optimizers)
        self._everything = everything
        self._before, self._after, self._over, self._report = before, after, over, report
        self._stepped: set[int] = set()
        self._unread: dict[int, Updated] = {}  # by running optimizer: what has unread gradients
        self._depth: dict[int, int] = {}  # by optimizer: running calls of its step
        self._closures = 0  # number of running closures
        self.seen = False
        # Where a whole training step is compiled, the hooks run outside its graphs.
        pre, post = torch.compiler.disable(self._pre), torch.compiler.disable(self._post)
        self._handles: list[Handle] = []
        for each in self._optimizers:
            try:
                self._handles += observe_steps(each, pre, post)
            except Exception as failure:
                report(f"steps of optimizer {type(each).__name__}", failure)

    def pass_begins(self) -> None:
        """Note a training pass.

        A pass outside a closure shows that no step is running: a step that failed has ended.
        """
        if not self._closures:
            self._depth.clear()

    def remove(self) -> None:
        """Remove the hooks."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _pre(
        self, optimizer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        # A subclass that calls super().step() runs the hooks twice: only the outer call is a step.
        self._depth[id(optimizer)] = self._depth.get(id(optimizer), 0) + 1
        if self._depth[id(optimizer)] > 1:
            return None
        try:
            self.seen = True
            if id(optimizer) in self._stepped:
                self._end(late=True)
            self._unread[id(optimizer)] = self._updated_by(optimizer)
            self._stepped.add(id(optimizer))
            if len(args) > 1 and callable(args[1]):
                return (args[0], self._observed(args[1], optimizer), *args[2:]), kwargs
            if callable(kwargs.get("closure")):
                return args, {**kwargs, "closure": self._observed(kwargs["closure"], optimizer)}
            self._read_gradients(optimizer)
        except Exception as failure:
            self._report("the step", failure)
        return None

    def _observed(self, closure: Callable[..., Any], optimizer: Any) -> Callable[..., Any]:
        """Return the closure, wrapped so that gradients are read after its first evaluation in a step."""

        def evaluate(*args: Any, **kwargs: Any) -> Any:
            self._closures += 1
            try:
                result = closure(*args, **kwargs)
            finally:
                self._closures -= 1
            self._read_gradients(optimizer)
            return result

        return evaluate

    def _read_gradients(self, optimizer: Any) -> None:
        updated = self._unread.pop(id(optimizer), None)
        if updated is not None:
            self._before(updated, getattr(optimizer, "grad_scale", None))

    def _post(self, optimizer: Any, *_: Any) -> None:
        self._depth[id(optimizer)] = self._depth.get(id(optimizer), 1) - 1
        if self._depth[id(optimizer)]:
            return
        if self._unread.pop(id(optimizer), None) is not None:
            why = RuntimeError("the optimizer did not evaluate the closure that it was given")
            self._report(f"gradients of {type(optimizer).__name__}", why)
        self._after()
        if len(self._stepped) == len(self._optimizers):
            self._end(late=False)

    def _end(self, *, late: bool) -> None:
        self._stepped.clear()
        self._unread.clear()
        self._over(late=late)

    def _updated_by(self, optimizer: Any) -> Updated:
        if len(self._optimizers) == 1:
            return Updated(optimizer, lambda: (self._everything.layers, self._everything.parameters))
        return Updated(optimizer, partial(self._share_of, optimizer, None if self._stepped else optimizer))

    def _share_of(self, optimizer: Any, homeless: Any) -> tuple[list[Layer], list[Parameter]]:
        """Return the layers and parameters of an optimizer; ``homeless`` gets those that no optimizer holds."""
        owner = {id(p): each for each in self._optimizers for group in each.param_groups for p in group["params"]}
        return (
            [layer for layer in self._everything.layers if owner.get(_identity(layer), homeless) is optimizer],
            [one for one in self._everything.parameters if owner.get(id(one.value), homeless) is optimizer],
        )


def _identity(layer: Layer) -> int:
    parameter = raw_parameter(layer)
    return id(layer.module._parameters.get(layer.bias or "") if parameter is None else parameter)
