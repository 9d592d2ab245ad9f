"""Measurements of a GAN between two training steps: scores of its samples, and the critic's gradients."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dynamics.gan.images import to_floats
from dynamics.gan.scoring.critic_steepness import gradient_bounds, gradient_extremes
from dynamics.gan.scoring.samples import generate, noise
from dynamics.gan.scoring.scores import Reference, reference, score_draws
from dynamics.norms.eval_mode import evaluating

if TYPE_CHECKING:
    from torch import Tensor

    from dynamics.data.images import DataSet
    from dynamics.gan.config import GanConfig
    from dynamics.gan.scoring.extractors import Extractor
    from dynamics.gan.train_state import TrainState

LIPSCHITZ_IMAGES = 256


@dataclass(frozen=True, eq=False)
class Scorer:
    """Measures a generator and its critic against the real images, with the same noise each time.

    Attributes:
        config: The run's settings.
        real_test: Test images, uint8. They are scored as real draws, and the critic's gradient is taken at them.
        extractor: The extractor of the scores; None computes no scores.
        reference: The extractor's statistics of the real training images.
    """

    config: GanConfig
    real_test: Tensor
    extractor: Extractor | None
    reference: Reference | None

    def description(self) -> dict[str, str]:
        """Return the extractor's name and the fingerprint of its weights, for the run's configuration."""
        if self.extractor is None:
            return {"extractor": "none"}
        return {"extractor": self.extractor.name, "extractor_weights": self.extractor.fingerprint()}

    def real(self) -> dict[str, float]:
        """Return the scores of test images, which a perfect generator would reach."""
        draws = self.real_test.split(self.config.draw_images)[: self.config.draws]
        return self._scores(draw for draw in draws if len(draw) > 1)

    def measure(self, state: TrainState, *, draws: int) -> dict[str, float]:
        """Return scores of the sampled generator over some draws, and the critic's gradients and their bounds."""
        real = to_floats(self.real_test[:LIPSCHITZ_IMAGES])
        fake = to_floats(self._draw(state, 0, count=len(real)))
        with evaluating(state.pair):  # both networks: a probe records a forward in training mode as training
            steepness = gradient_extremes(state.pair.critic, real, fake, seed=self.config.seed)
            steepness |= gradient_bounds(state.pair.critic, real[:1])
        return steepness | self._scores(
            self._draw(state, number, count=self.config.draw_images) for number in range(draws)
        )

    def _scores(self, draws: Iterator[Tensor]) -> dict[str, float]:
        if self.extractor is None or self.reference is None:
            return {}
        return score_draws(self.extractor, self.reference, draws)

    def _draw(self, state: TrainState, number: int, *, count: int) -> Tensor:
        z = noise(count, self.config.latent, seed=self.config.seed, use="score", number=number)
        return generate(state.sampled, z)


def scorer(config: GanConfig, data: DataSet, extractor: Extractor | None) -> Scorer:
    """Return a scorer for a data set. The real images pass the extractor in this call."""
    images = data.train.pixels[: config.reference_images or None]
    return Scorer(config, data.test.pixels, extractor, reference(extractor, images) if extractor else None)
