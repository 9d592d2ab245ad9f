import errno
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from probes.storage import writer_lock
from probes.storage.files import open_store
from probes.storage.writer_lock import OWNER_FILE, RECOVERING, RunIsOwnedError, WriterLock

fcntl = pytest.importorskip("fcntl", reason="flock is what is tested")


@pytest.fixture
def take():
    """Take runs, and give them back after the test."""
    taken = []

    def take_run(workspace: Path, **how: object) -> WriterLock:
        taken.append(WriterLock(workspace, **how))
        return taken[-1]

    yield take_run
    for owner in taken:
        owner.forget()


def owner_file(workspace: Path, **fields: object) -> None:
    """Leave behind what a writer that is gone had written."""
    WriterLock(workspace).forget()
    path = workspace / OWNER_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_a_run_given_back_leaves_no_trace(tmp_path):
    WriterLock(tmp_path / "_writers" / "a").release()
    assert list(tmp_path.iterdir()) == []


def test_what_is_left_in_a_workspace_stays(tmp_path):
    owner = WriterLock(tmp_path / "a")
    (tmp_path / "a" / "steps-00000001.arrows").touch()
    owner.release()
    assert (tmp_path / "a" / "steps-00000001.arrows").exists()


def test_a_dead_owner_on_this_machine_gives_way(tmp_path, take):
    WriterLock(tmp_path / "a").forget()
    assert take(tmp_path / "a").held


def test_an_owner_from_before_a_reboot_gives_way(tmp_path, take):
    owner_file(tmp_path / "a", boot="another boot")
    assert take(tmp_path / "a").held


def test_an_owner_on_another_machine_gives_way_only_to_force(tmp_path, take):
    owner_file(tmp_path / "a", boot="another boot", host="node7")
    with pytest.raises(RunIsOwnedError, match=r"on node7, .* another machine, .* `meandrift recover a --force`"):
        WriterLock(tmp_path / "a")
    assert take(tmp_path / "a", force=True).held


REQUEUED = {"SLURM_JOB_ID": "42", "SLURM_CLUSTER_NAME": "big", "SLURM_RESTART_COUNT": "1"}
ELSEWHERE = {"boot": "another boot", "host": "node7"}


def test_an_earlier_attempt_of_a_requeued_job_gives_way_on_any_machine(tmp_path, take, monkeypatch):
    owner_file(tmp_path / "a", **ELSEWHERE, job="big/42", attempt=0)
    for name, value in REQUEUED.items():
        monkeypatch.setenv(name, value)
    assert take(tmp_path / "a").held


@pytest.mark.parametrize(
    "owner",
    [
        {"job": "big/42", "attempt": 1},  # the same attempt, on its other machine
        {"job": "big/41", "attempt": 0},
        {"job": "small/42", "attempt": 0},
        {"job": "big/42", "attempt": "0"},
        {},
    ],
)
def test_any_other_owner_on_another_machine_keeps_its_run(owner, tmp_path, monkeypatch):
    owner_file(tmp_path / "a", **ELSEWHERE, **owner)
    for name, value in REQUEUED.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RunIsOwnedError, match="node7"):
        WriterLock(tmp_path / "a")


def test_a_container_on_this_machine_is_this_machine(tmp_path, take):
    owner_file(tmp_path / "a", host="a-container")
    assert take(tmp_path / "a").held


def test_force_does_not_take_a_run_from_a_living_owner(tmp_path):
    owner = WriterLock(tmp_path / "a")
    with pytest.raises(RunIsOwnedError, match=f"is being written by process {os.getpid()}"):
        WriterLock(tmp_path / "a", force=True)
    owner.release()


def test_a_torn_owner_file_is_decided_by_the_lock(tmp_path, take):
    owner_file(tmp_path / "a")
    (tmp_path / "a" / OWNER_FILE).write_text('{"host": "no')
    assert take(tmp_path / "a").held


def after(seconds: float, call: Callable[..., None], *arguments: object) -> threading.Event:
    """Call something soon, in another thread; return what is set just before: who waits for it sees it set."""
    begun = threading.Event()
    threading.Timer(seconds, lambda: (begun.set(), call(*arguments))).start()
    return begun


def test_who_records_waits_for_a_recovery_under_way(tmp_path, take):
    recovery = WriterLock(tmp_path / "a", task=RECOVERING)
    done = after(0.2, recovery.release)
    assert take(tmp_path / "a").held
    assert done.is_set()


def locked_under_a_dead_name(workspace: Path) -> int:
    """Lock a dead writer's file as a recovery does in the moment before it writes its own name there."""
    owner_file(workspace, born="1")
    file = os.open(workspace / OWNER_FILE, os.O_RDWR)
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


