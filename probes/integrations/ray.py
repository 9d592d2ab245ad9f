"""The probe of a trial of Ray Tune, or of a training by Ray Train."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from ray import train, tune
from torch import nn

from probes.integrations.opening import open_probe
from probes.probe import Probe

_LONGEST = 120  # characters of a run's id


def trial_probe(
    model: nn.Module,
    optimizer: Any,
    *,
    store: str | os.PathLike[str],
    step: int = 0,
    saved: Mapping[str, Any] | None = None,
    **options: Any,
) -> Probe:
    """Return a probe for the training function of a Ray trial.

    The run is named after the trial.

    A trial that Ray restarts, for example after a worker has died, supersedes its rows from the step of its checkpoint
    on. Without a checkpoint it supersedes all of them. The workers of one Ray Train job record one run together.

    Args:
        model: The trained model.
        optimizer: Its optimizer.
        store: Folder or URL that every worker sees. Relative paths are relative to the worker's working directory.
        step: Optimizer steps finished according to ``get_checkpoint()``; 0 where there is none.
        saved: The ``probe.state_dict()`` of that checkpoint, if it has one. It includes the step.
        options: Further arguments of :class:`probes.Probe`; ``run=`` gives the run another name.

    Raises:
        ValueError: The function is not called in a trial, and no ``run`` is passed.
    """
    run = options.pop("run", None) or trial_run_id()
    step = (saved or {}).get("step", step)
    options = {"resume": "auto", **options}
    return open_probe(model, optimizer, run=run, store=store, step=step, saved=saved or {}, options=options)


def trial_run_id() -> str:
    """Return the name of this trial (of Ray Tune) or experiment (of Ray Train) as a run's id.

    Raises:
        ValueError: This process is a worker of neither.
    """
    for ask in (lambda: tune.get_context().get_trial_name(), lambda: train.get_context().get_experiment_name()):
        try:
            name = ask()
        except Exception:  # Tune's call raises in a worker of Train, and the reverse
            continue
        if name:
            words = re.sub(r"[^A-Za-z0-9._-]", "-", name)
            return (words if words[0].isalpha() else f"trial-{words}")[:_LONGEST]
    raise ValueError("no trial of Ray runs here: call this in its training function, or give run=...")
