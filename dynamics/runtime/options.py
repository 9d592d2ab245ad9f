"""Command-line options: the shared options, and one option for each field of a dataclass of settings."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import Field, field, fields
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

Command = Callable[..., None]

STORE, DATA, RECORDS = "Store", "Data", "Records and scores"  # panels of --help
RunId = Annotated[
    str,
    # --run-id exists because torchrun takes --run for one of its own options.
    typer.Option("--run", "--run-id", help="Run id; else made of model, data, norm, ... and seed."),
]
Store = Annotated[str, typer.Option(help="Folder or URL to record in.", rich_help_panel=STORE)]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run where it stopped.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Delete what is there first.", rich_help_panel=STORE)]
DataDir = Annotated[Path, typer.Option(help="Folder that holds the data sets.", rich_help_panel=DATA)]
Download = Annotated[bool, typer.Option("--download", help="Fetch a data set not there.", rich_help_panel=DATA)]
Extractor = Annotated[
    str,
    typer.Option(
        help="What scores a GAN's samples: inception:PATH or resnet20:PATH (weights), trained (a small classifier, on "
        "this data), or none.",
        rich_help_panel=RECORDS,
    ),
]


def setting(default: Any, group: str, description: str, *, option: str = "", default_text: str = "") -> Any:
    """Return a dataclass field that :func:`options` turns into an option.

    Args:
        default: The field's default.
        group: Panel of ``--help`` that lists the option.
        description: Help text of the option.
        option: Name of the option if it differs from the field's: ``critic-norm``.
        default_text: Description of the default if it depends on other settings.
    """
    metadata = {"help": description, "group": group, "option": option, "default_text": default_text}
    return field(default=default, metadata=metadata)


def options(config: type, *, several: bool = False) -> Callable[[Command], Command]:
    """Give a command one option for each field of a dataclass of settings.

    ``command(settings: dict, *, ...)`` receives the settings on the command line, by their fields' names, and its own
    options, which ``--help`` lists first.

    Args:
        config: A dataclass whose fields are made by :func:`setting`.
        several: Pass each option as text, for a command that reads several values from it.
    """
    types = get_type_hints(config)
    parameters = {entry.name: _parameter(entry, str if several else types[entry.name]) for entry in fields(config)}

    def decorate(command: Command) -> Command:
        def parsed(**given: Any) -> None:
            settings = {name: value for name in parameters if (value := given.pop(name)) is not None}
            command(settings, **given)

        own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != "settings"]
        both = [*own, *parameters.values()]
        parsed.__name__, parsed.__doc__ = command.__name__, command.__doc__
        parsed.__signature__ = inspect.Signature(both)  # type: ignore[attr-defined]  # where inspect looks first
        parsed.__annotations__ = {parameter.name: parameter.annotation for parameter in both}
        return parsed

    return decorate


def _parameter(entry: Field[Any], kind: type) -> inspect.Parameter:
    """Return the option of a field. The option's default is None, which shows that the user did not set it."""
    names = [f"--{entry.metadata['option']}"] if entry.metadata["option"] else []
    option = typer.Option(*names, help=_help(entry), rich_help_panel=entry.metadata["group"], show_default=False)
    annotation = Annotated[kind | None, option]  # type: ignore[valid-type]
    return inspect.Parameter(entry.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _help(entry: Field[Any]) -> str:
    """Return the help text of a setting, with its default at the end."""
    default = entry.metadata["default_text"] or str(entry.default)
    if isinstance(entry.default, bool):
        default = "yes" if entry.default else "no"
    return f"{entry.metadata['help']} Default: {default}." if default else entry.metadata["help"]
