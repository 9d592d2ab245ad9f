"""The writer thread: order, bounded waiting, failures that do not vanish."""

from __future__ import annotations

import itertools
import threading
import time

import pytest
import torch
from torch import nn

from probes.background.budget import Budget, Limits
from probes.measuring.result import Result
from probes.metrics import METRICS
from probes.model.selection import select_layers
from probes.recording.record import Record
from probes.recording.tables.arrow_tables import Tables
from probes.recording.writer import Writer

METRIC = METRICS["bias_moments"]


class Sink:
    def __init__(self):
        self.steps, self.spilled = [], []
        self.gate, self.written = threading.Event(), threading.Event()
        self.gate.set()

    def write(self, _table, batch):
        self.gate.wait()
        self.steps += batch.column("step").to_pylist()
        self.written.set()

    def spill(self, _table, batch):
        self.spilled += batch.column("step").to_pylist()


@pytest.fixture
def sink():
    return Sink()


@pytest.fixture
def make_writer(sink):
    """Return a maker of writers with limits of their own."""
    made = []

    def make(**limits):
        tables = Tables(select_layers(nn.Linear(2, 2)).layers, [METRIC])
        made.append(Writer(sink, tables, Budget(Limits(**limits))))
        return made[-1]

    yield make
    sink.gate.set()
    for each in made:
        each.close()


@pytest.fixture
def writer(make_writer):
    return make_writer()


def record(step):
    return Record(step, 0, [Result(METRIC, step, [0], torch.zeros(2, 1, dtype=torch.float64))])


def test_records_arrive_in_order_and_all_of_them(writer, sink):
    for step in range(100):
        writer.put(record(step))
        if step == 50:
            writer.flush()
            assert sink.steps == list(range(51))
    writer.close()
    assert sink.steps == list(range(100))


def test_a_record_is_written_without_a_flush(make_writer, sink):
    make_writer(staleness=0.05, eager=0.0).put(record(0))
    assert sink.written.wait(60)
    assert sink.steps == [0]


def test_a_record_of_a_young_run_waits_for_none_and_a_later_one_does(make_writer, sink):
    later = make_writer(staleness=1000.0, eager=0.0)
    later.put(record(0))
    assert not sink.written.wait(0.2)
    make_writer(staleness=1000.0, eager=1000.0).put(record(1))
    assert sink.written.wait(60)
    later.flush()
    assert sink.steps == [1, 0]


def test_a_store_that_hangs_stops_no_step_and_fills_no_memory(make_writer, sink):
    size = record(0).nbytes
    writer = make_writer(max_waiting=20 * size, eager=0.0)
    sink.gate.clear()
    began = time.perf_counter()
    taken = [step for step in range(200) if writer.put(record(step))]
    assert time.perf_counter() - began < 5.0  # not 200 waits
    assert writer._bytes <= 20 * size
    assert taken == list(range(19))
    assert not writer.put_row({"step": 0, "epoch": 0, "split": "train"})
    sink.gate.set()
    writer.flush()
    assert sink.steps == taken  # what was taken is written, whatever it took
    assert writer.put(record(200))


def test_a_store_that_is_slow_over_a_block_has_records_thinned_out(make_writer, sink, monkeypatch):
    size = record(0).nbytes
    writer = make_writer(max_waiting=128 * size, eager=0.0)
    sink.gate.clear()
    writer.put(record(0))
    writer._wanted = True
    writer._worker.wake()
    while writer._writing_since is None:
        time.sleep(0.001)
    writer._writing_since -= 10  # as if it had taken so long by now
    taken = [step for step in range(1, 400) if writer.put(record(step))]
    assert taken[:60] == list(range(1, 61))
    gaps = [later - earlier for earlier, later in itertools.pairwise(taken)]
    assert gaps == sorted(gaps)
    assert set(gaps) >= {1, 2, 4, 8}


