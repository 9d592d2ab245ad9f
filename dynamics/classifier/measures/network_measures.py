"""Measures of the whole network between two epochs, on a copy, so that training stays bitwise the same."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable

from torch import Tensor, nn

from dynamics.bounds.bracket import lipschitz_bracket, why_unbounded
from dynamics.classifier.dataset import Split, evenly_chosen
from dynamics.classifier.measures.margins import MarginBound
from dynamics.classifier.setup import Setup
from dynamics.data.text.text_set import TextSet
from dynamics.landscape.along_gradient import along_gradient
from dynamics.landscape.batch_loss import BatchLoss
from dynamics.landscape.covariate_shift import after_step, covariate_shifts, layers_to_follow, mean_shift
from dynamics.landscape.hessian import top_hessian_eigenvalue

BRACKET_IMAGES = 16  # test images at which the network's stretch is measured
OF_TEXT = "a change of a character has no length"
SHIFTED_LAYERS = 8  # layers over which the internal covariate shift is averaged

Values = dict[str, float | None]


class NetworkMeasures:
    """Complexity and margin bound at each test; Lipschitz bracket and landscape in the configured intervals.

    The bracket is measured at 16 evenly spaced test images. The landscape is measured on one batch of evenly spaced
    training images without augmentation, in float32. Each depends only on the state of network and optimizer, so a
    resumed run has the numbers of an uninterrupted run. If a measurement fails, a warning is given, its values are null
    and training continues. For a network that reads text only the landscape is measured, because the other measures are
    ratios of lengths in the input.

    Args:
        setup: The run before its first step: the model carries no probe, is not compiled, and does not take its means
            over several processes.

    Attributes:
        not_measured: Quantities that are not defined for this network, and why; empty if all are.
    """

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._twin = copy.deepcopy(setup.model)
        self._margins = None if isinstance(setup.data, TextSet) else MarginBound(setup.model, setup.data)
        if self._margins is None:
            reasons = {"lipschitz bracket, spectral_complexity, margin_bound": OF_TEXT}
        else:
            unbounded = why_unbounded(setup.model).removeprefix("lipschitz_bound: ")
            reasons = {"spectral_complexity": self._margins.unknown, "lipschitz_bound": unbounded}
        self.not_measured = "; ".join(f"{name}: {reason}" for name, reason in reasons.items() if reason)

    def of(self, model: nn.Module, *, epoch: int) -> Values:
        """Return the values that are due after an epoch, counted from 0, by their column in table ``steps``."""
        self._twin.load_state_dict(model.state_dict())
        config = self._setup.config
        due: list[tuple[int, Callable[[], Values]]] = [(config.landscape_every, self._landscape)]
        if (margins := self._margins) is not None:
            due = [(1, lambda: margins.of(self._twin)), (config.bracket_every, self._bracket), *due]
        found: Values = {}
        for every, measure in due:
            if every and (epoch + 1) % every == 0:
                found |= _guarded(measure, epoch)
        return found

    def _bracket(self) -> Values:
        return lipschitz_bracket(self._twin, *self._chosen("test", BRACKET_IMAGES))

    def _landscape(self) -> Values:
        loss = BatchLoss(self._twin, *self._chosen("train", self._setup.config.batch_size))
        updated = after_step(self._setup.optimizer, loss.parameters, loss.gradient(loss.parameters).gradient)
        shift = mean_shift(covariate_shifts(loss, updated, layers_to_follow(self._twin, most=SHIFTED_LAYERS)))
        return {
            **along_gradient(loss),
            "hessian_top_eigenvalue": top_hessian_eigenvalue(loss),
            "covariate_shift_l2": shift.l2,
            "covariate_shift_cosine": shift.cosine,
        }

    def _chosen(self, split: Split, most: int) -> tuple[Tensor, Tensor]:
        return evenly_chosen(self._setup.data, split, most=most)


def _guarded(measure: Callable[[], Values], epoch: int) -> Values:
    try:
        return measure()
    except Exception as error:
        warnings.warn(
            f"a measurement of the network failed after epoch {epoch}: {type(error).__name__}: {error}. Training goes "
            "on; its columns are null there.",
            RuntimeWarning,
            stacklevel=2,
        )
        return {}
