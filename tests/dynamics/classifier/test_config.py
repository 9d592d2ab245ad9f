from __future__ import annotations

import json
import math
from typing import Any

import pytest

from dynamics.classifier.config import RunConfig, protocol
from probes.schema import check_run_id


def test_a_record_survives_the_store() -> None:
    config = RunConfig(norm="sn", learning_rate=0.1, compile=True)
    assert RunConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"every": -1}, "every -1: expected 1 or more"),
        ({"every": 0}, "every 0: expected 1 or more"),
        ({"epochs": 0}, "epochs 0: expected 1 or more"),
        ({"batch_size": 0}, "batch_size 0: expected 1 or more"),
        ({"accumulate": 0}, "accumulate 0: expected 1 or more"),
        ({"accumulate": 3}, "accumulate 3: expected a divisor of batch_size 64"),
        ({"train_images": -1}, "train_images -1: expected 0 or more"),
        ({"threads": -2}, "threads -2: expected 0 or more"),
        ({"learning_rate": 0.0}, "learning_rate 0.0: expected a number above 0"),
        ({"learning_rate": math.nan}, "learning_rate nan: expected a number above 0"),
        ({"learning_rate": math.inf}, "learning_rate inf: expected a number above 0"),
        ({"precision": "int8"}, "precision 'int8': expected one of float32, bfloat16, float16"),
        ({"definition": "mine"}, "definition 'mine': expected one of paper, released"),
        ({"scope": "half"}, "scope 'half': expected one of full, released"),
        ({"activation": "gelu"}, "activation 'gelu': expected one of auto, leaky_relu, relu"),
        ({"schedule": "step"}, "schedule 'step': expected one of constant, cosine, decay"),
        ({"records": 2}, "records 2: expected 3 or more, or 0 to record as --every says"),
        ({"centring": "half"}, "centring 'half': expected one of own, none, full, forward, backward, running"),
        ({"spectral_regularisation": -1.0}, "spectral_regularisation -1.0: expected 0 or more"),
    ],
)
def test_a_setting_out_of_range_is_told(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RunConfig(**settings)


def test_a_setting_of_another_version_is_told() -> None:
    with pytest.raises(ValueError, match="unknown settings momentum: expected only accumulate, activation"):
        RunConfig.from_dict({"momentum": 0.9})


def test_the_released_protocol_is_what_the_scripts_do() -> None:
    released = RunConfig(**protocol("released", "cnn3"))
    assert (released.data, released.batch_size, released.seed) == ("mnist", 128, 8088)
    assert (released.definition, released.scope) == ("released", "full")
    assert RunConfig(**protocol("released", "densenet_bc")).scope == "released"


def test_the_paper_protocol_takes_the_equations_and_leaves_the_rate_open() -> None:
    settings = protocol("paper", "densenet_bc")
    assert settings == {"model": "densenet_bc", "data": "cifar10", "batch_size": 64, "epochs": 400}


@pytest.mark.parametrize(
    ("name", "model", "message"),
    [
        ("papers", "cnn3", "protocol 'papers': expected one of paper, released"),
        ("paper", "resnet", "protocol 'paper' has no settings for model 'resnet': expected one of cnn3, vgg7"),
    ],
)
def test_an_unknown_protocol_is_told(name: str, model: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        protocol(name, model)


def test_names_tell_the_runs_of_a_sweep_apart() -> None:
    configs = [
        RunConfig(norm=norm, learning_rate=rate, seed=seed, definition=definition)
        for norm in ("bn", "sn")
        for rate in (0.1, 0.0001)
        for seed in (0, 1)
        for definition in ("paper", "released")
    ]
    assert len({config.name for config in configs}) == 16
    assert configs[0].name == "cnn3-mnist-subset-bn-lr0.1-s0"


@pytest.mark.parametrize("data", ["npz:/a b/tiny set.npz", "folder:/pictures/cats", "mnist"])
def test_a_name_is_a_run_id_whatever_the_data_set(data: str) -> None:
    assert check_run_id(RunConfig(data=data, learning_rate=1e30).name)