def test_who_records_waits_for_an_owner_that_has_not_written_its_name_yet(tmp_path, take):
    file = locked_under_a_dead_name(tmp_path / "a")
    done = after(0.2, os.close, file)
    assert take(tmp_path / "a").held
    assert done.is_set()


def test_an_owner_that_never_writes_its_name_is_not_waited_for_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(writer_lock, "PATIENCE_SECONDS", 0.1)
    file = locked_under_a_dead_name(tmp_path / "a")
    with pytest.raises(RunIsOwnedError, match="is being written"):
        WriterLock(tmp_path / "a")
    os.close(file)


def test_who_waits_for_a_recovery_waits_on_while_the_next_has_no_name_yet(tmp_path, take):
    recovery = WriterLock(tmp_path / "a", task=RECOVERING)
    after(0.2, os.truncate, tmp_path / "a" / OWNER_FILE, 0)
    done = after(0.4, recovery.release)
    assert take(tmp_path / "a").held
    assert done.is_set()


def test_who_recovers_waits_for_nobody(tmp_path, monkeypatch):
    monkeypatch.setattr(time, "sleep", pytest.fail)
    file = locked_under_a_dead_name(tmp_path / "a")
    with pytest.raises(RunIsOwnedError, match="is being written"):
        WriterLock(tmp_path / "a", task=RECOVERING)
    os.close(file)


def test_a_living_writer_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(time, "sleep", pytest.fail)
    owner = WriterLock(tmp_path / "a")
    with pytest.raises(RunIsOwnedError, match=f"process {os.getpid()}"):
        WriterLock(tmp_path / "a")
    owner.release()


def test_a_folder_deleted_as_it_is_found_is_made_again(tmp_path, take, monkeypatch):
    """The last owner deletes the folder right after mkdir has found it there."""
    workspace, lstat, deleted = tmp_path / "a", Path.lstat, []
    workspace.mkdir()

    def delete_then_look(path: Path) -> os.stat_result:
        if path == workspace and not deleted:
            deleted.append(workspace.rmdir())
        return lstat(path)

    monkeypatch.setattr(Path, "lstat", delete_then_look)
    assert take(workspace).held
    assert deleted


def test_a_folder_of_workspaces_deleted_as_it_is_listed_holds_none(tmp_path, monkeypatch):
    """Who closes the last run deletes the folder, whatever another process is about to do with it."""
    scandir = os.scandir
    (tmp_path / "_writers").mkdir()

    def delete_then_list(path: Path):
        path.rmdir()
        return scandir(path)

    monkeypatch.setattr(os, "scandir", delete_then_list)
    assert open_store(tmp_path).workspaces() == []
    assert not (tmp_path / "_writers").exists()


def test_the_owner_file_that_is_locked_is_the_one_that_stands_there(tmp_path, take, monkeypatch):
    """The last owner deletes the file between our open and our lock: we must not lock a file without a name."""
    path = tmp_path / "a" / OWNER_FILE
    try_lock, deleted = writer_lock._try_lock, []

    def delete_then_lock(file: object) -> bool | None:
        if not deleted:
            deleted.append(path.unlink())
        return try_lock(file)

    monkeypatch.setattr(writer_lock, "_try_lock", delete_then_lock)
    owner = take(tmp_path / "a")
    assert path.stat().st_ino == os.fstat(owner._file.fileno()).st_ino


class TestWithoutLocks:
    """File systems that have no flock: the process id and its start time decide."""

    @pytest.fixture(autouse=True)
    def _no_flock(self, monkeypatch):
        def refuse(*_: object) -> None:
            raise OSError(errno.ENOTSUP, "no locks here")

        monkeypatch.setattr(fcntl, "flock", refuse)

    def test_a_living_process_keeps_its_run(self, tmp_path):
        WriterLock(tmp_path / "a").forget()
        with pytest.raises(RunIsOwnedError, match=f"process {os.getpid()}"):
            WriterLock(tmp_path / "a")

    def test_a_process_that_is_gone_gives_way(self, tmp_path, take):
        owner_file(tmp_path / "a", pid=2**22 + 1)
        assert take(tmp_path / "a").held

    def test_a_process_id_used_again_is_not_the_old_process(self, tmp_path, take):
        owner_file(tmp_path / "a", born="1")
        assert take(tmp_path / "a").held


def test_an_error_of_the_lock_itself_is_raised(tmp_path, monkeypatch):
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(OSError, match="input/output error"):
        WriterLock(tmp_path / "a")
