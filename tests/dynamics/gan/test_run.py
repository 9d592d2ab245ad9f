"""Whole GAN runs, small: what is in the store, and that stopping and watching change nothing."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from dynamics.data.images import DataSet
from dynamics.data.sources import load_data
from dynamics.gan.config import GanConfig
from dynamics.gan.images import padded
from dynamics.gan.losses import loss_named
from dynamics.gan.run import run as run_gan
from dynamics.gan.train_state import TrainState, averaged, new_train_state
from dynamics.gan.training import real_batches, real_images, train_gan
from dynamics.runtime import events
from dynamics.runtime.checkpoint import checkpoint_path
from dynamics.runtime.events import Began, Ended, Event, Scored, Stepped
from probes import Probe
from probes.metrics import METRICS

SMALL = GanConfig(
    norm="sn",
    width=2,
    batch_size=8,
    steps=4,
    every=1,
    sample_every=2,
    score_every=4,
    draws=2,
    draw_images=32,
    reference_images=100,
    device="cpu",
)
WGAN_GP = replace(SMALL, norm="bn", loss="wasserstein", critic_steps=5)
Run = Callable[..., list[Event]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a configuration to its end in the test's own store; return its events, those of all steps among them."""
    monkeypatch.setattr(events, "REFRESH_SECONDS", -1.0)

    def whole(config: GanConfig, name: str = "gan", **settings: Any) -> list[Event]:
        told: list[Event] = []
        run_gan(config, **({"store": tmp_path, "name": name, "extractor": "none", "watch": told.append} | settings))
        return told

    return whole


def steps_of(told: list[Event]) -> list[int]:
    """Return the step a run began at, and every step it told."""
    began, *others = told
    assert isinstance(began, Began)
    return [began.start, *(event.steps for event in others if isinstance(event, Stepped))]


def at_step(step: int, do: Callable[[], object]) -> Callable[[Event], None]:
    """Return what watches a run and does something when it has taken a step."""

    def watch(event: Event) -> None:
        if isinstance(event, Stepped) and event.steps == step:
            do()

    return watch


def stop() -> None:
    raise KeyboardInterrupt


def read(store: Path, table: str, run: str = "gan") -> pd.DataFrame:
    rows = pd.read_parquet(store / table, filters=[("run", "==", run)])
    keys = [key for key in ("step", "split", "layer") if key in rows]
    return rows.drop(columns=["run", "seconds"], errors="ignore").astype(dict.fromkeys(keys[1:], str)).sort_values(keys)


def small_state(config: GanConfig) -> TrainState:
    torch.manual_seed(config.seed)
    return new_train_state(config, in_channels=1, device=torch.device("cpu"))


def state(of: TrainState) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in of.pair.state_dict().items()}


def test_a_run_tells_its_story_as_any_run_does(run: Run) -> None:
    told = run(SMALL)
    assert told[0] == Began("gan", epochs=0, steps=4, start=0)
    assert steps_of(told) == [0, 1, 2, 3, 4]
    scored = [event for event in told if isinstance(event, Scored)]
    assert [event.steps for event in scored] == [0, 4]
    assert "critic_gradient_real" in scored[0].scores
    assert isinstance(told[-1], Ended)
    assert (told[-1].steps, told[-1].diverged) == (4, False)


def test_a_run_killed_before_its_first_checkpoint_is_begun_again(run: Run, tmp_path: Path) -> None:
    run(SMALL)
    checkpoint_path(tmp_path, "gan").unlink()
    assert steps_of(run(SMALL, resume=True)) == [0, 1, 2, 3, 4]
    assert not read(tmp_path, "steps").duplicated(["step", "split"]).any()


def test_one_run_holds_both_networks_under_their_names(run: Run, tmp_path: Path) -> None:
    run(SMALL)
    layers = read(tmp_path, "layers")
    assert set(layers["layer"].str.partition(".")[0]) == {"critic", "generator"}
    assert layers[layers["layer"].str.endswith("conv")]["grad_l2_norm"].notna().all()
    assert layers["activation_mean"].notna().all()


