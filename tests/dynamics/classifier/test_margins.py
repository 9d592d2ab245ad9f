"""Theorem 1 along a run, against the formula written out."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from dynamics.classifier.config import RunConfig
from dynamics.classifier.measures.margins import MarginBound, input_norm
from dynamics.classifier.run import run
from dynamics.data.images import DataSet, Images


@pytest.fixture
def data() -> DataSet:
    draw = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (40, 2, 4, 4), dtype=torch.uint8, generator=draw)
    images = Images(pixels, torch.arange(40) % 3)
    return DataSet("toy", images, images, num_classes=3, mean=(0.4, 0.5), std=(0.2, 0.3))


def seen(data: DataSet) -> np.ndarray:
    mean, std = (np.array(values).reshape(1, 2, 1, 1) for values in (data.mean, data.std))
    return (data.train.pixels.numpy() / 255 - mean) / std


def test_the_input_norm_is_that_of_the_images_as_the_network_sees_them(data: DataSet) -> None:
    assert input_norm(data) == pytest.approx(np.linalg.norm(seen(data).ravel()), rel=1e-12)


def test_the_bound_is_theorem_1_at_its_best_margin(data: DataSet, seed: int) -> None:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(32, 3))
    first = model[1].weight.detach().double().numpy().copy()
    margin_bound = MarginBound(model, data)
    with torch.no_grad():
        model[1].weight += 0.1 * torch.randn(3, 32)
    W, b = (p.detach().double().numpy() for p in (model[1].weight, model[1].bias))
    logits = seen(data).reshape(40, 32) @ W.T + b
    right = logits[np.arange(40), data.train.labels]
    others = np.where(np.eye(3, dtype=bool)[data.train.labels], -np.inf, logits).max(1)
    margins = right - others
    R = np.linalg.norm(W - first, axis=1).sum()  # one layer: sigma cancels
    norm = np.linalg.norm(seen(data).ravel())
    bounds = [
        (margins <= m).mean() + norm * R / (m * 40) * math.log(32) + math.sqrt(math.log(20) / 40)
        for m in margins[margins > 0]
    ]
    found = margin_bound.of(model)
    assert found["spectral_complexity"] == pytest.approx(R, rel=1e-6)
    assert found["margin_bound"] == pytest.approx(min(bounds), rel=1e-4)


def test_a_large_set_gives_its_size_and_a_sample_of_its_margins(data: DataSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dynamics.classifier.measures.margins.MARGIN_IMAGES", 12)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(32, 3))
    sampled = MarginBound(model, data)
    assert len(sampled._images) == 10
    assert sampled._samples == 40
    assert sampled.of(model)["spectral_complexity"] == 0  # as at initialisation


def test_a_run_records_it_at_each_test_and_a_resumed_one_refers_to_the_first_weights(tmp_path) -> None:
    config = RunConfig(norm="sn", train_images=20, batch_size=50, epochs=2)
    run(config, store=tmp_path, name="whole")
    run(RunConfig(norm="sn", train_images=20, batch_size=50, epochs=1), store=tmp_path, name="resumed")
    run(config, store=tmp_path, name="resumed", resume=True)
    rows = pd.read_parquet(tmp_path / "steps").query("split == 'test'")
    columns = ["step", "spectral_complexity", "margin_bound"]
    whole, resumed = (rows[rows["run"] == name][columns].reset_index(drop=True) for name in ("whole", "resumed"))
    assert len(whole) == 2
    assert (whole["spectral_complexity"] > 0).all()
    pd.testing.assert_frame_equal(whole, resumed)
