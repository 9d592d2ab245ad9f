"""A model without values, made from the names and shapes in a state dict: its modules have parameters only.

A state dict does not name the classes of modules. They are guessed from the tensors, for column ``layer_type`` and for
the matrices of a weight. A weight of four dimensions belongs to a convolution, or to a transposed convolution if its
bias has the length of the second dimension, not of the first. A bare parameter of three dimensions is a stack of
matrices. A vector beside running means belongs to a batch norm. An embedding cannot be told from a linear layer and is
called ``Linear``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn

from probes.model.layer import LEGACY_SUFFIXES
from probes.schema.printable import one_line

_DEEPEST = 100  # nested modules; torch walks them by recursion
_BUFFERS = {"running_mean", "running_var", "num_batches_tracked", "weight_u", "_u", "_v"}  # of norms
_CONVOLUTIONS = {
    3: (nn.Conv1d, nn.ConvTranspose1d),
    4: (nn.Conv2d, nn.ConvTranspose2d),
    5: (nn.Conv3d, nn.ConvTranspose3d),
}


class Checkpoint(nn.Module):
    """The root, or a module that holds only other modules."""


class HollowModel:
    """The modules of a state dict, from which layers are selected as from a model.

    Attributes:
        root: The outermost module.
        names: By the id of each parameter, its name in the state dict.
        paths: By the id of each module, its path in the state dict.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        """Make the modules.

        Args:
            tensors: By name, a tensor on device meta. Names that share one object belong to one shared parameter.

        Raises:
            ValueError: A name cannot be the name of a module's parameter.
        """
        self.names: dict[int, str] = {}
        self.paths: dict[int, str] = {}
        self._parameters: dict[int, nn.Parameter] = {}
        self._modules: dict[tuple[tuple[str, int], ...], nn.Module] = {}
        self._groups = _by_module(tensors)
        self.root = self._module("")
        for path in self._groups:
            self._place(path)

    def _place(self, path: str) -> None:
        """Put a module into its parent.

        A module that shares all its tensors, at least two, with another module is that module.
        """
        parent, here = self.root, ""
        for part in path.split(".") if path else ():
            here = f"{here}.{part}" if here else part
            child = parent._modules.get(part)
            if child is None:
                child = self._module(here)
                with _naming(here):
                    parent.add_module(part, child)
            parent = child

    def _module(self, path: str) -> nn.Module:
        own = self._groups.get(path, {})
        if path.rpartition(".")[2] == "parametrizations":
            return nn.ModuleDict()  # as torch has them
        computed = self._groups.get(f"{path}.parametrizations.weight")
        signature = tuple((name, id(tensor)) for name, tensor in own.items())
        if len(signature) > 1 and signature in self._modules:
            return self._modules[signature]
        module = _hollow(_kind(own, computed)) if path or own else Checkpoint()
        prefix = f"{path}." if path else ""
        buffers = _BUFFERS | ({"weight_v"} if "weight_orig" in own else set())
        for name, tensor in own.items():
            if name not in buffers:
                self._register(module, name, tensor, prefix + name)
        self.paths[id(module)] = path
        self._modules[signature] = module
        return module

    def _register(self, module: nn.Module, name: str, tensor: Tensor, full_name: str) -> None:
        if not (tensor.is_floating_point() or tensor.is_complex()) and "weight" not in name:
            return  # a buffer of indices or of a mask; integers of a weight are codes, which the selection notes
        parameter = self._parameters.get(id(tensor))
        if parameter is None:
            trainable = tensor.is_floating_point() or tensor.is_complex()
            parameter = self._parameters[id(tensor)] = nn.Parameter(tensor, requires_grad=trainable)
            self.names[id(parameter)] = full_name
        with _naming(full_name):
            module.register_parameter(name, parameter)
            for suffix in LEGACY_SUFFIXES:
                if name.endswith(suffix):  # the attribute in which torch's older hooks keep the computed weight
                    _keep(module, name.removesuffix(suffix), tensor)


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Raise an error that names the parameter if torch refuses its name inside the block."""
    try:
        yield
    except KeyError as error:
        raise ValueError(f"the name {one_line(name)!r} is of no module's parameter: {error.args[0]}") from error


def _keep(module: nn.Module, name: str, tensor: Tensor) -> None:
    if hasattr(module, name):
        raise KeyError(f"attribute {name!r} already exists")
    module.__dict__[name] = tensor


def _by_module(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Return the tensors of each module by their own names.

    Parametrizations are modules like others.
    """
    groups: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        path, _, own = name.rpartition(".")
        if path.count(".") >= _DEEPEST:
            raise ValueError(f"the name {one_line(name)!r} has more than {_DEEPEST} modules inside each other")
        groups.setdefault(path, {})[own] = tensor
    return groups


def _hollow(kind: type[nn.Module]) -> nn.Module:
    """Return a module of a class that has no parameters and no settings, and is never called."""
    module = kind.__new__(kind)
    nn.Module.__init__(module)
    return module


def _kind(own: Mapping[str, Tensor], computed: Mapping[str, Tensor] | None) -> type[nn.Module]:
    """Return the class of a module, given its own tensors and those that its weight is computed from."""
    if computed is not None:
        plain = _kind({**own, "weight": max(computed.values(), key=Tensor.numel)}, None)
        return type(f"Parametrized{plain.__name__}", (plain,), {})  # a new class, as torch makes one
    weight = next((own[name] for name in ("weight", "weight_orig", "weight_v") if name in own), None)
    if weight is not None and weight.ndim in _CONVOLUTIONS:
        return _CONVOLUTIONS[weight.ndim][_is_transposed(weight, own.get("bias"))]
    if "running_mean" in own:
        return nn.BatchNorm2d
    if "in_proj_weight" in own:
        return nn.MultiheadAttention
    if weight is None:
        return nn.Module
    return nn.LayerNorm if weight.ndim == 1 else nn.Linear


def _is_transposed(weight: Tensor, bias: Tensor | None) -> bool:
    """Whether the bias, ``(out,)``, shows that a kernel has its input dimension first, ``(in, out, ...)``."""
    return bias is not None and bias.shape[:1] != weight.shape[:1] and bias.shape[:1] == weight.shape[1:2]
