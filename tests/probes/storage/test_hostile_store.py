"""A store that a stranger made: whatever its links, FIFOs and names lead to, nothing outside is touched, nothing hangs.

Each attack is forged on the fly. Then every operation that opens a store runs on it, well or not.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from dynamics.gan.scoring.samples import forget_grids, samples_folder, write_grid
from dynamics.runtime.checkpoint import checkpoint_path, save_checkpoint
from probes.commands import app
from probes.storage.files import open_store
from probes.storage.recorder import Recorder

VICTIM, OTHER = "victim", "other"


def losses(first: int, last: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([{"step": step, "split": "train"} for step in range(first, last)])


class Scene:
    """A store with a finished run and one whose writer was killed, beside a folder of somebody's files."""

    def __init__(self, folder: Path) -> None:
        self.store, self.outside = folder / "store", folder / "outside"
        with Recorder(self.store, OTHER) as recorder:
            recorder.write("steps", losses(0, 3))
        recorder = Recorder(self.store, VICTIM)
        recorder.write("steps", losses(0, 2))
        recorder.flush()
        recorder.write("steps", losses(2, 4))
        recorder._owner.forget()
        for name in ("owner.json", "letter.txt", "steps-00000009.arrows", "part-0.parquet", "step-00000009.png"):
            for place in (self.outside, self.outside / VICTIM, self.outside / f"run={VICTIM}"):
                place.mkdir(parents=True, exist_ok=True)
                (place / name).write_text(f"precious {name}")

    @property
    def workspace(self) -> Path:
        return self.store / "_writers" / VICTIM

    def link(self, place: str, target: str) -> None:
        """Put a link to something outside in the place of an entry of the store."""
        self._free(place).symlink_to(self.outside / target)

    def hard_link(self, place: str, target: str) -> None:
        os.link(self.outside / target, self._free(place))

    def fifo(self, place: str) -> None:
        os.mkfifo(self._free(place))

    def _free(self, place: str) -> Path:
        path = self.store / place
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        return path


W = f"_writers/{VICTIM}"
LINKS: dict[str, tuple[str, str]] = {
    "the folder of logs": ("_writers", ""),
    "a run's folder of logs": (W, VICTIM),
    "an owner file": (f"{W}/owner.json", "letter.txt"),
    "a log segment": (f"{W}/steps-00000002.arrows", "letter.txt"),
    "the next log segment": (f"{W}/steps-00000003.arrows", "letter.txt"),
    "a part under way": (f"{W}/steps.unfinished", "letter.txt"),
    "a run's row under way": (f"{W}/runs.unfinished", "letter.txt"),
    "compacted parts under way": (f"{W}/compacted-steps", VICTIM),
    "deleted parts under way": (f"{W}/deleted-steps", VICTIM),
    "an unknown entry of the workspace": (f"{W}/notes", VICTIM),
    "a table": ("steps", ""),
    "the table of runs": ("runs", ""),
    "a run's folder in a table": (f"steps/run={VICTIM}", f"run={VICTIM}"),
    "a run's folder in the table of runs": (f"runs/run={VICTIM}", f"run={VICTIM}"),
    "a part": (f"steps/run={VICTIM}/part-00000001-00000001.parquet", "part-0.parquet"),
    "a run's row": (f"runs/run={VICTIM}/part-0.parquet", "part-0.parquet"),
    "the folder of checkpoints": ("_checkpoints", ""),
    "a checkpoint": (f"_checkpoints/{VICTIM}.pt", "letter.txt"),
    "a checkpoint under way": (f"_checkpoints/{VICTIM}.partial", "letter.txt"),
    "the folder of samples": ("samples", ""),
    "a run's folder of samples": (f"samples/run={VICTIM}", f"run={VICTIM}"),
}
HARD_LINKS = {
    "an owner file": (f"{W}/owner.json", "letter.txt"),
    "a part under way": (f"{W}/steps.unfinished", "letter.txt"),
    "a checkpoint under way": (f"_checkpoints/{VICTIM}.partial", "letter.txt"),
}
FIFOS = {
    "an owner file": f"{W}/owner.json",
    "a log segment": f"{W}/steps-00000002.arrows",
    "a part under way": f"{W}/steps.unfinished",
    "a part": f"steps/run={VICTIM}/part-00000001-00000001.parquet",
    "a run's row": f"runs/run={VICTIM}/part-0.parquet",
    "a checkpoint": f"_checkpoints/{VICTIM}.pt",
}


