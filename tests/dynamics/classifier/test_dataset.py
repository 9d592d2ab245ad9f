from __future__ import annotations

from dataclasses import replace

from dynamics.classifier.config import RunConfig
from dynamics.classifier.dataset import augmentation, prepare_data
from dynamics.data.sources import load_data


def test_digits_are_not_mirrored_unless_asked() -> None:
    assert augmentation(RunConfig(data="mnist")) == "crop"
    assert augmentation(RunConfig(data="cifar10")) == "crop-flip"
    assert augmentation(RunConfig(data="mnist", augmentation="crop-flip")) == "crop-flip"


def test_the_scripts_mirror_digits_and_leave_svhn_alone() -> None:
    assert augmentation(RunConfig(data="mnist", definition="released")) == "crop-flip"
    assert augmentation(RunConfig(data="svhn", definition="released")) == "none"
    assert augmentation(RunConfig(data="svhn", definition="released", augmentation="crop")) == "crop"


def test_the_released_statistics_come_with_the_released_definition(tiny_data: str) -> None:
    data = replace(load_data(tiny_data), name="mnist")
    assert prepare_data(RunConfig(data="mnist", definition="released"), data).mean == (0.4914,)
    assert prepare_data(RunConfig(data="mnist"), data).mean == data.mean
