"""Every code block of the README and of the docs is executed, or is listed here with the reason why not.

The Python and bash blocks of a page run in order, in one namespace and one folder. The folders of some pages have the
recorded store of ``tests/analysis/recorded`` as ``runs``. The namespace has the model, optimizer and batch of guides.
``...  # train`` stands for 21 training steps. ``meandrift`` commands run in this process.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

import meandrift as md

ROOT = Path(__file__).parents[2]
RECORDED = ROOT / "tests/analysis/recorded/runs"
PAGES = {str(path.relative_to(ROOT)): path for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]}
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
EXECUTED, SHOWN = {"python", "bash"}, {"text", "toml", "bibtex"}

OTHER_TESTS = {
    "docs/python.md": "tests/analysis/test_python_page.py",
    "docs/queries.md": "tests/analysis/test_queries.py",
    "docs/comparing.md": "tests/analysis/test_queries.py",
    "docs/side_by_side.md: training": "tests/analysis/test_side_by_side_page.py",
    "docs/side_by_side.md: meandrift": "tests/analysis/test_side_by_side_page.py",
    "docs/frameworks.md: lightning": "tests/probes/integrations/test_frameworks_page.py",
    "docs/frameworks.md: transformers": "tests/probes/integrations/test_frameworks_page.py",
    "docs/frameworks.md: tensorboard": "tests/probes/integrations/test_frameworks_page.py",
    "docs/own_integration.md: trainer": "tests/probes/integrations/test_frameworks_page.py",
    "docs/own_integration.md: integration": "tests/probes/integrations/test_frameworks_page.py",
    "docs/own_integration.md: use": "tests/probes/integrations/test_frameworks_page.py",
}
"""Pages, and blocks by title, that a test of their own executes."""

NOT_EXECUTED = {
    "README.md": {
        "pip install -e . && meandrift reproduce": "minutes, and a package index; .ci/run executes it",
        "pip install -e '.[test]' && pytest": "is this test suite; .ci/run executes it",
    },
    "docs/getting_started.md": {
        "pip install -e .": "needs a package index; .ci/run executes it",
    },
    "docs/side_by_side.md": {
        "import wandb": "needs wandb, which the tests lack",
        "from torch.utils.tensorboard import SummaryWriter": "needs tensorboard, and ends in an error",
    },
    "docs/frameworks.md": {
        "from probes.integrations.ray import trial_probe": "needs Ray",
        "import logging": "needs Lightning",
    },
    "docs/sharded.md": {
        "stage = PipelineStage(": "needs several processes",
        "torchrun --nproc-per-node 2 tests/probes/sharded_training.py": "measures for a minute in two processes",
    },
    "docs/performance.md": {
        "python tests/benchmarks/probe_overhead.py": "measures for minutes",
    },
    "docs/experiments.md": {
        "meandrift sweep --plan half.toml": "hours, and CIFAR-10",
        "cp -r figures/causes/store runs/causes": "hours, and CIFAR-10",
    },
    "docs/commands.md": {
        "meandrift train": "a minute; docs/guides/trainings.md has a shorter one that is executed",
        "meandrift sweep": "minutes of training",
        "meandrift reproduce": "minutes of training, and a download",
        "meandrift gan": "minutes of training",
        "meandrift authors-checkpoints": "needs the authors' files",
        "meandrift deploy": "needs trained runs; docs/guides/embedded.md has one that is executed",
        "meandrift watch": "runs until Ctrl-C; tests/analysis/terminal tests it",
        "meandrift inspect": "needs safetensors; docs/checkpoints.md has one that is executed",
    },
}
"""For each page the blocks that no test executes, by the beginning of their first line, with the reason."""

STORE_RECORDED = {
    "docs/commands.md",
    "docs/figures.md",
    "docs/findings.md",
    "docs/guides/own_metric.md",
    "docs/report.md",
}
"""Pages whose folder has the recorded store from the start."""

WARNED = {
    "docs/getting_started.md": ["in no optimizer, though they require a gradient: 2.weight, 2.bias"],
}
"""Warnings that a page is about. Any other is an error."""

NONZERO = {"meandrift check": 1, "meandrift diff": 1}
"""Commands whose exit status may be 1: a fault or a difference was found."""


@dataclass(frozen=True)
class Block:
    page: str
    language: str
    title: str
    text: str

    def not_executed(self) -> list[str]:
        """Return the beginning by which it is listed as not executed, if it is."""
        return [beginning for beginning in NOT_EXECUTED.get(self.page, {}) if self.text.startswith(beginning)]

    def tested_elsewhere(self) -> bool:
        return self.page in OTHER_TESTS or f"{self.page}: {self.title}" in OTHER_TESTS


def blocks(page: str) -> Iterator[Block]:
    for head, text in FENCE.findall(PAGES[page].read_text(encoding="utf-8")):
        language, _, rest = head.partition(" ")
        yield Block(page, language, "".join(re.findall(r'^title="(.*)"$', rest)), text)


ALL = [block for page in PAGES for block in blocks(page)]


def executed(page: str) -> list[Block]:
    """Return the blocks of a page that this test executes."""
    return [
        block
        for block in blocks(page)
        if block.language in EXECUTED and not block.tested_elsewhere() and not block.not_executed()
    ]


def names_of_the_guides() -> dict[str, Any]:
    """Return what guides take as given: a model, its optimizer, a batch, and the imports of Getting started."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2)
    )
    names = {
        "md": md,
        "torch": torch,
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
        "x": torch.randn(64, 8),
    }

    def train() -> None:
        for _ in range(21):
            names["optimizer"].zero_grad()
            names["model"](torch.randn(64, 8)).square().mean().backward()
            names["optimizer"].step()

    return {**names, "__train": train}


