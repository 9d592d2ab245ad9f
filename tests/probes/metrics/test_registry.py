"""What holds for every metric in METRICS."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from probes import Probe
from probes.metrics import METRICS
from probes.ranks import Ranks
from probes.schema import DENSE_TABLES, HISTOGRAMS, SPECTRA
from probes.step_cycle import offered_sources

EVERY = dict.fromkeys(METRICS, 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Record everything there is on an ordinary training, with micro-batches."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("registry")
    model = nn.Sequential(
        nn.utils.parametrizations.spectral_norm(nn.Conv2d(1, 3, 3)), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten()
    )
    model.append(nn.Linear(3 * 16, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)  # it has state, for metrics that read it
    with Probe(model, optimizer, store=folder, run="a", every=EVERY, strict=True):
        for _ in range(2):
            for _ in range(2):
                model(torch.randn(4, 1, 6, 6)).square().mean().backward()
            optimizer.step()
    return folder


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_is_recorded_under_its_name(name, folder):
    metric = METRICS[name]
    assert metric.name == name
    found = pd.read_parquet(folder / metric.table)
    if metric.table in DENSE_TABLES and not metric.reads.endswith("unsolved_matrices"):  # too dear for a spectrum
        assert found[[column.name for column in metric.columns]].notna().any().all()
    elif metric.table == HISTOGRAMS:
        assert metric.label in set(found["tensor"])
    elif metric.table == SPECTRA:
        assert metric.label in set(found["view"])


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_reads_a_source_and_explains_its_columns(name):
    metric = METRICS[name]
    assert metric.reads in offered_sources(Ranks()) or metric.reducer is not None
    assert metric.table in (*DENSE_TABLES, HISTOGRAMS, SPECTRA)
    assert bool(metric.columns) == (metric.table in DENSE_TABLES)
    assert all(column.unit and column.formula and column.tensor for column in metric.columns)


def test_two_metrics_that_fill_the_same_column_mean_the_same():
    owner = {}
    for metric in METRICS.values():
        for column in metric.columns:
            assert owner.setdefault((metric.table, column.name), column) is column


@pytest.mark.parametrize("name", [name for name, metric in METRICS.items() if metric.reducer is not None])
def test_every_reducer_ignores_a_part_that_saw_nothing(name):
    reducer = METRICS[name].reducer
    found = reducer.reduce(torch.randn(4, 3, 5), 1)
    vector = found if isinstance(found, torch.Tensor) else reducer.finish([found])[0]
    merged = reducer.merge(torch.stack([torch.zeros_like(vector), vector]))
    np.testing.assert_allclose(merged, vector, rtol=1e-12)
    assert merged.dtype == vector.dtype
