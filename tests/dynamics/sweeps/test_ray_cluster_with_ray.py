"""A local Ray of two workers. Runs where the extra ``ray`` is installed; it is no part of ``test``."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from dynamics.classifier.config import RunConfig
from dynamics.runtime.events import Ended, Failed
from dynamics.runtime.stored_run import stored_run
from dynamics.sweeps.grid import grid
from dynamics.sweeps.task import task_for

ray = pytest.importorskip("ray", reason="the extra ray is not installed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # Ray's own
]

from dynamics.sweeps.ray_cluster import sweep_on_ray  # noqa: E402  (after the check that Ray is there)


@pytest.fixture(autouse=True)
def two_workers() -> None:
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)


def layers(store: Path) -> pd.DataFrame:
    found = pd.read_parquet(store / "layers")
    found["run"] = found["run"].astype(str)
    return found.sort_values(["run", "step", "layer_index"]).reset_index(drop=True)


def test_a_worker_killed_in_the_middle_of_a_run_costs_nothing(tiny_data: str, tmp_path: Path) -> None:
    base = RunConfig(data=tiny_data, batch_size=16, epochs=60, every=2)
    configs = grid(base, {"norm": ["bn", "sn"]})
    victim = next(iter(configs))
    killed: list[int] = []

    def kill_in_the_middle() -> None:
        while not killed:
            time.sleep(0.05)
            found = stored_run(tmp_path / "killed", victim)
            checkpoints = list((tmp_path / "killed" / "_checkpoints").glob(f"{victim}.pt"))
            if found and checkpoints and found.status == "running":
                pids = subprocess.run(
                    ["pgrep", "-f", f"ray::{victim}"], capture_output=True, text=True, check=False
                ).stdout.split()
                for pid in pids:
                    os.kill(int(pid), signal.SIGKILL)
                    killed.append(int(pid))

    watcher = threading.Thread(target=kill_in_the_middle, daemon=True)
    watcher.start()
    tasks = [task_for(tmp_path / "killed", run, config) for run, config in configs.items()]
    ends = sweep_on_ray(tasks, store=tmp_path / "killed")
    assert killed
    assert [type(end) for end in ends] == [Ended, Ended]
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    tasks = [task_for(tmp_path / "whole", run, config) for run, config in configs.items()]
    sweep_on_ray(tasks, store=tmp_path / "whole")
    pd.testing.assert_frame_equal(layers(tmp_path / "killed"), layers(tmp_path / "whole"), check_exact=True)


def test_an_error_of_a_run_is_its_own(tiny_data: str, tmp_path: Path) -> None:
    good = RunConfig(data=tiny_data, batch_size=16, epochs=1, every=2)
    tasks = [
        task_for(tmp_path, "bad", replace(good, norm="no-such-norm")),
        task_for(tmp_path, "good", good),
    ]
    bad, fine = sweep_on_ray(tasks, store=tmp_path)
    assert isinstance(bad, Failed)
    assert "no norm 'no-such-norm'" in bad.reason
    assert isinstance(fine, Ended)
