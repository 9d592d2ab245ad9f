"""Kill what closes, recovers, deletes, compacts or trains a run at random moments, and look what its store has lost.

Each trial works on a copy of a prepared store, in a process of its own that is killed after a random part of the time
that the work takes. Afterwards the store is recovered, as the next command would do it, and read.

    python tests/probes/deaths.py --kills 100 --result tests/probes/results/deaths.json
"""

import argparse
import json
import os
import platform
import random
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import torch
from kills import LAYERS, in_child, rows, write_once

from probes import Probe
from probes.storage.compaction import compact_run
from probes.storage.files import open_store
from probes.storage.recorder import Recorder
from probes.storage.recovery import recover_dead
from probes.storage.removal import remove_run
from probes.storage.run_row import read_run_row
from probes.storage.verify import verify
from probes.storage.writer_lock import WriterLock

TABLES = ("layers", "steps", "histograms")
PARTS, LOGGED = 6, 3  # parts a table, and steps that stand in the log alone
STEPS = PARTS + LOGGED


def open_run(store: Path, run: str) -> Recorder:
    """Return the recorder of a run with many parts and rows in its log."""
    recorder = Recorder(store, run)
    for step in range(STEPS):
        for table in TABLES:
            recorder.write(table, rows(table, step))
        if step < PARTS:
            recorder.flush()
    return recorder


def prepare(store: Path) -> None:
    """Make a store with a run ``other``, and ``a``, which is finished in many parts."""
    write_once(store.parent / "warm")
    open_run(store, "other").close()
    recorder = open_run(store, "a")
    recorder.flush()
    recorder.describe(status="finished")
    recorder._owner.release()


def prepare_dead(store: Path) -> None:
    """Make the same store, in which the writer of ``a`` is dead and has left rows in its log."""
    write_once(store.parent / "warm")
    open_run(store, "other").close()
    open_run(store, "a")._owner.forget()


def close(store: Path) -> None:
    """Take the run up where it stopped, record a step and close it."""
    recorder = Recorder(store, "a", resume="auto")
    for table in TABLES:
        recorder.write(table, rows(table, STEPS))
    recorder.close()


def recover(store: Path) -> None:
    recover_dead(open_store(store))


def rm(store: Path) -> None:
    remove_run(open_store(store), "a")


def compact(store: Path) -> None:
    files = open_store(store)
    owner = WriterLock(files.workspace("a"))
    compact_run(files, "a")
    owner.release()


WORK: dict[str, tuple[Callable[[Path], None], Callable[[Path], None]]] = {
    "close": (prepare_dead, close),
    "recover": (prepare_dead, recover),
    "rm": (prepare, rm),
    "compact": (prepare, compact),
}


def problems(store: Path, *, deleted: bool, may_have: int = STEPS) -> Counter:
    """Count what is wrong with a store after recovery."""
    found: Counter = Counter()
    files = open_store(store)
    found["unreadable"] += len(verify(files).faults)
    found["left behind"] += (store / "_writers").exists()
    for run in ("a", "other"):
        if run == "a" and deleted and not files.has_run(run):
            continue
        largest = -1
        for table in TABLES:
            steps = [step for name in files.parts(table, run) for step in steps_of(files, table, run, name)]
            expected = {step: 1 if table == "steps" else len(LAYERS) for step in range(STEPS)}
            counted = Counter(steps)
            found["lost"] += any(counted[step] < count for step, count in expected.items())
            found["doubled"] += any(counted[step] > expected.get(step, len(LAYERS)) for step in counted)
            found["invented"] += any(step > may_have for step in counted)
            largest = max(largest, *counted)
        found["wrong last step"] += read_run_row(files, run).get("last_step") != largest
    return found


def steps_of(files, table: str, run: str, name: str) -> list[int]:
    with files.open_part(table, run, name) as part:
        return part.read(["step"])["step"].to_pylist()


def torment(word: str, folder: Path, *, kills: int, seed: int) -> dict[str, object]:
    """Kill one kind of work ``kills`` times at random moments."""
    prepare_store, work = WORK[word]
    prepare_store(folder / "template")
    chance, found, killed = random.Random(seed), Counter(), 0
    store = folder / "store"
    seconds = 0.0
    for trial in range(-3, 4 * kills):
        if killed == kills:
            break
        shutil.rmtree(store, ignore_errors=True)
        shutil.copytree(folder / "template", store)
        began = time.monotonic()
        child = in_child(lambda: (work(store), os._exit(0)))
        if trial < 0:  # how long it takes
            os.waitpid(child, 0)
            seconds = max(seconds, time.monotonic() - began)
            continue
        time.sleep(chance.random() * seconds)
        if os.waitpid(child, os.WNOHANG) == (0, 0):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            killed += 1
            seconds *= 1.03
        else:  # the work was over: on a busy machine it did not always take as long as at first
            seconds *= 0.9
        recover_dead(open_store(store))
        found += problems(store, deleted=word == "rm")
    return {"kills": killed, "found": dict(found)}


def train(store: Path, journal: Path) -> None:
    """Train under a probe until a signal ends it; note each step that is over."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    book = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    probe = Probe(model, optimizer, store=store, run="a", every=1)
    step = 0
    while True:
        optimizer.zero_grad()
        model(torch.randn(8, 3)).square().mean().backward()
        optimizer.step()
        os.write(book, f"{step}\n".encode())
        probe.log(loss=float(step))
        step += 1


def terminate(folder: Path, *, kills: int, seed: int) -> dict[str, object]:
    """Send SIGTERM to a training at random moments; every step that was over must be in the store."""
    chance, found, ended = random.Random(seed), Counter(), 0
    store, journal = folder / "store", folder / "journal"
    for _ in range(kills):
        shutil.rmtree(store, ignore_errors=True)
        journal.unlink(missing_ok=True)
        child = in_child(lambda: train(store, journal))
        while not journal.exists() or not journal.stat().st_size:
            time.sleep(0.001)
        time.sleep(chance.random() ** 2)
        os.kill(child, signal.SIGTERM)
        _, status = os.waitpid(child, 0)
        ended += os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGTERM
        over = int(journal.read_text().split()[-1])
        files = open_store(store)
        found["left behind"] += (store / "_writers").exists()
        found["unreadable"] += len(verify(files).faults)
        steps = Counter(step for name in files.parts("layers", "a") for step in steps_of(files, "layers", "a", name))
        found["lost"] += any(steps[step] < 2 for step in range(over + 1))
        found["doubled"] += any(count > 2 for count in steps.values())
        found["wrong status"] += read_run_row(files, "a")["status"] != "interrupted"
    return {"kills": ended, "found": dict(found)}


def main() -> None:
    """Parse the command line and print the findings as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=5, help="of each kind")
    parser.add_argument("--kinds", nargs="*", default=[*WORK, "sigterm"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--result", type=Path, help="write the JSON here too")
    arguments = parser.parse_args()
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    report: dict[str, object] = {"platform": platform.platform(), "seed": arguments.seed}
    for word in arguments.kinds:
        folder = Path(tempfile.mkdtemp())
        how = {"kills": arguments.kills, "seed": arguments.seed}
        report[word] = terminate(folder, **how) if word == "sigterm" else torment(word, folder, **how)
        shutil.rmtree(folder)
    text = json.dumps(report, indent=1)
    if arguments.result:
        arguments.result.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
