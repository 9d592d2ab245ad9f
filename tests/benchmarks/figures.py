"""How long `meandrift figures` takes on a store of nine runs, and how much memory a figure needs.

Wall-clock time of the whole command, start of Python included, in fresh processes; the median of several. Memory is the
largest resident set of a fresh process that prepares one figure, less that of one that only imports.
"""

from __future__ import annotations

import argparse
import os
import runpy
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
PREPARE = """
import resource, sys
from analysis.gallery.figure import prepare
if sys.argv[2:]:
    prepare(sys.argv[2], sys.argv[1])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def make_store(folder: Path, *, rows: int) -> Path:
    """Write nine runs, three norms with three seeds, with about so many rows in table ``layers``."""
    synthetic = runpy.run_path(str(ROOT / "tests" / "analysis" / "conftest.py"))
    layers_a_record = 7 + 4 + 7  # of bn, sn and msn
    records = max(rows // (3 * layers_a_record), 2)
    return synthetic["write_store"](folder, synthetic["Synthetic"](seeds=range(3), records=records, every=10))


def seconds(store: Path, out: Path, formats: str) -> float:
    """Return the time of one `meandrift figures`."""
    command = [sys.executable, "-m", "dynamics", "figures", str(store), "--out", str(out), "--format", formats]
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
    return time.perf_counter() - start


def megabytes(store: Path, *figure: str) -> float:
    """Return the largest resident set of a process that prepares a figure, or only imports."""
    command = [sys.executable, "-c", PREPARE, str(store), *figure]
    return float(subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000, help="rows of table layers (default 20000)")
    parser.add_argument("--rounds", type=int, default=5, help="times the command is run (default 5)")
    parser.add_argument("--format", default="png,pdf", help="formats to write (default png,pdf)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = make_store(Path(folder) / "runs", rows=options.rows)
        times = [seconds(store, Path(folder) / "figures", options.format) for _ in range(options.rounds)]
        base = megabytes(store)
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, nine runs, {options.rows} rows")
        print(f"meandrift figures, {options.format}: median {statistics.median(times):.1f} s, best {min(times):.1f} s")
        for name in ("mean_drift", "weight_mean", "gradient_histograms"):
            print(f"{name}: {megabytes(store, name) - base:.0f} MB above {base:.0f} MB")


if __name__ == "__main__":
    main()
