"""Weights computed before the forward: the same numbers."""

from __future__ import annotations

import copy
import gc
import weakref
from collections import OrderedDict

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.utils.checkpoint import checkpoint

from dynamics.models import build
from dynamics.norms import SpectralNorm, spectral_norm
from dynamics.norms.spectral import precompute
from dynamics.norms.spectral.precompute import precompute_before_forward
from dynamics.norms.spectral.spectral_norm import divide_by_sigma
from dynamics.norms.surgery.deparametrize import deparametrize, original_weight


def layer_by_layer(model: nn.Module) -> nn.Module:
    """Return a copy that computes each weight when it is read."""
    twin = copy.deepcopy(model)
    twin._forward_pre_hooks.clear()
    twin._forward_hooks.clear()
    return twin


def train(model: nn.Module, x: torch.Tensor, steps: int) -> torch.Tensor:
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        output = model(x)
        output.square().sum().backward()
        optimizer.step()
    return output.detach()


@pytest.mark.parametrize("norm", ["sn", "msn"])
def test_training_is_the_same_bit_for_bit(norm: str, seed: int) -> None:
    torch.manual_seed(seed)
    model, x = build("cnn3", norm, image_size=8), torch.randn(4, 1, 8, 8)
    plain = layer_by_layer(model)
    assert model._forward_pre_hooks
    assert torch.equal(train(model, x, 4), train(plain, x, 4))
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), plain.state_dict().values(), strict=True))


def test_it_makes_the_weights_before_the_first_layer_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    model, order = build("cnn3", "sn", image_size=8), []
    monkeypatch.setattr(
        precompute, "divide_by_sigma", lambda norms, W: (order.append(len(norms)), divide_by_sigma(norms, W))[1]
    )
    for layer in (model.features.block1, model.features.block2):
        layer.register_forward_hook(lambda *_: order.append("layer"))
    model(torch.randn(2, 1, 8, 8))
    assert order == [4, "layer", "layer"]


def test_a_second_use_makes_an_iteration_of_its_own(seed: int) -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = spectral_norm(nn.Linear(3, 3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.linear(self.linear(x))

    torch.manual_seed(seed)
    model = precompute_before_forward(Twice())
    plain, x = layer_by_layer(model), torch.randn(2, 3)
    for _ in range(3):
        assert torch.equal(model(x), plain(x))


def test_nothing_is_left_over(seed: int) -> None:
    torch.manual_seed(seed)
    model = build("cnn3", "sn", image_size=8)
    norms = [module for module in model.modules() if isinstance(module, SpectralNorm)]
    model(torch.randn(2, 1, 8, 8))
    with pytest.raises(RuntimeError):
        model(torch.randn(2, 5, 8, 8))  # five channels: the first layer fails, the weights of the others are not used
    assert not any(norm.precomputed for norm in norms)
    copy.deepcopy(model)


def test_layers_that_come_and_go_later(seed: int) -> None:
    torch.manual_seed(seed)
    model, x = build("cnn3", "sn", image_size=8), torch.randn(4, 1, 8, 8)
    model(x)
    deparametrize(model.features.block1.conv, original_weight(model.features.block1.conv))
    model.features.block2.conv = spectral_norm(nn.Conv2d(16, 32, 3, padding=2))
    model.features.block3.conv.eval()
    plain = layer_by_layer(model)
    for _ in range(3):
        assert torch.equal(model(x), plain(x))
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), plain.state_dict().values(), strict=True))


def test_a_layer_that_comes_later_is_precomputed_and_one_that_left_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    model, together = build("cnn3", "sn", image_size=8), []
    monkeypatch.setattr(
        precompute, "divide_by_sigma", lambda norms, W: (together.append(len(norms)), divide_by_sigma(norms, W))[1]
    )
    x = torch.randn(2, 1, 8, 8)
    model(x)
    gone, model.features.block2.conv = model.features.block2.conv, spectral_norm(nn.Conv2d(16, 32, 3, padding=2))
    before = copy.deepcopy(gone.state_dict())
    for _ in range(2):
        model(x)
    model.features.block1.conv = nn.Conv2d(1, 16, 5, padding=2)
    model(x)
    assert together == [4, 4, 4, 3]
    assert all(torch.equal(tensor, before[name]) for name, tensor in gone.state_dict().items())


