"""Checkpoint files: the names and shapes of their tensors, and each tensor on demand. Nothing of a file is executed.

``.safetensors`` holds nothing but tensors. All other files are read by ``torch.load(weights_only=True)``, which loads
tensors, numbers, strings and containers of these. It refuses other objects and runs none of their code.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from probes.checkpoints.step_names import LARGEST_STEP
from probes.recording.opening.saved_state import is_in_memory
from probes.storage.damage import reason
from probes.storage.seal import check_archive

STATE_KEYS = ("state_dict", "model_state_dict", "model", "net", "module", "params")
_STEP_KEYS = ("global_step", "step", "iteration")
_REFUSED = re.compile(r"(?:GLOBAL|class|function) ([\w.]+)")  # in the message of torch
_TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "C64": torch.complex64,
}


@dataclass(frozen=True)
class StoredTensors:
    """The tensors of a checkpoint.

    Attributes:
        shapes: By name, a tensor on device meta of the same shape and type. Tensors that share their memory are one
            object. The names are in the order of the modules, as far as the file keeps it.
        read: Returns the tensor of a name.
        step: Optimizer steps finished, if the file itself says so.
        epoch: The epoch, if the file itself says so.
    """

    shapes: Mapping[str, Tensor]
    read: Callable[[str], Tensor]
    step: int | None = None
    epoch: int | None = None


def open_checkpoint(path: Path, *, key: str | None = None) -> StoredTensors:
    """Return the tensors of a file.

    Args:
        path: A ``.safetensors`` file, or one of ``torch.save``: ``.pt``, ``.pth``, ``.bin``, ``.ckpt``, ``.t7``, ...
        key: Entry of the file that is the state dict, with dots between nested entries; None looks for it.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is no checkpoint, has objects that load only by executing code, or has no state dict.
    """
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint {str(path)!r}: there is no such file; check the path")
    if path.suffix == ".safetensors":
        return _open_safetensors(path)
    return tensors_of(_load(path), key=key, where=path.name)


def tensors_of(content: Any, *, key: str | None = None, where: str = "the state dict") -> StoredTensors:
    """Return the tensors of a state dict, or of a checkpoint that has one among its entries.

    Raises:
        ValueError: There is no state dict, or more than one and no ``key``.
    """
    state = _without_wrapper(_state_dict(content, key, where))
    outer = content if isinstance(content, Mapping) else {}
    return StoredTensors(_shapes(state), _reader_of(state), _number(outer, _STEP_KEYS), _number(outer, ("epoch",)))


def _open_safetensors(path: Path) -> StoredTensors:
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise ValueError(f"{path.name} needs a package: pip install 'meandrift[safetensors]'") from error

    def read(name: str) -> Tensor:
        with safe_open(path, framework="pt") as file:  # opened anew each time, so that no page of the file stays mapped
            tensor: Tensor = file.get_tensor(name)
            return tensor

    try:
        with safe_open(path, framework="pt") as file:
            slices = {name: file.get_slice(name) for name in sorted(file.keys(), key=_by_number)}
            shapes = {name: _meta(one.get_shape(), _TYPES.get(one.get_dtype())) for name, one in slices.items()}
            said = file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(
            f"{path} cannot be read as a safetensors file, it is damaged or of another kind: {error}"
        ) from error
    return StoredTensors(_without_wrapper(shapes), _reader(shapes, read), _number(said, _STEP_KEYS))


def _reader_of(state: Mapping[str, Tensor]) -> Callable[[str], Tensor]:
    def read(name: str) -> Tensor:
        tensor = state[name]
        if not is_in_memory(tensor):
            raise ValueError(
                f"shape {tuple(tensor.shape)}: expected a dense tensor with no more entries than the file holds"
            )
        return tensor

    return read


def _reader(shapes: Mapping[str, Tensor], read: Callable[[str], Tensor]) -> Callable[[str], Tensor]:
    stored = dict(zip(_without_wrapper(shapes), shapes, strict=True))
    return lambda name: read(stored[name])


def _load(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            check_archive(file)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except OSError:
        raise
    except Exception as error:  # on a foreign file the unpickler may raise any exception
        refused = _REFUSED.search(str(error)) if isinstance(error, pickle.UnpicklingError) else None
        if refused is None:
            raise ValueError(
                f"{path} cannot be read: expected a file of torch.save or safetensors: {reason(error)}"
            ) from error
        raise ValueError(
            f"{path} holds an object of {refused[1]}: expected tensors, numbers, strings and containers of these. "
            "Loading the object would run code of the file, so it is refused. If you trust the author of the file: "
            "md.inspect(torch.load(path, weights_only=False)), or an entry of the result"
        ) from error


def _state_dict(content: Any, key: str | None, where: str) -> Mapping[str, Tensor]:
    for entry in key.split(".") if key else ():
        if not isinstance(content, Mapping) or entry not in content:
            raise ValueError(f"{where}: no entry {entry!r} (key={key!r}); it has {_entries(content)}.")
        content = content[entry]
    if _is_state_dict(content):
        return _tensors(content)
    inner = {name: one for name, one in content.items() if _is_state_dict(one)} if isinstance(content, Mapping) else {}
    for name in STATE_KEYS:
        if name in inner:
            return _tensors(inner[name])
    if len(inner) == 1:
        return _tensors(next(iter(inner.values())))
    found = (
        f"several, {', '.join(map(repr, inner))}: choose one with key" if inner else f"none: it has {_entries(content)}"
    )
    raise ValueError(f"{where}: expected a state dict, tensors by name, found {found}.")


def _is_state_dict(content: Any) -> bool:
    """Whether most entries are tensors under a name: a state dict may also hold extra state of a module."""
    if not isinstance(content, Mapping) or not content or not all(isinstance(name, str) for name in content):
        return False
    return 2 * len(_tensors(content)) > len(content)


def _tensors(content: Mapping[str, Any]) -> dict[str, Tensor]:
    return {name: value for name, value in content.items() if isinstance(value, Tensor)}


def _entries(content: Any) -> str:
    if not isinstance(content, Mapping):
        return f"a {type(content).__name__}"
    return ", ".join(repr(name) for name in list(content)[:10]) or "nothing"


def _without_wrapper(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors under their names without the ``module.`` that DataParallel puts before all of them."""
    if tensors and all(name.startswith("module.") for name in tensors):
        return {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    return dict(tensors)


def _shapes(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a meta tensor for each tensor.

    Tensors that share their memory get the same meta tensor.
    """
    known: dict[tuple[Any, ...], Tensor] = {}
    found = {}
    for name, tensor in state.items():
        shared = tensor.numel() and is_in_memory(tensor)
        place = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype) if shared else (name,)
        found[name] = known.setdefault(place, _meta(tensor.shape, tensor.dtype))
    return found


def _meta(shape: Any, dtype: torch.dtype | None) -> Tensor:
    return torch.empty(tuple(shape), dtype=dtype or torch.uint8, device="meta")  # an unknown type is codes


def _number(content: Mapping[str, Any], keys: tuple[str, ...]) -> int | None:
    for name in keys:
        value = content.get(name)
        if isinstance(value, Tensor) and value.numel() == 1:
            value = value.item()
        if isinstance(value, str) and value.isdecimal() and len(value) < 20:
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST_STEP:
            return value
    return None


def _by_number(name: str) -> list[tuple[bool, int, str]]:
    """Return a key that sorts ``layers.10`` after ``layers.9``: a safetensors file keeps no order of the modules."""
    return [(not part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in name.split(".")]
