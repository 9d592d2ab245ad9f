"""The command ``meandrift``: the commands of all packages, with each error and each warning in one line."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from typing import Annotated

import typer

from probes.schema.printable import one_line, say
from probes.storage.platform_needs import UnsupportedPlatformError

COMMANDS = (  # each has a typer app named `app`
    "dynamics.commands",
    "dynamics.gan.commands",
    "dynamics.authors_checkpoints.commands",
    "dynamics.deploy.commands",
    "analysis.commands",
    "probes.commands",
    "probes.checkpoints.commands",
)
USAGE, INTERRUPTED = 2, 130  # exit statuses: a mistake of the caller; ended by Ctrl-C, by the shell's convention


def make_app() -> typer.Typer:
    """Return the whole command line."""
    app = typer.Typer(
        no_args_is_help=True,
        rich_markup_mode="markdown",
        context_settings={"help_option_names": ["-h", "--help"]},
        pretty_exceptions_enable=False,
    )
    app.callback()(_options_of_all)
    for module in COMMANDS:
        app.registered_commands.extend(import_module(module).app.registered_commands)
    return app


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"meandrift {version('meandrift')}")
        raise typer.Exit


def _options_of_all(
    *,
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Train under probes, read everything back as a DataFrame and as the paper's figures."""


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status; a caller's mistake is one line on standard error."""
    try:
        status = make_app()(args=arguments, standalone_mode=False)
        return status if isinstance(status, int) else 0
    except (typer.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except Exception as error:
        if os.environ.get("MEANDRIFT_TRACEBACK") or not _is_callers(error):
            raise
        if message := one_line(_message(error), most=4000):  # without a command typer prints help; the message is empty
            say(f"error: {message}", err=True)
        return USAGE


def main() -> None:
    """Run the process's own command line and exit."""
    from dynamics.runtime.progress import warn_in_one_line

    warn_in_one_line()
    sys.exit(run())


def _is_callers(error: Exception) -> bool:
    return isinstance(error, (ValueError, OSError, UnsupportedPlatformError)) or hasattr(error, "format_message")


def _message(error: Exception) -> str:
    # typer's own usage errors: versions of typer have them in different places, but with the same method.
    return error.format_message() if hasattr(error, "format_message") else str(error)
