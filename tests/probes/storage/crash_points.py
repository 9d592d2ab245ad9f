"""Kill a writer before each of its file operations in turn, and check the store after each death.

Run by ``test_crashes.py`` in a process of its own, because it forks. Prints one line of JSON.
"""

import json
import os
import shutil
import signal
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from probes.storage.files import open_store
from probes.storage.recorder import Recorder
from probes.storage.recovery import recover_dead

OPERATIONS = {"open", "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "shutil.rmtree"}


REWOUND, LAST = 3, 5


def batch(step: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([{"step": step, "split": "train", "loss": step / 7}])


def write_resume_and_compact(store: Path, acknowledge) -> None:
    """Two lives of one run: flushes, a compaction, a rewind into the compacted part, another compaction."""
    with Recorder(store, "a") as recorder:
        for step in range(5):
            recorder.write("steps", batch(step))
            acknowledge(step)
            if step % 2 == 1:
                recorder.flush()
    acknowledge("closed")
    with Recorder(store, "a", resume_step=REWOUND) as recorder:
        for step in range(REWOUND, LAST + 1):
            recorder.write("steps", batch(step))
            acknowledge(step)
            recorder.flush()


def die_at(operation: int, store: Path) -> None:
    """Arrange for SIGKILL just before the given file operation of this process in the store."""
    count = 0

    def watch(event: str, arguments: tuple) -> None:
        nonlocal count
        path = str(arguments[0]) if arguments else ""
        if event in OPERATIONS and (path.startswith(str(store)) or path.endswith(".arrows")):  # by descriptor
            if count == operation:
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1

    sys.addaudithook(watch)


def in_child(work) -> bool:
    """Run ``work`` in a fork; True if it came to its end, False if it was killed."""
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) != 0:
        raise RuntimeError("the writer failed by itself")
    return os.WIFEXITED(status)


def acknowledged(path: Path) -> tuple[set[int], bool]:
    """Steps whose write had returned and that no resume had begun to delete; and whether the first life closed."""
    words = path.read_text().split()
    closed = "closed" in words
    first = {int(word) for word in words[: words.index("closed") if closed else None]}
    second = {int(word) for word in words[words.index("closed") + 1 :]} if closed else set()
    return ({step for step in first if step < REWOUND} | second if closed else first), closed


def problems(store: Path, acks: Path) -> list[str]:
    """What is wrong with the store after recovery: unreadable, lost or doubled rows, leftovers."""
    must, closed = acknowledged(acks)
    parts = sorted(store.glob("steps/run=*/*.parquet"))
    steps = [step for part in parts for step in pq.ParquetFile(part).read()["step"].to_pylist()]
    may = set(range(LAST + 1)) if closed else must | {max(must, default=-1) + 1}
    found = []
    if len(steps) != len(set(steps)):
        found.append(f"doubled: {steps}")
    if must - set(steps):
        found.append(f"lost: {sorted(must - set(steps))} of {steps}")
    if set(steps) - may:
        found.append(f"never written: {sorted(set(steps) - may)}")
    if (store / "_writers").exists():
        found.append(f"left behind: {[str(path) for path in (store / '_writers').rglob('*')]}")
    return found


def try_point(store: Path, operation: int, recovery_operation: int | None) -> tuple[bool, bool, list[str]]:
    """Die at one operation, perhaps again while recovering, then recover; say what came to its end, what is wrong."""
    shutil.rmtree(store, ignore_errors=True)
    acks = store.with_suffix(".acks")
    acks.write_text("")

    def write() -> None:
        log = os.open(acks, os.O_WRONLY | os.O_APPEND)
        die_at(operation, store)
        write_resume_and_compact(store, lambda word: os.write(log, f"{word} ".encode()))

    def recover() -> None:
        if recovery_operation is not None:
            die_at(recovery_operation, store)
        recover_dead(open_store(store))

    written = in_child(write)
    recovered = in_child(recover)
    if not recovered:
        in_child(lambda: recover_dead(open_store(store)))
    return written, recovered, problems(store, acks)


def main(folder: Path, every: int, stride: int) -> dict[str, object]:
    """Try each ``stride``-th operation of the writer, and each of the recovery after each ``every``-th of these."""
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    try_point(folder / "store", 10**9, None)
    write_resume_and_compact(folder / "warm", lambda _: None)  # lazy imports, before anything is forked
    report: dict[str, object] = {"deaths": 0, "deaths_in_recovery": 0, "problems": []}
    operation, written = 0, False
    while not written:
        written, _, found = try_point(folder / "store", operation, None)
        report["deaths"] += not written
        report["problems"] += [f"operation {operation}: {problem}" for problem in found]
        recovery_operation, recovered = 0, operation % (every * stride) != 0
        while not recovered:
            _, recovered, found = try_point(folder / "store", operation, recovery_operation)
            report["deaths_in_recovery"] += not recovered
            report["problems"] += [f"operations {operation}, {recovery_operation}: {problem}" for problem in found]
            recovery_operation += 1
        operation += stride
    return report


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), every=int(sys.argv[2]), stride=int(sys.argv[3]))))
