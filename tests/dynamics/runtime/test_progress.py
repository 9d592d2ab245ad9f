from __future__ import annotations

import io

from rich.console import Console

from dynamics.runtime.events import Began, Ended, Event, Failed, Scored, Stepped
from dynamics.runtime.progress import watching

STORY: list[Event] = [
    Began("bn-s0", epochs=2, steps=8, start=0),
    Stepped("bn-s0", steps=4, epoch=0, loss=1.5),
    Scored("bn-s0", epoch=0, loss=1.25, accuracy=0.875),
    Ended("bn-s0", steps=4, seconds=1.0, diverged=True),
    Began("sn-s0", epochs=2, steps=8, start=4),
    Failed("sn-s0", "ValueError: no luck"),
]


def told(*, terminal: bool) -> str:
    output = io.StringIO()
    with watching(Console(file=output, force_terminal=terminal, width=160, soft_wrap=not terminal)) as watch:
        for event in STORY:
            watch(event)
    return output.getvalue()


def test_a_log_file_gets_a_line_for_each_thing_that_happens() -> None:
    lines = told(terminal=False).splitlines()
    assert lines[0] == "bn-s0 begins: 2 epochs, 8 steps"
    assert lines[1].startswith("bn-s0 epoch 1/2: test loss 1.2500, test accuracy 87.50%, ")
    assert lines[2] == "bn-s0 diverged: its loss is no finite number at step 4; the run ends there"
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
