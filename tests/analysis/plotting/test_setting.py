from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from analysis.gallery.figure import figure
from analysis.plotting.setting import setting_line

RUNS = pd.DataFrame(
    {
        "run": ["a", "b", "c"],
        "norm": ["bn", "bn", "sn"],
        "model": "vgg7",
        "data": "cifar10",
        "learning_rate": 0.001,
        "batch_size": 64,
        "epochs": 10,
        "train_images": 0,
        "seed": [0, 1, 0],
    }
)


def test_network_data_rate_batch_and_seeds_stand_in_one_line() -> None:
    assert setting_line(RUNS) == "VGG-7 · CIFAR-10 · rate 0.001 · batch 64 · 10 epochs · 1 to 2 seeds each"


def test_settings_in_which_runs_differ_stand_side_by_side() -> None:
    runs = RUNS.assign(learning_rate=[0.1, 0.001, 0.1], train_images=500, seed=0)
    assert "500 images a class · rate 0.001/0.1 ·" in setting_line(runs)
    assert "rate 0.001 to 4" in setting_line(pd.concat([runs, RUNS.assign(learning_rate=[2.0, 3.0, 4.0])]))


def test_runs_without_settings_are_counted() -> None:
    assert setting_line(pd.DataFrame({"run": ["a", "b"]})) == "1 run"


def test_the_runs_are_those_in_the_picture(make_store: Callable[..., Path]) -> None:
    store = make_store(norms=["bn"], seeds=(0, 1), records=3)
    for part in (store / "histograms" / "run=bn-s1").iterdir():
        part.unlink()
    for name, seeds in (("accuracy", "2 seeds"), ("gradient_mass", "1 seed")):
        line = next(text.get_text() for text in figure(name, store).texts if "batch 64" in text.get_text())
        assert line == f"3-layer CNN · MNIST · rate 0.001 · batch 64 · {seeds}"
