"""Parameters whose entries are not the weights themselves: quantised and packed weights."""

from __future__ import annotations

from torch import Tensor

_QUANTISED = ("quant_state", "SCB")  # attributes in which bitsandbytes keeps the scales of a weight


def why_packed(tensor: Tensor) -> str | None:
    """Return why the entries of a tensor are no weights; None if they are weights.

    A tensor of whole numbers holds indices, or codes of quantised weights. Floats of one byte are codes with a scale. A
    class that wraps other tensors keeps codes and scales in them. Statistics of such codes have no meaning. Sharded
    parameters also wrap a tensor, their part of the whole, but they are not packed.
    """
    kind = type(tensor)
    if hasattr(kind, "__tensor_flatten__") and not hasattr(tensor, "full_tensor"):
        return f"a {kind.__name__} wraps other tensors, as quantised or packed weights do"
    if not (tensor.is_floating_point() or tensor.is_complex()) or tensor.dtype.itemsize < 2:
        return f"its {str(tensor.dtype).removeprefix('torch.')} entries are codes, quantised, packed or indices"
    if any(getattr(tensor, name, None) is not None for name in _QUANTISED):
        return f"a {kind.__name__} holds quantised codes"
    return None
