"""The sources of a run's settings: options first, then a stored run or a protocol, then the defaults."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any

from dynamics.classifier.config import RunConfig, protocol
from dynamics.runtime.stored_run import stored_run

DERIVED = frozenset({"parameters", "not_measured", "commit"})  # stored beside a run's settings, but no settings


def requested_config(
    options: Mapping[str, Any], *, store: str, from_run: str = "", protocol_name: str = "", resumed: str = ""
) -> RunConfig:
    """Return the configuration that a command line asks for.

    Args:
        options: The settings on the command line, by name.
        store: Store of the run that ``from_run`` or ``resumed`` names.
        from_run: Take the settings of this stored run.
        protocol_name: Take the settings of ``paper`` or ``released`` for the model.
        resumed: Continue this stored run, with its own settings.

    Raises:
        ValueError: Two sources are named, there is no such run or protocol, or a setting is out of range.
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


def stored_config(store: str | PathLike[str], run: str) -> RunConfig:
    """Return the configuration that repeats a stored run.

    Raises:
        ValueError: The store has no such run, or another program recorded it with other settings.
    """
    found = stored_run(store, run)
    if found is None:
        raise ValueError(f"run {run!r} is not in store {store}: `meandrift runs {store}` lists those that are.")
    try:
        return RunConfig.from_dict({name: value for name, value in found.settings.items() if name not in DERIVED})
    except ValueError as error:
        raise ValueError(f"run {run!r} cannot be repeated: {error}") from error
