"""The paper's margin-based generalisation bound (Theorem 1), computed during a training run."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from dynamics.bounds.complexity import margin_bound_of, spectral_complexity
from dynamics.bounds.folded_network import chain_matrices, folded
from dynamics.data.batches import in_order
from dynamics.data.images import DataSet, evenly_spaced
from dynamics.norms.eval_mode import evaluating

MARGIN_IMAGES = 5000  # evenly spaced training images whose margins are computed; all images of a smaller set
BATCH = 500  # changes memory use, but no result


class MarginBound:
    """Spectral complexity R (Eq. 4) and the bound of Theorem 1 (Eq. 5) of one network at any of its steps.

    Both are computed for the folded network, because batch norm's scale changes the effective weights. The reference
    matrices are the folded weights at initialisation. n and ``|X|_F`` are those of all training images. The share of
    small margins in the bound is that of at most 5,000 images.

    Args:
        model: The network at its initialisation.
        data: The data set of the training.

    Attributes:
        unknown: Reason why this network has neither number: when folded it is no chain of layers. Empty if it has both.
    """

    def __init__(self, model: nn.Module, data: DataSet) -> None:
        self.unknown = ""
        self._references: list[Tensor] = []
        try:
            self._references = list(chain_matrices(folded(model)).values())
        except ValueError as error:
            self.unknown = str(error)
        self._data = data
        self._samples = len(data.train)
        self._input_norm = input_norm(data)
        self._images = evenly_spaced(data.train, most=MARGIN_IMAGES)

    def of(self, model: nn.Module) -> dict[str, float | None]:
        """Return ``spectral_complexity`` and ``margin_bound`` of the network at its present step; None if unknown."""
        if self.unknown:
            return {"spectral_complexity": None, "margin_bound": None}
        logits = self._logits(model)  # goes first: its forward projects the weights of a released norm
        weights = list(chain_matrices(folded(model)).values())
        complexity = float(spectral_complexity(weights, self._references))
        bound = margin_bound_of(
            logits,
            self._images.labels,
            complexity=complexity,
            width=max(2, *(size for W in weights for size in W.shape)),
            input_norm=self._input_norm,
            samples=self._samples,
        )
        return {"spectral_complexity": complexity, "margin_bound": bound}

    @torch.no_grad()
    def _logits(self, model: nn.Module) -> Tensor:
        batches = in_order(self._images, mean=self._data.mean, std=self._data.std, batch_size=BATCH)
        with evaluating(model):
            return torch.cat([model(images).float() for images, _ in batches])


def input_norm(data: DataSet) -> float:
    """Return ``|X|_F``: the square root of the sum of squares of all training images after standardisation."""
    levels = torch.arange(256, dtype=torch.float64) / 255
    total = 0.0
    for channel, (mean, std) in enumerate(zip(data.mean, data.std, strict=True)):
        counts = data.train.pixels[:, channel].flatten().bincount(minlength=256).cpu()
        total += float((counts * ((levels - mean) / std).square()).sum())
    return math.sqrt(total)
