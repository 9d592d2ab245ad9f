"""Collapse and divergence are seen by the probes: one query on the store finds when, where and what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest
import torch

from dynamics.data.sources import load_data
from dynamics.gan.config import GanConfig
from dynamics.gan.images import padded
from dynamics.gan.losses import loss_named
from dynamics.gan.train_state import TrainState, new_train_state
from dynamics.gan.training import real_batches, train_gan
from probes import Probe

CONFIG = GanConfig(norm="none", width=2, batch_size=8, steps=6, every=1, device="cpu")
BROKEN_AFTER = 3

FIRST_NONFINITE = """
    SELECT layer, min(step) AS step FROM '{store}/layers/**/*.parquet'
    WHERE weight_nonfinite > 0 OR grad_nonfinite > 0 GROUP BY layer ORDER BY step, layer
"""
DEAF_GENERATOR = """
    SELECT min(step) FROM (
        SELECT step FROM '{store}/layers/**/*.parquet'
        WHERE layer LIKE 'generator.%' GROUP BY step HAVING max(grad_l2_norm) = 0)
"""
ONE_IMAGE = "SELECT min(step) FROM '{store}/steps/**/*.parquet' WHERE split = 'train' AND fake_deviation < 1e-3"
STEEPEST = """
    SELECT step, layer, spectral_norm FROM '{store}/layers/**/*.parquet'
    WHERE layer LIKE 'critic.%' ORDER BY spectral_norm DESC NULLS LAST LIMIT 1
"""


def ask(question: str, store: Path) -> list[tuple]:
    return duckdb.sql(question.format(store=store)).fetchall()


def train(store: Path, break_it: Callable[[TrainState], None], *, config: GanConfig = CONFIG) -> None:
    """Train, and break the state once after BROKEN_AFTER steps."""
    torch.manual_seed(0)
    state = new_train_state(config, in_channels=1, device=torch.device("cpu"))
    batches = real_batches(padded(load_data(config.data)), config)
    with Probe(state.pair, state.optimizers(), store=store, run="gan", every=1) as probe:
        for step in train_gan(state, batches, config=config, loss=loss_named(config.loss), probe=probe):
            if step == BROKEN_AFTER:
                break_it(state)


def test_a_healthy_run_has_nothing_to_find(tmp_path: Path) -> None:
    train(tmp_path, lambda _: None)
    assert ask(FIRST_NONFINITE, tmp_path) == []
    assert ask(DEAF_GENERATOR, tmp_path) == [(None,)]
    assert ask(ONE_IMAGE, tmp_path) == [(None,)]
    assert ask(STEEPEST, tmp_path)[0][2] < 3


def test_a_nan_in_the_critic_is_found_with_step_and_layer(tmp_path: Path) -> None:
    def poison(state: TrainState) -> None:
        with torch.no_grad():
            state.pair.critic.features.block3.conv.weight[0, 0, 0, 0] = float("nan")

    train(tmp_path, poison)
    found = ask(FIRST_NONFINITE, tmp_path)
    assert min(step for _, step in found) == BROKEN_AFTER
    assert "critic.features.block3.conv" in {layer for layer, step in found if step == BROKEN_AFTER}


def test_an_exploding_critic_is_found_by_its_spectral_norm(tmp_path: Path) -> None:
    def explode(state: TrainState) -> None:
        for group in state.critic_optimizer.param_groups:
            group["lr"] = 50.0

    train(tmp_path, explode)
    step, layer, norm = ask(STEEPEST, tmp_path)[0]
    assert step > BROKEN_AFTER
    assert layer.startswith("critic.")
    assert norm > 100


def test_spectral_normalisation_keeps_an_exploding_critic_bounded(tmp_path: Path) -> None:
    def explode(state: TrainState) -> None:
        for group in state.critic_optimizer.param_groups:
            group["lr"] = 50.0

    train(tmp_path, explode, config=replace(CONFIG, norm="sn"))
    assert ask(STEEPEST, tmp_path)[0][2] < 3


def test_a_critic_that_says_nothing_is_found_by_the_generators_gradient(tmp_path: Path) -> None:
    def silence(state: TrainState) -> None:
        with torch.no_grad():
            state.pair.critic.classifier.weight.zero_()
        state.critic_optimizer.param_groups[0]["lr"] = 0.0

    train(tmp_path, silence)
    assert ask(DEAF_GENERATOR, tmp_path) == [(BROKEN_AFTER,)]


def test_a_collapsed_generator_is_found_by_the_deviation_of_its_images(tmp_path: Path) -> None:
    def collapse(state: TrainState) -> None:
        with torch.no_grad():
            state.pair.generator.features.block4.norm.weight.zero_()  # gamma = 0: every z gives the same image
        state.generator_optimizer.param_groups[0]["lr"] = 0.0

    train(tmp_path, collapse)
    assert ask(ONE_IMAGE, tmp_path) == [(BROKEN_AFTER,)]


@pytest.mark.parametrize("question", [FIRST_NONFINITE, DEAF_GENERATOR, ONE_IMAGE, STEEPEST])
def test_each_question_is_one_query(question: str) -> None:
    assert ";" not in question