def test_a_writer_that_is_only_busy_is_waited_for_a_moment(make_writer, sink):
    size = record(0).nbytes
    writer = make_writer(max_waiting=4 * size, eager=0.0)
    assert all(writer.put(record(step)) for step in range(40))
    writer.flush()
    assert sink.steps == list(range(40))


def refuse(*_):
    raise OSError("disk full")


def test_what_the_store_refuses_is_kept_in_order_and_written_once_it_takes_it(writer, sink, monkeypatch):
    with monkeypatch.context() as broken:
        broken.setattr(sink, "write", refuse)
        for step in range(3):
            writer.put(record(step))
            writer.flush()
    assert "disk full" in str(writer.take_failure())
    assert writer.take_failure() is None
    writer.put(record(3))
    writer.flush()
    assert sink.steps == [0, 1, 2, 3]
    writer.close()
    assert writer.lost is None


def test_a_table_that_was_written_before_another_was_refused_is_not_written_twice(writer, sink, monkeypatch):
    written = []

    def refuse_steps(table, batch):
        if table == "steps":
            refuse()
        written.append((table, batch.column("step").to_pylist()))

    with monkeypatch.context() as broken:
        broken.setattr(sink, "write", refuse_steps)
        writer.put(record(0))
        writer.put_row({"step": 0, "epoch": 0, "split": "train", "loss": 1.0})
        writer.flush()
    monkeypatch.setattr(sink, "write", lambda table, batch: written.append((table, batch.column("step").to_pylist())))
    writer.flush()
    assert written == [("layers", [0]), ("steps", [0])]


ROOM = 450  # bytes: for one of the batches of these tests, and not for two


def test_rows_beyond_the_room_for_refused_ones_are_spilled_oldest_first(make_writer, sink, monkeypatch):
    writer = make_writer(max_refused=ROOM)
    with monkeypatch.context() as broken:
        broken.setattr(sink, "write", refuse)
        for step in range(3):
            writer.put(record(step))
            writer.flush()
    assert sink.spilled == [0, 1]
    writer.put(record(3))
    writer.flush()
    assert sink.steps == [2, 3]
    assert writer.lost is None


def test_rows_refused_to_the_end_are_spilled(writer, sink, monkeypatch):
    monkeypatch.setattr(sink, "write", refuse)
    writer.put(record(7))
    writer.close()
    assert sink.spilled == [7]
    assert writer.lost is None


def test_rows_beyond_the_room_that_the_spool_refuses_too_are_lost_and_named(make_writer, sink, monkeypatch):
    writer = make_writer(max_refused=ROOM)
    monkeypatch.setattr(sink, "spill", refuse)
    with monkeypatch.context() as broken:
        broken.setattr(sink, "write", refuse)
        for step in range(4):
            writer.put(record(step))
            writer.flush()
    writer.put(record(4))
    writer.flush()
    assert sink.steps == [0, 4]
    assert (writer.lost.rows, writer.lost.first_step, writer.lost.last_step) == (3, 1, 3)
    assert writer.lost.why == "OSError: disk full; the spool: OSError: disk full"


def test_rows_that_store_and_spool_refuse_to_the_end_are_lost_and_named(writer, sink, monkeypatch):
    monkeypatch.setattr(sink, "write", refuse)
    monkeypatch.setattr(sink, "spill", refuse)
    writer.put(record(7))
    writer.close()
    assert (writer.lost.rows, writer.lost.first_step, writer.lost.last_step) == (1, 7, 7)


def test_rows_that_the_store_cannot_understand_are_lost_and_those_behind_them_written(writer, sink, monkeypatch):
    def refuse_step_0(table, batch):
        if batch.column("step")[0].as_py() == 0:
            raise ValueError("no such column")
        Sink.write(sink, table, batch)

    monkeypatch.setattr(sink, "write", refuse_step_0)
    for step in range(2):
        writer.put(record(step))
        writer.flush()
    assert sink.steps == [1]
    assert (writer.lost.rows, writer.lost.why) == (1, "ValueError: no such column")
