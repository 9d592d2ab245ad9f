"""A probe without ``run=``: the run gets a readable name that no other has, also when processes start together."""

from __future__ import annotations

import logging
import os
import re
import time
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch import nn

import analysis
from probes import Probe, Recorder
from probes.recording.opening.run_names import names, open_unnamed
from probes.schema import check_run_id

MOMENT = datetime(2026, 11, 27, 13, 4, 59, tzinfo=UTC)


def test_the_name_is_the_class_and_the_time_and_the_probe_says_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    model = nn.Sequential(nn.Linear(2, 1))
    with caplog.at_level(logging.INFO, "meandrift"), Probe(model, store=tmp_path) as probe:
        probe.step()
    assert re.fullmatch(r"Sequential-\d{8}-\d{6}", probe.run)
    assert analysis.runs(tmp_path)["run"].tolist() == [probe.run]
    said = [record.getMessage() for record in caplog.records if probe.run in record.getMessage()]
    assert said == [f"run {probe.run!r} is recorded in store {tmp_path}"]
    assert capsys.readouterr() == ("", "")


def test_a_named_probe_says_its_name_too(tmp_path: Path) -> None:
    with Probe(nn.Linear(2, 1), store=tmp_path, run="mine") as probe:
        assert probe.run == "mine"


def test_probes_made_in_the_same_second_get_names_of_their_own(tmp_path: Path) -> None:
    probes = [Probe(nn.Linear(2, 1), store=tmp_path) for _ in range(3)]
    for probe in probes:
        probe.close()
    assert len({probe.run for probe in probes}) == 3
    assert sorted(analysis.runs(tmp_path)["run"]) == sorted(probe.run for probe in probes)


def test_a_compiled_or_wrapped_model_has_the_name_of_what_is_inside(tmp_path: Path) -> None:
    with Probe(torch.nn.DataParallel(nn.Bilinear(2, 2, 1)), store=tmp_path) as probe:
        assert probe.run.startswith("Bilinear-")


@pytest.mark.parametrize(
    ("subject", "first"),
    [
        ("ResNet", "ResNet-20261127-130459"),
        ("_Net2", "Net2-20261127-130459"),
        ("Größe", "Gre-20261127-130459"),
        ("é_3", "run-20261127-130459"),
        ("nan", "nan-20261127-130459"),
        ("", "run-20261127-130459"),
        ("A" * 300, f"{'A' * 80}-20261127-130459"),
    ],
)
def test_a_class_of_any_name_makes_a_run_id(subject: str, first: str) -> None:
    found = list(islice(names(subject, now=MOMENT, locked=True), 3))
    assert found == [first, f"{first}-2", f"{first}-3"]
    assert [check_run_id(name) for name in found] == found


def test_without_a_lock_that_others_see_the_name_ends_in_a_random_number() -> None:
    first, second = (next(names("Net", now=MOMENT, locked=False)) for _ in range(2))
    assert re.fullmatch(r"Net-20261127-130459-[0-9a-f]{6}", first)
    assert first != second


@pytest.mark.parametrize("how", [{"resume": "auto"}, {"resume_step": 3}, {"overwrite": True}])
def test_what_is_to_go_on_needs_its_name(how: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="resume, resume_step and overwrite need the name of the run: give run="):
        Probe(nn.Linear(2, 1), store=tmp_path / "runs", **how)
    assert not (tmp_path / "runs").exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_processes_that_start_in_the_same_second_get_names_of_their_own(tmp_path: Path) -> None:
    together, count = time.time() + 0.3, 6
    reader, writer = os.pipe()
    for number in range(count):
        if os.fork() == 0:
            try:
                time.sleep(max(together - time.time(), 0))
                recorder = open_unnamed(tmp_path, "Net", partial(Recorder, tmp_path, config={"rank": number}))
                recorder.close()
                os.write(writer, f"{recorder.run}\n".encode())
            finally:
                os._exit(0)
    os.close(writer)
    for _ in range(count):
        os.wait()
    with os.fdopen(reader) as said:
        found = said.read().split()
    runs = analysis.runs(tmp_path)
    assert len(set(found)) == count
    assert sorted(found) == sorted(runs["run"])
    assert sorted(runs["rank"]) == list(range(count))