def test_five_critic_steps_lose_and_double_no_row(run: Run, tmp_path: Path) -> None:
    run(WGAN_GP)
    layers, steps = read(tmp_path, "layers"), read(tmp_path, "steps")
    assert not layers.duplicated(["step", "layer"]).any()
    assert not steps.duplicated(["step", "split"]).any()
    assert (layers.groupby("step")["layer"].nunique() == layers["layer"].nunique()).all()
    assert sorted(layers["step"].unique()) == [0, 1, 2, 3], "steps are the generator's"
    assert layers["activation_mean"].notna().all(), "the critic is seen in its last step, forward included"
    train = steps[steps["split"] == "train"]
    assert train["step"].tolist() == [0, 1, 2, 3]
    assert (
        train[["critic_loss", "critic_real", "critic_fake", "gradient_penalty", "generator_loss"]]
        .notna()
        .all(axis=None)
    )


def test_scoring_between_steps_leaves_no_trace_in_the_records(run: Run, tmp_path: Path) -> None:
    run(replace(SMALL, steps=3, score_every=1), "scored")
    run(replace(SMALL, steps=3, score_every=100), "unscored")
    scored, unscored = (read(tmp_path, "layers", name).reset_index(drop=True) for name in ("scored", "unscored"))
    pd.testing.assert_frame_equal(scored, unscored)


def test_each_score_has_the_bounds_of_the_critic_whatever_the_probe_records(run: Run, tmp_path: Path) -> None:
    run(replace(SMALL, every=100, score_every=2))
    scored = read(tmp_path, "steps").query("split == 'test'")
    assert scored["step"].tolist() == [0, 2, 4]
    assert scored[["critic_lipschitz_bound", "critic_unfolded_product"]].notna().all(axis=None)


def test_metrics_that_are_dear_are_recorded_as_rarely_as_in_any_run(run: Run, tmp_path: Path) -> None:
    run(replace(SMALL, steps=3))
    layers = read(tmp_path, "layers").groupby("step")
    assert layers["spectral_norm"].any().tolist() == [True, True, True]
    dear = [column.name for metric in METRICS.values() if metric.min_steps_between > 1 for column in metric.columns]
    assert "operator_norm" in dear
    for column in dear:
        assert layers[column].any().tolist()[1:] == [False, False], column


@pytest.mark.parametrize("config", [SMALL, WGAN_GP], ids=["one critic step", "five"])
def test_losses_stand_at_the_step_they_were_taken_at(config: GanConfig, run: Run, tmp_path: Path) -> None:
    config = replace(config, steps=3)
    run(config)
    both, seen = small_state(config), []
    loss = loss_named(config.loss)
    listened = replace(loss, generator=lambda fake: seen.append(loss.generator(fake)) or seen[-1])
    batches = real_batches(padded(load_data(config.data)), config)
    list(train_gan(both, batches, config=config, loss=listened))
    train = read(tmp_path, "steps").query("split == 'train'").set_index("step")
    assert train["generator_loss"].to_dict() == pytest.approx({step: value.item() for step, value in enumerate(seen)})


def test_the_recorded_critic_gradient_is_that_of_its_last_step(run: Run, tmp_path: Path) -> None:
    config = replace(WGAN_GP, steps=1)
    run(config)
    both, norms = small_state(config), []
    both.critic_optimizer.register_step_pre_hook(
        lambda *_: norms.append(both.pair.critic.classifier.weight.grad.norm().item())
    )
    data = padded(load_data(config.data))
    list(train_gan(both, real_batches(data, config), config=config, loss=loss_named(config.loss)))
    assert len(norms) == 5
    layers = read(tmp_path, "layers").set_index("layer")
    assert layers.loc["critic.classifier", "grad_l2_norm"] == pytest.approx(norms[-1], rel=1e-5)


