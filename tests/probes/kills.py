"""Kill writers with SIGKILL at random moments and look what their store has lost.

Two runs are written at a time, in processes of their own. Each life of a run opens the store (which recovers what
the last life left), perhaps rewinds, then writes from one thread while another flushes, and now and then closes
(which compacts) and opens again. Whatever a writer does it first announces in a journal outside the store, so that
after its death it is known which rows must be there and which may be.

    python tests/probes/kills.py --kills 300 --result tests/probes/results/kills.json
"""

import argparse
import json
import os
import platform
import random
import shutil
import signal
import tempfile
import threading
import time
import traceback
from collections import Counter
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from probes.storage import recorder as recorder_module
from probes.storage.files import open_store
from probes.storage.recorder import Recorder
from probes.storage.recovery import recover_dead

TABLES = ("layers", "steps", "histograms")
FAULTS = ("unreadable", "lost", "doubled", "wrong", "invented", "died by itself")
LAYERS = [f"block{index}.conv" for index in range(7)]


def rows(table: str, step: int) -> pa.RecordBatch:
    """The rows of a step, which follow from its number, so that a reader can check them."""
    if table == "steps":
        return pa.RecordBatch.from_pylist([{"step": step, "split": "train", "loss": step / 7}])
    keys = [{"step": step, "layer": name, "layer_index": at, "layer_type": "Conv2d"} for at, name in enumerate(LAYERS)]
    if table == "layers":
        extra = {"spectral_norm": 1.0} if step % 10 == 0 else {}  # columns come and go
        return pa.RecordBatch.from_pylist([{**key, "weight_mean": step / 7, **extra} for key in keys])
    return pa.RecordBatch.from_pylist([{**key, "tensor": "weight", "counts": [step], "n": step} for key in keys])


def live(store: Path, run: str, journal: Path, seed: int) -> None:
    """One life of a run, which ends only by death."""
    chance = random.Random(seed)
    recorder_module.FLUSH_SECONDS = 0.05
    book = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(*words: object) -> None:
        os.write(book, (" ".join(map(str, words)) + "\n").encode())

    last = max((step for _, step in Journal(journal).begun), default=-1)
    while True:
        start = last + 1 if chance.random() < 0.7 else chance.randint(0, last + 1)
        exists = open_store(store).has_run(run) or (store / "_writers" / run).exists()
        note("opening", start)
        if exists:
            recover_dead(open_store(store), [run])
        exists = exists and open_store(store).has_run(run)
        recorder = Recorder(store, run, resume_step=start) if exists else Recorder(store, run)
        note("opened")
        last = write_from_a_thread(recorder, chance, start, note)
        note("closing")
        recorder.close()
        note("closed")


def write_from_a_thread(recorder: Recorder, chance: random.Random, start: int, note) -> int:
    """Write a random number of steps while this thread flushes at random; return the last step."""
    number = int(chance.expovariate(1 / 40)) + 1

    def write() -> None:
        for step in range(start, start + number):
            for table in TABLES:
                note("begin", table, step)
                recorder.write(table, rows(table, step))
                note("wrote", table, step)

    writer = threading.Thread(target=write)
    writer.start()
    while writer.is_alive():
        time.sleep(chance.random() * 0.02)
        note("flushing")
        recorder.flush()
        note("flushed")
    writer.join()
    return start + number - 1


class Journal:
    """What a run's writers announced: the rows that must be there, those that may be, and what was going on last."""

    def __init__(self, path: Path) -> None:
        self.must: set[tuple[str, int]] = set()
        self.begun: set[tuple[str, int]] = set()
        self.doing = "starting"
        superseded: int | None = None
        for line in path.read_text().splitlines() if path.exists() else []:
            word, *rest = line.split()
            if word == "opening":
                superseded = int(rest[0])
                self.must = {(table, step) for table, step in self.must if step < superseded}
            elif word == "opened":
                self.begun = {(table, step) for table, step in self.begun if step < superseded}
            elif word in {"begin", "wrote"}:
                (self.begun if word == "begin" else self.must).add((rest[0], int(rest[1])))
            if word not in {"begin", "wrote"} or self.doing not in {"flushing", "closing"}:
                self.doing = word


