"""The probe of a training that begins, or goes on from a checkpoint of its framework."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from torch import nn

from probes.probe import Probe
from probes.storage.files import open_store
from probes.storage.run_row import read_run_row


def open_probe(
    model: nn.Module,
    optimizer: Any,
    *,
    run: str | None,
    store: str | os.PathLike[str],
    step: int,
    saved: Mapping[str, Any],
    options: Mapping[str, Any],
    make: Callable[..., Probe] = Probe,
) -> Probe:
    """Return a probe that begins a run, or continues it at the current step of the training.

    A training that goes on supersedes the rows from its step on. It does so even with ``overwrite=True``, which
    concerns only a training that begins. A training that died before its first checkpoint begins anew: with
    ``resume="auto"`` among the options, it supersedes all rows.

    Args:
        model: The trained model.
        optimizer: Its optimizer.
        run: The run's id. None: the id in the checkpoint, or a new id.
        store: Folder or URL of the store.
        step: Optimizer steps finished, according to the checkpoint; 0 without one.
        saved: The probe's state in the checkpoint; empty without one.
        options: Further arguments of :class:`probes.Probe`.
        make: The class or function that makes the probe; ``md.Probe`` of ``import meandrift as md`` takes ``warn=``
            among the options.

    Raises:
        ValueError: The checkpoint names a run that another training has recorded.
    """
    if run is None and saved:
        run = _saved_run(saved, store)
    settings = dict(options)
    if step:
        settings.pop("overwrite", None)
    if run is not None and (step or settings.get("resume")):
        settings = {"resume": "auto", "resume_step": step, **settings}
    probe = make(model, optimizer, run=run, store=store, **settings)
    if saved:
        probe.load_state_dict(saved)
    elif step:
        probe.attach(step=step)
    return probe


def _saved_run(saved: Mapping[str, Any], store: str | os.PathLike[str]) -> str:
    """Return the run that a checkpoint names.

    Its rows are superseded, so the store's run must be the checkpoint's run.

    Raises:
        ValueError: The store has another run of this name.
    """
    run = saved["run"]
    there = began(store, run)
    if there is not None and there != saved.get("began"):
        raise ValueError(
            f"the checkpoint goes on with run {run!r}, but {os.fspath(store)} has another of this name, begun {there}: "
            f"give run={run!r} to go on with that one, or another name."
        )
    return run


def began(store: str | os.PathLike[str], run: str) -> str | None:
    """Return when a run of a store began; None if the store has no such run, or the run cannot be read."""
    with suppress(OSError):
        started = read_run_row(open_store(store), run).get("started")
        return None if started is None else started.isoformat()
    return None


class OpensProbe:
    """Base of a framework's callback: takes the arguments of its probe, and opens the probe when training begins.

    Attributes:
        probe: The probe; None before training begins.
    """

    def __init__(
        self,
        *,
        run: str | None = None,
        store: str | os.PathLike[str] = "runs",
        probe: Callable[..., Probe] = Probe,
        **options: Any,
    ) -> None:
        """Prepare a probe.

        It is attached when training begins.

        Args:
            run: The run's id in the store; None takes a new id, which is then in ``self.probe.run``.
            store: Folder or URL of the store.
            probe: The class or function that makes the probe; ``md.Probe`` of ``import meandrift as md`` takes
                ``warn=`` among the options.
            options: Further arguments of :class:`probes.Probe`. With ``resume="auto"`` a job that its scheduler starts
                again goes on with its run, from its newest checkpoint or, without one, from the start.
        """
        super().__init__()
        self._run, self._store, self._options = run, store, options
        self._make_probe = probe
        self._is_open = False
        self._state: dict[str, Any] = {}  # the state of the probe when it was closed
        self.probe: Probe | None = None
        self._began: str | None = None

    def _open(self, model: nn.Module, optimizer: Any, *, step: int, saved: Mapping[str, Any], config: Any) -> Probe:
        """Open and return the probe.

        ``step`` and ``saved`` are those of :func:`open_probe`. ``config`` is used unless the options have one.

        If the probe of an earlier training is still open, the new training takes its place and its run. The framework
        has given up the earlier training, for example to try a smaller batch.
        """
        run, options = self._run, {"config": config, **self._options}
        if self.probe is not None and self._is_open:
            self._close("failed")
            run, options = self.probe.run, {**options, "resume": "auto", "overwrite": False}
        self.probe = open_probe(
            model,
            optimizer,
            run=run,
            store=self._store,
            step=step,
            saved=saved,
            options=options,
            make=self._make_probe,
        )
        self._is_open = True
        self._began = began(self._store, self.probe.run) if self.probe.run else None
        return self.probe

    def _state_now(self) -> dict[str, Any]:
        """Return the state of the probe, now or when it was closed; empty without a probe, or if it is off."""
        if self.probe is None or not self._is_open:
            return self._state
        state = self.probe.state_dict()
        return {**state, "began": self._began} if state else {}

    def _close(self, status: str) -> None:
        if self.probe is not None:
            self._state, self._is_open = self._state_now(), False
            self.probe.close(status)