@pytest.mark.parametrize("norm", ["none", "bn", "sn", "msn"])
def test_a_probe_changes_no_bit_of_either_network(norm: str, tmp_path: Path) -> None:
    config = replace(WGAN_GP, norm=norm, critic_steps=2, steps=3)
    batches = real_batches(padded(load_data(config.data)), config)
    bare, probed = small_state(config), small_state(config)
    loss = loss_named(config.loss)
    list(train_gan(bare, batches, config=config, loss=loss))
    with Probe(probed.pair, probed.optimizers(), store=tmp_path, run="gan", every=1) as probe:
        list(train_gan(probed, batches, config=config, loss=loss, probe=probe))
    after = state(probed)
    assert all(torch.equal(value, after[key]) for key, value in state(bare).items())


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(replace(SMALL, norm="msn", ema=0.5), id="msn with average"),
        pytest.param(WGAN_GP, id="WGAN-GP", marks=pytest.mark.slow),
    ],
)
def test_a_run_stopped_and_resumed_is_the_run_never_stopped(config: GanConfig, run: Run, tmp_path: Path) -> None:
    run(config, "whole")
    with pytest.raises(KeyboardInterrupt):  # one step past the checkpoint: its rows are superseded
        run(config, "stopped", watch=at_step(3, stop))
    assert steps_of(run(config, "stopped", resume=True)) == [2, 3, 4]
    for table in ("steps", "layers", "histograms"):
        pd.testing.assert_frame_equal(
            read(tmp_path, table, "whole").reset_index(drop=True),
            read(tmp_path, table, "stopped").reset_index(drop=True),
            check_like=True,
        )
    grids = [sorted((tmp_path / "samples" / f"run={name}").iterdir()) for name in ("whole", "stopped")]
    assert [path.name for path in grids[0]] == [path.name for path in grids[1]]
    assert [path.read_bytes() for path in grids[0]] == [path.read_bytes() for path in grids[1]]


def test_ctrl_c_saves_and_the_run_goes_on(tmp_path: Path, run: Run) -> None:
    config = replace(SMALL, sample_every=100)
    with pytest.raises(KeyboardInterrupt):
        run(config, watch=at_step(1, lambda: os.kill(os.getpid(), signal.SIGINT)))
    assert pd.read_parquet(tmp_path / "runs")["status"].tolist() == ["interrupted"]
    assert steps_of(run(config, resume=True)) == [2, 3, 4]
    assert pd.read_parquet(tmp_path / "runs")["status"].tolist() == ["finished"]


def test_scores_stand_in_the_store_beside_those_of_real_images(run: Run, tmp_path: Path, monkeypatch: Any) -> None:
    import dynamics.gan.scoring.extractors as registry
    from dynamics.gan.scoring.extractors.small_cnn import SmallCNN, train_small_cnn

    def train_on_few(data: DataSet) -> SmallCNN:
        every_tenth = replace(data.train, pixels=data.train.pixels[::10], labels=data.train.labels[::10])
        return train_small_cnn(replace(data, train=every_tenth), steps=1)

    monkeypatch.setattr(registry, "train_small_cnn", train_on_few)
    told = run(replace(SMALL, score_every=2), extractor="trained")
    scored = [event for event in told if isinstance(event, Scored)]
    assert [event.steps for event in scored] == [0, 2, 4]
    assert set(scored[-1].scores) == {"is_cnn_mnist_subset", "fid_cnn_mnist_subset"}
    steps = read(tmp_path, "steps").set_index(["split", "step"])
    assert steps.loc[("test", 4), "fid_cnn_mnist_subset"] == scored[-1].scores["fid_cnn_mnist_subset"]
    assert steps.loc[("test", 4), "fid_cnn_mnist_subset_std"] > 0
    assert pd.isna(steps.loc[("test", 2), "fid_cnn_mnist_subset_std"]), "one draw while training"
    assert steps.loc[("real", 0), "fid_cnn_mnist_subset"] < steps.loc[("test", 0), "fid_cnn_mnist_subset"]
    config = pd.read_parquet(tmp_path / "runs")["config"][0]
    assert '"extractor": "cnn_mnist_subset"' in config
    assert '"extractor_weights"' in config


