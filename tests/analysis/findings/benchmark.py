"""The benchmark of faults: precision and recall over all sick and all healthy trainings.

``python tests/analysis/findings/benchmark.py`` prints a line for each training, the two numbers, and how many faults
are the first finding told. With words after
it, only trainings whose names hold one of them; ``--seed`` takes other initial weights than the tests.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
from faults import FAULTS, Fault
from healthy import HEALTHY
from trainings import Training

from analysis.findings import NOTE, findings


def found_in(train: Callable[[Path], None], store: Path, *, seed: int = 0) -> pd.DataFrame:
    """Train into a store and return its findings."""
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of trainings that are spoilt on purpose
        train(store)
    return findings(store)


def sick(fault: Fault, store: Path, *, seed: int = 0) -> tuple[Training, pd.DataFrame]:
    """Train with a fault into a store; return the training and its findings."""
    made = []

    def train(folder: Path) -> None:
        made.append(fault.make())
        made[0].run(folder)

    found = found_in(train, store, seed=seed)
    return made[0], found


def tells(found: pd.DataFrame, fault: Fault, *, every: int) -> bool:
    """Return whether the fault's finding is there, at its layer, within one record of its start."""
    near = (found["from_step"] - fault.step).abs() <= every
    return bool(((found["kind"] == fault.kind) & (found["layer"] == fault.layer) & near).any())


def heads(found: pd.DataFrame, fault: Fault, *, every: int) -> bool:
    """Return whether the first finding told is the fault: its kind, its layer, within one record of its start."""
    if found.empty:
        return False
    first = found.iloc[0]
    return (first["kind"], first["layer"]) == fault.first and abs(first["from_step"] - fault.step) <= every


def in_short(found: pd.DataFrame) -> str:
    rows = found.itertuples()
    return "; ".join(
        f"{r.severity} {r.kind} {r.layer or '-'}({r.layers}) {r.from_step}..{r.to_step} {r.value:.3g}" for r in rows
    )


def main(words: list[str], *, seed: int) -> None:
    """Print the table and the numbers."""
    told = first = false = graver = 0
    chosen = [fault for fault in FAULTS if not words or any(word in fault.name for word in words)]
    well = {name: train for name, train in HEALTHY.items() if not words or any(word in name for word in words)}
    for fault in chosen:
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            training, found = sick(fault, Path(folder) / "runs", seed=seed)
            right = tells(found, fault, every=training.every)
            told += right
            first += (is_first := heads(found, fault, every=training.every))
            seconds = time.perf_counter() - began
            verdict = f"{'told  ' if right else 'MISSED'} {'first' if is_first else 'below'}"
            print(f"{verdict} {fault.name} ({seconds:.1f} s): {in_short(found)}")
    for name, train in well.items():
        with tempfile.TemporaryDirectory() as folder:
            found = found_in(train, Path(folder) / "runs", seed=seed)
            graver = int((found["severity"] != NOTE).any())
            false += graver
            print(f"{'FALSE ' if graver else 'quiet '} {name}: {in_short(found)}")
    print(f"recall {told}/{len(chosen)}, told first {first}/{len(chosen)}")
    print(f"false alarms in {false} of {len(well)} healthy trainings; ", end="")
    print(f"precision {told / max(told + false, 1):.2f}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("words", nargs="*", help="take trainings whose names hold one of them")
    parser.add_argument("--seed", type=int, default=0, help="of initial weights")
    asked = parser.parse_args()
    main(asked.words, seed=asked.seed)
