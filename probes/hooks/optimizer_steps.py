"""Hooks on optimizers that count training steps: one step is one round of all optimizers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from probes.model.layer import Layer, raw_parameter


class OptimizerSteps:
    """Hooks on the optimizers of one model.

    A round is over when every optimizer has stepped once, or when one is about to step a second time: optimizers that
    step more rarely than others are fine.
    """

    def __init__(
        self,
        optimizers: Sequence[Optimizer],
        layers: Sequence[Layer],
        *,
        before: Callable[[Sequence[Layer], Tensor | None], None],
        after: Callable[[], None],
        over: Callable[..., None],
    ) -> None:
        """Attach the hooks.

        Args:
            optimizers: All optimizers; none is allowed.
            layers: All observed layers.
            before: Called as an optimizer is about to step, with the layers it updates (in a round's first step also
                those that no optimizer updates) and with the factor on its gradients, if it will divide by one.
            after: Called as it has stepped.
            over: Called at the end of a round; with ``late=True`` if it shows only as the next one is under way.
        """
        self._optimizers = list(optimizers)
        self._layers = layers
        self._before, self._after, self._over = before, after, over
        self._stepped: set[int] = set()
        # Where a whole training step is compiled, the hooks run outside its graphs.
        pre, post = torch.compiler.disable(self._pre), torch.compiler.disable(self._post)
        self._handles = [each.register_step_pre_hook(pre) for each in self._optimizers]
        self._handles += [each.register_step_post_hook(post) for each in self._optimizers]

    def remove(self) -> None:
        """Remove the hooks."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _pre(self, optimizer: Optimizer, *_: Any) -> None:
        if id(optimizer) in self._stepped:
            self._end(late=True)
        self._before(self._updated_by(optimizer), getattr(optimizer, "grad_scale", None))
        self._stepped.add(id(optimizer))

    def _post(self, *_: Any) -> None:
        self._after()
        if len(self._stepped) == len(self._optimizers):
            self._end(late=False)

    def _end(self, *, late: bool) -> None:
        self._stepped.clear()
        self._over(late=late)

    def _updated_by(self, optimizer: Optimizer) -> Sequence[Layer]:
        if len(self._optimizers) == 1:
            return self._layers
        owner = {id(p): each for each in self._optimizers for group in each.param_groups for p in group["params"]}
        homeless = None if self._stepped else optimizer
        return [layer for layer in self._layers if owner.get(_identity(layer), homeless) is optimizer]


def _identity(layer: Layer) -> int:
    parameter = raw_parameter(layer)
    return id(layer.module._parameters.get(layer.bias or "") if parameter is None else parameter)
