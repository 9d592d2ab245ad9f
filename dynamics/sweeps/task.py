"""A run that is to be trained, and what is left to do of it."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from typing import Any

from dynamics.classifier.config import RunConfig
from dynamics.gan.config import MAY_CHANGE as GAN_MAY_CHANGE
from dynamics.gan.config import GanConfig
from dynamics.runtime.checkpoint import MAY_CHANGE
from dynamics.runtime.events import Ended, Watch, unwatched
from dynamics.runtime.stored import StoredRun, stored_run

SHOWN = 4  # differences that a message names
LENGTHS = ("epochs", "steps")  # the setting that says how long a run is: of a classifier, of a GAN


@dataclass(frozen=True)
class Task:
    """A run to be trained, and what is to become of what the store holds of it.

    Attributes:
        run: Its id.
        config: Its settings.
        resume: Go on with it.
        overwrite: Delete it first.
        done: It is finished: there is nothing to do.
        extractor: What a GAN's samples are scored with.
        last_step: The largest step that the store holds; 0 if it holds none.
    """

    run: str
    config: RunConfig | GanConfig
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
        """Train it to the end."""
        settings: dict[str, Any] = {
            "store": store,
            "name": self.run,
            "data_dir": data_dir,
            "download": download,
            "resume": self.resume,
            "overwrite": self.overwrite,
            "watch": watch,
        }
        if isinstance(self.config, GanConfig):
            from dynamics.gan_run import run_gan_watched

            return run_gan_watched(self.config, extractor=self.extractor, **settings)
        from dynamics.classifier.run import run

        return run(self.config, **settings)


def task_for(
    store: str | PathLike[str],
    run: str,
    config: RunConfig | GanConfig,
    *,
    overwrite: bool = False,
    extractor: str = "trained",
) -> Task:
    """Return what is left to do of a run: all of it, what was not reached when it stopped, or nothing.

    Raises:
        ValueError: The store holds a run of that id with other settings, and ``overwrite`` is not given.
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
    wanted = config.to_dict()
    long_enough = all(found.settings.get(name, 0) >= wanted[name] for name in LENGTHS if name in wanted)
    finished = found.status == "finished" and long_enough
    return Task(run, config, resume=not finished, done=finished, extractor=extractor, last_step=found.last_step)


def differences(found: StoredRun, config: RunConfig | GanConfig) -> list[str]:
    """Return the settings that keep a stored run from being the configuration's, each with both values."""
    may_change = GAN_MAY_CHANGE if isinstance(config, GanConfig) else MAY_CHANGE
    return [
        f"{name} {found.settings.get(name)!r}, not {value!r}"
        for name, value in sorted(config.to_dict().items())
        if name not in may_change and found.settings.get(name) != value
    ]
