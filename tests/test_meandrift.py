"""``import meandrift as md``: one name for everything, whatever files stand in the user's folder."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import analysis
import meandrift as md
import probes

ROOT = Path(__file__).parents[1]
USE = """
import meandrift as md

def train(store):
    import torch
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with md.Probe(model, optimizer, store=store, run="a", every=1):
        model(torch.randn(4, 3)).sum().backward()
        optimizer.step()
    return len(md.layers(store))
"""
CALL = "\nif __name__ == '__main__':\n    print(train('runs'))\n"
SPAWN = """
if __name__ == "__main__":
    import multiprocessing
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map(train, ["runs"])[0])
"""


SICK = """
import torch
model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
with md.Probe(model, optimizer, store="runs", run="sick", every=2, warn=True) as probe:
    for step in range(8):
        inputs = torch.randn(4, 3) * (float("nan") if step == 5 else 1)
        optimizer.zero_grad()
        model(inputs).square().mean().backward()
        optimizer.step()
"""
PLOT = "probe.plot('weight_l2_norm')"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a user's folder with files that have the names of our packages."""
    for name in ("analysis", "probes", "dynamics"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('this is the user\\'s own file')")
    return tmp_path


def run(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, cwd=folder, env=environment
    )


def test_a_script_beside_files_of_our_packages_names(folder: Path) -> None:
    (folder / "mine.py").write_text(USE + CALL)
    done = run("mine.py", folder=folder)
    assert done.stdout == "1\n", done.stderr


def test_a_module_run_by_name(folder: Path) -> None:
    (folder / "mine.py").write_text(USE + CALL)
    done = run("-m", "mine", folder=folder)
    assert done.stdout == "1\n", done.stderr


def test_the_command_as_a_module(folder: Path) -> None:
    assert run("-m", "meandrift", "--version", folder=folder).stdout == f"meandrift {md.__version__}\n"
    refused = run("-m", "meandrift", "runs", "nowhere", folder=folder)
    assert (refused.returncode, refused.stderr[:31]) == (2, "error: store 'nowhere' holds no"), refused.stderr


def test_a_spawned_process(folder: Path) -> None:
    (folder / "mine.py").write_text(USE + SPAWN)
    done = run("mine.py", folder=folder)
    assert done.stdout == "1\n", done.stderr


def test_a_notebook_kernel(folder: Path) -> None:
    jupyter = pytest.importorskip("jupyter_client.manager")
    pytest.importorskip("ipykernel")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    manager, client = jupyter.start_new_kernel(cwd=str(folder), env=environment)
    printed = []
    try:
        for cell in (USE, "print(train('runs'))", SICK, "probe", "probe.findings()", "md.runs('runs')", PLOT):
            reply = client.execute_interactive(cell, timeout=120, output_hook=printed.append)
            assert reply["content"]["status"] == "ok", reply["content"]
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    streams = [m["content"] for m in printed if m["msg_type"] == "stream"]
    assert [one["text"] for one in streams if one["name"] == "stdout"] == ["1\n"]
    assert "grave finding in run sick: NaN: 0: " in "".join(one["text"] for one in streams if one["name"] == "stderr")
    shown = [m["content"]["data"] for m in printed if m["msg_type"] == "execute_result"]
    assert "\x1b" not in json.dumps([*streams, *shown], ensure_ascii=False)
    probe, findings, runs, figure = shown
    assert "run <code>sick</code>" in probe["text/html"]
    assert "grave: NaN</b>" in findings["text/html"]
    assert "<td>sick</td>" in runs["text/html"]
    assert base64.b64decode(figure["image/png"]).startswith(b"\x89PNG")


LIVE = """
import time
with md.Probe(model, optimizer, store="runs", run="live", every=1) as probe:
    shown = probe.plot("weight_mean", live=True)
    for _ in range(400):
        model(torch.randn(4, 3)).square().mean().backward()
        optimizer.step()
        time.sleep(0.01)
        if shown.figure is not None:
            break
"""


def test_a_live_figure_is_drawn_again_in_its_cell(folder: Path) -> None:
    jupyter = pytest.importorskip("jupyter_client.manager")
    pytest.importorskip("ipykernel")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    manager, client = jupyter.start_new_kernel(cwd=str(folder), env=environment)
    messages: list[dict[str, Any]] = []
    try:
        for cell in (USE, SICK, LIVE):
            reply = client.execute_interactive(cell, timeout=120, output_hook=messages.append)
            assert reply["content"]["status"] == "ok", reply["content"]
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    [first] = [m["content"] for m in messages if m["msg_type"] == "display_data"]
    assert first["data"]["text/plain"] == "waiting for the first record"
    later = [m["content"] for m in messages if m["msg_type"] == "update_display_data"]
    assert len(later) >= 2  # when the first records came, and at the end
    assert {m["transient"]["display_id"] for m in later} == {first["transient"]["display_id"]}
    assert all(base64.b64decode(m["data"]["image/png"]).startswith(b"\x89PNG") for m in later)


def test_a_foreign_module_that_is_loaded_already_is_named(folder: Path) -> None:
    (folder / "analysis.py").write_text("")
    done = run("-c", "import analysis, meandrift", folder=folder)
    assert done.returncode != 0
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ImportError: meandrift needs its own package 'analysis'")
    assert str(folder / "analysis.py") in last


def test_our_packages_loaded_before_are_taken_as_they_are() -> None:
    assert issubclass(md.Probe, probes.Probe)
    assert md.Recorder is probes.Recorder
    assert md.layers is analysis.layers


def test_importing_it_loads_no_torch() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys, meandrift; sys.exit('torch' in sys.modules)"],
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0


@pytest.mark.parametrize("name", md.__all__)
def test_every_name_it_promises_is_there(name: str) -> None:
    assert getattr(md, name) is not None
    assert name in dir(md)


def test_a_name_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Prob'; it has FIGURES, Column, Probe"):
        _ = md.Prob


def test_it_hands_on_every_public_name_of_analysis() -> None:
    assert set(analysis.__all__) <= set(md.__all__)
