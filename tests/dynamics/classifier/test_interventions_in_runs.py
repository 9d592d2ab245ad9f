"""Interventions, schedules and thinned records in whole runs: what is stored, and what a resumed run goes on with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from dynamics.classifier.config import RunConfig
from dynamics.classifier.measures.thinned_records import evenly_spaced_steps
from dynamics.classifier.network import make_model, model_options
from dynamics.classifier.run import run
from dynamics.classifier.setup import set_up
from dynamics.classifier.training import train
from dynamics.models.parts.leaky_relu import LeakyReLU
from dynamics.runtime.events import Event, Scored, Stepped
from dynamics.runtime.stored_run import stored_run


@pytest.fixture
def base(tiny_data: str) -> RunConfig:
    return RunConfig(norm="sn", data=tiny_data, batch_size=16, epochs=3, every=2, bracket_every=0)


def rows(store: Path, table: str) -> pd.DataFrame:
    return pd.read_parquet(store / table).sort_values("step", kind="stable").reset_index(drop=True)


def test_every_part_is_in_the_stored_settings(base: RunConfig, tmp_path: Path) -> None:
    changed = replace(base, epochs=1, centring="forward", channel_mean="walk:0.1", channel_scale="learned", sigma=2.0)
    run(changed, store=tmp_path, name="a")
    found = stored_run(tmp_path, "a")
    assert found is not None
    assert found.settings.items() >= changed.to_dict().items()
    layers = rows(tmp_path, "layers")
    norms = layers[layers["layer_type"] == "InterventionalCentring"]
    walked = norms.groupby("step")["bias_var"].mean()
    assert walked.iloc[0] == 0
    assert walked.iloc[-1] > 0  # the m that is not learned is recorded too


@pytest.mark.parametrize(
    "changes",
    [
        {"schedule": "decay"},
        {"channel_mean": "walk:0.1", "centring": "running", "channel_scale": "learned"},
        {"norm": "none", "spectral_regularisation": 0.1},
        {"records": 5},
    ],
    ids=["schedule", "walk", "regularisation", "thinned"],
)
def test_a_run_that_was_stopped_ends_as_one_never_stopped(
    changes: dict[str, Any], base: RunConfig, tmp_path: Path
) -> None:
    config = replace(base, epochs=2, **changes)

    def stop(event: Event) -> None:
        if isinstance(event, Scored):
            raise KeyboardInterrupt

    run(config, store=tmp_path / "whole", name="a")
    with pytest.raises(KeyboardInterrupt):
        run(config, store=tmp_path / "stopped", name="a", watch=stop)
    run(config, store=tmp_path / "stopped", name="a", resume=True)
    for table, key in (("layers", ["step", "layer_index"]), ("steps", ["step", "split"])):
        whole, stopped = (
            rows(tmp_path / name, table).sort_values(key, ignore_index=True).drop(columns="seconds", errors="ignore")
            for name in ("whole", "stopped")
        )
        pd.testing.assert_frame_equal(whole, stopped, check_exact=True, check_categorical=False)


def test_a_schedule_is_the_rate_of_each_step(base: RunConfig, tmp_path: Path) -> None:
    run(replace(base, schedule="decay", every=1), store=tmp_path, name="a")
    rates = rows(tmp_path, "steps").query("split == 'train'")["lr"].to_numpy()
    steps = np.arange(12)
    np.testing.assert_allclose(rates, 0.001 * np.minimum(1, 3 * (1 - steps / 12)))


def test_what_depends_on_the_length_may_not_be_made_longer(base: RunConfig) -> None:
    assert "epochs" in base.may_change
    assert "epochs" not in replace(base, schedule="cosine").may_change
    assert "epochs" not in replace(base, records=5).may_change


def test_thinned_records_are_as_many_as_asked_and_the_large_ones_three(base: RunConfig, tmp_path: Path) -> None:
    told: list[Event] = []
    run(replace(base, records=5), store=tmp_path, name="a", watch=told.append)
    assert any(isinstance(event, Stepped) and event.loss is not None for event in told)  # progress is told as ever
    expected = [0, 3, 6, 8, 11]
    assert evenly_spaced_steps(5, steps=12) == expected
    layers = rows(tmp_path, "layers")
    assert layers["step"].unique().tolist() == expected
    assert layers.loc[layers["layer"] == "classifier", ["update_angle", "activation_drift"]].notna().all(axis=None)
    for column in ("effective_rank", "operator_norm"):
        assert layers.loc[layers[column].notna(), "step"].unique().tolist() == [0, 6, 11]
    for table in ("histograms", "spectra"):
        assert rows(tmp_path, table)["step"].unique().tolist() == [0, 6, 11]
    assert rows(tmp_path, "channels")["step"].unique().tolist() == expected
    steps = rows(tmp_path, "steps")
    assert steps.loc[steps["split"] == "train", "step"].tolist() == expected
    assert len(steps[steps["split"] == "test"]) == 3


def test_thinned_records_without_a_probe_batch_have_no_channels(base: RunConfig, tmp_path: Path) -> None:
    run(replace(base, records=5, probe_images=0), store=tmp_path, name="a")
    assert rows(tmp_path, "layers")["step"].nunique() == 5
    assert not (tmp_path / "channels").exists()


def test_evenly_spaced_steps_of_a_short_run_are_all() -> None:
    assert evenly_spaced_steps(30, steps=4) == [0, 1, 2, 3]


def test_the_penalty_adds_its_gradient_and_is_not_in_the_loss(base: RunConfig) -> None:
    plain, penalised = (set_up(replace(base, norm="none", spectral_regularisation=strength)) for strength in (0.0, 0.5))
    for setup in (plain, penalised):
        for _ in train(setup.model, _Still(setup.model), setup.batches, epochs=1, penalty=setup.penalty):
            break
    for (name, p), q in zip(plain.model.named_parameters(), penalised.model.parameters(), strict=True):
        assert p.grad is not None
        assert q.grad is not None
        extra = torch.zeros_like(p)
        if p.ndim > 1:  # strength sigma u v^T, with the vectors of the penalty's own power iteration
            assert penalised.penalty is not None
            number = ["block1", "block2", "block3", "classifier"].index(name.split(".")[-3 if "block" in name else 0])
            u, v = (penalised.penalty.get_buffer(f"{letter}{number}") for letter in "uv")
            extra = 0.5 * ((u @ p.detach().flatten(1) @ v) * torch.outer(u, v)).view_as(p)
        torch.testing.assert_close(q.grad - p.grad, extra, rtol=1e-4, atol=1e-6, msg=name)


class _Still(torch.optim.SGD):
    """An optimizer that leaves the gradients to be looked at."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model.parameters(), lr=0.0)


