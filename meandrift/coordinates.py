"""The coordinate check of maximal update parametrization: a few training steps at several widths, recorded."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from analysis import layers, width_slopes, with_settings
from analysis.summaries.scaling.width_slopes import SLOPE, SLOPE_ERROR, WIDTH, WIDTHS
from meandrift.probe import Probe
from probes.schedule import every
from probes.schema import LAYER, LAYER_INDEX, STEP

SIZES = ("activation_rms", "update_rms_norm", "update_ratio")
_RECORDED = ("activation_moments", "update", "update_spectrum", "update_spectral_norm")
_SEED, _NAME = "seed", "parametrization"


def coordinate_check(
    make_model: Callable[[int], nn.Module],
    widths: Sequence[int],
    *,
    make_optimizer: Callable[[nn.Module, int], Optimizer],
    loss: Callable[[nn.Module], Tensor],
    steps: int = 5,
    seeds: int = 3,
    name: str = "coordinates",
    store: str | os.PathLike[str] = "runs",
    overwrite: bool = False,
) -> pd.DataFrame:
    """Train a few steps at each width, and return how the sizes of activations and updates grow with the width.

    Under a parametrization whose learning rates transfer between widths, sizes do not depend on the width: the slope of
    ``log2 size`` over ``log2 width`` is 0. Under standard parametrization with Adam, the update of a hidden matrix
    changes the activations by an amount that grows with the width, with a slope of up to 1 for each layer. Then no
    single learning rate suits all widths.

    The probe records every step of every training. Each training is a run ``{name}-w{width}-s{seed}`` of the store,
    with settings ``width``, ``seed`` and ``parametrization``. Figure ``coordinate_check`` draws these runs. Step 0 is
    the network before the first update. A layer whose output is zero at step 0, such as a readout that starts from
    zero, has the slope NaN at this step.

    Args:
        make_model: Returns a new network of a width. It is called once per width and seed. The random numbers of torch
            are seeded before each call.
        widths: Two or more widths, such as powers of two.
        make_optimizer: ``(model, width) -> optimizer``: the rates of layers may depend on the width.
        loss: ``model -> scalar``: the loss on a batch, from one forward. Use the same batch at each call.
        steps: Optimizer steps, at least 2. Step 0 shows the initialisation, later steps show the effect of updates.
        seeds: Number of seeds, ``0, 1, ...``.
        name: Beginning of the runs' ids, such as ``"mup"``; arm of the figure.
        store: Folder or URL of the store.
        overwrite: Delete runs of these ids that the store has.

    Returns:
        A row for each width, seed, step and layer. Its columns are ``width``, ``seed``, ``step``, ``layer``,
        ``activation_rms``, ``update_rms_norm`` (spectral norm of the update times ``sqrt(in / out)``), ``update_ratio``
        (length of the update relative to the weight's), and for each size the ``..._slope`` and ``..._slope_error`` of
        :func:`analysis.width_slopes`, which are equal in all rows of a layer and step. Sizes have unit 1. The update is
        null for a layer without weight. A diverged training has NaN or infinite sizes and therefore the slope NaN.

    Raises:
        ValueError: Fewer than two widths, steps below 2, no seed, or a run of that id is there already.

    Source: Yang et al. 2021, "Tensor Programs V", appendix D.1; Yang, Simon and Bernstein 2023, "A spectral condition
    for feature learning", for ``update_rms_norm``.
    """
    _check(widths, steps, seeds)
    made = []
    for width, seed in product(widths, range(seeds)):
        made.append(f"{name}-w{width}-s{seed}")
        config = {WIDTH: width, _SEED: seed, _NAME: name}
        with _seeded(seed):
            model = make_model(width)
            options = {"run": made[-1], "config": config, "store": store, "overwrite": overwrite}
            _train(model, make_optimizer(model, width), loss, steps, options)
    rows = with_settings(layers(store, columns=SIZES, runs=made), store, [WIDTH, _SEED])
    return _with_slopes(rows)


def _check(widths: Sequence[int], steps: int, seeds: int) -> None:
    """Refuse arguments that give no slope, before anything is trained."""
    if len(set(widths)) < 2 or min(widths) < 1:
        raise ValueError(f"widths: expected two or more different widths above 0, such as (64, 128, 256), got {widths}")
    if len(set(widths)) < len(widths):
        raise ValueError(f"widths: expected each width once, got {widths}: remove the repeated ones")
    if steps < 2 or seeds < 1:
        raise ValueError(f"expected at least 2 steps and 1 seed, got steps={steps}, seeds={seeds}")


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed torch's random numbers inside a block; the caller's random numbers continue after it."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield


def _train(
    model: nn.Module, optimizer: Optimizer, loss: Callable[[nn.Module], Tensor], steps: int, options: dict[str, Any]
) -> None:
    with Probe(model, optimizer, metrics=_RECORDED, every=every(1), **options) as probe:
        for _ in range(steps):
            optimizer.zero_grad()
            found = loss(model)
            found.backward()
            optimizer.step()
            probe.log(loss=found)


def _with_slopes(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows, in the order of steps and layers, with the slope of each size and its error."""
    for size in SIZES:
        slopes = width_slopes(rows, column=size, by=(LAYER, STEP)).drop(columns=WIDTHS)
        names = {SLOPE: f"{size}_{SLOPE}", SLOPE_ERROR: f"{size}_{SLOPE_ERROR}"}
        rows = rows.merge(slopes.rename(columns=names), on=[LAYER, STEP], how="left")
    ordered = rows.sort_values([STEP, LAYER_INDEX, WIDTH, _SEED], kind="stable", ignore_index=True)
    slopes_of = [f"{size}_{number}" for size in SIZES for number in (SLOPE, SLOPE_ERROR)]
    return ordered[[WIDTH, _SEED, STEP, LAYER, *SIZES, *slopes_of]]
