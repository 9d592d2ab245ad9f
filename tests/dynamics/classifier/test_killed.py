"""Real processes, really stopped: Ctrl-C, SIGTERM and SIGKILL."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch

from dynamics.runtime.stored_run import stored_run

TABLES = ("layers", "histograms", "spectra", "steps")
KEYS = ["run", "step", "split", "layer", "tensor", "view"]


Start = Callable[[list[str]], "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start the command line in a process group of its own, as a shell does; end what a failed test left behind."""
    started: list[subprocess.Popen[str]] = []

    def command(arguments: list[str]) -> subprocess.Popen[str]:
        line, pipe = [sys.executable, "-m", "dynamics", *arguments], subprocess.PIPE
        started.append(subprocess.Popen(line, stdout=pipe, stderr=pipe, text=True, start_new_session=True))
        return started[-1]

    yield command
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def wait_for_lines(process: subprocess.Popen[str], *starts: str) -> None:
    """Return once there was a line that begins with each."""
    assert process.stdout is not None
    missing = set(starts)
    for line in process.stdout:
        missing -= {start for start in missing if line.startswith(start)}
        if not missing:
            return
    assert process.stderr is not None
    raise AssertionError(f"no lines {missing}: {process.stderr.read()}")


def rows(store: Path, table: str) -> pd.DataFrame:
    found = pd.read_parquet(store / table).drop(columns="seconds", errors="ignore")
    found["run"] = found["run"].astype(str)
    order = [key for key in KEYS if key in found]
    return found.sort_values(order).reset_index(drop=True)[sorted(found.columns)]


def assert_same_store(one: Path, other: Path) -> None:
    for table in TABLES:
        pd.testing.assert_frame_equal(rows(one, table), rows(other, table), check_exact=True)
    states = [
        {path.stem: torch.load(path, weights_only=True)["model"] for path in (store / "_checkpoints").glob("*.pt")}
        for store in (one, other)
    ]
    assert sorted(states[0]) == sorted(states[1])
    for run, state in states[0].items():
        assert all(torch.equal(tensor, states[1][run][name]) for name, tensor in state.items())


@pytest.mark.parametrize(
    "everyone",
    [pytest.param(True, id="terminal"), pytest.param(False, id="one-process", marks=pytest.mark.slow)],
)
def test_ctrl_c_leaves_a_readable_store_and_says_how_to_go_on(
    start: Start, tiny_data: str, tmp_path: Path, everyone: bool
) -> None:
    """A terminal sends SIGINT to every process of the group; `kill -INT` to one."""
    arguments = ["sweep", "--data", tiny_data, "--batch-size", "16", "--epochs", "100000", "--norm", "bn,sn"]
    process = start([*arguments, "--store", str(tmp_path), "--workers", "2"])
    wait_for_lines(process, *(f"cnn3-tiny-{norm}-lr0.001-s0 epoch 2/" for norm in ("bn", "sn")))
    if everyone:
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130
    assert f"stopped: what was recorded is in {tmp_path}, whole and readable. Go on with: " in errors
    assert "Traceback" not in errors
    for run in ("cnn3-tiny-bn-lr0.001-s0", "cnn3-tiny-sn-lr0.001-s0"):
        found = stored_run(tmp_path, run)
        assert found is not None
        assert found.status == "interrupted"
    assert set(pd.read_parquet(tmp_path / "layers")["run"]) == {"cnn3-tiny-bn-lr0.001-s0", "cnn3-tiny-sn-lr0.001-s0"}


def test_train_says_how_to_resume_and_does(start: Start, tiny_data: str, tmp_path: Path) -> None:
    arguments = ["train", "--data", tiny_data, "--batch-size", "16", "--epochs", "100000", "--run", "bn"]
    process = start([*arguments, "--store", str(tmp_path)])
    wait_for_lines(process, "bn epoch 2/")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130
    command = errors.partition("Go on with: meandrift ")[2].split()
    assert command[:4] == ["train", "--resume", "--run", "bn"]
    resumed = start(command)
    wait_for_lines(resumed, "bn goes on at step ")
    resumed.terminate()
    resumed.communicate()
    assert resumed.returncode == 130


def test_a_full_disk_is_one_line_and_leaves_a_readable_store(tiny_data: str, tmp_path: Path) -> None:
    """No file may grow past 100 kB: the store's parts fit, the checkpoint does not."""
    limited = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)); "
        "from dynamics.cli import run; sys.exit(run(sys.argv[1:]))"
    )
    arguments = ["train", "--data", tiny_data, "--batch-size", "16", "--epochs", "2", "--every", "2", "--run", "bn"]
    result = subprocess.run(
        [sys.executable, "-c", limited, *arguments, "--store", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 1
    assert "too large" in result.stderr
    found = stored_run(tmp_path, "bn")
    assert found is not None
    assert found.status == "failed"
    assert len(pd.read_parquet(tmp_path / "layers")) > 0
    assert not list((tmp_path / "_checkpoints").glob("*.pt"))


def killed_and_resumed(start: Start, arguments: list[str], *, kills: int, within: float, chance: random.Random) -> int:
    """Start a command again and again and kill its whole process group at a random moment; then let it finish.

    Returns:
        How many of the kills hit a command that was still at work.
    """
    hits = 0
    for _ in range(kills):
        process = start(arguments)
        try:
            process.communicate(timeout=chance.uniform(0, within))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            hits += 1
    process = start(arguments)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return hits


def sweep_of_seconds(data: str, store: Path) -> list[str]:
    settings = ["--data", data, "--batch-size", "16", "--epochs", "12", "--every", "2", "--norm", "bn,sn,msn"]
    return ["sweep", *settings, "--store", str(store), "--workers", "2"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ten_kills_at_random_moments_change_nothing(start: Start, tiny_data: str, tmp_path: Path, seed: int) -> None:
    whole = start(sweep_of_seconds(tiny_data, tmp_path / "whole"))
    began = time.monotonic()
    _, errors = whole.communicate(timeout=600)
    assert whole.returncode == 0, errors
    within = time.monotonic() - began
    again = sweep_of_seconds(tiny_data, tmp_path / "killed")
    assert killed_and_resumed(start, again, kills=10, within=within, chance=random.Random(seed)) >= 5
    assert_same_store(tmp_path / "whole", tmp_path / "killed")
