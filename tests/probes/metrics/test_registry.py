"""What holds for every metric in METRICS."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from probes import Probe
from probes.metrics import METRICS, OF_CALLS
from probes.ranks import Ranks
from probes.schema import DENSE_TABLES, HISTOGRAMS, SPECTRA, UNITS
from probes.schema.columns.units import ATTENTION_COLUMNS, ROUTER_COLUMNS
from probes.step_cycle import offered_sources

ALL = {**METRICS, **{metric.name: metric for metric in OF_CALLS}}
EVERY = dict.fromkeys(ALL, 1)
OWN_COLUMNS = {"attention": ATTENTION_COLUMNS, "router": ROUTER_COLUMNS}  # that each fills in table `units`


class Chosen(nn.Module):
    """Attends to the positions of an image, then chooses two of three experts for each."""

    def __init__(self):
        super().__init__()
        self.attention, self.gate = nn.MultiheadAttention(3, 1, batch_first=True), nn.Linear(3, 3)

    def forward(self, images):
        x = images.flatten(2).mT
        y = self.attention(x, x, x, need_weights=False)[0]
        shares, chosen = self.gate(y).softmax(-1).topk(2, dim=-1)
        return (x + y * shares.sum(-1, keepdim=True) + nn.functional.one_hot(chosen, 3).sum(-2)).mT


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Record everything there is on an ordinary training, with micro-batches."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("registry")
    convolution = nn.utils.parametrizations.spectral_norm(nn.Conv2d(1, 3, 3))
    model = nn.Sequential(convolution, nn.BatchNorm2d(3), nn.ReLU(), Chosen(), nn.Flatten(), nn.Linear(3 * 16, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)  # it has state, for metrics that read it
    with Probe(model, optimizer, store=folder, run="a", every=EVERY, strict=True):
        for _ in range(2):
            for _ in range(2):
                model(torch.randn(4, 1, 6, 6)).square().mean().backward()
            optimizer.step()
    return folder


@pytest.mark.parametrize("name", ALL)
def test_every_metric_is_recorded_under_its_name(name, folder):
    metric = ALL[name]
    assert metric.name == name
    found = pd.read_parquet(folder / metric.table)
    if metric.table in DENSE_TABLES and not metric.reads.endswith("unsolved_matrices"):  # too dear for a spectrum
        assert found[[column.name for column in metric.columns]].notna().any().all()
    elif metric.table == HISTOGRAMS:
        assert metric.label in set(found["tensor"])
    elif metric.table == SPECTRA:
        assert metric.label in set(found["view"])
    elif metric.table == UNITS:
        assert found[[column.name for column in OWN_COLUMNS[name]]].notna().any().all()


@pytest.mark.parametrize("name", ALL)
def test_every_metric_reads_a_source_and_explains_its_columns(name):
    metric = ALL[name]
    assert metric.reads in offered_sources(Ranks()) or metric.reducer is not None
    assert metric.table in (*DENSE_TABLES, HISTOGRAMS, SPECTRA, UNITS)
    assert bool(metric.columns) == (metric.table in DENSE_TABLES)
    columns = metric.columns or OWN_COLUMNS.get(name, ())
    assert all(column.unit and column.formula and column.tensor for column in columns)


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
