"""Each benchmark runs on its smallest setting. The claim is that it ends well; its numbers there are worth nothing."""

from __future__ import annotations

import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
LIBRARIES = {"probe_models.py", "probe_peers.py"}  # which the scripts import
QUICK = [  # script, its arguments, a pattern in what it prints
    ("norm_speed.py", "--models cnn3 --rounds 1 --steps 1 --json {out}", r'"of_none": \d'),
    (
        "probe_overhead.py",
        "--result {out} time --models cnn3 --arms everything --rounds 1 --seconds 0",
        r"everything .* \d+ bytes a layer and recorded step",
    ),
    ("training.py", "steps --rounds 1 --steps 1 --batch-size 4", r"probe, every step +[\d,]+ samples/s"),
    ("store.py", "write --calls 600 --seconds 0.1 --result {out}", r'"rows_a_second": \d'),
    ("summary.py", "", r"## Whole training steps, by norm"),
    ("probe_pass.py", "--batch 4 --images 2 --steps 1", r"default schedule, 2,000 steps: \d+ passes"),
    (
        "default_schedule.py",
        "--width 6 --rounds 1 --steps 2 --default-steps 2 --every 10 --result {out}",
        r'default \{"steps": 2, .*"ratio": \d',
    ),
    ("gradient_path.py", "", r"(?s)storage/.*\d+ forms before the Parquet file: Tensor"),
]
LONG = [
    ("probe_overhead.py", "time --models vgg7 transformer --arms default --rounds 1 --seconds 0", r"transformer: bare"),
    ("probe_overhead.py", "flat --steps 101", r'"last_over_first": \d'),
    ("probe_overhead.py", "memory --models cnn3 --steps 2 --pairs 1", r'"extra_mib": -?\d'),
    ("training.py", "loader --images 256 --rounds 1 --workers 1", r"DataLoader, 1 workers +[\d,]+ samples/s"),
    ("training.py", "allocator --rounds 1 --steps 1 --processes 1", r"kept +[\d,]+ samples/s"),
    ("training.py", "memory --rounds 1 --steps 1", r"probe, every step +\d+ MiB"),
    ("training.py", "sweep --rounds 1 --images-a-class 10", r"2 processes +[\d,]+ samples/s"),
    ("store.py", "read --runs 2 --layers 2 --steps 10 --rounds 1 --engines analysis,pandas", r'"bytes_a_row": \d'),
    (
        "scale.py",
        "--shrink 1000 --stores '300 runs' '100,000 files' --commands runs verify check 'watch --once' report figures",
        r"300 runs \| \d+\.\d s, \d+ MB",
    ),
    ("figures.py", "--rows 200 --rounds 1 --format svg", r"mean_drift: -?\d+ MB above"),
    ("same_records.py", ". . --networks cnn3", r"equal: \d+ rows of layers"),
]


@pytest.mark.parametrize(("script", "arguments", "printed"), QUICK, ids=[script for script, *_ in QUICK])
def test_a_benchmark_runs(  # noqa: PLR0917 - fixtures
    script: str,
    arguments: str,
    printed: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.syspath_prepend(HERE)
    monkeypatch.setattr(sys, "argv", [script, *arguments.format(out=tmp_path / "out.json").split()])
    for name, value in runpy.run_path(str(HERE / "probe_overhead.py"))["MALLOC"].items():
        monkeypatch.setenv(name, value)  # without them it starts anew, in the place of this process
    assert status_of(HERE / script) == 0
    assert re.search(printed, capsys.readouterr().out)
    assert (tmp_path / "out.json").is_file() == ("{out}" in arguments)


def status_of(script: Path) -> int:
    """Run a script in this process, where torch is loaded already; return its exit status."""
    try:
        runpy.run_path(str(script), run_name="__main__")
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.mark.slow
@pytest.mark.parametrize(("script", "arguments", "printed"), LONG, ids=[f"{name} {a[:9]}" for name, a, _ in LONG])
def test_a_long_benchmark_runs(script: str, arguments: str, printed: str) -> None:
    command = [sys.executable, str(HERE / script), *shlex.split(arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=HERE.parents[1])
    assert done.returncode == 0, done.stderr[-2000:]
    assert re.search(printed, done.stdout), done.stdout[-2000:]


def test_no_benchmark_is_left_out() -> None:
    scripts = {path.name for path in HERE.glob("*.py") if not path.name.startswith("test_")} - LIBRARIES
    assert scripts == {script for script, *_ in (*QUICK, *LONG)}
