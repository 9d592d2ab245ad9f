"""Where a run's settings come from: defaults, a protocol, a stored run, and the options given, which go first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dynamics.classifier.config import RunConfig, protocol
from dynamics.runtime.stored import stored_config


def recipe(
    options: Mapping[str, Any], *, store: str, from_run: str = "", protocol_name: str = "", resumed: str = ""
) -> RunConfig:
    """Return the settings that were asked for.

    Args:
        options: The settings given one by one.
        store: Where a stored run is looked up.
        from_run: Take the settings of this stored run.
        protocol_name: Take the settings of ``paper`` or ``released`` for the model.
        resumed: Go on with this stored run, under its own settings.

    Raises:
        ValueError: Two sources at once, no such run or protocol, or a setting out of range.
    """
    sources = {"--from-run": from_run, "--protocol": protocol_name, "--resume": resumed}
    if len(given := [name for name, value in sources.items() if value]) > 1:
        raise ValueError(f"{' and '.join(given)} were given: expected one source of settings.")
    settings: dict[str, Any] = {}
    if from_run or resumed:
        settings = stored_config(store, from_run or resumed).to_dict()
    if protocol_name:
        settings = protocol(protocol_name, options.get("model", RunConfig().model))
    return RunConfig.from_dict(settings | dict(options))
