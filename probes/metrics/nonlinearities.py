"""The nonlinearities: torch's operators that act on each entry by itself and are not linear."""

from __future__ import annotations

from typing import Any

NONLINEARITIES = (
    "relu",
    "leaky_relu",
    "prelu",
    "rrelu",
    "threshold",
    "clamp",
    "clamp_min",
    "hardtanh",
    "elu",
    "celu",
    "gelu",
    "erf",
    "silu",
    "mish",
    "softplus",
    "sigmoid",
    "log_sigmoid",
    "hardsigmoid",
    "hardswish",
    "tanh",
    "softshrink",
    "hardshrink",
    "glu",
    "sin",
)
"""Names in table ``channels``.

Other nonlinearities call these operators: relu6 calls hardtanh, selu calls elu.
"""

_OTHER_NAMES = {"_prelu_kernel": "prelu", "rrelu_with_noise": "rrelu", "log_sigmoid_forward": "log_sigmoid"}


def nonlinearity(operator: Any) -> int | None:
    """Return the index of an operator in ``NONLINEARITIES``, in place or not; None if it is not in the list."""
    namespace, _, name = str(operator).partition(".")
    name = name.partition(".")[0]
    name = _OTHER_NAMES.get(name, name).removesuffix("_")
    return NONLINEARITIES.index(name) if namespace == "aten" and name in NONLINEARITIES else None
