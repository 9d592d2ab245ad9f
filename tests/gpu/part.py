"""What every part of a sitting has: a device, a time box, and a file for what it has found so far."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import torch
from sitting import write


class Part:
    """One part while it runs.

    Attributes:
        device: Where to compute.
        tiny: Whether this is a dry run, in which everything is as small as can be.
        found: What the part has to tell, kept by :meth:`keep` and written to its JSON whatever becomes of it.
    """

    def __init__(self, about: str | None) -> None:
        """Read the command line; end with a message where there is no such device."""
        parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
        parser.add_argument("--device", default=os.environ.get("MEANDRIFT_DEVICE", "cuda"), help="cpu: a dry run")
        parser.add_argument("--found", type=Path, help="file for what is found; without it, it is printed")
        parser.add_argument("--seconds", type=float, default=600.0, help="the part's time box")
        arguments = parser.parse_args()
        self.device = torch.device(arguments.device)
        self.tiny = self.device.type == "cpu"
        self.found: dict[str, Any] = {}
        self._file: Path | None = arguments.found
        self._end = time.monotonic() + arguments.seconds
        if self.device.type == "cuda" and not torch.cuda.is_available():
            raise SystemExit("no CUDA device: torch.cuda.is_available() is False")
        self.keep(torch=torch_build(self.device))

    @property
    def left(self) -> float:
        """Seconds of the time box that are left."""
        return self._end - time.monotonic()

    def keep(self, **found: Any) -> None:
        """Keep what was found, by name, even if the part should be ended now."""
        self.found |= found
        if self._file is not None:
            write(self._file, self.found)

    def end(self, failures: list[str], *, headline: str) -> int:
        """Tell the result in a line, and the failures; return the exit status."""
        self.keep(headline=headline, failures=failures)
        if self._file is None:
            print(json.dumps(self.found, indent=1))
        for failure in failures:
            print(failure, file=sys.stderr)
        return 1 if failures else 0


def recorded(store: Path) -> dict[str, Any]:
    """Return what a closed store of one run holds: steps, rows of table `layers`, and gaps."""
    import pyarrow.parquet as pq

    steps = pq.read_table(store / "layers", columns=["step"])["step"].to_pylist()
    gaps = pq.read_table(store / "runs", columns=["gaps"])["gaps"][0].as_py()
    return {"recorded_steps": len(set(steps)), "rows": len(steps), "gaps": json.loads(gaps or "[]")}


def torch_build(device: torch.device) -> dict[str, Any]:
    """Return what torch was built with and computes on."""
    on_gpu = device.type == "cuda"
    return {
        "version": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if on_gpu else None,
        "device": torch.cuda.get_device_name(device) if on_gpu else "cpu",
        "capability": list(torch.cuda.get_device_capability(device)) if on_gpu else None,
        "threads": torch.get_num_threads(),
    }
