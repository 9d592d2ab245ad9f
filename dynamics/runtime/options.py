"""The command-line options of a RunConfig: one for each field, its help beside the field."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import Field, fields
from typing import Annotated, Any, get_type_hints

import typer

from dynamics.classifier.config import RunConfig

Command = Callable[..., None]


def with_config_options(*, several: bool = False) -> Callable[[Command], Command]:
    """Give a command one option for each field of RunConfig.

    ``command(settings: dict, *, ...)`` gets the ones that were given, as ``settings``, and its own options, which are
    listed first.

    Args:
        several: Take each option as text, for a command that reads several values from it.
    """
    types = get_type_hints(RunConfig)
    options = {
        entry.name: inspect.Parameter(
            entry.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[
                (str if several else types[entry.name]) | None,
                typer.Option(help=_help(entry), rich_help_panel=entry.metadata["group"], show_default=False),
            ],
        )
        for entry in fields(RunConfig)
    }

    def decorate(command: Command) -> Command:
        def parsed(**given: Any) -> None:
            settings = {name: value for name in options if (value := given.pop(name)) is not None}
            command(settings, **given)

        own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != "settings"]
        both = [*own, *options.values()]
        parsed.__name__, parsed.__doc__ = command.__name__, command.__doc__
        parsed.__signature__ = inspect.Signature(both)  # type: ignore[attr-defined]  # where inspect looks first
        parsed.__annotations__ = {parameter.name: parameter.annotation for parameter in both}
        return parsed

    return decorate


def _help(setting: Field[Any]) -> str:
    """Return a setting's help and its default; the option itself has none, to tell whether it was given."""
    default = ("yes" if setting.default else "no") if setting.type == "bool" else str(setting.default)
    return f"{setting.metadata['help']} Default: {default}." if default else setting.metadata["help"]
