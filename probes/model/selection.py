"""The choice of the observed layers, and their names.

A *layer* is one row of the store's ``layers`` table: a module with its output and the parameter named
``weight`` (and the bias that belongs to it). Every further parameter of a module (``weight_hh_l0`` of an LSTM,
``relative_position_bias_table`` of a windowed attention) is a separate row, named ``<module>.<parameter>``, unless its
name says that it is the bias of such a weight. Quantised and packed parameters are left out, with a note.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property

from torch import Tensor, nn
from torch.jit import ScriptModule
from torch.nn.utils import parametrize

from probes.model.containers import Container, containers_of
from probes.model.devices import check_devices
from probes.model.layer import LEGACY_SUFFIXES, Layer, parametrizations_of, raw_parameter
from probes.model.module_kinds import BATCH_NORMS
from probes.model.packed import why_packed

Pattern = str | type[nn.Module]

_WRAPPERS = {"_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module"}
_NORMS = (*BATCH_NORMS, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


@dataclass(frozen=True)
class Selection:
    """The observed layers of a model.

    Attributes:
        root: The model inside DDP, DataParallel and compiled wrappers.
        layers: The layers in depth order.
        notes: Weights and modules that are recorded under another layer's name, and why.
    """

    root: nn.Module
    layers: tuple[Layer, ...]
    notes: tuple[dict[str, str], ...]

    @cached_property
    def containers(self) -> tuple[Container, ...]:
        """The modules that are observed layers or hold observed layers, without wrappers and parametrizations."""
        return containers_of(list(_named_modules(self.root)), self.layers)


def select_layers(
    model: nn.Module,
    *,
    include: Pattern | Sequence[Pattern] | None = None,
    exclude: Pattern | Sequence[Pattern] | None = None,
) -> Selection:
    """Return the layers to observe, in depth order.

    Without patterns these are all modules that own a parameter, and all normalisation layers, even without parameters.
    The model is only read, and no attribute that a parametrization computes is accessed.

    Args:
        model: Any module. DDP, compiled and checkpoint wrappers do not appear in the names.
        include: Names with ``*`` and ``?``, or module types. Only modules that match one are observed, with or without
            parameters.
        exclude: The same, to leave modules out.

    Raises:
        ValueError: A pattern matches no module, no module is left to observe, a lazy module has no weights yet, or the
            model is on a device without float64.
    """
    root = innermost(model)
    check_devices(parameter.device for parameter in root.parameters())
    modules = dict(_named_modules(root))
    chosen = _matching(modules, include, "include") if include is not None else set(modules)
    chosen -= _matching(modules, exclude, "exclude") if exclude is not None else set()
    rows: list[Layer] = []
    notes: list[dict[str, str]] = [*_shared_modules(root), *_scripted_parts(root)]
    owners: dict[int, str] = {}
    for name, module in modules.items():
        if name in chosen and (include is not None or _is_observed(module)):
            _append_rows(rows, notes, owners, name, module)
    rows = [replace(row, name=row.name or row.kind) for row in rows]  # the model itself may be a layer, without a name
    if not rows:
        raise ValueError(
            f"nothing to observe in {type(model).__name__}: no module with parameters is left by include={include!r}"
            f" and exclude={exclude!r}. Exclude fewer modules, or name modules without parameters in include."
        )
    return Selection(root, tuple(rows), tuple(notes))


def innermost(model: nn.Module) -> nn.Module:
    """Return the model inside DDP, DataParallel and compiled wrappers."""
    while True:
        if isinstance(model, (nn.parallel.DistributedDataParallel, nn.DataParallel)):
            model = model.module
        elif "_orig_mod" in model._modules:
            model = model._modules["_orig_mod"]  # type: ignore[assignment]
        else:
            return model


def canonical_name(name: str) -> str:
    """Return a dotted module name without the components that wrappers add."""
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def _named_modules(root: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the canonical name and the module, without parametrizations."""
    for name, module in root.named_modules():
        parts = name.split(".")
        if isinstance(module, ScriptModule):
            continue
        # A wrapper has the name of the wrapped module: the innermost module is the layer.
        if "parametrizations" not in parts and not _WRAPPERS.intersection(module._modules):
            yield canonical_name(name), module


def _shared_modules(root: nn.Module) -> Iterator[dict[str, str]]:
    first: dict[int, str] = {}
    for name, module in root.named_modules(remove_duplicate=False):
        if "parametrizations" in name.split("."):
            continue
        owner = first.setdefault(id(module), name)
        if owner != name and _is_observed(module):
            why = f"the same module as {canonical_name(owner)!r}, recorded there"
            yield {"layer": canonical_name(name), "what": "all", "why": why}


