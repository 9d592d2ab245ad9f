"""Which cores training leaves idle."""

from __future__ import annotations

import os

import pytest
import torch

from probes.background import cores
from probes.background.cores import busy_threads, leaves_cores_idle, quota, usable_cores


@pytest.fixture
def machine(monkeypatch):
    """Return a function that makes this machine one with so many cores and busy threads."""

    def make(*, training, usable, busy=1):
        monkeypatch.setattr(torch, "get_num_threads", lambda: training)
        monkeypatch.setattr(cores, "usable_cores", lambda: usable)
        monkeypatch.setattr(cores, "busy_threads", lambda: busy)
        monkeypatch.setattr(os, "cpu_count", lambda: usable)

    return make


@pytest.mark.parametrize(("training", "usable", "idle"), [(1, 2, True), (1, 1, False), (2, 3, False), (2, 4, True)])
def test_a_core_is_idle_where_training_uses_half_of_them(training, usable, idle, machine):
    machine(training=training, usable=usable)
    assert leaves_cores_idle() == idle


@pytest.mark.parametrize(("busy", "idle"), [(1, True), (3, True), (4, False)])
def test_a_core_that_another_process_is_busy_on_is_not_idle(busy, idle, machine):
    machine(training=1, usable=4, busy=busy)
    assert leaves_cores_idle() == idle


def test_no_core_is_idle_within_a_process_group(machine, tmp_path):
    machine(training=1, usable=4)
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
    try:
        assert not leaves_cores_idle()
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this platform pins no process")
def test_a_process_pinned_to_one_core_has_none_idle():
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert usable_cores() == 1
        assert not leaves_cores_idle()
    finally:
        os.sched_setaffinity(0, allowed)


@pytest.mark.parametrize(
    ("text", "expected"), [("150000 100000\n", 1.5), ("max 100000\n", float("inf")), (None, float("inf"))]
)
def test_a_quota_of_the_control_group_counts(text, expected, tmp_path):
    if text is not None:
        (tmp_path / "cpu.max").write_text(text)
    assert quota(tmp_path / "cpu.max") == expected


@pytest.mark.parametrize(("text", "busy"), [("2.55 2.93 2.96 3/102 30407\n", 3), ("something else", 1)])
def test_busy_threads_are_counted_where_the_system_tells(text, busy, tmp_path):
    assert busy_threads(tmp_path / "none") == 1
    (tmp_path / "loadavg").write_text(text)
    assert busy_threads(tmp_path / "loadavg") == busy
