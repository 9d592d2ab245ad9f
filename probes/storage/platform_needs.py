"""The platform features that recording needs: Linux and macOS have them, Windows has not."""

from __future__ import annotations

import os
from importlib.util import find_spec


class UnsupportedPlatformError(ImportError):
    """This platform lacks a feature that is needed to write a store safely."""


def check_recording() -> None:
    """Refuse a platform on which a store cannot be written without losing rows.

    A writer owns its run by ``flock``, which the system frees when the process dies. A writer reaches its folder by a
    descriptor, so that a store that is renamed meanwhile loses nothing.

    Raises:
        UnsupportedPlatformError: One of the two is missing. The message names platforms that work.
    """
    needs = {
        "flock (fcntl)": find_spec("fcntl") is not None,
        "folder descriptors (os.open with dir_fd)": os.open in os.supports_dir_fd and hasattr(os, "O_DIRECTORY"),
    }
    if missing := [name for name, there in needs.items() if not there]:
        raise UnsupportedPlatformError(
            f"meandrift records on Linux and macOS; this platform ({os.name}) lacks {' and '.join(missing)}. On "
            "Windows record under WSL 2; stores are read (import analysis) on every platform."
        )
