"""Train a small transformer on text under four norms: find a learning rate for each norm, then train three seeds.

    python figures/sequence/train.py runs/sequence          # 20 runs, half a minute of one core each
    python figures/sequence/committed_store.py runs/sequence
    python figures/sequence/draw.py
    python figures/sequence/tables.py --write               # README.md

Both parts are `meandrift sweep`; the command line of each is printed. A second call trains the missing runs. The rate
of a norm is the rate of ``RATES`` with the lowest final test loss at seed 0. Seed 0 is then one of the three seeds.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from rates import NORMS, RATES, best_rates, final_tests

SETTINGS = {
    **{"model": "transformer", "data": "text:", "width": "32", "context": "32", "batch-size": "32", "epochs": "2"},
    **{"schedule": "cosine", "records": "30"},
}
SEEDS = "1,2"  # beside seed 0, whose runs chose the rates


def sweep(store: Path, *, norm: str, rate: float, seed: str) -> None:
    """Train the runs of one sweep, one at a time.

    Raises:
        subprocess.CalledProcessError: The sweep failed.
    """
    own = {"norm": norm, "learning-rate": f"{rate:g}", "seed": seed, "workers": "1", "store": str(store)}
    words = [word for name, value in {**SETTINGS, **own}.items() for word in (f"--{name}", value)]
    print("meandrift sweep", *words, flush=True)
    subprocess.run([sys.executable, "-m", "dynamics", "sweep", *words], check=True)


def main() -> None:
    """Train the grid, choose the rates, and train the other seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    store = parser.parse_args().store
    for rate in RATES:
        sweep(store, norm=",".join(NORMS), rate=rate, seed="0")
    for norm, rate in best_rates(final_tests(store)).items():
        sweep(store, norm=norm, rate=rate, seed=SEEDS)


if __name__ == "__main__":
    main()
