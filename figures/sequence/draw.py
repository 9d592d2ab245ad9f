"""Draw this folder's figures from the committed store: losses over seeds, drift by depth, spectra.

python figures/sequence/draw.py                           # into this folder
python figures/sequence/draw.py --store runs/sequence     # of another store
"""

import argparse
from pathlib import Path

from rates import best_rates, chosen, final_tests

from analysis.gallery.column_figure import plot
from analysis.gallery.gallery import write_figures

HERE = Path(__file__).parent
OF_ALL = ("accuracy", "drift_by_depth")
OF_WIDE = ("singular_values",)
WIDE, LAST_WIDE = "blocks.*.wide", "blocks.3.wide"


def main() -> None:
    """Draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, default=HERE / "store")
    parser.add_argument("--out", type=Path, default=HERE)
    arguments = parser.parse_args()
    store, out = arguments.store, arguments.out
    tests = final_tests(store)
    runs = list(chosen(tests)["run"])
    seed0 = [run for run in runs if run.endswith("-s0")]
    refused = {}
    for only, layers, of in (
        (OF_ALL, None, runs),
        (OF_WIDE, WIDE, runs),
        (("spectrum",), LAST_WIDE, seed0),
    ):
        refused |= write_figures(store, out, only=list(only), runs=of, layers=layers, formats=("png",)).refused
    plot("loss", store, runs=runs).savefig(out / "loss.png", dpi=200)
    print(best_rates(tests), *(f"{stem} left out: {reason[:160]}" for stem, reason in refused.items()), sep="\n")


if __name__ == "__main__":
    main()