def test_it_finds_each_layer_once_in_the_order_of_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    shared, found = spectral_norm(nn.Linear(4, 4)), []
    inner = nn.Sequential(OrderedDict(a=shared, empty=nn.Identity(), b=spectral_norm(nn.Linear(4, 4))))
    model = nn.Sequential(inner, nn.Sequential(shared, nn.Sequential(spectral_norm(nn.Linear(4, 4)))))
    model.register_module("none", None)
    monkeypatch.setattr(
        precompute, "divide_by_sigma", lambda norms, W: (found.extend(norms), divide_by_sigma(norms, W))[1]
    )
    (hook,) = precompute_before_forward(model)._forward_pre_hooks.values()
    hook(model, ())
    assert [id(norm) for norm in found] == [id(m) for m in model.modules() if isinstance(m, SpectralNorm)]
    assert len(found) == 3


def test_a_model_is_freed_at_once_and_its_copy_has_hooks_of_its_own() -> None:
    model, x = build("cnn3", "sn", image_size=8), torch.randn(2, 1, 8, 8)
    model(x)
    twin = copy.deepcopy(model)
    freed = weakref.ref(model)
    gc.disable()
    try:
        del model
        assert freed() is None
    finally:
        gc.enable()
    (hook,) = twin._forward_pre_hooks.values()
    hook.__self__.prepare(twin, (x,))
    assert all(norm.precomputed for norm in twin.modules() if isinstance(norm, SpectralNorm))


@pytest.mark.parametrize("again", [1, 2], ids=["one backward", "two"])
def test_a_checkpointed_layer_gets_the_same_weight_again(seed: int, again: int) -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Sequential(spectral_norm(nn.Linear(4, 5)), nn.Tanh(), spectral_norm(nn.Linear(5, 4)))
            self.head = spectral_norm(nn.Linear(4, 4))
            self.saving = False

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(checkpoint(self.inner, x, use_reentrant=False) if self.saving else self.inner(x))

    torch.manual_seed(seed)
    plain, x = precompute_before_forward(Model()), torch.randn(6, 4)
    saving = copy.deepcopy(plain)
    saving.saving = True
    for _ in range(3):
        for model in (plain, saving):
            loss = model(x).square().sum()
            for left in reversed(range(again)):
                loss.backward(retain_graph=left > 0)
        for a, b in zip(plain.parameters(), saving.parameters(), strict=True):
            assert torch.equal(a.grad, b.grad)
    assert all(torch.equal(a, b) for a, b in zip(plain.buffers(), saving.buffers(), strict=True))
    copy.deepcopy(saving)


def test_hooks_on_what_computes_a_weight_run_in_training_too() -> None:
    layer = spectral_norm(nn.Linear(4, 4, bias=False))
    model, x = precompute_before_forward(nn.Sequential(layer)), torch.randn(2, 4)
    for module in (layer.parametrizations.weight, layer.parametrizations.weight[0]):
        handle = module.register_forward_hook(lambda _module, _given, weight: torch.zeros_like(weight))
        assert model(x).abs().sum() == 0
        handle.remove()
        assert model(x).abs().sum() > 0


def test_a_parametrization_that_comes_within_the_forward_is_applied() -> None:
    class Double(nn.Module):
        def forward(self, weight: torch.Tensor) -> torch.Tensor:
            return 2 * weight

    layer = spectral_norm(nn.Linear(4, 4, bias=False))
    layer.weight = 3 * torch.eye(4)  # of which any power iteration finds sigma
    model = precompute_before_forward(nn.Sequential(nn.Identity(), layer))

    def add(*_: object) -> None:
        parametrize.register_parametrization(layer, "weight", Double())

    model[0].register_forward_hook(add)
    torch.testing.assert_close(model(torch.eye(4)), 2 * torch.eye(4))


def test_evaluation_takes_no_prepared_weight() -> None:
    model = build("cnn3", "sn", image_size=8).eval()
    before = copy.deepcopy(model.state_dict())
    model(torch.randn(2, 1, 8, 8))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_asking_twice_changes_nothing() -> None:
    model = build("cnn3", "sn", image_size=8)
    hooks = len(model._forward_pre_hooks), len(model._forward_hooks)
    precompute_before_forward(model)
    assert (len(model._forward_pre_hooks), len(model._forward_hooks)) == hooks


def test_a_model_without_spectral_norms_pays_nothing() -> None:
    assert not build("cnn3", "bn", image_size=8)._forward_pre_hooks
