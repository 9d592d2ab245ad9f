"""The sources that optimizers offer: learning rates, groups and moments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from probes.hooks.optimizers.sources.layer_state import LAYER_STATE, layer_state_source
from probes.hooks.optimizers.sources.learning_rates import (
    GROUP_LR,
    RATE_AND_PARAMETER,
    learning_rate_source,
    rate_and_parameter_source,
)
from probes.hooks.optimizers.sources.moments import moment_sources
from probes.measuring.observation import Source
from probes.ranks import Ranks


def optimizer_sources(optimizers: Sequence[Any], ranks: Ranks) -> dict[str, Source]:
    """Return all sources that read optimizers, by name.

    Args:
        optimizers: The optimizers that make the steps.
        ranks: Which layers and parameters this process measures.
    """
    return {
        GROUP_LR: learning_rate_source(optimizers, ranks),
        RATE_AND_PARAMETER: rate_and_parameter_source(optimizers, ranks),
        LAYER_STATE: layer_state_source(optimizers, ranks),
        **moment_sources(optimizers, ranks),
    }
