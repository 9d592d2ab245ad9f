"""The private names of torch that the probe uses are there, or a fallback is taken, and few files use them."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import torch
import torch._dynamo.config as dynamo_settings
from torch import nn

from probes import Probe
from probes.hooks import torch_internals
from probes.metrics import foreach

ROOT = Path(__file__).parents[3]
HOMES = {"probes/hooks/torch_internals.py", "probes/metrics/foreach.py", "probes/model/module_kinds.py"}
NAMES = {
    "torch._C._current_graph_task_id": torch._C,
    "torch.autograd.Variable._execution_engine": torch.autograd.Variable,
    "torch.nn.modules.conv._ConvNd": nn.modules.conv,
    "torch.nn.modules.batchnorm._NormBase": nn.modules.batchnorm,
    **dict.fromkeys(("torch._foreach_norm", "torch._foreach_sub", "torch._foreach_mul", "torch._foreach_copy_"), torch),
    "torch._dynamo.config.skip_nnmodule_hook_guards": dynamo_settings,
}


@pytest.mark.parametrize("name", NAMES)
def test_the_installed_torch_has_the_name(name):
    assert hasattr(NAMES[name], name.rpartition(".")[2])


def test_without_a_graph_task_no_forward_is_taken_for_a_second_one(monkeypatch):
    monkeypatch.delattr(torch._C, "_current_graph_task_id")
    assert torch_internals.in_backward() is False


def test_without_an_engine_nothing_is_called_at_the_end_of_a_backward_pass(monkeypatch):
    monkeypatch.delattr(torch.autograd.Variable, "_execution_engine")
    assert torch_internals.at_end_of_backward(lambda: None) is False


def test_without_a_copy_of_lists_tensors_are_copied_one_by_one(monkeypatch):
    monkeypatch.delattr(torch, "_foreach_copy_")
    targets, sources = [torch.zeros(3), torch.zeros(2, 5)], [torch.randn(3), torch.randn(2, 5)]
    foreach.copy_into(targets, sources)
    assert all(map(torch.equal, targets, sources))


def test_what_prepares_a_cuda_graph_is_known_by_its_file():
    called = compile("found = ask('cudagraph_trees.py')", "/somewhere/torch/_inductor/cudagraph_trees.py", "exec")
    names = {"ask": torch_internals._is_called_from}
    exec(called, names)
    assert names["found"]
    assert not torch_internals._is_called_from("cudagraph_trees.py")
    from torch._inductor import cudagraph_trees

    assert Path(cudagraph_trees.__file__).name == "cudagraph_trees.py"


@pytest.mark.parametrize(
    ("name", "operation", "arguments"),
    [
        ("_foreach_norm", foreach.norms, 1),
        ("_foreach_sub", foreach.differences, 2),
        ("_foreach_mul", foreach.products, 2),
    ],
)
def test_without_an_operation_on_lists_tensors_are_taken_one_by_one(name, operation, arguments, monkeypatch):
    given = [[torch.randn(3), torch.randn(2, 5)] for _ in range(arguments)]
    together = operation(*given)
    monkeypatch.delattr(torch, name)
    for one, other in zip(operation(*given), together, strict=True):
        torch.testing.assert_close(one, other)


@pytest.fixture
def guards_before(no_hook_guards_held):
    yield dynamo_settings.skip_nnmodule_hook_guards
    assert torch_internals.HookGuards._holders == 0


def test_the_last_probe_that_leaves_restores_the_settings_of_dynamo(guards_before, store):
    first, second = (Probe(nn.Linear(2, 2), store=store, run=run) for run in ("a", "b"))
    assert dynamo_settings.skip_nnmodule_hook_guards is False
    first.close()
    assert dynamo_settings.skip_nnmodule_hook_guards is False
    first.detach()
    second.close()
    assert dynamo_settings.skip_nnmodule_hook_guards is guards_before


def test_a_torch_without_that_setting_takes_a_probe(guards_before, store, monkeypatch):
    monkeypatch.setattr(torch_internals, "_dynamo_settings", lambda: None)
    Probe(nn.Linear(2, 2), store=store, run="a").close()
    assert dynamo_settings.skip_nnmodule_hook_guards is guards_before


def private_names(source: str) -> set[str]:
    """Return the private names of torch in a source file: attributes of torch, and what is imported of it."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            dotted = ast.unparse(node)
            if re.match(r"(torch|nn|F|dist)\.", dotted) and re.search(r"\._(?!_)\w+", dotted):
                found.add(dotted)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "torch":
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name for name in names if re.search(r"\._(?!_)\w+", name)}
        elif isinstance(node, ast.Import):
            found |= {a.name for a in node.names if a.name.startswith("torch") and "._" in a.name}
    return found


def test_private_names_of_torch_stand_in_the_files_that_name_their_fallbacks():
    found = {}
    for path in sorted((ROOT / "probes").rglob("*.py")):
        name = str(path.relative_to(ROOT))
        if name not in HOMES and (names := private_names(path.read_text())):
            found[name] = names
    assert found == {}


@pytest.mark.parametrize(
    "line",
    ["x = torch._C._current_graph_task_id()", "from torch._inductor import config", "import torch._dynamo.config"],
)
def test_the_check_sees_a_private_name(line):
    assert private_names(line)
