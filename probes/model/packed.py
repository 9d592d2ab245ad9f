"""Parameters that hold no numbers of their own: quantised and packed weights."""

from __future__ import annotations

from torch import Tensor

_QUANTISED = ("quant_state", "SCB")  # where bitsandbytes keeps the scales of a weight


def why_packed(tensor: Tensor) -> str | None:
    """Return why the entries of a tensor are no weights; None where they are.

    A tensor of whole numbers holds indices, or codes of quantised weights. Floats of one byte are codes with a scale. A
    class that wraps other tensors keeps codes and scales in them. Statistics of these codes have no meaning. Sharded
    parameters, which wrap their part of the whole, are not packed.
    """
    kind = type(tensor)
    if hasattr(kind, "__tensor_flatten__") and not hasattr(tensor, "full_tensor"):
        return f"a {kind.__name__} wraps other tensors, as quantised or packed weights do"
    if not (tensor.is_floating_point() or tensor.is_complex()) or tensor.dtype.itemsize < 2:
        return f"its {str(tensor.dtype).removeprefix('torch.')} entries are codes, quantised, packed or indices"
    if any(getattr(tensor, name, None) is not None for name in _QUANTISED):
        return f"a {kind.__name__} holds quantised codes"
    return None
