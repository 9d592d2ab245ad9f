"""What the probe's tests may ask for."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from torch import nn

from probes.hooks import torch_internals


@pytest.fixture(autouse=True)
def one_thread_and_a_fixed_seed(alike: None) -> None:
    """Train alike in every session."""


@pytest.fixture
def network() -> nn.Module:
    """Return a small network of many kinds of layers, with in-place activations."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.utils.parametrizations.spectral_norm(nn.Conv2d(4, 6, 3, stride=2)),
        nn.LeakyReLU(0.1, inplace=True),
        nn.Dropout(0.2),
        nn.Flatten(),
        nn.Linear(6 * 4 * 4, 5),
    )


@pytest.fixture
def images() -> torch.Tensor:
    """Return a batch for the network."""
    return torch.randn(8, 1, 11, 11)


@pytest.fixture
def make_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Return a maker of file systems with limits, such as ``size=1m``."""
    disk = tmp_path / "disk"
    disk.mkdir()

    def mount(limits: str) -> Path:
        command = ["mount", "-t", "tmpfs", "-o", limits, "tmpfs", str(disk)]
        try:
            done = subprocess.run(command, check=False, capture_output=True, text=True)
        except FileNotFoundError:
            pytest.skip("there is no mount command to make a small disk with")
        if done.returncode:
            pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
        return disk

    yield mount
    if disk.is_mount():
        subprocess.run(["umount", str(disk)], check=True)


@pytest.fixture
def no_hook_guards_held(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hide the setting of Dynamo that a probe holds which an earlier test of this process left open."""
    from torch._dynamo import config as dynamo_settings

    monkeypatch.setattr(torch_internals.HookGuards, "_holders", 0)
    has_setting = hasattr(dynamo_settings, "skip_nnmodule_hook_guards")
    with dynamo_settings.patch(skip_nnmodule_hook_guards=True) if has_setting else nullcontext():
        yield
