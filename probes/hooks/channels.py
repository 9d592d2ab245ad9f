"""The channel dimension of an output.

For torch's own kinds of modules the dimension is known. For any other module it follows from the sizes of the
parameters: the channel dimension is as long as a parameter vector, or as the output dimension of a matrix or kernel.
Dimension 0 holds samples and is taken only if no other fits. If several dimensions fit, or none, it is

1. the second, if the module's class is named after its spatial dimensions (``LayerNorm2d``), or if the module has an
   attribute ``num_features``, as batch norms have;
2. the last, for layer norms and RMS norms;
3. the last of three dimensions ``(batch, position, feature)``, and the second of any other number of dimensions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from torch import nn

from probes.model.module_kinds import BATCH_NORMS, CONVOLUTIONS

_SPATIAL = re.compile(r"[123]d(?![a-z])")  # LayerNorm2d, BatchNormAct2d, LayerNorm2dFp32; not Conv1D, the linear layer
_INSTANCE_NORMS = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
_LAST = (nn.Linear, nn.Bilinear, nn.Embedding, nn.EmbeddingBag, nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention)
_COUNTS = ("out_channels", "num_features", "num_channels", "out_features", "embedding_dim")


def channel_dim(module: nn.Module, shape: Sequence[int]) -> int:
    """Return the index of the channel dimension of a module's output; 0 if the output has no or one dimension."""
    ndim = len(shape)
    if ndim < 2:
        return 0
    known = _known(module, ndim)
    if known is not None and 0 <= known < ndim and _count(module) in (None, shape[known]):
        return known
    fitting = next((found for sizes in _sizes(module) if (found := _fitting(sizes, shape))), range(ndim))
    usual = _usual(module, ndim)
    if usual in fitting:
        return usual
    return fitting[0] if len(fitting) == 1 or usual == 1 else fitting[-1]


def _known(module: nn.Module, ndim: int) -> int | None:
    """Return the channel dimension of torch's own kinds, batched or not; None for others."""
    if isinstance(module, CONVOLUTIONS):
        return ndim - 1 - len(module.kernel_size)  # type: ignore[arg-type]
    if isinstance(module, _INSTANCE_NORMS):
        return ndim - 1 - next(n for n, kind in enumerate(_INSTANCE_NORMS, 1) if isinstance(module, kind))
    if isinstance(module, (*BATCH_NORMS, nn.GroupNorm, nn.PReLU)):
        return 1
    if isinstance(module, _LAST):
        return ndim - 1
    if isinstance(module, (nn.LayerNorm, nn.RMSNorm)) and type(module).forward in (
        nn.LayerNorm.forward,
        nn.RMSNorm.forward,
    ):
        normalised = len(module.normalized_shape)
        return ndim - normalised if normalised >= 3 else ndim - 1  # a norm over (C, H, W), as torch describes it
    return None


def _count(module: nn.Module) -> int | None:
    """Return how many channels a module says that it has."""
    attributes = vars(module)
    return next((attributes[name] for name in _COUNTS if isinstance(attributes.get(name), int)), None)


def _sizes(module: nn.Module) -> Iterator[tuple[int, ...]]:
    """Yield the shapes that determine the channel dimension: vectors before matrices and kernels."""
    shapes = [tuple(parameter.shape) for parameter in module._parameters.values() if parameter is not None]
    shapes += [tuple(module.normalized_shape)] if isinstance(module, (nn.LayerNorm, nn.RMSNorm)) else []
    yield from (shape for shape in shapes if sum(size > 1 for size in shape) == 1)
    yield from (shape for shape in shapes if sum(size > 1 for size in shape) > 1)


def _fitting(sizes: tuple[int, ...], output: Sequence[int]) -> list[int]:
    """Return the dimensions of an output that a parameter of these sizes fits."""
    ndim, long = len(output), [place for place, size in enumerate(sizes) if size > 1]
    if len(long) > 1:  # (out, in) or (in, out), (out, in, *kernel), (E, out, in)
        after_samples = [1] if len(sizes) == ndim > 2 and output[1] == sizes[0] else []
        return after_samples + [ndim - 1] * (output[-1] in sizes)
    (place,) = long
    if len(sizes) > 1:  # (C, 1, 1): aligned with the output from the right, as in a broadcast product
        aligned = ndim - len(sizes) + place
        return [aligned] if aligned >= 0 and output[aligned] == sizes[place] else []
    found = [dim for dim, size in enumerate(output) if size == sizes[0]]
    return [dim for dim in found if dim] or found


def _usual(module: nn.Module, ndim: int) -> int:
    name = type(module).__name__
    if _SPATIAL.search(name) or isinstance(vars(module).get("num_features"), int):
        return 1
    if isinstance(module, (nn.LayerNorm, nn.RMSNorm)) or "LayerNorm" in name or "RMSNorm" in name:
        return ndim - 1
    return ndim - 1 if ndim == 3 else 1