def test_means_that_were_saved_are_those_that_are_replayed(base: RunConfig, tmp_path: Path) -> None:
    file = str(tmp_path / "means.npz")
    source = replace(base, batch_size=8, epochs=3, centring="none", channel_mean="zero", save_means=file)

    def stop(event: Event) -> None:
        if isinstance(event, Scored) and event.epoch == 1:
            raise KeyboardInterrupt

    run(source, store=tmp_path, name="source")
    whole = dict(np.load(file))
    with pytest.raises(KeyboardInterrupt):
        run(source, store=tmp_path, name="again", watch=stop)
    run(source, store=tmp_path, name="again", resume=True)
    assert whole["steps"].tolist() == [0, 10, 20]
    for name, means in np.load(file).items():
        np.testing.assert_array_equal(means, whole[name])
    replayed = replace(base, norm="msn", batch_size=8, epochs=2, channel_mean=f"replay:{file}", every=10)
    run(replayed, store=tmp_path, name="replayed")
    layers = rows(tmp_path, "layers").query("run == 'replayed' and layer == 'features.block2.norm'")
    at = layers.set_index("step")["bias_mean"]
    assert at[10] == pytest.approx(whole["features.block2.norm"][1].mean(), rel=1e-4)


def test_a_network_without_running_means_has_none_to_save(base: RunConfig, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="save_means: no norm of this network keeps a running mean; --centring none"):
        run(replace(base, save_means=str(tmp_path / "m.npz")), store=tmp_path, name="a")


def test_batch_one_trains_with_running_means(base: RunConfig, tmp_path: Path) -> None:
    ended = run(
        replace(base, norm="msn", centring="running", batch_size=1, epochs=1, every=50), store=tmp_path, name="a"
    )
    assert (ended.steps, ended.diverged) == (64, False)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"model": "cnn3", "activation": "relu"}, nn.ReLU),
        ({"model": "vgg7", "norm": "bn", "definition": "released", "activation": "leaky_relu"}, LeakyReLU),
        ({"model": "densenet_bc", "definition": "released"}, nn.ReLU),  # as in the scripts
    ],
)
def test_the_activation_is_the_one_asked_for(settings: dict[str, str], expected: type[nn.Module]) -> None:
    assert model_options(RunConfig(**settings))["activation"] is expected  # type: ignore[arg-type]


def test_a_dense_net_is_as_deep_and_wide_as_asked(base: RunConfig, tiny_data: str) -> None:
    config = replace(base, model="densenet_bc", depth=10, growth=3, activation="relu")
    network = make_model(config, set_up(base).data)
    assert network.features.conv.out_channels == 6
    assert sum(isinstance(module, nn.Conv2d) for module in network.modules()) == 1 + 6 + 2
    kinds = {type(m) for m in network.modules() if isinstance(m, nn.ReLU | nn.LeakyReLU)}
    assert kinds == {nn.ReLU}


def test_depth_of_a_network_with_fixed_layers_is_refused() -> None:
    with pytest.raises(ValueError, match="depth: model 'vgg7' has a fixed size; leave them out"):
        model_options(RunConfig(model="vgg7", depth=40))
