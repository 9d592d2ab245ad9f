"""Forward hooks that reduce each layer's output to a small vector while it exists."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from probes.compiled import CompiledPasses, Lookout, heed_hooks
from probes.gaps import Gaps
from probes.layers import Layer, innermost
from probes.metrics.reducer import Reducer
from probes.ranks import Ranks

_CHANNELS_LAST = (nn.Linear, nn.LayerNorm, nn.RMSNorm, nn.Embedding, nn.EmbeddingBag, nn.RNNBase, nn.MultiheadAttention)
_CHANNELS_FIRST = (nn.modules.conv._ConvNd, nn.modules.batchnorm._NormBase, nn.GroupNorm)


class ActivationWatch:
    """Watches the outputs of layers in training passes.

    Between two optimizer steps it collects, for each armed reducer and layer, one vector a forward pass: several under
    gradient accumulation. Passes in eval mode or without gradients are left out, and so is the second forward of
    activation checkpointing.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Sequence[Layer],
        reducers: Mapping[str, Reducer],
        *,
        shapes: bool = False,
        report: Callable[[str, Exception], None],
        evaluation: bool = False,
    ) -> None:
        """Attach the hooks.

        Args:
            model: The model whose mode says whether a pass is a training pass.
            layers: All observed layers; those that stand for a module's output get a hook.
            reducers: What may be collected, by source name. Without any, only passes of the model are noticed.
            shapes: Note the shapes of inputs and outputs even without a reducer.
            report: Called with a description and the exception when something fails; training goes on.
            evaluation: Count passes in eval mode or under no_grad as well.
        """
        self._root = innermost(model)
        self._reducers = reducers
        self._report = report
        self._evaluation = evaluation
        self._count = len(layers)
        self._armed: list[tuple[str, Reducer]] = []
        self._of_output: list[tuple[str, Reducer]] = []
        self._of_gradient: list[tuple[str, Reducer]] = []
        self._unfinished: dict[str, list[tuple[int, Any]]] = {}  # what reducers have left to be finished, by source
        self._vectors: dict[str, dict[int, list[Tensor]]] = {}
        self._marks: dict[str, dict[int, int]] = {}  # how many vectors there were at the last optimizer step
        self._outside: set[int] = set()  # layers seen outside a backward pass since the last step
        self.passed = False  # a training pass of the model has begun since the last step
        self.fired = False  # some layer's hook has run since the last step
        self.shapes: dict[int, tuple[tuple[int, ...], tuple[int, ...]]] = {}  # of input and output, by layer
        self.compiled = CompiledPasses()
        self._lookouts: list[Lookout] = []
        watched = [layer for layer in layers if layer.observes_output] if reducers or shapes else []
        heed_hooks()
        self._handles = [layer.module.register_forward_hook(self._hook(layer)) for layer in watched]
        self._handles.append(self._root.register_forward_pre_hook(self._root_hook()))

    def arm(self, sources: Collection[str], *, keep_since_mark: bool = False) -> None:
        """Forget what was collected, all of it or all before the last mark, and collect these sources from now on."""
        if not sources and not self._armed:  # most steps of most runs: nothing was collected, and nothing will be
            self.passed = self.fired = keep_since_mark
            return
        if keep_since_mark:
            self._settle()
        self._unfinished.clear()
        kept = self._since_mark() if keep_since_mark else {}
        self._armed = [(name, reducer) for name, reducer in self._reducers.items() if name in sources]
        self._of_output = [(name, reducer) for name, reducer in self._armed if reducer.of == "output"]
        self._of_gradient = [(name, reducer) for name, reducer in self._armed if reducer.of == "output_gradient"]
        self._vectors = {name: kept.get(name, {}) for name, _ in self._armed}
        self._marks.clear()
        self._outside.clear()
        self.passed = self.fired = keep_since_mark

    def mark(self) -> None:
        """Note that an optimizer has stepped: what comes from now on may belong to the next step."""
        self._settle()
        self._marks = {
            name: {index: len(vectors) for index, vectors in collected.items()}
            for name, collected in self._vectors.items()
        }

    def _since_mark(self) -> dict[str, dict[int, list[Tensor]]]:
        newer = {
            name: {index: vectors[self._marks.get(name, {}).get(index, 0) :] for index, vectors in collected.items()}
            for name, collected in self._vectors.items()
        }
        return {name: {i: v for i, v in collected.items() if v} for name, collected in newer.items()}

    def take(self, source: str, ranks: Ranks) -> dict[int, Tensor]:
        """Return one vector a layer, those of several passes and ranks merged."""
        self._settle()
        merge = self._reducers[source].merge
        collected = self._vectors.get(source, {})
        passes = {i: v[0] if len(v) == 1 else merge(torch.stack(v)) for i, v in sorted(collected.items())}
        if ranks.count == 1:
            return passes
        gathered = ranks.gather(source, passes, self._count)
        return {index: merge(vectors) for index, vectors in gathered.items()}

    def check_fired(self, gaps: Gaps) -> None:
        """Warn if no hook ran in a step that was due: hooks added after the first compiled call never do."""
        if self._armed and not self.fired:
            gaps.warn(
                what="activations",
                why="no forward hook ran. The model, or one of its class, was probably compiled and called before the"
                " probe was attached: attach first, or call torch.compiler.reset() after attaching",
            )

    def remove(self) -> None:
        """Remove the hooks."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _lookout(self, see: Callable[[Tensor, Tensor], None], module: nn.Module) -> Lookout:
        device = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
        self._lookouts.append(Lookout(see, device))
        return self._lookouts[-1]

    def _root_hook(self) -> Callable[..., None]:
        lookout = self._lookout(lambda *_: self._note_pass(), self._root)

        def hook(_module: nn.Module, args: Any) -> None:
            if not torch.compiler.is_dynamo_compiling():
                self._note_pass()
            elif (tensor := first_tensor(args)) is not None:
                lookout(tensor, tensor)

        return hook

    def _note_pass(self) -> None:
        if self._root.training:
            self.passed = True

    def _hook(self, layer: Layer) -> Callable[..., None]:
        lookout = self._lookout(partial(self._see_compiled, layer), layer.module)
        evaluation = self._evaluation

        def hook(_module: nn.Module, args: Any, output: Any) -> None:
            # is_compiling, which is also true of an export that runs this very line, takes 10 us where the layer
            # before has filled the caches, and this 2: it is asked only where something is recorded.
            if not torch.compiler.is_dynamo_compiling():
                if self._armed and not torch.compiler.is_compiling():
                    self._see(layer, args, output)
            elif (evaluation or torch.is_grad_enabled()) and (tensor := first_tensor(output)) is not None:
                given = first_tensor(args)
                lookout(tensor, tensor if given is None else given)

        return hook

    def _see_compiled(self, layer: Layer, output: Tensor, given: Tensor) -> None:
        """Look from inside a compiled graph, which has no place for a hook on the gradient."""
        self.fired = True
        if self._armed and (self._evaluation or self._root.training):
            self.shapes[layer.index] = tuple(given.shape), tuple(output.shape)
            self.compiled.note(output, gradient_wanted=bool(self._of_gradient))
            self._collect(layer, output, self._of_output)

    def _see(self, layer: Layer, args: Any, output: Any) -> None:
        self.fired = True
        tensor = first_tensor(output)
        if tensor is None or not self._counts(layer):
            return
        given = first_tensor(args)
        self.shapes[layer.index] = (tensor if given is None else given).shape, tensor.shape
        self._collect(layer, tensor, self._of_output)
        if self._of_gradient and tensor.requires_grad:
            # A hook on the tensor, not a backward hook of the module: those forbid in-place operations on the output.
            tensor.register_hook(lambda gradient: self._collect(layer, gradient, self._of_gradient))

    def _settle(self) -> None:
        """Finish what reducers have left for all layers together."""
        unfinished, self._unfinished = self._unfinished, {}
        for source, reducer in self._armed:
            if (left := unfinished.get(source)) and reducer.finish is not None:
                try:
                    vectors = reducer.finish([found for _, found in left])
                    for (index, _), vector in zip(left, vectors, strict=True):
                        self._vectors[source].setdefault(index, []).append(vector)
                except Exception as failure:
                    self._report(f"{source} of all layers", failure)

    def _collect(self, layer: Layer, tensor: Tensor, reducers: Sequence[tuple[str, Reducer]]) -> None:
        try:
            self._reduce(layer, tensor, reducers)
        except Exception as failure:
            self._report(f"output of layer {layer.name!r}, or its gradient,", failure)

    def _reduce(self, layer: Layer, tensor: Tensor, reducers: Sequence[tuple[str, Reducer]]) -> None:
        with torch.no_grad():
            local = local_part(tensor.detach())
            if local.is_floating_point():
                for source, reducer in reducers:
                    found = reducer.reduce(local, channel_dim(layer.module, local.ndim))
                    if reducer.finish is None or isinstance(found, Tensor):
                        self._vectors[source].setdefault(layer.index, []).append(found)
                    else:
                        self._unfinished.setdefault(source, []).append((layer.index, found))

    def _counts(self, layer: Layer) -> bool:
        """Whether this forward is one of training, and not a second time for the same activation."""
        if self._evaluation:
            return True
        if not self._root.training or not torch.is_grad_enabled():
            return False
        if not _in_backward():
            self._outside.add(layer.index)
            return True
        # Recomputed for a checkpoint. The first forward has counted, unless it ran under no_grad (reentrant
        # checkpoints).
        return layer.index not in self._outside


def channel_dim(module: nn.Module, ndim: int) -> int:
    """Return which dimension of a module's output counts channels.

    The last for linear, embedding, layer norm, recurrent and attention layers, the second for convolutions and batch
    norms; for other modules the second, unless the output is ``(batch, position, feature)``.
    """
    if ndim <= 1 or isinstance(module, _CHANNELS_LAST):
        return -1
    if isinstance(module, _CHANNELS_FIRST):
        return 1
    return -1 if ndim == 3 else 1


def first_tensor(value: Any) -> Tensor | None:
    """Return the first tensor in a tensor, a tuple, a list or a dict, however deep; None if there is none."""
    if isinstance(value, Tensor):
        return value
    if not isinstance(value, (tuple, list)):
        value = value.values() if isinstance(value, Mapping) else ()
    for item in value:
        if (found := first_tensor(item)) is not None:
            return found
    return None


def local_part(tensor: Tensor) -> Tensor:
    """Return this rank's part of a distributed tensor; any other tensor as it is."""
    to_local = getattr(tensor, "to_local", None)
    return tensor if to_local is None else to_local()


def _in_backward() -> bool:
    # Private in torch; there is no public way to tell a recomputed forward. Without it nothing counts as recomputed.
    current = getattr(torch._C, "_current_graph_task_id", None)
    return current is not None and current() != -1
