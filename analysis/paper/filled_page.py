"""A page whose numbers are computed: a template with ``${...}`` that a script fills from a store."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path


def filled(template: str, number: Callable[[str], str]) -> str:
    """Return the template with each ``${words}`` replaced by ``number("words")``."""
    return re.sub(r"\$\{([^}]+)\}", lambda match: number(match[1]).rstrip("\n"), template)


def print_or_write(
    rendered: Callable[[str, Path], str], *, template: Path, page: Path, store: Path, description: str | None
) -> None:
    """Run the command line of the script: print the page, or write it with ``--write``.

    Args:
        rendered: Returns the page from the text of the template and a store.
        template: The file of the template.
        page: The file to write.
        store: The store if there is no ``--store``.
        description: The help text of the command.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, default=store)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    text = rendered(template.read_text(encoding="utf-8"), arguments.store)
    if arguments.write:
        page.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)
