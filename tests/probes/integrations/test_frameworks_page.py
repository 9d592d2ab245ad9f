"""The pages on frameworks and checkpoints: each of their programs runs, and leaves the runs that it names."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pandas as pd
import pytest

from probes import Probe
from probes.integrations.logged_numbers import logged_numbers

DOCS = Path(__file__).parents[3] / "docs"


def programs(page):
    """Return the named programs of a page."""
    return dict(re.findall(r"```python title=\"(\w+)\"\n(.*?)```", (DOCS / page).read_text(), re.DOTALL))


def run(page, *names):
    """Run programs of a page one after the other, as one module, and return the names that they leave."""
    left = {"__name__": "__main__"}
    for name in names:
        exec(compile(programs(page)[name], str(DOCS / page), "exec"), left)
    return left


FRAMEWORKS = programs("frameworks.md")


def test_the_page_has_a_program_for_each_framework():
    assert set(FRAMEWORKS) == {"lightning", "transformers", "tensorboard"}


@pytest.mark.frameworks
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FRAMEWORKS)
def test_a_program_of_the_page_runs(name, tmp_path, monkeypatch):
    pytest.importorskip(name)
    monkeypatch.chdir(tmp_path)
    run("frameworks.md", name)
    layers = pd.read_parquet("runs/layers")
    assert layers["grad_l2_norm"].notna().any()
    assert pd.read_parquet("runs/runs")["status"].tolist() == ["finished"]
    assert (tmp_path / "runs" / "tensorboard" / "run=mirrored").is_dir() == (name == "tensorboard")


def test_the_program_of_the_page_on_checkpoints_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    left = run("checkpoints.md", "checkpoints")
    assert left["now"]["spectral_norm"].notna().all()
    assert left["history"]["step"].tolist() == [0, 0, 1, 1, 2, 2]
    assert pd.read_parquet("runs/layers")["spectral_norm"].tolist() == left["history"]["spectral_norm"].tolist()


def test_an_integration_of_30_lines_records_and_goes_on(tmp_path, monkeypatch):
    assert len(programs("own_integration.md")["integration"].strip().splitlines()) <= 30
    monkeypatch.chdir(tmp_path)
    run("own_integration.md", "trainer", "integration", "use")
    rows = pd.read_parquet("runs/layers").sort_values("step")
    steps = pd.read_parquet("runs/steps").sort_values("step")
    assert rows["run"].unique().tolist() == ["own"]
    assert rows["step"].tolist() == steps["step"].tolist() == list(range(15))
    assert rows["epoch"].tolist() == [step // 5 for step in range(15)]
    assert steps["loss"].notna().all()
    assert rows["grad_l2_norm"].notna().all()


def test_a_training_that_fails_is_closed_as_failed_by_the_30_lines(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    left = run("own_integration.md", "trainer", "integration")
    torch = left["torch"]
    trainer = left["Trainer"](torch.nn.Linear(4, 1), callbacks=[left["Meandrift"](run="own", every=1)])
    with pytest.raises(RuntimeError):
        trainer.fit([torch.randn(8, 4), torch.randn(8, 3)], epochs=1)
    assert pd.read_parquet("runs/runs")["status"].tolist() == ["failed"]


PROTOCOL = re.findall(r"^\| (`.*?`) \|", (DOCS / "own_integration.md").read_text(), re.MULTILINE)
CALLS = [call for cell in PROTOCOL for call in re.findall(r"`(\w[\w.]*)\((.*?)\)`", cell)]


@pytest.mark.parametrize(("name", "arguments"), CALLS, ids=[name for name, _ in CALLS])
def test_what_an_integration_may_call_has_the_arguments_that_the_page_names(name, arguments):
    called = {"Probe": Probe, "logged_numbers": logged_numbers}.get(name) or getattr(Probe, name.removeprefix("probe."))
    parameters = inspect.signature(called).parameters
    for argument in filter(None, arguments.split(", ")):
        if argument.startswith("**"):
            assert any(one.kind is one.VAR_KEYWORD for one in parameters.values())
        elif argument.endswith("="):
            assert parameters[argument[:-1]].kind is inspect.Parameter.KEYWORD_ONLY
        else:
            assert parameters[argument].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD


def test_the_page_names_the_calls():
    assert {name for name, _ in CALLS} >= {"Probe", "probe.log", "probe.close", "probe.state_dict", "logged_numbers"}
