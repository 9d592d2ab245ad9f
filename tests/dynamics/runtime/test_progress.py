from __future__ import annotations

import io
import os
import re
import subprocess
import sys

import pytest
from rich.console import Console

from dynamics.runtime.events import Began, Ended, Event, Failed, Scored, Stepped
from dynamics.runtime.progress import watching

STORY: list[Event] = [
    Began("bn-s0", epochs=2, steps=8, start=0),
    Stepped("bn-s0", steps=4, epoch=0, loss=1.5),
    Scored("bn-s0", 4, {"test loss": 1.25, "test accuracy": 0.875}, epoch=0),
    Ended("bn-s0", steps=4, seconds=1.0, diverged=True),
    Began("sn-s0", epochs=2, steps=8, start=4),
    Failed("sn-s0", "ValueError: no luck"),
]

GAN: list[Event] = [
    Began("gan", epochs=0, steps=4000, start=0),
    Stepped("gan", steps=1000),
    Scored("gan", 1000, {"is_cnn": 2.34567, "fid_cnn": 123.456}),
    Ended("gan", steps=4000, seconds=1.0, diverged=False),
]


def told(story: list[Event] = STORY, *, terminal: bool) -> str:
    output = io.StringIO()
    with watching(Console(file=output, force_terminal=terminal, width=160, soft_wrap=not terminal)) as watch:
        for event in story:
            watch(event)
    return output.getvalue()


def test_a_log_file_gets_a_line_for_each_thing_that_happens() -> None:
    lines = told(terminal=False).splitlines()
    assert lines[0] == "bn-s0 begins: 2 epochs, 8 steps"
    assert lines[1].startswith("bn-s0 epoch 1/2: test loss 1.2500, test accuracy 87.50%, ")
    assert lines[2] == "bn-s0 diverged: its loss is not finite at step 4; the run ends there"
    assert lines[3] == "sn-s0 goes on at step 4: 2 epochs, 8 steps"
    assert lines[4] == "sn-s0 failed: ValueError: no luck"
    assert len(lines) == 5
    assert "\x1b" not in "".join(lines)


def test_a_terminal_gets_a_bar_for_each_run() -> None:
    screen = told(terminal=True)
    for shown in (
        "bn-s0",
        "epoch 1/2",
        "loss 1.5000",
        "test 87.50%",
        "left",
        "bn-s0 diverged",
        "sn-s0 failed",
    ):
        assert shown in screen


def test_a_run_without_epochs_counts_steps_and_tells_all_its_scores() -> None:
    lines = told(GAN, terminal=False).splitlines()
    assert lines[0] == "gan begins: 4,000 steps"
    assert lines[1].startswith("gan step 1,000/4,000: is_cnn 2.346, fid_cnn 123.5, ")
    assert lines[2] == "gan finished: 4,000 steps, 1 s"
    screen = told(GAN, terminal=True)
    for shown in ("step 1,000/4,000", "is_cnn 2.346, fid_cnn 123.5", "gan finished"):
        assert shown in screen
    assert "loss" not in screen


def test_ctrl_c_is_answered_with_the_command_that_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), watching(store="runs", go_on="meandrift sweep --norm bn"):
        raise KeyboardInterrupt
    said = "stopped: what was recorded is in runs, whole and readable. Go on with: meandrift sweep --norm bn\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("speaks", [False, True])
def test_ctrl_c_is_not_answered_without_a_command_or_by_a_process_that_does_not_speak(
    speaks: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(KeyboardInterrupt), watching(speaks=speaks, go_on="" if speaks else "meandrift sweep"):
        raise KeyboardInterrupt
    assert capsys.readouterr().err == ""


WARN = """
import warnings
from dynamics.runtime.progress import warn_in_one_line

warn_in_one_line()
warnings.warn("run 'a' is left out:\\n  it is a link")
"""


@pytest.mark.parametrize(
    ("traceback", "said"),
    [("", r"warning: run 'a' is left out: it is a link\n"), ("1", r"<string>:6: UserWarning: run 'a' .*")],
)
def test_a_warning_is_one_line_unless_tracebacks_are_asked_for(traceback: str, said: str) -> None:
    environment = {**os.environ, "MEANDRIFT_TRACEBACK": traceback}
    done = subprocess.run([sys.executable, "-c", WARN], capture_output=True, text=True, check=True, env=environment)
    assert re.fullmatch(said, done.stderr, re.DOTALL), done.stderr
