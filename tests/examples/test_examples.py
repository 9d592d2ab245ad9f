"""The examples: each runs as its first lines say, and leaves what it says that it leaves."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch.nn.utils import parametrize

from analysis import layers, steps
from analysis.findings import findings

pytestmark = pytest.mark.timeout(600)  # a dozen processes that import torch, on a machine that may be busy
ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
FRAMEWORKS = {"lightning_trainer": "lightning", "huggingface_trainer": "transformers"}
PLAIN = ("first_probe", "own_metric", "ddp", "resume", "gan", "convert_and_fold", "find_sick_layer")
PAGE = (EXAMPLES / "README.md").read_text(encoding="utf-8")


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    environment["GLOO_SOCKET_IFNAME"] = "lo"  # the name of this host may lead nowhere
    words = [sys.executable, *map(str, arguments)]
    both = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.run(words, env=environment, text=True, check=False, timeout=550, **both)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the first example as a user does, and the others in forks of one process, beside it."""
    folder = tmp_path_factory.mktemp("examples")
    (folder / "first_probe").mkdir()
    with ThreadPoolExecutor() as pool:
        beside = pool.submit(run, Path(__file__).with_name("run_examples.py"), folder, *PLAIN[1:])
        first = run(EXAMPLES / "first_probe.py", folder / "first_probe")
        others = beside.result()
    (folder / "first_probe.txt").write_text(first.stdout, encoding="utf-8")
    told = "\n".join(f"{path.stem}:\n{path.read_text()}" for path in sorted(folder.glob("*.txt")))
    assert first.returncode == others.returncode == 0, f"{others.stdout}\n{told}"
    return folder


def said(folder: Path, name: str) -> str:
    return (folder / f"{name}.txt").read_text(encoding="utf-8")


def test_every_example_is_run_by_a_test_and_listed_on_the_page() -> None:
    names = {path.stem for path in EXAMPLES.glob("*.py")}
    assert names == {*PLAIN, *FRAMEWORKS}
    listed = re.findall(r"^\| \[(\w+\.\w+)\]\((\w+\.\w+)\) \|", PAGE, re.MULTILINE)
    assert all(shown == linked for shown, linked in listed)
    assert {linked for _, linked in listed} == {f"{name}.py" for name in names} | {"mean_drift.ipynb"}


@pytest.mark.parametrize("name", [*PLAIN, *FRAMEWORKS])
def test_an_example_is_short_and_says_how_it_is_run(name: str) -> None:
    source = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")
    assert len(source.splitlines()) < 60
    assert f"``python examples/{name}.py [FOLDER]``" in source


def test_the_first_probe_ends_in_a_dataframe_and_a_figure(folder: Path) -> None:
    rows = pd.read_parquet(folder / "first_probe" / "runs" / "layers")
    assert len(rows) == 3 * 12
    assert "36 rows with" in said(folder, "first_probe")
    assert (folder / "first_probe" / "grad_l2_norm.png").read_bytes().startswith(b"\x89PNG")


def test_the_own_metric_has_its_column_and_its_schedule(folder: Path) -> None:
    rows = layers(folder / "own_metric" / "runs")
    assert rows["weight_kurtosis"].notna().sum() == 3 * 100
    assert rows["weight_mean"].notna().sum() == 3 * 10
    first = rows.loc[(rows["step"] == 0) & (rows["layer"] == "2"), "weight_kurtosis"].item()
    assert first == pytest.approx(9 / 5, abs=0.1)  # of a uniform distribution


def test_both_ranks_have_the_gradient_that_is_recorded(folder: Path) -> None:
    norms = re.findall(r"rank (\d): .* has norm ([\d.]+) at step 35", said(folder, "ddp"))
    assert sorted(rank for rank, _ in norms) == ["0", "1"]
    rows = layers(folder / "ddp" / "runs").query("layer == '0' and step == 35")
    assert [float(norm) for _, norm in norms] == pytest.approx([rows["grad_l2_norm"].item()] * 2, rel=1e-5)
    assert rows["grad_micro_batches"].item() == 2


def test_a_resumed_run_has_each_step_once(folder: Path) -> None:
    store = folder / "resume" / "runs"
    assert steps(store)["step"].tolist() == list(range(100))
    assert layers(store).query("layer == '0'")["step"].tolist() == list(range(0, 100, 10))
    assert "attempt 1 died at step 70; its checkpoint is of step 50" in said(folder, "resume")
    assert "attempt 1: 70 rows" in said(folder, "resume")


def test_the_two_networks_of_the_gan_are_recorded_at_the_same_steps_of_the_generator(folder: Path) -> None:
    rows = layers(folder / "gan" / "runs", columns=["spectral_norm"]).astype({"run": str})
    assert {run: sorted(set(own["step"])) for run, own in rows.groupby("run")} == {
        "critic": [0, 100, 200, 300, 400],
        "generator": [0, 20, 40, 60, 80],
    }
    critic = rows.loc[rows["run"] == "critic", "spectral_norm"]
    assert critic.between(0.9, 1.1).all()
    assert not rows.loc[rows["run"] == "generator", "spectral_norm"].between(0.9, 1.1).all()


def test_the_folded_network_is_plain_and_computes_the_same(folder: Path) -> None:
    folded = torch.load(folder / "convert_and_fold" / "folded.pt", weights_only=False)
    kinds = {type(module).__name__ for module in folded.modules()}
    assert kinds == {"Sequential", "Conv2d", "LeakyReLU", "Flatten", "Linear"}
    assert not any(parametrize.is_parametrized(module) for module in folded.modules())
    [difference] = re.findall(r"outputs differ by ([\d.e+-]+)", said(folder, "convert_and_fold"))
    assert float(difference) < 1e-4
    accuracies = re.findall(r"(?:MSN|folded) (0\.\d{3})", said(folder, "convert_and_fold"))
    assert len(accuracies) == 2
    assert accuracies[0] == accuracies[1] > "0.5"


def test_each_fault_is_found_in_its_layer_and_the_healthy_network_has_none(folder: Path) -> None:
    store = folder / "find_sick_layer" / "runs"
    sick = findings(store, runs="sick")
    assert {"no update": "layer3", "dead units": "layer1"}.items() <= dict(
        zip(sick["kind"], sick["layer"], strict=True)
    ).items()
    assert findings(store, runs="healthy").empty


@pytest.mark.frameworks
@pytest.mark.parametrize("name", FRAMEWORKS)
def test_the_example_of_a_framework_runs(name: str, tmp_path: Path) -> None:
    pytest.importorskip(FRAMEWORKS[name])
    done = run(EXAMPLES / f"{name}.py", tmp_path)
    assert done.returncode == 0, done.stdout
    assert layers(tmp_path / "runs")["grad_l2_norm"].notna().any()
    assert pd.read_parquet(tmp_path / "runs" / "runs")["status"].tolist() == ["finished"]