def run_python(block: Block, names: dict[str, Any]) -> None:
    text = re.sub(r"\.\.\.  # (train|go on)", "__train()", block.text)
    exec(compile(text, block.page, "exec"), names)


def run_bash(block: Block) -> None:
    """Run each line, a command of ours, in this process."""
    from dynamics.cli import run

    for line in block.text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        assert words[0] == "meandrift", f"{block.page}: no test can run {line!r}; list it in NOT_EXECUTED"
        arguments = [str(name) for word in words[1:] for name in sorted(Path().glob(word)) or [word]]
        assert run(arguments) <= NONZERO.get(f"meandrift {arguments[0]}", 0), line


def in_new_folder(folder: Path, *, recorded: bool) -> contextlib.AbstractContextManager[None]:
    """Make a folder, with the recorded store and two of its runs under other names if asked for."""
    folder.mkdir()
    for table in RECORDED.iterdir() if recorded else ():
        shutil.copytree(table, folder / "runs" / table.name)
    for table in (folder / "runs").glob("*"):
        shutil.copytree(table / "run=bn-s0", table / "run=before")
        shutil.copytree(table / "run=sn-s0", table / "run=after")
    return contextlib.chdir(folder)


@pytest.fixture
def left_by(tmp_path: Path):
    """Return a function that executes a page and returns the names it leaves, and ``folder``."""

    def execute(page: str) -> dict[str, Any]:
        names = {**names_of_the_guides(), "folder": tmp_path / "page"}
        with (
            warnings.catch_warnings(record=True) as found,
            in_new_folder(names["folder"], recorded=page in STORE_RECORDED),
        ):
            warnings.simplefilter("always")
            for number, block in enumerate(executed(page)):
                if page == "docs/commands.md":  # each example begins with the store as it is
                    with in_new_folder(tmp_path / str(number), recorded=True):
                        run_bash(block)
                elif block.language == "bash":
                    run_bash(block)
                else:
                    run_python(block, names)
        told = [str(warning.message) for warning in found]
        expected = WARNED.get(page, [])
        assert [text for text in told if not any(words in text for words in expected)] == []
        assert [words for words in expected if not any(words in text for text in told)] == []
        return names

    return execute


@pytest.mark.parametrize("page", [page for page in PAGES if executed(page)])
def test_blocks_of_a_page_run(page: str, left_by) -> None:
    names = left_by(page)
    if page in CHECKS:
        CHECKS[page](names)


def test_every_block_is_executed_or_says_what_it_is() -> None:
    assert {(block.page, block.language) for block in ALL if block.language not in EXECUTED | SHOWN} == set()


def test_every_reason_is_of_one_block() -> None:
    found = [(block.page, beginning) for block in ALL for beginning in block.not_executed()]
    assert sorted(found) == sorted((page, beginning) for page, reasons in NOT_EXECUTED.items() for beginning in reasons)
    assert len(found) < len([block for block in ALL if block.language in EXECUTED]) / 3


def test_every_page_that_another_test_executes_is_named_in_that_test() -> None:
    known = {f"{block.page}: {block.title}" if block.title else block.page for block in ALL}
    assert set(OTHER_TESTS) <= known | {block.page for block in ALL}
    for page, test in OTHER_TESTS.items():
        assert Path(page.partition(":")[0]).name in (ROOT / test).read_text(encoding="utf-8")


def test_the_plan_of_the_docs_gives_a_run_for_each_arm_and_seed(tmp_path: Path) -> None:
    from dynamics.sweeps.plans.plan import load_plan

    [plan] = [block.text for block in ALL if block.language == "toml"]
    (tmp_path / "half.toml").write_text(plan)
    runs = load_plan(str(tmp_path / "half.toml")).runs()
    assert set(runs) == {f"half-{arm}-s{seed}" for arm in ("msn", "msn-half") for seed in range(3)}


# What pages leave behind.


def recorded(names: dict[str, Any], run: str, column: str) -> list[int]:
    """Return the steps at which a run measured a column of its first layer."""
    rows = pd.read_parquet(names["folder"] / "runs" / "layers" / f"run={run}")
    return rows.loc[(rows["layer"] == "0") & rows[column].notna(), "step"].tolist()


