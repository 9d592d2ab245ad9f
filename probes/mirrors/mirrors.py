"""The mirrors by name."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from probes import schema
from probes.mirrors.mirror import Mirror, Screen


def mirrors_of(mirror: Any, *, store: str | os.PathLike[str]) -> tuple[Mirror, ...]:
    """Return the mirrors that the argument names; an empty tuple for None.

    Args:
        mirror: ``"wandb"``: the run of wandb that is open at the first record; ``"tensorboard"``: event files in
            ``<store>/tensorboard/run=<id>``; a ``SummaryWriter``; or several of these in a sequence.
        store: Folder of the store.

    Raises:
        ValueError: ``mirror`` is none of these, its package is missing, or the store is no folder of this machine.
    """
    if mirror is None:
        return ()
    if isinstance(mirror, (list, tuple)):
        return tuple(one for each in mirror for one in mirrors_of(each, store=store))
    if isinstance(mirror, str) and mirror in MIRRORS:
        if find_spec(mirror) is None:
            raise ValueError(f"mirror={mirror!r} needs its package: pip install 'meandrift[{mirror}]'.")
        return (Mirror(mirror, MIRRORS[mirror](store)),)
    if hasattr(mirror, "add_histogram_raw"):
        return (Mirror("tensorboard", lambda _: _tensorboard_screen(mirror)),)
    raise ValueError(
        f"mirror={mirror!r}: expected {' or '.join(map(repr, MIRRORS))}, a SummaryWriter, or several of these."
    )


def _wandb(store: str | os.PathLike[str]) -> Callable[[str], Screen]:  # noqa: ARG001 - the run that is open has a place
    def open_screen(_: str) -> Screen:
        from probes.mirrors.wandb import WandbScreen

        return WandbScreen()

    return open_screen


def _tensorboard(store: str | os.PathLike[str]) -> Callable[[str], Screen]:
    folder = schema.local_folder(store)
    if folder is None:
        raise ValueError(
            f"mirror='tensorboard' writes into the store, and {os.fspath(store)!r} is not a local folder: give "
            "mirror=SummaryWriter(folder)."
        )
    return lambda run: _tensorboard_screen(folder / schema.TENSORBOARD / schema.run_folder(run))


def _tensorboard_screen(target: Any) -> Screen:
    from probes.mirrors.tensorboard import TensorBoardScreen

    return TensorBoardScreen(target)


MIRRORS: dict[str, Callable[[str | os.PathLike[str]], Callable[[str], Screen]]] = {
    "wandb": _wandb,
    "tensorboard": _tensorboard,
}
"""By name, the function that returns the opener of the screen for a run in a store."""
