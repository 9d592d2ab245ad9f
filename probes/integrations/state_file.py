"""The state of a probe in a file beside a framework's checkpoint.

It has a checksum and is read without executing code.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from probes.storage.damage import reason
from probes.storage.safe_files import make_file, open_regular
from probes.storage.seal import sealed, unsealed


def write_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write a state whole or not at all; the last bytes of the file are its checksum.

    Raises:
        OSError: The file could not be written, for example on a full disk.
    """
    buffer, partial = io.BytesIO(), path.with_suffix(".partial")
    torch.save(dict(state), buffer)
    content = buffer.getbuffer()
    try:
        with os.fdopen(make_file(partial), "wb") as file:
            file.write(content)
            file.write(sealed(content))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read_state(path: Path) -> dict[str, Any]:
    """Return a state; empty where there is no file.

    Raises:
        ValueError: The file is damaged, or is no state of a probe.
        UnsafePathError: The path is a link, or no regular file.
    """
    try:
        with os.fdopen(open_regular(path, os.O_RDONLY), "rb") as file:
            content = file.read()
    except FileNotFoundError:
        return {}
    try:
        state = torch.load(io.BytesIO(unsealed(content)), map_location="cpu", weights_only=True)
        if not isinstance(state, dict) or not isinstance(state.get("run"), str):
            raise ValueError(f"it holds a {type(state).__name__}, expected a dictionary that names a run")
    except Exception as error:  # on a foreign file the unpickler may raise any exception
        raise ValueError(f"{path} is not the state of a probe ({reason(error)}): remove it to begin a run.") from error
    return state
