"""The status of a run that nobody closed."""

from __future__ import annotations

import sys


def exit_status() -> str:
    """Return the status of a run that is open when the process ends: "failed" after an uncaught exception.

    Else it is "interrupted".
    In an interactive session nothing tells whether the last exception ended anything.
    """
    error = getattr(sys, "last_value", None)
    return "failed" if isinstance(error, Exception) and not hasattr(sys, "ps1") else "interrupted"
