"""What the tests of mended faults may ask for: a training under a probe, and what it recorded."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import nn

from probes import Probe


@pytest.fixture(autouse=True)
def one_thread_and_a_fixed_seed(alike: None) -> None:
    """Train alike in every session."""


@pytest.fixture
def gaps(store: Path) -> Callable[[], list[dict[str, Any]]]:
    """Return a function that reads the gaps of the store's only run."""
    return lambda: json.loads(pd.read_parquet(store / "runs")["gaps"].iloc[0])


class Recorded:
    """What one training left: rows of table ``layers`` and gaps."""

    def __init__(self, store: Path) -> None:
        self.layers = pd.read_parquet(store / "layers")
        self.gaps: list[dict[str, Any]] = json.loads(pd.read_parquet(store / "runs")["gaps"].item())

    def __getitem__(self, layer: str) -> pd.Series:
        """Return the row of a layer that was recorded once."""
        (row,) = self.layers[self.layers["layer"] == layer].to_dict("records")
        return pd.Series(row)

    def of(self, what: str) -> list[tuple[str, str]]:
        """Return layer and reason of each gap of a metric."""
        return [(gap.get("layer", ""), gap["why"]) for gap in self.gaps if gap["what"] == what]


@pytest.fixture
def record(tmp_path: Path) -> Callable[..., Recorded]:
    """Return a function that trains a model under a probe: each step a list of losses to go backward from."""

    def train(model: nn.Module, *steps: list[Callable[[nn.Module], torch.Tensor]], **settings: Any) -> Recorded:
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.SGD(trained, lr=0.01)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            with Probe(model, optimizer, store=tmp_path / "runs", run="a", **{"every": 1, **settings}):
                for losses in steps:
                    optimizer.zero_grad()
                    for loss in losses:
                        loss(model).backward()
                    optimizer.step()
        return Recorded(tmp_path / "runs")

    return train
