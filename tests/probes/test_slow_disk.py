"""A disk on which each write takes half a second: no step waits for it, and what was taken is there in the end."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn

from probes import Probe
from probes.background.budget import Limits

STEPS, WRITE_SECONDS = 1500, 0.5


def train(probe: Probe | None, model: nn.Module, optimizer: torch.optim.Optimizer) -> float:
    """Train and return the seconds of the longest step, but the first, at which torch imports what it needs."""
    longest = 0.0
    for step in range(STEPS):
        began = time.perf_counter()
        optimizer.zero_grad()
        model(torch.randn(64, 32)).square().mean().backward()
        optimizer.step()
        if probe is not None:
            probe.log(loss=float(step))
        longest = max(longest, time.perf_counter() - began) if step else 0.0
    return longest


@pytest.mark.slow
def test_no_step_waits_for_a_disk_whose_writes_take_half_a_second(tmp_path: Path, monkeypatch) -> None:
    plain = os.write

    def slowly(descriptor: int, content: bytes) -> int:
        time.sleep(WRITE_SECONDS)
        return plain(descriptor, content)

    model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    limits = Limits(max_waiting=200_000, eager=0.0, staleness=0.1)
    alone = train(None, model, optimizer)
    probe = Probe(model, optimizer, store=tmp_path, run="a", every=1, metrics=["weights", "gradients"], _limits=limits)
    monkeypatch.setattr(os, "write", slowly)
    with pytest.warns(RuntimeWarning, match="the store takes rows more slowly than they come"):
        longest = train(probe, model, optimizer)
    monkeypatch.undo()
    probe.close()
    print(f"longest step: {1000 * longest:.1f} ms, without a probe {1000 * alone:.1f} ms")
    assert longest - alone < 0.05
    steps = sorted(set(pd.read_parquet(tmp_path / "layers")["step"]))
    gaps = {gap["what"]: gap for gap in json.loads(pd.read_parquet(tmp_path / "runs")["gaps"][0])}
    assert len(steps) == STEPS - gaps["records"]["count"]
    assert 0 < gaps["records"]["count"] < STEPS
