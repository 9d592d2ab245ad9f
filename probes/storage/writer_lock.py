"""The lock that makes one writer own a run. The kernel frees it when the writer dies.

The lock is ``flock`` on ``owner.json`` in the run's workspace. On some shared file systems, a free lock does not prove
that an owner on another host is dead. Such a run is therefore taken over only by force.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import time
import weakref
from contextlib import suppress
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import Any

from probes.storage.platform_needs import check_recording
from probes.storage.safe_files import check_folder, open_regular, read_regular

check_recording()
import fcntl  # noqa: E402 - not on Windows, which is refused in words of our own

OWNER_FILE = "owner.json"
RECOVERING = "recovering"
PATIENCE_SECONDS = 30.0
MAX_OWNER_BYTES = 1 << 16  # an owner file has five entries
_TRIES = 100
_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_NO_LOCKS_HERE = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL}


class RunIsOwnedError(ValueError):
    """Another writer, which is or may be alive, owns the run."""


class WriterLock:
    """The right to write one run, held until :meth:`release` or the end of the process.

    Args:
        workspace: The run's workspace, two folders below the store's or the spool's own; made if missing.
        task: The purpose: recording or recovering. A writer that records waits for an owner that only recovers, and
            for no other owner.
        force: Take the run over from an owner on another machine, who is known to be dead.

    Raises:
        RunIsOwnedError: Another writer has the run.
        OSError: The workspace cannot be written, or is a link.

    Attributes:
        workspace: The run's workspace.
        folder: The descriptor of the workspace, which stays valid if the store is renamed.
    """

    def __init__(self, workspace: Path, *, task: str = "recording", force: bool = False) -> None:
        self.workspace = workspace
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self._take(task, force=force, wait=task != RECOVERING and time.monotonic() < deadline):
            time.sleep(0.02)
        _held.add(self)

    def _take(self, task: str, *, force: bool, wait: bool) -> bool:
        """Take the run; False if its owner may release it soon."""
        self._file, self.folder, locked = _open_locked(self.workspace / OWNER_FILE)
        try:
            previous = _read(self._file)
            if locked is False and wait and _may_end_soon(previous):
                self.forget()
                return False
            if locked is False or not (force or _is_dead(previous, lock_was_free=bool(locked))):
                raise RunIsOwnedError(_busy(self.workspace.name, previous, held=locked is False))
            self._file.seek(0)
            self._file.truncate()
            self._file.write(json.dumps({"task": task, **_this_process()}).encode())
        except BaseException:
            self.forget()
            raise
        return True

    @property
    def held(self) -> bool:
        """False once released, and in a forked child."""
        return not self._file.closed

    def release(self) -> None:
        """Release the run.

        Its workspace is deleted if it is empty.
        """
        if not self.held:
            return
        workspace = self.location()
        with suppress(FileNotFoundError):  # the store was deleted meanwhile
            if os.listdir(self.folder) == [OWNER_FILE]:  # noqa: PTH208  # a Path takes no descriptor
                os.unlink(OWNER_FILE, dir_fd=self.folder)  # while locked, so the next holder sees the deletion
        self.forget()
        for folder in (workspace, workspace.parent):
            with suppress(OSError):  # the workspace is not empty, or another writer uses it
                folder.rmdir()

    def forget(self) -> None:
        """Close the file in a forked child, and leave the workspace as it is: the run belongs to the parent."""
        if self.held:
            self._file.close()
            os.close(self.folder)

    def location(self) -> Path:
        """Return the current path of the workspace: the store may have been renamed since it was opened."""
        with suppress(OSError):  # no /proc, or the descriptor is closed
            return Path(f"/proc/self/fd/{self.folder}").readlink()
        return self.workspace


_held: weakref.WeakSet[WriterLock] = weakref.WeakSet()


def _forget_all() -> None:
    for lock in list(_held):
        lock.forget()


# A forked child (a DataLoader worker) shares the lock. If it outlived its parent, the run's writer would seem alive.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)


def is_alive(workspace: Path) -> bool:
    """Return whether the writer in the owner file is alive, or may be alive on another machine.

    Nothing is written.
    """
    try:
        owner = _parsed(read_regular(workspace / OWNER_FILE, limit=MAX_OWNER_BYTES))
    except OSError:
        return False
    return not _is_dead(owner, lock_was_free=False)


def _open_locked(path: Path) -> tuple[FileIO, int, bool | None]:
    """Open the owner file and try to lock it.

    Repeat if its last owner deleted file or folder in between.
    """
    for _ in range(_TRIES - 1):
        with suppress(FileNotFoundError, FileExistsError):  # mkdir: the folder was deleted after it was found
            return _open_locked_once(path)
    return _open_locked_once(path)


def _open_locked_once(path: Path) -> tuple[FileIO, int, bool | None]:
    check_folder(path.parent, root=path.parents[2], make=True)
    folder = os.open(path.parent, _FOLDER)
    try:
        file = FileIO(open_regular(path, os.O_RDWR | os.O_CREAT, folder=folder), "r+")
        try:
            locked = _try_lock(file)
            if path.lstat().st_ino != os.fstat(file.fileno()).st_ino:
                raise FileNotFoundError(errno.ENOENT, "the owner file was deleted as it was being locked", str(path))
        except BaseException:
            file.close()
            raise
    except BaseException:
        os.close(folder)
        raise
    return file, folder, locked


def _try_lock(file: FileIO) -> bool | None:
    """Return True if locked now, False if another process has the lock, None if the file system has no locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _NO_LOCKS_HERE:
            return None
        raise
    return True


