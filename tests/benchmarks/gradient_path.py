"""The way of one gradient entry from the optimizer's hook to Parquet: files, folders and forms, by tracing.

    PYTHONPATH=CHECKOUT python tests/benchmarks/gradient_path.py

The entry is 0.8125, the only gradient of a layer with one weight. A file is on the way if a function of it is given the
entry, or returns it. A form is the type of such an argument or result where it goes from one folder into another, or
into the file; lists, tuples and dictionaries are not counted. A folder inside another is a part of it; modules
beside the folders (``arrow_arrays``) are in none.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

import probes
from probes import Probe

ENTRY = 0.8125
HOME = Path(probes.__file__).parent
DEPTH = 6
OF_A_LAYER = [
    "grad_moments",
    "grad_sparsities",
    "gradient_histogram",
]  # not those of table parameters, a way of its own


def carries(value: Any, depth: int = DEPTH) -> bool:
    """Return whether the entry is found in a value."""
    if isinstance(value, Tensor):
        return value.numel() < 10_000 and bool((value.detach().double() == ENTRY).any())
    if isinstance(value, np.ndarray):
        return value.dtype.kind == "f" and bool((value == ENTRY).any())
    if isinstance(value, (pa.RecordBatch, pa.Table)):
        return any(pa.types.is_floating(c.type) and ENTRY in c.to_pylist() for c in value.columns)
    if isinstance(value, (pa.Array, pa.ChunkedArray)):
        return pa.types.is_floating(value.type) and ENTRY in value.to_pylist()
    if isinstance(value, (bytes, pa.Buffer)):
        return np.float32(ENTRY).tobytes() in bytes(value)
    return depth > 0 and any(carries(part, depth - 1) for part in parts_of(value))


def parts_of(value: Any) -> list[Any]:
    """Return the values that a container, a dataclass or a small object of the probes holds."""
    if isinstance(value, (list, tuple)):
        return list(value)
    if isinstance(value, dict):
        return list(value.values())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, field.name) for field in dataclasses.fields(value)]
    if type(value).__module__.startswith("probes.") and not isinstance(value, (nn.Module, type)):
        return [v for v in getattr(value, "__dict__", {}).values() if isinstance(v, (Tensor, list, tuple, dict))]
    return []


class Way:
    """What is met on the way, in order."""

    def __init__(self) -> None:
        self.files: dict[str, None] = {}
        self.forms: dict[str, None] = {}

    def trace(self, frame: FrameType, event: str, value: Any) -> None:
        """Look at the arguments of a call, and at what a function returns."""
        path = Path(frame.f_code.co_filename)
        if event not in {"call", "return"} or HOME not in path.parents:
            return
        names = frame.f_code.co_varnames[: frame.f_code.co_argcount + frame.f_code.co_kwonlyargcount]
        given = [frame.f_locals[name] for name in names if name in frame.f_locals and name != "self"]
        found = [each for each in (given if event == "call" else [value]) if carries(each)]
        if found:
            self.files.setdefault(str(path.relative_to(HOME)))
        caller = Path(frame.f_back.f_code.co_filename) if frame.f_back else path
        if caller.parent != path.parent:
            for form in (form for each in found for form in forms_of(each)):
                self.forms.setdefault(form)


def forms_of(value: Any) -> list[str]:
    """Return the type of a value that carries the entry, or of those in a container that do."""
    if type(value) in {list, tuple, dict}:
        return [form for part in parts_of(value) if carries(part) for form in forms_of(part)]
    return [type(value).__name__]


def walk(store: Path) -> Way:
    """Train one step under a probe and trace the entry until the run is closed."""
    way = Way()
    model = nn.Linear(1, 1, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    threading.setprofile(way.trace)  # for the thread that the probe starts
    probe = Probe(model, optimizer, store=store, run="a", every=1, metrics=OF_A_LAYER, strict=True)
    (model(torch.ones(1, 1)) * ENTRY).sum().backward()
    sys.setprofile(way.trace)
    optimizer.step()
    probe.close()
    sys.setprofile(None)
    threading.setprofile(None)
    return way


def main() -> None:
    """Print the way."""
    with tempfile.TemporaryDirectory() as folder:
        way = walk(Path(folder) / "runs")
    folders = [Path(file).parts[0] for file in way.files if "/" in file]
    entered = [folder for place, folder in enumerate(folders) if place == 0 or folders[place - 1] != folder]
    print("\n".join(way.files))
    print(f"{len(way.files)} files")
    print(f"folders entered: {' -> '.join(entered)}")
    print(f"{len(way.forms)} forms before the Parquet file: {', '.join(way.forms)}")


if __name__ == "__main__":
    main()
