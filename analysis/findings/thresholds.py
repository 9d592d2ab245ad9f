"""Thresholds: the levels from which on values are findings, each settable by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Thresholds:
    """Levels from which on values are findings. All are pure numbers.

    Attributes:
        vanished: Gradient norm of a layer and of all layers before it, divided by the network's largest at the record.
        faded: Share of a layer in the network's largest gradient norm, divided by its largest share so far.
        exploded: Largest gradient norm of the network, divided by the largest at any earlier record.
        grown: Largest gradient norm of the network, divided by its median over the first five records.
        exploded_by_depth: Median gradient norm of the first quarter of the layers, divided by that of the last quarter.
        accumulated: Growth of the gradient norm in one unbroken rise that has the shape of a sum.
        attention_logits: Largest attention logit of a head.
        spectral_explosion: Spectral norm of a layer, divided by its first recorded value.
        weight_collapse: L2 norm of a weight, divided by its largest so far; a finding is below.
        rank_collapse: Effective rank of a weight, divided by its largest so far; a finding is below.
        dead: Share of dead channels of a layer.
        saturated: Share of saturated entries of a layer.
        odd_scale: RMS-to-RMS norm of a weight at the first record, divided by the median of its type.
        rate_jump: Learning rate, divided by the largest so far.
        replaced: Relative change of a weight's norm between two records, divided by the change that the updates between
            them allow.
        shrunk: L2 norm of a weight, divided by its norm five records before; a finding is below.
        rounded: |W' - W| / |W|, divided by the epsilon of the weight's type; a finding is below.
        drift: Drift of the weight mean, divided by the standard deviation of the weights.
        overflow: Root mean square of a layer's output; float16 ends at 65504.
        small_update: Median over layers of |W' - W| / |W|; a finding is below.
        large_update: Median over layers of |W' - W| / |W|.
        diverged: Training loss, divided by the largest of the first five.
        spike: Height of the loss above the median of the 20 before, divided by their range.
        plateau: Relative fall of the training loss; a finding is below.
    """

    vanished: float = 1e-6
    faded: float = 1e-5
    exploded: float = 100.0
    grown: float = 1000.0
    exploded_by_depth: float = 1e4
    accumulated: float = 3.0
    attention_logits: float = 50.0
    spectral_explosion: float = 10.0
    weight_collapse: float = 0.01
    rank_collapse: float = 0.2
    dead: float = 0.9
    saturated: float = 0.8
    odd_scale: float = 20.0
    rate_jump: float = 3.0
    replaced: float = 8.0  # an optimizer that steps several times per step of the run moves its weights further
    shrunk: float = 0.3
    rounded: float = 1 / 30
    drift: float = 0.5
    overflow: float = 1e4
    small_update: float = 1e-5
    large_update: float = 0.3
    diverged: float = 10.0
    spike: float = 5.0
    plateau: float = 0.02

    @classmethod
    def parse(cls, settings: Sequence[str]) -> Thresholds:
        """Return the thresholds with settings like ``"dead=0.5"``; the others keep their defaults.

        Raises:
            ValueError: A setting is no ``name=number``, or there is no such threshold; the message lists all
                thresholds.
        """
        levels: dict[str, float] = {}
        for setting in settings:
            name, _, number = setting.partition("=")
            if name not in {entry.name for entry in fields(cls)}:
                known = ", ".join(f"{entry.name}={entry.default:g}" for entry in fields(cls))
                raise ValueError(f"threshold {setting!r}: expected name=number, one of {known}")
            try:
                levels[name] = float(number)
            except ValueError:
                raise ValueError(f"threshold {setting!r}: expected a number after '=', as in {name}=0.5") from None
        return cls(**levels)