def _scripted_parts(root: nn.Module) -> Iterator[dict[str, str]]:
    """Yield a note for each part of TorchScript, because its inner modules cannot be observed."""
    inside: set[int] = set()
    for name, module in root.named_modules():
        if isinstance(module, ScriptModule) and id(module) not in inside:
            inside.update(id(part) for part in module.modules())
            yield {"layer": canonical_name(name), "what": "all", "why": "a part of TorchScript is not observed"}


def _matching(modules: dict[str, nn.Module], patterns: Pattern | Sequence[Pattern], argument: str) -> set[str]:
    if isinstance(patterns, str | type):
        patterns = [patterns]
    matches: set[str] = set()
    for pattern in patterns:
        found = {name for name, module in modules.items() if _matches(name, module, pattern)}
        if not found:
            raise ValueError(f"{argument}={pattern!r} matches no layer; this model has {', '.join(modules)}.")
        matches |= found
    return matches


def _matches(name: str, module: nn.Module, pattern: Pattern) -> bool:
    return fnmatchcase(name, pattern) if isinstance(pattern, str) else isinstance(module, pattern)


def _is_observed(module: nn.Module) -> bool:
    owns = any(parameter is not None for parameter in module._parameters.values())
    return owns or bool(parametrizations_of(module)) or isinstance(module, _NORMS)


def _append_rows(
    rows: list[Layer], notes: list[dict[str, str]], owners: dict[int, str], name: str, module: nn.Module
) -> None:
    """Append the module's own row and one row for each further parameter that is not the bias of another parameter."""
    tensors = _own_tensors(module)
    kind = _kind(module)
    for tensor, why in _packed_parameters(module).items():
        notes.append({"layer": name or kind, "what": tensor, "why": f"not recorded: {why}"})

    def append(row_name: str, weight: str | None, bias: str | None, *, observes_output: bool) -> None:
        row = Layer(row_name, len(rows), kind, module, weight, bias if bias in tensors else None, observes_output)
        rows.append(_without_tied_weight(row, owners, notes))

    biases = {_bias_of(tensor) for tensor in tensors}
    if "weight" in tensors or set(tensors) <= {"bias"} or _has_own_output(module):
        append(name, "weight" if "weight" in tensors else None, "bias", observes_output=True)
        biases |= {"weight", "bias"}
    for tensor in tensors:
        if tensor not in biases:
            append(f"{name}.{tensor}" if name else tensor, tensor, _bias_of(tensor), observes_output=False)


def _bias_of(weight: str) -> str:
    """Return the name of the bias that belongs to a weight: ``bias_hh_l0``, ``in_proj_bias``, ``gate_up_proj_bias``."""
    return weight.replace("weight", "bias") if "weight" in weight else f"{weight}_bias"


def _without_tied_weight(row: Layer, owners: dict[int, str], notes: list[dict[str, str]]) -> Layer:
    """Return the row without its weight if another layer has the same weight."""
    parameter = raw_parameter(row)
    if isinstance(parameter, nn.parameter.UninitializedParameter):
        raise ValueError(
            f"layer {row.name or row.kind!r} is lazy and has no weights yet: run one batch before attaching a Probe."
        )
    owner = row.name if parameter is None else owners.setdefault(id(parameter), row.name)
    if owner == row.name:
        return row
    notes.append({"layer": row.name, "what": "weight", "why": f"tied to {owner!r}, recorded there"})
    return replace(row, weight=None)


def _has_own_output(module: nn.Module) -> bool:
    """Whether a module without a ``weight`` is still a layer with an output: a leaf module, or attention."""
    children = [name for name in module._modules if name != "parametrizations"]
    return not children or isinstance(module, nn.MultiheadAttention)


def _own_tensors(module: nn.Module) -> list[str]:
    """Return the names of the module's own weights and biases, as its forward uses them."""
    names = list(parametrizations_of(module))
    for name, parameter in module._parameters.items():
        if parameter is not None and why_packed(parameter) is None:
            names.append(_before_legacy_hook(module, name))
    return list(dict.fromkeys(names))


def _packed_parameters(module: nn.Module) -> dict[str, str]:
    """Return the parameters whose entries are no weights, by name, with the reason."""
    parameters = {name: parameter for name, parameter in module._parameters.items() if parameter is not None}
    return {name: why for name, parameter in parameters.items() if (why := why_packed(parameter)) is not None}


def _before_legacy_hook(module: nn.Module, name: str) -> str:
    """Return ``weight`` for ``weight_orig``, ``weight_g`` and ``weight_v`` of the older hooks; else the name."""
    for suffix in (*LEGACY_SUFFIXES, "_g"):
        plain = name.removesuffix(suffix)
        if plain != name and isinstance(module.__dict__.get(plain), Tensor):
            return plain
    return name


def _kind(module: nn.Module) -> str:
    kind = type(module)
    if kind.__bases__[0].__name__ == "FSDPModule":  # fully_shard makes a class from it and the module's own class
        kind = kind.__bases__[1]
    return (kind.__bases__[0] if parametrize.is_parametrized(module) else kind).__name__
