"""The step that a file's name says."""

from __future__ import annotations

from pathlib import Path

import pytest

from probes.checkpoints.step_names import step_in, steps_of


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("epoch=3-step=400.ckpt", 400),
        ("ckpt_0100.pt", 100),
        ("checkpoint-500/model.safetensors", 500),
        ("run/2000.pt", 2000),
        ("iteration-12.pth", 12),
        ("MSNconv_0.1_MNIST.t7", None),
        ("resnet50.pth", None),
        ("step_0.5.pt", None),
        ("footsteps.pt", None),
    ],
)
def test_a_step_is_a_whole_number_after_its_word_or_the_whole_name(name, step):
    assert step_in(Path(name)) == step


@pytest.mark.parametrize(
    ("names", "steps"),
    [
        (["model_1.pth", "model_10.pth"], [1, 10]),
        (["net2_v1.pth", "net2_v3.pth"], [1, 3]),
        (["conv_0.1.t7", "conv_0.01.t7"], [None, None]),
        (["a_1.pt", "b_2.pt"], [None, None]),
        (["step_5.pt", "step_5.pt"], [5, 5]),
    ],
)
def test_in_a_series_the_step_is_the_number_in_which_names_differ(names, steps):
    assert steps_of([Path(name) for name in names]) == steps
