"""Many networks under every framework: bitwise silent, the gradients that are used, loss and epoch filled."""

from __future__ import annotations

import pytest
import torch

from tests.probes.integrations.trainings import STEPS, gan, manual, under_accelerate, under_lightning, under_trainer
from tests.probes.integrations.zoo import ZOO

pytestmark = [pytest.mark.frameworks, pytest.mark.filterwarnings("ignore")]

NEEDS = {"lora": "peft", "dora": "peft", "detection": "torchvision"}
PRECISIONS = ("64-true", "bf16-mixed", "bf16-true", "16-true", "transformer-engine")  # 32-true is the default
PICTURES = ("vit", "convnext", "swin", "timm_resnet", "timm_vit", "timm_efficientnet")


def check(train, name, store, table, folder, *, places=1e-5, loss=1e-5, **settings):
    """Train with and without a probe and compare the store with what the test's own hooks saw."""
    runs = []
    for place in (store, None):
        torch.manual_seed(0)
        model, samples = ZOO[name]()
        if settings.get("precision") == "64-true":
            samples = [{k: v.double() if v.is_floating_point() else v for k, v in one.items()} for one in samples]
        torch.manual_seed(1)
        runs.append(train(model, samples, place, folder, **settings))
    probed, bare = runs
    assert probed.losses == bare.losses
    assert probed.state.keys() == bare.state.keys()
    unlike = [key for key in bare.state if not torch.equal(probed.state[key], bare.state[key])]
    assert not unlike
    steps = len(probed.gradients)
    rows = table("parameters").set_index(["step", "parameter"])
    for step in range(steps):
        for parameter, gradient in probed.gradients[step].items():
            row = rows.loc[step, parameter]
            assert row["grad_l2_norm"] == pytest.approx(gradient, rel=places, abs=1e-12), parameter
            assert row["l2_norm"] == pytest.approx(probed.weights[step][parameter], rel=1e-6), parameter
    recorded = table("steps", split="train").sort_values("step")
    recorded = recorded[recorded["step"] < steps]
    assert recorded["step"].tolist() == list(range(steps))
    accumulated = len(probed.losses) // steps
    assert recorded["loss"].tolist() == pytest.approx(probed.losses[accumulated - 1 :: accumulated], rel=loss)
    layers = table("layers")
    assert layers["epoch"].notna().all()
    assert (layers.groupby("step")["activation_mean"].count() > 0).all()
    assert (layers.groupby("step")["spectral_norm"].count() > 0).any()
    assert table("runs")["status"].item() == "finished"
    return steps


def needed(*packages):
    for package in packages:
        pytest.importorskip(package)


def needed_by(name, *packages):
    needed(*packages, NEEDS.get(name, "timm" if "timm" in name else "transformers"))


def rows(training, names, *, quick=()):
    """Return a parameter of the test for each network; those that are not named here are slow."""
    return [
        pytest.param(name, id=f"{name}-{training}", marks=() if name in quick else pytest.mark.slow) for name in names
    ]


@pytest.mark.parametrize("name", rows("trainer", ZOO, quick=("mixtral",)))
def test_transformers_trainer(name, store, table, tmp_path):
    needed_by(name, "transformers", "accelerate")
    # The Trainer logs its loss in four digits.
    assert check(under_trainer, name, store, table, tmp_path, loss=1e-3) == STEPS


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llama", "vit", "dora"])
@pytest.mark.parametrize(
    "settings",
    [{"gradient_accumulation_steps": 3}, {"bf16": True}, {"max_grad_norm": 0.01}, {"gradient_checkpointing": True}],
    ids=["accumulation", "bf16", "clipping", "checkpointing"],
)
def test_transformers_trainer_with_settings(settings, name, store, table, tmp_path):
    needed_by(name, "transformers", "accelerate")
    check(under_trainer, name, store, table, tmp_path, loss=2e-3, **settings)


@pytest.mark.parametrize("name", rows("accelerate", ZOO, quick=("lora",)))
def test_accelerate(name, store, table, tmp_path):
    needed_by(name, "transformers", "accelerate")
    assert check(under_accelerate, name, store, table, tmp_path) == STEPS


@pytest.mark.parametrize("name", rows("lightning", ZOO, quick=("swin",)))
def test_lightning(name, store, table, tmp_path):
    needed_by(name, "lightning")
    assert check(under_lightning, name, store, table, tmp_path) == STEPS


@pytest.mark.slow
@pytest.mark.parametrize("name", ZOO)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_lightning_in_each_precision(precision, name, store, table, tmp_path):
    needed_by(name, "lightning")
    if precision == "transformer-engine":
        pytest.importorskip("transformer_engine")
    assert check(under_lightning, name, store, table, tmp_path, places=1e-2, loss=1e-2, precision=precision) == STEPS


@pytest.mark.slow
@pytest.mark.parametrize("name", ZOO)
def test_lightning_accumulates(name, store, table, tmp_path):
    needed_by(name, "lightning")
    assert check(under_lightning, name, store, table, tmp_path, accumulate_grad_batches=3) == 1


@pytest.mark.parametrize("name", rows("clipping", ZOO, quick=("llama",)))
def test_lightning_clips(name, store, table, tmp_path):
    needed_by(name, "lightning")
    assert check(under_lightning, name, store, table, tmp_path, gradient_clip_val=0.01) == STEPS
    recorded = table("steps", split="train")
    assert recorded["grad_norm"].dropna().tolist() == pytest.approx([0.01] * STEPS, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ZOO)
def test_lightning_by_manual_optimization(name, store, table, tmp_path):
    needed_by(name, "lightning")
    assert check(under_lightning, name, store, table, tmp_path, module=manual) == STEPS


@pytest.mark.parametrize("name", rows("gan", PICTURES, quick=("vit",)))
def test_a_gan_under_lightning(name, store, table, tmp_path):
    needed_by(name, "lightning")
    assert check(under_lightning, name, store, table, tmp_path, module=gan) == STEPS
