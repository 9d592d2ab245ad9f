"""A GAN run's settings: refused where they make no sense, kept so that the run can be repeated."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dynamics.gan.config import GanConfig, loss_settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps 0: expected 1 or more"),
        ({"critic_steps": -1}, "critic_steps -1: expected 1 or more"),
        ({"width": 0}, "width 0: expected 1 or more"),
        ({"draw_images": 1}, "draw_images 1: expected 2 or more"),
        ({"reference_images": -1}, "reference_images -1: expected 0 or more"),
        ({"learning_rate": 0.0}, r"learning_rate 0.0: expected a number above 0"),
        ({"learning_rate": float("nan")}, r"learning_rate nan: expected a number above 0"),
        ({"beta1": 1.0}, r"beta1 1.0: expected 0 or more and below 1"),
        ({"ema": -0.1}, r"ema -0.1: expected 0 or more and below 1"),
        ({"norm": "batchnorm"}, "no norm 'batchnorm': expected one of none, bn, sn, msn"),
        ({"loss": "mse"}, "no loss 'mse'"),
    ],
)
def test_a_setting_out_of_range_is_refused_with_what_was_expected(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GanConfig(**settings)


def test_settings_survive_the_store() -> None:
    config = GanConfig(norm="msn", data="cifar10", width=16, ema=0.999)
    stored = json.loads(json.dumps({**config.to_dict(), "extractor": "resnet20"}))
    assert stored["model"] == "gan"
    assert GanConfig.from_dict(stored) == config


def test_what_may_change_is_a_setting() -> None:
    assert set(GanConfig().to_dict()) > GanConfig.may_change | {GanConfig.length}


@pytest.mark.parametrize(
    ("norm", "loss", "critic_steps"),
    [("bn", "wasserstein", 5), ("none", "wasserstein", 5), ("sn", "softplus", 1), ("msn", "softplus", 1)],
)
def test_the_loss_follows_the_critics_norm_as_in_table_ii(norm: str, loss: str, critic_steps: int) -> None:
    assert loss_settings(norm) == {"loss": loss, "critic_steps": critic_steps}


def test_critic_steps_follow_a_loss_that_is_chosen() -> None:
    assert loss_settings("sn", "wasserstein") == {"loss": "wasserstein", "critic_steps": 5}
    with pytest.raises(ValueError, match="no loss 'mse': expected one of softplus"):
        loss_settings("sn", "mse")


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"data": "imagenet"}, "data set 'imagenet': expected one of"), ({"device": "tpu9"}, "device 'tpu9'")],
)
def test_what_cannot_run_is_refused_before_anything_is_trained(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GanConfig.check([GanConfig(), GanConfig(**settings)])


@pytest.mark.parametrize("data", ["cifar10", "folder:/some/where", "mnist-subset"])
def test_the_name_is_a_run_id(data: str) -> None:
    from probes.schema import check_run_id

    assert check_run_id(GanConfig(data=data).name).startswith("gan-")
