"""A loaded checkpoint is measured without a training: ``Probe(model, run=...).step()``."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn

from probes import Probe


def test_a_checkpoint_is_measured_without_complaint(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with Probe(model, store=tmp_path, run="checkpoint", every=1) as probe:
            probe.step()
    layers = pd.read_parquet(tmp_path / "layers")
    assert layers[["weight_mean", "spectral_norm"]].notna().all(axis=None)
    assert layers["activation_mean"].isna().all()
    assert json.loads(pd.read_parquet(tmp_path / "runs")["gaps"].item()) == []


def test_a_training_whose_outputs_are_not_seen_is_still_told(tmp_path: Path) -> None:
    """What a model compiled before its probe looks like: gradients come, and no hook has run."""
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Probe(model, optimizer, store=tmp_path, run="a", every=1):
        nn.functional.linear(torch.randn(4, 3), model.weight, model.bias).sum().backward()
        with pytest.warns(RuntimeWarning, match="no forward hook ran"):
            optimizer.step()