def readme_ends_in_dataframes(names: dict[str, Any]) -> None:
    assert {"run", "step", "layer", "weight_mean", "singular_value_mean", "grad_sparsity"} <= set(
        names["layers"].columns
    )
    assert recorded(names, "first", "spectral_norm") == list(range(0, 100, 10))
    assert names["steps"]["loss"].notna().any()
    for made in ("gradients.png", "figures/gradient_norm.png", "report.html"):
        assert (names["folder"] / made).stat().st_size > 10_000


def getting_started_finds_the_sick_layer(names: dict[str, Any]) -> None:
    [finding] = names["found"].query("severity == 'grave'").to_dict("records")
    assert (finding["kind"], finding["layer"], finding["from_step"]) == ("no update", "2", 0)
    assert len(names["layers"]) == 3 * 20


def schedules_record_when_their_comments_say(names: dict[str, Any]) -> None:
    assert recorded(names, "scheduled", "weight_mean") == [0, 10, 20]
    assert recorded(names, "scheduled", "activation_mean") == [0, 1]
    assert recorded(names, "scheduled", "grad_mean") == [0, 1, 2, 3, 4, 7, 10, 16]
    assert recorded(names, "scheduled", "spectral_norm") == [0]
    spectra = pd.read_parquet(names["folder"] / "runs" / "spectra" / "run=scheduled")
    assert sorted(set(spectra["step"])) == [0, 10]
    chosen = pd.read_parquet(names["folder"] / "runs" / "layers" / "run=linear")
    assert sorted(chosen["layer"].astype(str).unique()) == ["0", "2"]


def the_metric_is_a_column_at_every_step(names: dict[str, Any]) -> None:
    assert recorded(names, "own", "weight_max_abs") == list(range(21))
    assert recorded(names, "own", "spectral_norm") == [0]
    by_run = names["own"]["weight_max_abs"].notna().groupby(names["own"]["run"].astype(str)).any()
    assert by_run[by_run].index.tolist() == ["own"]
    assert len(by_run) > 1


def the_checkpoint_goes_on_where_it_was_taken(names: dict[str, Any]) -> None:
    assert names["saved"]["probe"]["step"] == 21
    assert recorded(names, "long", "weight_mean") == [0, 10, 20, 30, 40]
    drift = pd.read_parquet(names["folder"] / "runs" / "layers" / "run=long").query("layer == '0'")
    assert (drift["activation_drift"] == 0).tolist() == [True, False, False, False, False]


def settings_are_columns(names: dict[str, Any]) -> None:
    [row] = names["runs"].query("width == 32").to_dict("records")
    assert row["run"].startswith("Sequential-")


def the_object_store_is_read_back(names: dict[str, Any]) -> None:
    assert names["remote"]["run"].astype(str).unique().tolist() == ["remote"]


def the_off_switch_records_nothing(names: dict[str, Any]) -> None:
    assert not (names["folder"] / "runs" / "layers" / "run=big").exists()
    assert names["probe"].run == "big"


def a_folded_network_has_no_norm(names: dict[str, Any]) -> None:
    assert not any("Centring" in type(module).__name__ for module in names["for_inference"].modules())
    kinds = [type(module).__name__ for module in names["sequences"].modules()]
    assert (kinds.count("MeanCentring"), kinds.count("LayerNorm")) == (4, 0)


def the_probe_batch_gives_drift(names: dict[str, Any]) -> None:
    assert set(names["drift"]["layer"].astype(str)) == {"0", "2"}
    assert {"seen_drift", "unlearned_drift", "unlearned_mean", "dead_share"} <= set(names["drift"].columns)


def tags_choose_runs(names: dict[str, Any]) -> None:
    assert names["baselines"]["run"].astype(str).unique().tolist() == ["bn-s3"]


def only_the_standard_parametrization_grows(names: dict[str, Any]) -> None:
    slope, at = "activation_rms_slope", "layer == '4' and step == 1"
    assert names["standard"].query(at)[slope].iloc[0] > 0.3
    assert abs(names["mup"].query(at)[slope].iloc[0]) < 0.2
    assert (names["folder"] / "coordinate_check.png").stat().st_size > 10_000


CHECKS = {
    "README.md": readme_ends_in_dataframes,
    "docs/getting_started.md": getting_started_finds_the_sick_layer,
    "docs/guides/schedules.md": schedules_record_when_their_comments_say,
    "docs/guides/coordinate_check.md": only_the_standard_parametrization_grows,
    "docs/guides/own_metric.md": the_metric_is_a_column_at_every_step,
    "docs/guides/checkpoints.md": the_checkpoint_goes_on_where_it_was_taken,
    "docs/guides/training_loops.md": settings_are_columns,
    "docs/guides/object_stores.md": the_object_store_is_read_back,
    "docs/off_switch.md": the_off_switch_records_nothing,
    "docs/guides/norms.md": a_folded_network_has_no_norm,
    "docs/mean_drift.md": the_probe_batch_gives_drift,
    "docs/store.md": tags_choose_runs,
}
