"""Table III: the number of trained parameters of each network under each norm, with the published counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd
from torch import nn

from dynamics.models import build
from dynamics.norms.surgery.deparametrize import is_reparametrised

COLUMNS = ("model", "norm", "count", "released_count", "paper", "difference", "reason")


@dataclass(frozen=True)
class Network:
    """One network of Table III.

    Attributes:
        title: Name of the network in the table.
        model: Name of the network in ``dynamics.models``.
        options: Options that build the network.
        paper: The paper's counts, by norm.
        renorm: Whether the released scripts gave each spectrally normalised layer an untrained scalar.
        released: Options that build the network of the released scripts.
    """

    title: str
    model: str
    options: dict[str, Any]
    paper: dict[str, int]
    renorm: bool
    released: dict[str, Any]


COLOUR = {"in_channels": 3, "image_size": 32}
NETWORKS = (
    Network(
        "WGAN (Discriminator)",
        "critic",
        COLOUR,
        {"bn": 2_938_689, "sn": 2_935_873, "msn": 2_937_282},
        renorm=False,
        released={},
    ),
    Network(
        "3-layer CNN",
        "cnn3",
        {"in_channels": 1, "image_size": 28},
        {"bn": 103_562, "sn": 103_406, "msn": 103_486},
        renorm=True,
        released={},
    ),
    Network("VGG-7", "vgg7", COLOUR, {"bn": 438_314, "sn": 437_168, "msn": 437_744}, renorm=True, released={}),
    Network(
        "DenseNet-BC",
        "densenet_bc",
        COLOUR,
        {"bn": 1_009_730, "sn": 1_007_608, "msn": 1_008_670},
        renorm=True,
        released={"scope": "released"},
    ),
)


def count_parameters(module: nn.Module) -> int:
    """Return the number of trained scalars."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def table3() -> pd.DataFrame:
    """Return Table III, one row for each network and norm.

    Columns: ``model``, ``norm``; ``count``, our number; ``released_count``, our number with the additions and omissions
    of the released scripts; ``paper``, the published number; ``difference``, ``count - paper``; ``reason``, the cause
    of the difference.

    Source: the paper's Table III; the reasons follow from the released scripts.
    """
    rows = [_row(network, norm) for network in NETWORKS for norm in network.paper]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _row(network: Network, norm: str) -> tuple[str, str, int, int, int, int, str]:
    paper = network.paper[norm]
    count = count_parameters(build(network.model, norm, **network.options))
    released = build(network.model, norm, **network.options, **network.released)
    scalars = _normalised_layers(released) if network.renorm else 0
    released_count = count_parameters(released) + scalars
    narrower = count - count_parameters(released)
    reason = _reason(count - paper, scalars=scalars, narrower=narrower, unexplained=paper - released_count)
    return network.title, norm, count, released_count, paper, count - paper, reason


def _normalised_layers(model: nn.Module) -> int:
    return sum(is_reparametrised(module) for module in model.modules())


def _reason(difference: int, *, scalars: int, narrower: int, unexplained: int) -> str:
    """Return the parts of a difference in words; they add up to it."""
    assert difference == narrower - scalars - unexplained
    parts = []
    if narrower:
        parts.append(f"{narrower:+,}: the released dense layers keep batch norm, ours follow the text")
    if scalars:
        parts.append(f"{-scalars:+,}: the released scripts count a scalar per normalised layer that nothing trains")
    if unexplained:
        parts.append(f"{-unexplained:+,}: unexplained; one m a channel gives our number")
    return "; ".join(parts) or "equal"
