"""The probe of a training that begins, or goes on from a checkpoint of its framework."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from probes.probe import Probe


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
    """Return a probe that begins a run, or goes on with it at the step that the training stands at.

    A training that goes on supersedes the rows from its step on, also under ``overwrite=True``, which is for a training
    that begins. With ``resume="auto"`` among the options, a training that begins anew, having died before its first
    checkpoint, supersedes all of them.

    Args:
        model: What is trained.
        optimizer: What trains it.
        run: The run's id; None: that of the checkpoint, or a new one.
        store: Folder or URL of the store.
        step: Optimizer steps finished, according to the checkpoint; 0 without one.
        saved: The probe's state in the checkpoint, with the run's id as ``run``; empty without one.
        options: Further arguments of :class:`probes.Probe`.
        make: What makes the probe; ``md.Probe`` of ``import meandrift as md`` takes ``warn=`` among the options.
    """
    run, settings = run or saved.get("run"), dict(options)
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
        """Prepare a probe; it is attached when training begins.

        Args:
            run: The run's id in the store; None takes a new one, which ``self.probe.run`` then says.
            store: Folder or URL of the store.
            probe: What makes the probe: ``md.Probe`` of ``import meandrift as md`` takes ``warn=`` among the options.
            options: Further arguments of :class:`probes.Probe`. With ``resume="auto"`` a job that its scheduler starts
                again goes on with its run, from its newest checkpoint or, without one, from the start.
        """
        super().__init__()
        self._run, self._store, self._options = run, store, options
        self._make_probe = probe
        self.probe: Probe | None = None

    def _open(self, model: nn.Module, optimizer: Any, *, step: int, saved: Mapping[str, Any], config: Any) -> Probe:
        """Open and return the probe; step and saved as of :func:`open_probe`, config unless the options have one."""
        self.probe = open_probe(
            model,
            optimizer,
            run=self._run,
            store=self._store,
            step=step,
            saved=saved,
            options={"config": config, **self._options},
            make=self._make_probe,
        )
        return self.probe
