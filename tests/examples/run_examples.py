"""Runs examples one after another, each in a fork of this process, which has imported what they need.

    python tests/examples/run_examples.py FOLDER first_probe own_metric ...

Each writes into ``FOLDER/NAME``, what it prints into ``FOLDER/NAME.txt``. A fork saves the import of torch, pandas and
matplotlib; all else is as under ``python examples/NAME.py FOLDER/NAME``. Run by ``test_examples.py``.
"""

from __future__ import annotations

import os
import runpy
import sys
import traceback
from importlib import import_module
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"
IMPORTED = (
    "torch",
    "torch._dynamo.config",
    "meandrift",
    "meandrift.probe",
    "meandrift.tables",
    "analysis.gallery.figure",
)


def run(name: str, folder: Path) -> int:
    """Run an example in a fork; return its exit status."""
    (folder / name).mkdir()
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 1
    try:
        printed = os.open(folder / f"{name}.txt", os.O_WRONLY | os.O_CREAT)
        os.dup2(printed, 1)
        os.dup2(printed, 2)
        path = EXAMPLES / f"{name}.py"
        sys.path[0], sys.argv = str(EXAMPLES), [str(path), str(folder / name)]
        runpy.run_path(str(path), run_name="__main__")
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def main(folder: Path, names: list[str]) -> int:
    """Run examples; return how many of them failed."""
    for module in IMPORTED:
        import_module(module)
    return sum(run(name, folder) != 0 for name in names)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
