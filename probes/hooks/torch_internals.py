"""Every private name of torch that the hooks use, each once, and the behaviour without it."""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

_NO_BACKWARD = -1


def in_backward() -> bool:
    """Return whether a backward pass is running in this thread.

    Without ``_current_graph_task_id``: False, so that the second forward of activation checkpointing counts too.
    """
    return running_backward() != _NO_BACKWARD


def running_backward() -> int:
    """Return the number of the backward pass that is running in this thread; -1 if none is running.

    Without ``_current_graph_task_id``: -1 always.
    """
    current = getattr(torch._C, "_current_graph_task_id", None)
    return _NO_BACKWARD if current is None else int(current())


def at_end_of_backward(call: Callable[[], None]) -> bool:
    """Call a function at the end of the running backward pass, after the callbacks that are queued there.

    Returns:
        Whether the function will be called. Without ``Variable._execution_engine``: False.
    """
    engine = getattr(torch.autograd.Variable, "_execution_engine", None)
    queue: Callable[[Callable[[], None]], None] | None = getattr(engine, "queue_callback", None)
    if queue is None:
        return False
    queue(lambda: queue(call))  # queued again at the end, to run after callbacks queued meanwhile: DDP averages in one
    return True


class HookGuards:
    """Makes Dynamo tell compiled graphs apart by the hooks of their modules, while an object holds the guards.

    By default Dynamo reuses the graph of another model of the same class (torch's setting
    ``skip_nnmodule_hook_guards``). That graph lacks the calls that this model's hooks need. Graphs that were compiled
    earlier stay as they are. When the last holder releases the guards, the setting is restored. Without the setting:
    nothing is set.
    """

    _holders = 0
    _before = True

    def __init__(self) -> None:
        self._held = False
        settings = _dynamo_settings()
        if settings is not None:
            if HookGuards._holders == 0:
                HookGuards._before = settings.skip_nnmodule_hook_guards
                settings.skip_nnmodule_hook_guards = False
            HookGuards._holders += 1
            self._held = True

    def release(self) -> None:
        """Release the setting.

        A second call does nothing.
        """
        if not self._held:
            return
        self._held = False
        HookGuards._holders -= 1
        settings = _dynamo_settings()
        if HookGuards._holders == 0 and settings is not None:
            settings.skip_nnmodule_hook_guards = HookGuards._before


def _dynamo_settings() -> Any:
    """Return the module of Dynamo's settings; None without the setting of hook guards."""
    import torch._dynamo.config as settings

    return settings if hasattr(settings, "skip_nnmodule_hook_guards") else None


def emulates_precision_casts() -> bool:
    """Return whether Inductor rounds between fused operations as eager execution does.

    Without the setting: False, so that the probe warns of different rounding.
    """
    import torch._inductor.config as settings

    return bool(getattr(settings, "emulate_precision_casts", False))


@torch.compiler.assume_constant_result
def is_exporting() -> bool:
    """Return whether torch.export is running.

    It is called while a graph is traced, and the tracer must not trace it: in torch 2.11 the tracer takes
    ``is_exporting`` as always true.
    """
    return bool(torch.compiler.is_exporting())


def is_rewriting() -> bool:
    """Return whether torch exports or traces the model, so that no training pass is running."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


def is_captured(tensor: torch.Tensor) -> bool:
    """Return whether kernels launched now for a tensor become a CUDA graph, or prepare one.

    A graph is replayed without Python. It has its own memory, and no tensor in that memory may be kept. Only the
    callers on the stack show that Inductor prepares a graph (``mode="reduce-overhead"``).
    """
    if not (tensor.is_cuda and torch.cuda.is_initialized()):  # a tensor without values may be of a device that is not
        return False
    return torch.cuda.is_current_stream_capturing() or _is_called_from("cudagraph_trees.py")


def _is_called_from(file: str) -> bool:
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code.co_filename.endswith(file):
            return True
        frame = frame.f_back
    return False


def scale_of(scaler: Any) -> Any:
    """Return the scale of a GradScaler, a tensor on its device.

    Without ``_scale``: a number, which makes the host wait for the GPU.
    """
    scale = getattr(scaler, "_scale", None)
    return scaler.get_scale() if scale is None else scale


def version_of(tensor: torch.Tensor) -> int:
    """Return how often a tensor was changed in place; 0 without ``_version``, or where torch does not count."""
    try:
        return int(tensor._version)
    except (AttributeError, RuntimeError):  # inference tensors have none
        return 0


def watched_operators(see: Callable[[Any, tuple[Any, ...], dict[str, Any]], Any]) -> AbstractContextManager[Any]:
    """Pass every operator that this thread runs in a block through ``see(operator, args, kwargs)``.

    ``see`` calls the operator and returns what it returns. Without ``TorchDispatchMode``: ImportError.
    """
    from torch.utils._python_dispatch import TorchDispatchMode

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            del types
            return see(func, args, kwargs or {})

    return Watch()


class FunctionMode(TorchFunctionMode):
    """Passes every function of torch that this thread calls in a block through ``see(function, args, kwargs)``.

    ``see`` calls the function and returns what it returns.
    """

    def __init__(self, see: Callable[[Any, tuple[Any, ...], dict[str, Any]], Any]) -> None:
        super().__init__()
        self._see = see

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Pass the call to ``see``."""
        del types
        return self._see(func, args, kwargs or {})


def written_arguments(operator: Any) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Return the positions and the names of the arguments that an operator writes to. Without ``_schema``: none.

    The schemas of batch norms do not declare that they write to their running statistics.
    """
    if "batch_norm" in str(operator):
        return (3, 4), ("running_mean", "running_var")
    arguments = getattr(getattr(operator, "_schema", None), "arguments", ())
    written = [
        (place, each.name)
        for place, each in enumerate(arguments)
        if each.alias_info is not None and each.alias_info.is_write
    ]
    return tuple(place for place, _ in written), tuple(name for _, name in written)


def quiet_attributes(module: torch.nn.Module) -> dict[str, Any]:
    """Return attributes that leave a module without its user's hooks, and uncompiled.

    Hooks that torch itself defines stay: they compute weights (spectral norm, pruning). Without the names: the hooks
    are called, and a compiled module is compiled for evaluation too.
    """
    kept: dict[str, Any] = {}
    for name in ("_forward_hooks", "_forward_pre_hooks"):
        hooks = vars(module).get(name)
        if hooks:
            kept[name] = OrderedDict((number, hook) for number, hook in hooks.items() if _is_torchs_own(hook))
    if vars(module).get("_compiled_call_impl") is not None:
        kept["_compiled_call_impl"] = None
    return kept


@contextmanager
def without_global_hooks() -> Iterator[None]:
    """Disable the hooks that are registered for all modules. Without their names: they are called."""
    names = ("_global_forward_hooks", "_global_forward_pre_hooks")
    found = [hooks for name in names if (hooks := getattr(torch.nn.modules.module, name, None))]
    kept = [dict(hooks) for hooks in found]
    try:
        for hooks in found:
            hooks.clear()
        yield
    finally:
        for hooks, content in zip(found, kept, strict=True):
            hooks.update(content)


def _is_torchs_own(hook: Any) -> bool:
    function = getattr(hook, "func", hook)  # the function of a partial
    home = getattr(function, "__module__", None) or type(function).__module__
    return str(home).partition(".")[0] == "torch"
