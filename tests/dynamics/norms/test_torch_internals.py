"""Private names of torch: each in one file, each there in the installed torch or replaced by its fallback."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks

from dynamics.norms import torch_internals

PACKAGE = Path(torch_internals.__file__).parents[1]
# Attributes of torch's own objects that start with an underscore; those of ours are written as self._name.
MODULE_INTERNALS = {name for name in vars(nn.Module()) if name.startswith("_")} | {"_is_replica", "_compiled_call_impl"}
TENSOR_INTERNALS = {name for name in dir(torch.Tensor) if name.startswith("_") and not name.startswith("__")}
OURS = {"_apply"}  # nn.Module's, which a subclass overrides and calls
NEEDED_BY_TORCH = {"_are_functorch_transforms_active", "_functorch"}  # torch itself falls over without them
HOOKS = {"_forward_pre_hooks", "_forward_hooks", "_load_state_dict_pre_hooks"}
NAMES = {
    torch._C: ["_current_graph_task_id", "_are_functorch_transforms_active", "_functorch"],
    torch._C._autograd: ["_top_saved_tensors_default_hooks"],
    torch: [
        *("_foreach_norm", "_foreach_mul", "_foreach_div", "_foreach_div_", "_foreach_clamp_min"),
        *("_foreach_addcmul", "_foreach_copy_"),
    ],
    torch.nn.modules.batchnorm: ["_BatchNorm"],
}


def private_names(source: str) -> list[str]:
    """Return the private names of torch in a source file."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "torch":
            words = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
            found += [word for word in words if word.startswith("_")]
        elif isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            base = ast.unparse(node.value)
            of_torch = base == "torch" or base.startswith("torch.")
            internal = node.attr in (MODULE_INTERNALS | TENSOR_INTERNALS) - OURS and base != "self"
            if of_torch or internal:
                found.append(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("torch._"):
            found.append(node.value)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "getattr" and len(node.args) > 1:
            name = ast.literal_eval(node.args[1]) if isinstance(node.args[1], ast.Constant) else ""
            if name in MODULE_INTERNALS or (name.startswith("_") and "torch" in ast.unparse(node.args[0])):
                found.append(name)
    return found


def test_private_names_stand_in_one_file() -> None:
    files = [path for path in sorted(PACKAGE.rglob("*.py")) if path != Path(torch_internals.__file__)]
    assert len(files) > 80
    assert {str(path.relative_to(PACKAGE)): names for path in files if (names := private_names(path.read_text()))} == {}


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("torch._foreach_add_(a, 1)", "_foreach_add_"),
        ("torch._C._current_graph_task_id()", "_current_graph_task_id"),
        ("from torch.nn.modules.batchnorm import _BatchNorm", "_BatchNorm"),
        ("from torch._dynamo import config", "_dynamo"),
        ("preload(['torch._dynamo'])", "torch._dynamo"),
        ("getattr(torch._C, '_storage_Use_Count', None)", "_storage_Use_Count"),
        ("getattr(model, '_is_replica', False)", "_is_replica"),
        ("x._use_count()", "_use_count"),
        ("model._forward_hooks.clear()", "_forward_hooks"),
        ("h._is_view()", "_is_view"),
    ],
)
def test_the_check_sees_a_private_name(line: str, name: str) -> None:
    assert name in private_names(line)


def test_the_check_lets_our_own_names_pass() -> None:
    assert private_names("self._views.holds(norm._u)\nsuper()._apply(f)\nmodule._check(h)") == []


def test_the_list_is_what_the_file_uses() -> None:
    used = set(private_names(Path(torch_internals.__file__).read_text()))
    listed = {name for names in NAMES.values() for name in names}
    assert used == listed | {"_C", "_autograd", *HOOKS, torch_internals.COMPILER}


