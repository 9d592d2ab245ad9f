"""The runs of one or several plans, and a table of the time that they will take."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from rich.table import Table

from dynamics.classifier.config import RunConfig
from dynamics.sweeps.plans.estimate import Estimate
from dynamics.sweeps.plans.plan import load_plan
from dynamics.sweeps.task import Task


def planned_configs(plans: Sequence[str], options: Mapping[str, Sequence[Any]]) -> dict[str, RunConfig]:
    """Return the configuration of each run of some plans by its id. A run that several plans share occurs once.

    Args:
        plans: Files, or names of shipped plans.
        options: Values of settings that override those of the plans: ``seed`` may have several values, any other one.

    Raises:
        ValueError: There is no such plan, a setting has several values, or two plans give different runs the same id.
    """
    options = dict(options)
    seeds = options.pop("seed", ())
    if several := [name for name, values in options.items() if len(values) > 1]:
        raise ValueError(
            f"--plan: {', '.join(several)} has several values; expected one. A plan takes several values from its arms."
        )
    single = {name: values[0] for name, values in options.items()}
    found: dict[str, RunConfig] = {}
    for name in plans:
        plan = load_plan(name)
        for run, config in (replace(plan, seeds=seeds) if seeds else plan).runs(single).items():
            if found.setdefault(run, config) != config:
                raise ValueError(
                    f"plan {name}: run {run!r} has other settings in another plan; give each plan a prefix of its own."
                )
    return found


def as_table(tasks: Sequence[Task], estimate: Estimate, *, workers: int) -> Table:
    """Return a table of the estimate: one row for each arm; the title has the time until the last run ends."""
    cores = workers or len(os.sched_getaffinity(0))
    left, total = estimate.wall_clock(cores=cores), sum(estimate.seconds.values())
    table = Table(
        title=f"{len(estimate.seconds)} of {len(tasks)} runs left: {_hours(left)} on {cores} cores, "
        f"{_hours(total)} of one core",
        title_justify="left",
    )
    for column, side in (("arm", "left"), ("runs left", "right"), ("s a step", "right"), ("h a run", "right")):
        table.add_column(column, justify=side)  # type: ignore[arg-type]
    table.add_column("speed from")
    arms: dict[str, list[str]] = {}
    for run in estimate.seconds:
        arms.setdefault(run.rpartition("-s")[0], []).append(run)
    for arm, runs in arms.items():
        speed = estimate.speeds[runs[0]]
        hours = estimate.seconds[runs[0]] / 3600
        table.add_row(arm, str(len(runs)), f"{speed.step:.4f}", f"{hours:.2f}", speed.source)
    return table


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.0f} min"