def check(store: Path, run: str, journal: Journal, *, recovered: bool) -> Counter:
    """Count unreadable parts, lost, doubled, wrong and invented rows of a run, as a plain reader finds them."""
    found: Counter = Counter()
    seen: Counter = Counter()
    for path in store.glob(f"*/run={run}/*.parquet"):
        table = path.parent.parent.name
        if table == "runs":
            continue
        try:
            part = pq.ParquetFile(path).read()
        except (OSError, pa.ArrowInvalid):
            found["unreadable"] += 1
            continue
        keys = part["layer"].to_pylist() if table != "steps" else ["train"] * part.num_rows
        seen.update(zip([table] * part.num_rows, part["step"].to_pylist(), keys, strict=True))
        if table == "steps":
            found["wrong"] += part["loss"].to_pylist() != [step / 7 for step in part["step"].to_pylist()]
    present = Counter((table, step) for table, step, _ in seen)
    found["doubled"] += sum(count > 1 for count in seen.values())
    found["invented"] += len(set(present) - journal.begun)
    if recovered:
        full = {"steps": 1, "layers": len(LAYERS), "histograms": len(LAYERS)}
        found["lost"] += sum(present[table, step] != full[table] for table, step in journal.must)
    return found


def in_child(work) -> int:
    """Start ``work`` in a fork and return its process id."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            traceback.print_exc()
        os._exit(1)
    return child


def kill_after(child: int, seconds: float) -> bool:
    """Kill a process; False if it had died by itself, which is a failure of its own."""
    time.sleep(seconds)
    return kill(child)


def kill_once_written(child: int, journal: Path) -> bool:
    """Kill a process after its next record, however long it takes; False if it died by itself before."""
    before = journal.stat().st_size if journal.exists() else 0
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if journal.exists() and b"wrote" in journal.read_bytes()[before:]:
            return kill(child)
        time.sleep(0.001)
    return False


def kill(child: int) -> bool:
    """Kill a process; False if it had died by itself."""
    alive = os.waitpid(child, os.WNOHANG) == (0, 0)
    if alive:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return alive


def torment(folder: Path, *, kills: int, seed: int) -> dict[str, object]:
    """Kill writers ``kills`` times and return what was found."""
    pa.set_cpu_count(1)
    write_once(folder / "warm")  # lazy imports, before anything is forked
    chance = random.Random(seed)
    store, found, moments = folder / "store", Counter(), Counter()
    journals = {run: folder / f"{run}.journal" for run in ("a", "b")}
    while sum(moments.values()) < kills:
        children = {run: in_child(partial(live, store, run, path, chance.random())) for run, path in journals.items()}
        last = sum(moments.values()) + len(journals) >= kills  # of these something must be there, on any machine
        for run in chance.sample(sorted(journals), len(journals)):
            seconds = chance.random() ** 2 * 0.6
            killed = kill_once_written(children[run], journals[run]) if last else kill_after(children[run], seconds)
            found["died by itself"] += not killed
            journal = Journal(journals[run])
            moments[journal.doing] += 1
            recovered = chance.random() < 0.5  # else the next life recovers
            while recovered and run in open_store(store).workspaces():  # the other writer may be recovering it too
                recover_dead(open_store(store), [run])
            found += check(store, run, journal, recovered=recovered)
    recover_dead(open_store(store))
    for run, path in journals.items():
        found += check(store, run, Journal(path), recovered=True)
    return {
        "kills": sum(moments.values()),
        "moments": dict(moments.most_common()),
        "found": {word: found[word] for word in FAULTS},
        "records_acknowledged_at_the_end": sum(len(Journal(path).must) for path in journals.values()),
        "seed": seed,
        "platform": platform.platform(),
    }


def write_once(store: Path) -> None:
    """Write, close and read a small store."""
    with Recorder(store, "warm") as recorder:
        for table in TABLES:
            recorder.write(table, rows(table, 0))
            recorder.flush()
            recorder.write(table, rows(table, 1))
    with Recorder(store, "warm", resume_step=1):
        pass


def main() -> None:
    """Parse the command line and print the findings as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--result", type=Path, help="write the JSON here too")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    report = json.dumps(torment(folder, kills=arguments.kills, seed=arguments.seed), indent=1)
    shutil.rmtree(folder)
    if arguments.result:
        arguments.result.write_text(report + "\n")
    print(report)


if __name__ == "__main__":
    main()
