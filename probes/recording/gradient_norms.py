"""The length of the whole gradient at one step, before and after clipping: two numbers of table ``steps``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from probes.measuring.result import Result
from probes.metrics.parameters import PARAMETER_GRADIENT_MOMENTS

_L2 = next(i for i, column in enumerate(PARAMETER_GRADIENT_MOMENTS.columns) if column.name == "grad_l2_norm")


class GradientNorms:
    """Gathers squared lengths of parts of the gradient, one part for each optimizer."""

    def __init__(self) -> None:
        self._unclipped: list[Tensor | None] = []

    def add_unclipped(self, square: Tensor | None, scale: Tensor | float | None) -> None:
        """Add the gradients that the backward passes left to one optimizer.

        Args:
            square: ``sum |g|^2``. None if it is not known; the length of the whole gradient is then not known either.
            scale: The factor on these gradients; None for 1.
        """
        if square is None or scale is None:
            self._unclipped.append(square)
        else:
            self._unclipped.append(square / scale**2)

    def scalars(self, results: Sequence[Result]) -> dict[str, Tensor]:
        """Return ``grad_norm`` and ``grad_norm_unclipped``, as far as they are known.

        Args:
            results: The results of metric ``PARAMETER_GRADIENT_MOMENTS`` at the step, of all ranks.
        """
        used = [result.values[_L2].square().sum() for result in results]
        unclipped = [square for square in self._unclipped if square is not None]
        complete = bool(unclipped) and len(unclipped) == len(self._unclipped)
        found = {"grad_norm": used, "grad_norm_unclipped": unclipped if complete else []}
        return {name: torch.stack(squares).sum().sqrt() for name, squares in found.items() if squares}
