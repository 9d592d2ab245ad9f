"""Checkpoints: the state of a run, from which it continues bit for bit."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from probes.storage.damage import reason
from probes.storage.files import open_store
from probes.storage.safe_files import check_folder, make_file, open_regular
from probes.storage.seal import sealed, unsealed

_PARTS = {"config": dict, "step": int, "random": dict}


def checkpoint_path(store: str | os.PathLike[str], run: str) -> Path:
    """Return the path of a run's checkpoint, in a folder of the store that table readers skip.

    The checkpoint of a run that records to a URL stays on this machine, beside the store's logs.

    Raises:
        ValueError: The run's id is not allowed.
        UnsafePathError: The folder of checkpoints is a link.
    """
    return open_store(store).checkpoint(run)


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint atomically: after a crash the previous checkpoint is intact. Its last bytes are its checksum.

    Raises:
        OSError: The checkpoint could not be written, for instance on a full disk.
    """
    check_folder(path.parent, root=path.parents[1], make=True)
    partial = path.with_suffix(".partial")
    buffer = io.BytesIO()  # torch reports a full disk as "unexpected pos"; the file system's own error names it
    torch.save({**state, "random": random_state()}, buffer)
    content = buffer.getbuffer()
    try:
        with os.fdopen(make_file(partial), "wb") as file:
            file.write(content)
            file.write(sealed(content))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def check_checkpoint(store: str | os.PathLike[str], run: str) -> None:
    """Refuse to resume a run that has no checkpoint.

    Raises:
        FileNotFoundError: The run has no checkpoint.
    """
    if not (place := checkpoint_path(store, run)).is_file():
        raise FileNotFoundError(f"nothing to resume: {place} is missing. Leave out --resume to begin the run.")


def load_checkpoint(
    path: Path,
    *,
    config: Mapping[str, Any],
    defaults: Mapping[str, Any] = MappingProxyType({}),
    may_change: Set[str] = frozenset(),
    device: torch.device | str = "cpu",
) -> dict[str, Any]:
    """Read a checkpoint of the same configuration.

    Args:
        path: The file.
        config: The settings of the run to resume.
        defaults: The default of every setting. They fill in settings that are newer than the checkpoint.
        may_change: Settings in which checkpoint and ``config`` may differ.
        device: Device of the loaded tensors.

    Raises:
        ValueError: The file is damaged, is no checkpoint of this project, or belongs to a run with other settings (for
            example another model).
        UnsafePathError: The path is a link or no file.
    """
    try:
        with os.fdopen(open_regular(path, os.O_RDONLY), "rb") as file:
            content = unsealed(file.read())
        state = torch.load(io.BytesIO(content), map_location=device, weights_only=True)
        _check_parts(state)
    except OSError:
        raise
    except Exception as error:  # the unpickler raises many kinds of errors on a foreign file
        raise ValueError(
            f"checkpoint {path} cannot be read ({reason(error)}): remove it to start the run again."
        ) from error
    saved = {**defaults, **state["config"]}
    unlike = [
        f"{name} {saved.get(name)!r}, not {config.get(name)!r}"
        for name in sorted((set(saved) | set(config)) - may_change)
        if saved.get(name) != config.get(name)
    ]
    if unlike:
        raise ValueError(f"checkpoint {path} is of a run with {'; '.join(unlike)}: resume with its settings.")
    return state


def _check_parts(state: Any) -> None:
    """Raise a ValueError if an object is no checkpoint of a run."""
    if not isinstance(state, dict):
        raise ValueError(f"it holds a {type(state).__name__}, expected a dictionary")
    for name, kind in _PARTS.items():
        if not isinstance(state.get(name), kind):
            raise ValueError(f"it holds no {name} ({kind.__name__})")
    if not all(isinstance(name, str) for name in state["config"]):
        raise ValueError("its settings have names that are not strings")
    if state["step"] < 0 or not isinstance(state["random"].get("cpu"), torch.Tensor):
        raise ValueError("its step is negative, or its random state is not a tensor")


@contextmanager
def fitting(path: Path) -> Iterator[None]:
    """Turn any error inside the block into a ValueError of one line: the checkpoint does not fit the run.

    Raises:
        ValueError: The block raised an error.
    """
    try:
        yield
    except Exception as error:
        raise ValueError(
            f"checkpoint {path} does not fit this run ({reason(error)}): remove it to start again."
        ) from error


def random_state() -> dict[str, Any]:
    """Return the state of torch's global generators. Order and crops need none: each epoch seeds their generators."""
    return {
        "cpu": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_random_state(state: Mapping[str, Any]) -> None:
    """Restore a state of :func:`random_state` to torch's global generators."""
    torch.set_rng_state(state["cpu"].cpu())
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all([one.cpu() for one in state["cuda"]])
