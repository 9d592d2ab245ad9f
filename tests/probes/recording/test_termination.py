"""SIGTERM ends a training without the loss of a row, and as it would have ended it without a probe."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from torch import nn

from probes import Probe
from probes.storage.files import open_store
from probes.storage.verify import verify

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")

TRAINING = """
import os, signal, sys
import torch
from probes import Probe

model = torch.nn.Linear(3, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
probe = Probe(model, optimizer, store=sys.argv[1], run="a", every=1)
for step in range(30):
    optimizer.zero_grad()
    model(torch.randn(8, 3)).square().mean().backward()
    optimizer.step()
    probe.log(loss=float(step))
os.kill(os.getpid(), signal.SIGTERM)
"""


def test_sigterm_closes_the_run_and_ends_the_process_by_the_signal(store, table):
    command = [sys.executable, "-c", TRAINING, str(store)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGTERM, done.stderr
    assert table("layers")["step"].tolist() == list(range(30))
    assert table("steps")["loss"].tolist() == [float(step) for step in range(30)]
    assert table("runs")["status"].tolist() == ["interrupted"]
    assert verify(open_store(store)).faults == []
    assert not (store / "_writers").exists()


@pytest.fixture
def came() -> Iterator[list[int]]:
    """Restore the handler of SIGTERM after the test; the value is for handlers to note that they were called."""
    before = signal.getsignal(signal.SIGTERM)
    yield []
    signal.signal(signal.SIGTERM, before)


def open_probe(store: os.PathLike[str]) -> Probe:
    return Probe(nn.Linear(2, 2), store=store, run="a")


@pytest.mark.parametrize("first", [True, False])
def test_a_handler_of_the_users_own_stays_and_ends_nothing(store, came, first):
    if first:
        signal.signal(signal.SIGTERM, lambda *_: came.append(1))
    with open_probe(store):
        if not first:
            signal.signal(signal.SIGTERM, lambda *_: came.append(1))
        signal.raise_signal(signal.SIGTERM)
        assert came == [1]
    signal.raise_signal(signal.SIGTERM)
    assert came == [1, 1]


def test_a_handler_that_calls_the_one_before_keeps_the_signal_to_itself(store, came):
    with open_probe(store):
        before = signal.getsignal(signal.SIGTERM)
        signal.signal(signal.SIGTERM, lambda *given: came.append(before(*given)))
        signal.raise_signal(signal.SIGTERM)
        assert came == [None]
        assert (store / "_writers" / "a").exists()  # the run is still open


def test_an_ignored_sigterm_stays_ignored(store, came):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with open_probe(store):
        signal.raise_signal(signal.SIGTERM)


def test_the_default_action_is_back_when_the_last_probe_is_closed(store, came):
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    first, second = (Probe(nn.Linear(2, 2), store=store, run=run) for run in ("a", "b"))
    first.close()
    assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    second.close()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
