"""Copy finished runs into the committed store: thinned runs at the best rates, and only the tests of other runs.

    python figures/sequence/committed_store.py runs/sequence        # into figures/sequence/store

``figures/causes/committed_store.py`` thins the runs: a third of the records of ``layers``, no descriptions of columns.
"""

import argparse
import importlib.util
import shutil
from pathlib import Path
from types import ModuleType

from rates import chosen, final_tests

from probes.schema import RUNS, STEPS

HERE = Path(__file__).parent


def causes() -> ModuleType:
    """Return the script of figures/causes that thins a run. It has the same file name as this script."""
    spec = importlib.util.spec_from_file_location("thinned_store", HERE.parent / "causes" / "committed_store.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def copy(source: Path, target: Path) -> dict[str, int]:
    """Copy every finished run; return the bytes of each copy.

    Raises:
        ValueError: A run of the grid of rates is missing, or the runs are not compacted.
    """
    tests, thinned = final_tests(source), causes()
    whole = set(chosen(tests)["run"])
    for run in tests["run"]:
        thinned.copy_run(source, run, target)
        if run not in whole:
            for folder in target.glob(f"*/run={run}"):
                if folder.parent.name not in {RUNS, STEPS}:
                    shutil.rmtree(folder)
    return {run: sum(part.stat().st_size for part in target.glob(f"*/run={run}/*.parquet")) for run in tests["run"]}


def main() -> None:
    """Copy the runs and print the sizes of the copies."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--store", type=Path, default=HERE / "store")
    arguments = parser.parse_args()
    sizes = copy(arguments.source, arguments.store)
    print(f"{len(sizes)} runs, {sum(sizes.values()):,} bytes, the largest {max(sizes.values(), default=0):,}")


if __name__ == "__main__":
    main()
