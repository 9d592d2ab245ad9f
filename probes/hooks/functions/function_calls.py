"""Sees the calls of attention and of routers in the passes of a recorded step.

A function mode of torch sees the calls in this thread, from the beginning of a pass to its end, at recorded steps only.
At other steps a pass costs the calls of two hooks on the model. Calls in compiled code are not seen: under a mode the
code would be compiled once more.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from probes.gaps import Gaps
from probes.hooks.functions.attention_calls import ATTENTION_FUNCTIONS, attention_parts
from probes.hooks.functions.router_calls import ROUTER_FUNCTIONS, router_part
from probes.hooks.module_hooks import ModuleHook
from probes.hooks.torch_internals import FunctionMode, is_rewriting
from probes.hooks.training_passes import entries
from probes.measuring.observation import Reading, Source
from probes.metrics import OF_CALLS, Metric
from probes.metrics.attention import ATTENTION, HeadSums, head_vector, merged_heads
from probes.metrics.router import ROUTER, ExpertSums, expert_vector, merged_experts
from probes.model.selection import Selection
from probes.ranks import Ranks

SOURCES = tuple(metric.reads for metric in OF_CALLS)
_SEEN = ATTENTION_FUNCTIONS | ROUTER_FUNCTIONS
_MOST_FRAMES = 40  # between a function of torch and the module that calls it


class FunctionCalls:
    """Hooks on the model between which the calls are seen.

    Training passes count, as for activations. With several ranks, only the passes of the first rank count.
    """

    def __init__(
        self,
        selection: Selection,
        metrics: Sequence[Metric],
        report: Callable[[str, Exception], None],
        *,
        ranks: Ranks,
        gaps: Gaps,
        evaluation: bool,
    ) -> None:
        """Attach the hooks if a metric reads the calls.

        Args:
            selection: The model. Calls are attributed to its containers.
            metrics: All metrics.
            report: Called with a description and the exception when something fails; training goes on.
            ranks: The ranks that record together.
            gaps: Compiled parts are reported here.
            evaluation: Count passes in eval mode or under no_grad as well.
        """
        self._root, self._gaps, self._report, self._evaluation = selection.root, gaps, report, evaluation
        self._modules = [container.module for container in selection.containers]
        self._places = {id(module): place for place, module in enumerate(self._modules)}
        self._wanted: frozenset[str] = frozenset()
        self._paused = self._told = False
        self._depth = 0  # number of nested passes that have not ended
        self._mode: FunctionMode | None = None
        self._heads: dict[int, list[HeadSums]] = {}
        self._experts: dict[int, list[ExpertSums]] = {}
        self._handles: list[RemovableHandle] = []
        if ranks.rank == 0 and any(metric.reads in SOURCES for metric in metrics):
            self._attach()

    def sources(self) -> dict[str, Source]:
        """Return the sources that these hooks offer."""
        return {
            ATTENTION.reads: lambda _: _reading(self._heads, lambda parts: head_vector(merged_heads(parts))),
            ROUTER.reads: lambda _: _reading(self._experts, lambda parts: expert_vector(merged_experts(parts))),
        }

    def start_step(self, sources: Collection[str]) -> None:
        """Forget the calls of the last step and see those of the next if one of these sources needs it."""
        self._wanted, self._paused = frozenset(sources).intersection(SOURCES), False
        self._heads, self._experts = {}, {}

    def pause(self, *, paused: bool) -> None:
        """Stop or resume seeing calls: later evaluations of a closure do not belong to the record."""
        self._paused = paused

    def remove(self) -> None:
        """Remove the hooks."""
        self._end()
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _attach(self) -> None:
        for part in entries(self._root):
            self._handles.append(ModuleHook(self._begins).attach(part.register_forward_pre_hook))
            self._handles.append(ModuleHook(self._ends).attach(part.register_forward_hook, always_call=True))

    def _begins(self, module: nn.Module, _args: Any) -> None:
        if torch.compiler.is_dynamo_compiling() or not self._wanted or self._paused or is_rewriting():
            return
        if module is self._root or not self._mode:
            self._end()  # a pass that raised has left the mode active
            if not self._counts() or self._is_compiled():
                return
            self._mode = FunctionMode(self._see)
            self._mode.__enter__()
        self._depth += 1

    def _ends(self, _module: nn.Module, _args: Any, _output: Any) -> None:
        if torch.compiler.is_dynamo_compiling() or self._mode is None:
            return
        self._depth -= 1
        if self._depth <= 0:
            self._end()

    def _end(self) -> None:
        mode, self._mode, self._depth = self._mode, None, 0
        if mode is not None:
            mode.__exit__(None, None, None)

    def _counts(self) -> bool:
        return self._evaluation or (self._root.training and torch.is_grad_enabled())

    def _is_compiled(self) -> bool:
        """Return whether a part of the model is compiled by itself, and say so once."""
        parts = self._root.modules()
        found = any("_orig_mod" in part._modules or vars(part).get("_compiled_call_impl") for part in parts)
        if found and not self._told:
            self._told = True
            self._gaps.note(what="units", why="attention and routers are not seen in a model with compiled parts")
        return found

    def _see(self, function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        result = function(*args, **kwargs)
        if function not in _SEEN or torch.compiler.is_dynamo_compiling():
            return result
        try:
            place = self._caller(sys._getframe(1))
            if place is not None:
                self._take(place, function, args, kwargs, result)
        except Exception as failure:
            self._report("attention and routers", failure)
        return result

    @torch.no_grad()
    def _take(self, place: int, function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> None:
        device = next(each.device.type for each in (*args, *kwargs.values()) if isinstance(each, Tensor))
        with torch.autocast(device, enabled=False):
            if ATTENTION.reads in self._wanted and (parts := attention_parts(function, args, kwargs)):
                self._heads.setdefault(place, []).append(merged_heads(parts))
            module = self._modules[place]
            if ROUTER.reads in self._wanted and (part := router_part(module, function, args, kwargs, result)):
                self._experts.setdefault(place, []).append(part)

    def _caller(self, frame: FrameType | None) -> int | None:
        """Return the index of the innermost container among the callers."""
        for _ in range(_MOST_FRAMES):
            if frame is None:
                return None
            owner = frame.f_locals.get("self")
            if owner is not self and id(owner) in self._places and isinstance(owner, nn.Module):
                return self._places[id(owner)]
            frame = frame.f_back
        return None


def _reading(parts: Mapping[int, Any], vector: Callable[[Any], Tensor]) -> Reading:
    return Reading(list(parts), [vector(each) for each in parts.values()])
