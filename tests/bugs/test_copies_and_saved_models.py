"""What a loop does with a probed model: saves it whole, copies it, traces, exports.

Source: wandb/wandb#5573 (saving), isl-org/MiDaS#251, huggingface/accelerate#1835 and PR #1971 (copies), wandb#580.
"""

from __future__ import annotations

import copy
import io
import pickle
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from probes import Probe


@pytest.fixture
def model():
    return nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1))


@pytest.fixture
def x():
    return torch.randn(6, 4)


def a_step(model, optimizer, x):
    optimizer.zero_grad()
    model(x).square().mean().backward()
    optimizer.step()


def saved(model):
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("how", [saved, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_gives_the_same_outputs_and_its_passes_do_not_count(how, model, x, store, table):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Probe(model, optimizer, store=store, run="a", every=1, strict=True):
        other = how(model)
        inner = torch.optim.SGD(other.parameters(), lr=0.1)
        for _ in range(2):
            a_step(other, inner, 100 + 10 * torch.randn(6, 4))
        assert torch.equal(how(model)(x), model(x))
        with torch.no_grad():
            truth = F.linear(x, model[0].weight, model[0].bias).double().mean().item()
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
    row = table("layers", layer="0").iloc[0]
    assert row["activation_mean"] == pytest.approx(truth, abs=1e-5)


def hooks_of(model):
    return [h for part in model.modules() for h in (*part._forward_hooks.values(), *part._forward_pre_hooks.values())]


def test_a_copy_is_free_of_hooks_but_for_those_of_others(model, store):
    model[0].register_forward_hook(print_nothing)
    with Probe(model, store=store, run="a", every=1):
        assert len(hooks_of(model)) > 1
        assert hooks_of(copy.deepcopy(model)) == [print_nothing]
        assert hooks_of(copy.deepcopy(model[0])) == [print_nothing]
        assert hooks_of(copy.deepcopy([model, model])[0]) == [print_nothing]
    assert hooks_of(model) == [print_nothing]


def print_nothing(*_):
    return None


def test_a_pickled_model_holds_no_object_of_the_probe(model, store):
    with Probe(model, store=store, run="a", every=1):
        other = saved(model)
    assert all(hook.__module__ == "contextlib" for hook in map(_function, hooks_of(other)))
    assert all(hook(None, None, None) is None for hook in hooks_of(other))


def _function(hook):
    return hook.__func__


def test_a_saved_model_is_read_where_no_probe_is_installed(model, x, store, tmp_path):
    file = tmp_path / "model.pt"
    with Probe(model, store=store, run="a", every=1):
        torch.save(model, file)
    read = (
        "import sys; sys.modules['probes'] = None; import torch;"
        f"print(torch.load({str(file)!r}, weights_only=False)(torch.ones(1, 4)).item())"
    )
    done = subprocess.run([sys.executable, "-c", read], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert float(done.stdout) == pytest.approx(model(torch.ones(1, 4)).item(), rel=1e-5)


@pytest.mark.skipif(torch.__version__ < "2.7", reason="torch.export of 2.6 refuses hooks that read a tensor of theirs")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_tracing_and_exporting_a_probed_model_records_nothing(model, x, store, table):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Probe(model, optimizer, store=store, run="a", every=1, strict=True):
        model(x).square().mean().backward()
        traced = torch.jit.trace(model, 100 * x)
        exported = torch.export.export(model, (100 * x,))
        # With any forward hook, the strict export of torch 2.9 fails in torch's own code.
        strict = [] if torch.__version__.startswith("2.9.") else [torch.export.export(model, (100 * x,), strict=True)]
        truth = F.linear(x, model[0].weight, model[0].bias).double().mean().item()
        assert torch.equal(traced(x), model(x))
        for program in (exported, *strict):
            assert torch.allclose(program.module()(x), model(x))
            assert "meandrift" not in str(program.graph)
        optimizer.step()
    assert table("layers", layer="0")["activation_mean"].tolist() == pytest.approx([truth], abs=1e-5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_scripted_part_is_left_out_with_a_note_and_all_else_is_recorded(x, store, table, gaps):
    scripted = torch.jit.script(nn.Sequential(nn.Linear(4, 4), nn.ReLU()))
    model = nn.Sequential(scripted, nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    truth = model[1].weight.detach().double().mean().item()
    with Probe(model, optimizer, store=store, run="a", every=1):
        a_step(model, optimizer, x)
    row = table("layers", layer="1").iloc[0]
    assert row["weight_mean"] == pytest.approx(truth, abs=1e-6)
    assert row["activation_mean"] == row["activation_mean"]
    assert any("TorchScript" in gap["why"] for gap in gaps())