def test_the_installed_torch_has_every_name() -> None:
    missing = [
        f"{owner.__name__}.{name}" for owner, names in NAMES.items() for name in names if not hasattr(owner, name)
    ]
    assert missing == [], "torch_internals takes its fallbacks for these"
    assert [name for name in HOOKS if not hasattr(nn.Module(), name)] == []
    assert hasattr(nn.Conv2d, torch_internals.FORWARD_METHODS[1])
    assert hasattr(torch._C._functorch, "is_batchedtensor")
    assert hasattr(torch._C._functorch, "is_legacy_batchedtensor")
    assert importlib.util.find_spec(torch_internals.COMPILER) is not None
    assert issubclass(nn.SyncBatchNorm, torch_internals.BatchNorm)
    assert nn.BatchNorm2d.__base__ is torch_internals.BatchNorm, "the fallback is the same class"


def every_operation() -> list[torch.Tensor]:
    a, b = [torch.tensor([3.0, 4.0]), torch.tensor([[1.0], [-2.0]])], [torch.tensor(2.0), torch.tensor(4.0)]
    divided, copied = [t.clone() for t in a], [t.clone() for t in a]
    torch_internals.divide_(divided, b)
    torch_internals.copy_(copied, divided)
    return [
        *torch_internals.l2_norms(a),
        *torch_internals.multiply(a, b),
        *torch_internals.multiply(a, 3),
        *torch_internals.divide(a, b),
        *torch_internals.clamp_min(a, 1.5),
        *torch_internals.subtract_products(a, b, a),
        *divided,
        *copied,
    ]


def without(monkeypatch: pytest.MonkeyPatch) -> None:
    for owner, names in NAMES.items():
        for name in set(names) - NEEDED_BY_TORCH:
            monkeypatch.delattr(owner, name)


def test_every_operation_gives_the_same_without_the_names(monkeypatch: pytest.MonkeyPatch) -> None:
    with_names = every_operation()
    without(monkeypatch)
    for found, expected in zip(every_operation(), with_names, strict=True):
        torch.testing.assert_close(found, expected)


def test_the_questions_are_answered_no_without_the_names(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[bool] = []

    def ask(_grad: Any) -> None:
        with saved_tensors_hooks(lambda t: t, lambda t: t):
            answers.extend([torch_internals.in_backward(), torch_internals.saved_tensors_are_hooked()])

    x = torch.ones(1, requires_grad=True)
    x.register_hook(ask)
    (x * 2).backward()
    assert answers == [True, True]
    assert not torch_internals.in_backward()
    assert not torch_internals.saved_tensors_are_hooked()
    without(monkeypatch)
    (x * 2).backward()
    assert answers[2:] == [False, False]


def test_transforms_and_batches_are_seen_and_not_without_the_names(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[bool] = []

    def ask(x: torch.Tensor) -> torch.Tensor:
        answers.append(torch_internals.within_transform())
        answers.append(torch_internals.is_batched(x))
        return x

    torch.func.vmap(ask)(torch.ones(2, 3))
    ask(torch.ones(2))
    assert answers == [True, True, False, False]
    monkeypatch.setattr(torch_internals, "torch", SimpleNamespace(_C=None, compiler=torch.compiler))
    torch.func.vmap(ask)(torch.ones(2, 3))
    assert answers[4:] == [False, False]


def test_hooks_of_ours_come_off_and_others_stay() -> None:
    module = nn.Linear(2, 2)
    for hook in (print, repr):
        module.register_forward_hook(hook)
        module.register_forward_pre_hook(hook)
        module.register_load_state_dict_pre_hook(hook)
    assert torch_internals.has_forward_hooks(module)
    torch_internals.remove_hooks(module, lambda hook: hook is print)
    assert torch_internals.forward_pre_hooks(module) == [repr]
    assert len(module._forward_hooks) == len(module._load_state_dict_pre_hooks) == 1
    torch_internals.remove_hooks(module, lambda hook: hook is repr)
    assert not torch_internals.has_forward_hooks(module)


def documented() -> list[Callable[..., Any]]:
    return [thing for name, thing in vars(torch_internals).items() if name[0] != "_" and callable(thing)
            and getattr(thing, "__module__", "") == torch_internals.__name__]  # fmt: skip


def test_each_function_says_what_happens_without_its_name() -> None:
    assert len(documented()) == 14
    assert [f.__name__ for f in documented() if "Without it:" not in (f.__doc__ or "")] == []