def _may_end_soon(owner: dict[str, Any]) -> bool:
    """Return whether the owner that has the lock may be one that only recovers, according to its file.

    If the file names a dead writer, or no writer, the process that has the lock has not written its own name yet.
    """
    return owner.get("task") == RECOVERING or _is_dead(owner, lock_was_free=False)


def _is_dead(owner: dict[str, Any], *, lock_was_free: bool) -> bool:
    if not owner:
        return True  # a new file, or a file whose writer died while writing it, just after taking the lock
    me = _this_process()
    same_boot = bool(me["boot"]) and owner.get("boot") == me["boot"]
    if not same_boot and owner.get("host") != me["host"]:
        return _is_earlier_attempt(owner, me)
    if lock_was_free:
        return True  # on one machine a free lock proves that the owner is dead
    pid = owner.get("pid")
    return (bool(me["boot"]) and not same_boot) or not isinstance(pid, int) or owner.get("born") != _birth(pid)


def _this_process() -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "boot": _boot_id(),
        "pid": os.getpid(),
        "born": _birth(os.getpid()),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
        **_attempt(),
    }


def _attempt() -> dict[str, Any]:
    """Return the SLURM job of this process and its number of restarts; an empty dict outside SLURM."""
    job, restarts = os.environ.get("SLURM_JOB_ID"), os.environ.get("SLURM_RESTART_COUNT", "0")
    if not job or not restarts.isdecimal():
        return {}
    return {"job": f"{os.environ.get('SLURM_CLUSTER_NAME', '')}/{job}", "attempt": int(restarts)}


def _is_earlier_attempt(owner: dict[str, Any], me: dict[str, Any]) -> bool:
    """Return whether the owner belongs to an earlier start of this job: SLURM ends one before it requeues the job."""
    attempt = owner.get("attempt")
    return "job" in me and owner.get("job") == me["job"] and isinstance(attempt, int) and attempt < me["attempt"]


def _is_this_process(owner: dict[str, Any]) -> bool:
    me = _this_process()
    return all(owner.get(name) == me[name] for name in ("host", "boot", "pid", "born"))


def _boot_id() -> str:
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


def _birth(pid: int) -> str | None:
    """Return a process's start in clock ticks since boot, "alive" if only that is known, None if it does not run."""
    with suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    if Path("/proc/self/stat").exists():
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return "alive"


def _read(file: FileIO) -> dict[str, Any]:
    return _parsed(file.read(MAX_OWNER_BYTES))


def _parsed(content: bytes) -> dict[str, Any]:
    with suppress(ValueError, RecursionError):  # incomplete, because its writer died: the lock alone then decides
        owner = json.loads(content or b"{}")
        return owner if isinstance(owner, dict) else {}
    return {}


def _busy(run: str, owner: dict[str, Any], *, held: bool) -> str:
    who = f"process {owner.get('pid', '?')} on {owner.get('host', '?')}, since {owner.get('since', '?')}"
    if _is_this_process(owner):
        return (
            f"run {run!r} is being written by {who}, which is this very process: close its probe first "
            "(probe.close()). A new Probe with overwrite=True, or resume='auto' to go on, closes it by itself"
        )
    if held:
        return f"run {run!r} is being written by {who}: choose another run id, or wait until that writer closes"
    return (
        f"run {run!r} belongs to {who}, another machine, which may still be alive. If that process is dead, "
        f"`meandrift recover {run} --force` takes the run over"
    )
