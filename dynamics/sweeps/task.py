"""A task of a sweep: one run, and the part of its training that is not done yet."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from os import PathLike
from typing import Any, ClassVar, Protocol, Self

from dynamics.runtime.events import Ended, Watch, unwatched
from dynamics.runtime.stored_run import StoredRun, stored_run

SHOWN = 4  # differences that a message names


class Settings(Protocol):
    """The interface of a run's settings, which RunConfig and GanConfig have.

    Attributes:
        length: Name of the setting that fixes the length of a run.
    """

    length: ClassVar[str]

    @property
    def may_change(self) -> frozenset[str]:
        """Settings that a resumed run may change: they alter no step already taken."""

    @property
    def cores(self) -> int:
        """CPU cores that a run uses."""

    def to_dict(self) -> dict[str, Any]:
        """Return the settings by name, in the form that the store keeps."""

    def train(
        self,
        *,
        store: str | PathLike[str],
        name: str,
        data_dir: str | PathLike[str],
        download: bool,
        resume: bool,
        overwrite: bool,
        watch: Watch,
        extractor: str,
    ) -> Ended:
        """Train to the end; ``extractor`` scores generated samples, if there are any."""

    @classmethod
    def check(cls, configs: Iterable[Self], *, data_dir: str | PathLike[str] = "data", download: bool = False) -> None:
        """Raise for configurations that cannot run, before any run is trained; download each data set once."""


@dataclass(frozen=True)
class Task:
    """A run to be trained, and the treatment of its rows that the store already holds.

    Attributes:
        run: Id of the run.
        config: Settings of the run.
        resume: Continue the stored run.
        overwrite: Delete the stored run first.
        done: The run is finished, so the task is empty.
        extractor: Name of the extractor that scores a GAN's samples.
        last_step: The largest step of the run in the store; 0 if the store has no step of the run.
    """

    run: str
    config: Settings
    resume: bool = False
    overwrite: bool = False
    done: bool = False
    extractor: str = "trained"
    last_step: int = 0

    def train(
        self,
        *,
        store: str | PathLike[str],
        data_dir: str | PathLike[str] = "data",
        download: bool = False,
        watch: Watch = unwatched,
    ) -> Ended:
        """Train the run to the end."""
        return self.config.train(
            store=store,
            name=self.run,
            data_dir=data_dir,
            download=download,
            resume=self.resume,
            overwrite=self.overwrite,
            watch=watch,
            extractor=self.extractor,
        )


def task_for(
    store: str | PathLike[str],
    run: str,
    config: Settings,
    *,
    overwrite: bool = False,
    extractor: str = "trained",
) -> Task:
    """Return the remaining task of a run: the whole run, the part after its last checkpoint, or nothing.

    Raises:
        ValueError: The store holds a run of that id with other settings, and ``overwrite`` is not set.
        NotADirectoryError: The store's path is a file.
    """
    found = stored_run(store, run)
    if found is None or overwrite:
        return Task(run, config, overwrite=overwrite and found is not None, extractor=extractor)
    if unlike := differences(found, config):
        shown = "; ".join(unlike[:SHOWN]) + (f" and {len(unlike) - SHOWN} more" if len(unlike) > SHOWN else "")
        raise ValueError(
            f"store {store} holds a run {run!r} with {shown}: name another store, or delete that run by --overwrite."
        )
    length = found.settings.get(config.length, 0)
    long_enough = isinstance(length, int | float) and length >= config.to_dict()[config.length]
    finished = found.status == "finished" and long_enough
    return Task(run, config, resume=not finished, done=finished, extractor=extractor, last_step=found.last_step)


def differences(found: StoredRun, config: Settings) -> list[str]:
    """Return the settings in which a stored run differs from a configuration, each with both values.

    Settings of ``config.may_change`` are not compared. A setting that a run of an older version lacks has its default.
    """
    stored = found.settings
    if {config.length, "seed"} <= set(stored):  # a run of another program has neither
        stored = type(config)().to_dict() | stored
    return [
        f"{name} {stored.get(name)!r}, not {value!r}"
        for name, value in sorted(config.to_dict().items())
        if name not in config.may_change and stored.get(name) != value
    ]


def check(tasks: Iterable[Task], *, data_dir: str | PathLike[str] = "data", download: bool = False) -> None:
    """Raise for tasks that cannot run, before any of them is trained; download each data set once.

    Raises:
        ValueError: A setting does not fit its data, or a name is unknown.
        FileNotFoundError: A data set is missing.
    """
    kinds: dict[type[Settings], list[Settings]] = {}
    for task in tasks:
        if not task.done:
            kinds.setdefault(type(task.config), []).append(task.config)
    for kind, configs in kinds.items():
        kind.check(configs, data_dir=data_dir, download=download)