def contents(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return all below a folder: kind, time of change, and what it holds."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        regular = path.is_file() and not path.is_symlink()
        found[str(path.relative_to(folder))] = (
            status.st_mode,
            status.st_mtime_ns if regular else 0,
            path.read_bytes() if regular else b"",
        )
    return found


def command(*words: object) -> Callable[[Scene], None]:
    def run(scene: Scene) -> None:
        told = [str(scene.store)] if words == ("runs",) else ["--store", str(scene.store)]
        CliRunner().invoke(app, [*map(str, words), *told])

    return run


def record_anew(scene: Scene) -> None:
    with Recorder(scene.store, "new") as recorder:
        recorder.write("steps", losses(0, 2))
        recorder.flush()
        recorder.write("steps", losses(2, 3))


def resume(scene: Scene) -> None:
    with Recorder(scene.store, VICTIM, resume_step=1) as recorder:
        recorder.write("steps", losses(1, 3))


def overwrite(scene: Scene) -> None:
    with Recorder(scene.store, VICTIM, overwrite=True) as recorder:
        recorder.write("steps", losses(0, 1))


def checkpoint(scene: Scene) -> None:
    save_checkpoint(checkpoint_path(scene.store, VICTIM), {"config": {}})


def sample(scene: Scene) -> None:
    torch = pytest.importorskip("torch")
    folder = samples_folder(scene.store, VICTIM)
    write_grid(folder, torch.zeros(8, 1, 4, 4, dtype=torch.uint8), step=3)
    forget_grids(folder, after=0)


def export(kind: str) -> Callable[[Scene], None]:
    def run(scene: Scene) -> None:
        destination = scene.store.parent / f"exported-{kind}"
        command("export", destination, "--table", "steps", "--format", kind)(scene)

    return run


READING = {
    "runs": command("runs"),
    "verify": command("verify"),
    "export to Parquet": export("parquet"),
    "export to CSV": export("csv"),
}
WRITING = {
    "recover": command("recover"),
    "compact": command("compact"),
    "record anew": record_anew,
    "resume": resume,
    "checkpoint": checkpoint,
    "sample": sample,
    "overwrite": overwrite,
    "rm": command("rm", VICTIM),
}


def attack(scene: Scene) -> None:
    """Do everything with the store; hold that nothing outside changes, and that who only reads changes nothing."""
    outside = contents(scene.outside)
    for name, operation in (READING | WRITING).items():
        inside, other = contents(scene.store), contents(scene.store / "steps" / f"run={OTHER}")
        with suppress(OSError, ValueError):
            operation(scene)
        assert contents(scene.outside) == outside, f"{name} changed files outside of the store"
        if name in READING:
            assert contents(scene.store) == inside, f"{name} changed the store"
        assert contents(scene.store / "steps" / f"run={OTHER}") == other, f"{name} changed another run"


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("place", LINKS)
def test_no_symbolic_link_is_followed(scene, place):
    scene.link(*LINKS[place])
    attack(scene)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("place", HARD_LINKS)
def test_a_file_with_a_second_name_outside_is_not_written(scene, place):
    scene.hard_link(*HARD_LINKS[place])
    attack(scene)


def test_no_fifo_stops_an_operation(tmp_path):
    """In a process of its own: whoever opens a FIFO may wait where no signal reaches Python."""
    code = (
        "from test_hostile_store import *\n"
        "for name, place in FIFOS.items():\n"
        f"    scene = Scene(Path({str(tmp_path)!r}) / name)\n"
        "    scene.fifo(place)\n"
        "    print(name, flush=True)\n"
        "    attack(scene)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    process = subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        told, errors = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        pytest.fail(f"hangs with a FIFO in the place of {process.communicate()[0].splitlines()[-1]}")
    assert process.returncode == 0, errors
    assert told.splitlines() == list(FIFOS)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("name", ["run=..", "run=.", "run=", "run=../other", "run=a b"])
@pytest.mark.parametrize("table", ["steps", "runs"])
def test_a_folder_whose_name_is_no_run_id_is_no_run(scene, table, name):
    folder = scene.store / table / name
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(next(scene.store.glob(f"steps/run={OTHER}/*.parquet")), folder)
    run = name.removeprefix("run=")
    assert open_store(scene.store).runs() == [OTHER, VICTIM]
    before = contents(scene.store)
    for words in (("rm", run), ("compact", run), ("recover", run), ("verify", run)):
        result = CliRunner().invoke(app, [*words, "--store", str(scene.store)])
        assert isinstance(result.exception, ValueError), words
        assert contents(scene.store) == before, words
    attack(scene)


def test_a_run_whose_folder_is_a_link_is_removed_without_what_it_points_to(scene):
    scene.link(f"steps/run={VICTIM}", f"run={VICTIM}")
    before = contents(scene.outside)
    command("rm", VICTIM)(scene)
    assert not os.path.lexists(scene.store / "steps" / f"run={VICTIM}")
    assert contents(scene.outside) == before


def test_a_link_is_named_in_the_error(scene):
    scene.link("_writers", "")
    with pytest.raises(OSError, match=r"_writers is a symbolic link: expected a folder.*delete it"):
        Recorder(scene.store, "new")


def test_the_stores_own_folder_may_be_a_link(scene, tmp_path):
    alias = tmp_path / "alias"
    alias.symlink_to(scene.store)
    with Recorder(alias, "new") as recorder:
        recorder.write("steps", losses(0, 2))
    assert open_store(scene.store).has_run("new")


@pytest.mark.parametrize("name", ["owner.json", "steps-00000001.arrows", "steps-00000009.arrows"])
def test_an_owner_file_or_log_of_a_terabyte_is_not_read_and_the_others_are(scene, name):
    with (scene.workspace / name).open("wb") as file:
        file.truncate(1 << 40)  # a hole: it takes no disk
    command("recover")(scene)
    rows = [pq.read_table(path, partitioning=None) for path in scene.store.glob(f"steps/run={VICTIM}/*.parquet")]
    assert sorted(pa.concat_tables(rows)["step"].to_pylist()) == [0, 1, 2, 3]
