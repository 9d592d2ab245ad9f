"""The writer thread: order, bounded waiting, failures that do not vanish."""

from __future__ import annotations

import threading
import time

import pytest
import torch
from torch import nn

from probes import writer as writer_module
from probes.layers import select_layers
from probes.metrics import METRICS
from probes.records import Record, Result, Tables
from probes.writer import Writer

METRIC = METRICS["bias_moments"]


class Sink:
    def __init__(self):
        self.steps, self.gate = [], threading.Event()
        self.gate.set()

    def write(self, _table, batch):
        self.gate.wait()
        self.steps += batch.column("step").to_pylist()


@pytest.fixture
def sink():
    return Sink()


@pytest.fixture
def writer(sink):
    made = Writer(sink, Tables(select_layers(nn.Linear(2, 2)).layers, [METRIC]))
    yield made
    sink.gate.set()
    made.close()


def record(step):
    return Record(step, 0, [Result(METRIC, [0], torch.zeros(2, 1, dtype=torch.float64))])


def test_records_arrive_in_order_and_all_of_them(writer, sink):
    for step in range(100):
        writer.put(record(step))
        if step == 50:
            writer.flush()
            assert sink.steps == list(range(51))
    writer.close()
    assert sink.steps == list(range(100))


def test_a_record_waits_no_longer_than_the_staleness(writer, sink, monkeypatch):
    writer.put(record(0))
    deadline = time.monotonic() + 20 * writer_module.STALENESS
    while not sink.steps and time.monotonic() < deadline:
        time.sleep(0.05)
    assert sink.steps == [0]


def test_a_slow_store_makes_training_wait_and_says_so_instead_of_growing_or_losing(writer, sink, monkeypatch):
    size = record(0).nbytes
    monkeypatch.setattr(writer_module, "MAX_WAITING", 3 * size)
    sink.gate.clear()
    threading.Timer(0.5, sink.gate.set).start()

    def put_all():
        for step in range(20):
            writer.put(record(step))
            assert writer._bytes <= 3 * size

    with pytest.warns(RuntimeWarning, match="the probe's writer cannot keep up") as warned:
        put_all()
    assert len(warned) == 1
    writer.flush()
    assert sink.steps == list(range(20))


def test_a_failure_is_kept_until_it_is_taken_and_the_thread_goes_on(writer, sink, monkeypatch):
    def refuse(*_):
        raise OSError("disk gone")

    with monkeypatch.context() as broken:
        broken.setattr(sink, "write", refuse)
        writer.put(record(0))
        writer.flush()
    assert "disk gone" in str(writer.take_failure())
    assert writer.take_failure() is None
    writer.put(record(1))
    writer.flush()
    assert sink.steps == [1]