def test_the_average_is_sampled_and_follows_its_formula() -> None:
    config = replace(SMALL, ema=0.9)
    both = small_state(config)
    assert both.average is not None
    expected = None
    batches = real_batches(padded(load_data(config.data)), config)
    for _ in train_gan(both, batches, config=config, loss=loss_named("softplus")):
        weight = both.pair.generator.image.conv.weight.detach().clone()
        expected = weight if expected is None else 0.9 * expected + 0.1 * weight
    torch.testing.assert_close(both.sampled.image.conv.weight, expected)
    assert not torch.equal(both.sampled.image.conv.weight, both.pair.generator.image.conv.weight)
    mean = both.sampled.features.block1.norm.running_mean
    assert not torch.equal(mean, both.pair.generator.features.block1.norm.running_mean), "buffers are averaged too"


def test_the_average_starts_as_the_generator() -> None:
    generator = torch.nn.Linear(2, 2)
    average = averaged(generator, decay=0.9)
    average.update_parameters(generator)
    assert torch.equal(average.module.weight, generator.weight)


def test_one_seed_gives_one_run_and_another_gives_another(run: Run, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run(replace(SMALL, seed=seed, steps=2), name)
    a, b, c = (read(tmp_path, "steps", name)["generator_loss"].dropna().tolist() for name in "abc")
    assert a == b
    assert a != c


def test_a_run_that_exists_is_not_written_over(run: Run, tmp_path: Path) -> None:
    run(SMALL)
    grid = tmp_path / "samples" / "run=gan" / "step-00000004.png"
    before = grid.read_bytes()
    with pytest.raises(ValueError, match=r"run 'gan' exists in store"):
        run(replace(SMALL, seed=1))
    assert grid.read_bytes() == before
    run(replace(SMALL, seed=1), overwrite=True)
    assert grid.read_bytes() != before


def test_what_cannot_be_resumed_is_named(run: Run) -> None:
    run(SMALL)
    with pytest.raises(ValueError, match=r"checkpoint .* is of a run with norm 'sn', not 'msn'"):
        run(replace(SMALL, norm="msn"), resume=True)
    with pytest.raises(ValueError, match=r"checkpoint .* is at step 4: expected --steps of at least that, got 3"):
        run(replace(SMALL, steps=3), resume=True)


def test_a_finished_run_can_go_on_for_longer(run: Run, tmp_path: Path) -> None:
    run(SMALL)
    run(replace(SMALL, steps=6), resume=True)
    run(replace(SMALL, steps=6), "whole")
    pd.testing.assert_frame_equal(
        read(tmp_path, "layers").reset_index(drop=True), read(tmp_path, "layers", "whole").reset_index(drop=True)
    )


def test_a_store_that_is_no_local_folder_is_refused(run: Run) -> None:
    with pytest.raises(ValueError, match=r"store s3://bucket/runs: a GAN run keeps checkpoints .* name a local folder"):
        run(SMALL, store="s3://bucket/runs")


def test_real_images_go_on_where_a_stopped_run_left_them() -> None:
    batches = real_batches(padded(load_data(SMALL.data)), replace(SMALL, batch_size=2000))  # two batches an epoch
    going, resumed = real_images(batches), real_images(batches, start=3)
    skipped = [next(going)[0] for _ in range(3)]
    assert skipped == [0, 0, 1]
    (epoch, images), (same_epoch, same_images) = next(going), next(resumed)
    assert epoch == same_epoch == 1
    assert torch.equal(images, same_images)
    assert (images.min(), images.max()) == (-1, 1)


@pytest.mark.gpu
def test_a_run_on_a_gpu_records_what_a_run_on_the_cpu_does(run: Run, gpu: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="writes the grids of samples")
    run(replace(SMALL, steps=2), "cpu")
    run(replace(SMALL, steps=2, device=gpu), "gpu")
    cpu, other = (read(tmp_path, "layers", name).reset_index(drop=True) for name in ("cpu", "gpu"))
    assert cpu["layer"].tolist() == other["layer"].tolist()
    first = cpu["step"] == 0
    pd.testing.assert_series_equal(cpu[first]["grad_l2_norm"], other[first]["grad_l2_norm"], rtol=1e-3)
