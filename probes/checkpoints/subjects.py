"""The subjects of an inspection: a model, a state dict or files.

Each is opened when its turn comes.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from probes.checkpoints.checkpoint_file import StoredTensors, open_checkpoint, tensors_of
from probes.checkpoints.hollow_model import HollowModel
from probes.checkpoints.step_names import steps_of
from probes.checkpoints.weight_record import Weights
from probes.model.selection import Pattern, canonical_name, innermost, select_layers
from probes.recording.opening.opening import checked_step

Checkpoint = str | os.PathLike[str]
Patterns = Pattern | Sequence[Pattern] | None


@dataclass(frozen=True)
class Reading:
    """How subjects are read.

    Attributes:
        model: A model that the state dicts fit. None: the classes of modules are guessed.
        key: Entry of a file that is the state dict. None: the entry is looked for.
        include: Layers to inspect, by name or class; None: all.
        exclude: Layers to leave out.
    """

    model: nn.Module | None = None
    key: str | None = None
    include: Patterns = None
    exclude: Patterns = None

    def of_model(self, model: nn.Module) -> Weights:
        """Return the weights of a model."""
        return Weights.of_model(select_layers(model, include=self.include, exclude=self.exclude))

    def of_file(self, path: Path) -> Weights:
        """Return the weights of a file."""
        return self._of_tensors(open_checkpoint(path, key=self.key), path.name)

    def of_content(self, content: Mapping[str, Any]) -> Weights:
        """Return the weights of a state dict, or of a checkpoint that has one."""
        return self._of_tensors(tensors_of(content, key=self.key), "the state dict")

    def _of_tensors(self, stored: StoredTensors, where: str) -> Weights:
        if self.model is not None:
            filled = self.of_model(_filled(self.model, stored, where))
            return replace(filled, step=stored.step, epoch=stored.epoch)
        hollow = HollowModel(stored.shapes)
        return Weights.of_file(select_layers(hollow.root, include=self.include, exclude=self.exclude), stored, hollow)


def open_each(
    what: nn.Module | Mapping[str, Any] | Checkpoint | Sequence[Checkpoint],
    step: int | Sequence[int] | None,
    reading: Reading,
) -> Iterator[tuple[str | None, Weights]]:
    """Yield the file (None for a model or a state dict) and the weights of each subject, with its step.

    Args:
        what: A model, a state dict, a file or several.
        step: The step, or the step of each file. None: the step in the file, else the step in its name.
        reading: How the subjects are read.

    Raises:
        FileNotFoundError: A file is not there.
        ValueError: See :func:`probes.checkpoints.checkpoint_file.open_checkpoint`; or there are no files, or the
            numbers of steps and files differ.
    """
    files: list[Path] = []
    opens: list[Callable[[], Weights]]
    if isinstance(what, nn.Module):
        opens = [partial(reading.of_model, what)]
    elif isinstance(what, Mapping):
        opens = [partial(reading.of_content, what)]
    else:
        files = [Path(one) for one in ([what] if isinstance(what, (str, os.PathLike)) else what)]
        opens = [partial(reading.of_file, path) for path in files]
    given, named = _given(step, len(opens)), steps_of(files) or [None]
    for place, (opened, told, name) in enumerate(zip(opens, given, named, strict=True)):
        weights = opened()
        steps = (one for one in (told, weights.step, name) if one is not None)
        yield (str(files[place]) if files else None), replace(weights, step=next(steps, None))


def _given(step: int | Sequence[int] | None, count: int) -> list[int | None]:
    if count == 0:
        raise ValueError("nothing to inspect: give a model, a state dict or at least one file.")
    steps = [None] * count if step is None else [step] if isinstance(step, int) else list(step)
    if len(steps) != count:
        raise ValueError(f"step: {len(steps)} given for {count} files; expected one each, or none at all.")
    return [None if one is None else checked_step(one) for one in steps]


def _filled(model: nn.Module, stored: StoredTensors, where: str) -> nn.Module:
    """Return a copy of a model with the tensors of a state dict.

    Raises:
        ValueError: The tensors do not fit the model.
    """
    copied = copy.deepcopy(innermost(model))
    state = {canonical_name(name): stored.read(name) for name in stored.shapes}
    try:
        copied.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"{where} does not fit the model {type(copied).__name__}: {error}") from error
    return copied
