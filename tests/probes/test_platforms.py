"""Platforms: recording needs Linux or macOS and says so; names of a store are names everywhere."""

from __future__ import annotations

import ntpath
import os
import re
import subprocess
import sys
from pathlib import Path, PureWindowsPath
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from dynamics.runtime.device import usable_cores
from probes import Probe, schema
from probes.model.devices import check_devices
from probes.storage import platform_needs
from probes.storage.platform_needs import UnsupportedPlatformError, check_recording
from probes.storage.recorder import Recorder

# What Windows lacks, taken away before the first import of ours.
WINDOWS = "import os, sys; sys.modules['fcntl'] = None; os.supports_dir_fd = set(); del os.O_DIRECTORY; "


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_without_locks_recording_is_refused_at_import_in_one_line_and_reading_is_not():
    refused = run_python(WINDOWS + "import meandrift, analysis; print('read'); from meandrift import Recorder")
    assert refused.stdout == "read\n"
    last = refused.stderr.splitlines()[-1]
    assert last == (
        "probes.storage.platform_needs.UnsupportedPlatformError: meandrift records on Linux and macOS; this platform "
        "(posix) lacks flock (fcntl) and folder descriptors (os.open with dir_fd). On Windows record under WSL 2; "
        "stores are read (import analysis) on every platform."
    )


def test_a_command_that_records_says_it_without_a_traceback():
    refused = run_python(WINDOWS + "from dynamics.cli import run; sys.exit(run(['recover', '--store', 'runs']))")
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: ")
    assert refused.stderr.count("\n") == 1
    assert "WSL 2" in refused.stderr


def test_what_is_missing_is_named(monkeypatch):
    check_recording()
    monkeypatch.setattr(platform_needs, "find_spec", lambda _: None)
    with pytest.raises(UnsupportedPlatformError, match=r"lacks flock \(fcntl\)\. On"):
        check_recording()


def test_a_model_on_mps_is_refused_and_one_elsewhere_is_not(store):
    class OnMps(nn.Linear):
        """A layer that says it is on a device that this machine has not."""

        def parameters(self, recurse=True):  # noqa: ARG002 - as torch calls it
            yield SimpleNamespace(device=torch.device("mps", 0))

    with pytest.raises(ValueError, match="the model is on device mps, which has no float64"):
        Probe(OnMps(2, 2), store=store)
    assert not store.exists()
    assert Probe(OnMps(2, 2), store=store, enabled=False).run == ""
    check_devices([torch.device("cpu"), torch.device("cuda", 1)])


def test_cores_are_counted_where_there_is_no_affinity(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity")
    assert usable_cores() == os.cpu_count()


DEVICES = ["con", "NUL", "aux", "prn.1", "com1", "LPT9.x", "Aux.b"]


@pytest.mark.parametrize("run", [*DEVICES, "ends.", "a.."])
def test_a_run_that_windows_has_no_folder_of_is_not_begun(run, store):
    with pytest.raises(ValueError, match="Windows has no folder of this name"):
        Recorder(store, run)
    assert not (store / "runs").exists()


@pytest.mark.parametrize("run", ["bn-s0", "console", "aux-1", "com10", "nul_x", "a.b"])
def test_other_runs_are_begun(run, store):
    with Recorder(store, run):
        pass
    schema.check_portable(run)


def test_a_run_of_such_a_name_that_is_there_already_is_read_and_goes_on(store, monkeypatch):
    with monkeypatch.context() as before:
        before.setattr(schema, "check_portable", lambda _: None)
        with Recorder(store, "aux"):
            pass
    with Recorder(store, "aux", resume="auto") as recorder:
        assert recorder.run == "aux"


def names_of_a_store() -> list[str]:
    """Return a name of each kind that a store has."""
    run = "Msn.lr0.001_seed3"
    return [
        *schema.TABLES,
        schema.WRITERS,
        schema.SAMPLES,
        schema.run_folder(run),
        run,
        schema.part_name(1, 99_999_999),
        schema.segment_name(schema.HISTOGRAMS, 1),
        "part-0.parquet",
    ]


@pytest.mark.parametrize("name", names_of_a_store())
def test_every_name_in_a_store_is_one_of_windows_too(name):
    assert not re.search(r'[<>:"/\\|?*\x00-\x1f]', name)
    assert not name.endswith((".", " "))
    assert not PureWindowsPath(name).is_reserved() if sys.version_info < (3, 13) else not ntpath.isreserved(name)
    assert PureWindowsPath("C:\\data", name).name == name


def test_the_longest_path_below_a_store_leaves_windows_room_for_the_store():
    run = "r" * 120
    longest = PureWindowsPath(schema.HISTOGRAMS, schema.run_folder(run), schema.part_name(1, 2))
    assert len(str(longest)) <= 180  # of 260


@pytest.mark.parametrize("name", ["C:\\runs", "C:/runs", "D:runs", "\\\\server\\share\\runs", "runs\\deep"])
def test_a_path_of_windows_is_no_url(name):
    assert schema.local_folder(name) == Path(name)
