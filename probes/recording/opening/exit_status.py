"""The status of a run that nobody closed."""

from __future__ import annotations

import sys


def exit_status() -> str:
    """Return the status of a run that is open when the process ends: "failed" or "interrupted".

    "failed" stands for an uncaught exception, "interrupted" for every other end. An interactive session goes on after
    an exception, so its runs are "interrupted".
    """
    error = getattr(sys, "last_value", None)
    return "failed" if isinstance(error, Exception) and not hasattr(sys, "ps1") else "interrupted"
