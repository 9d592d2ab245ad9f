"""What holds for every norm of the registry."""

from __future__ import annotations

import copy
import io
import re
from dataclasses import fields

import pytest
import torch
from torch import nn

from dynamics.classifier.config import RunConfig
from dynamics.models import build
from dynamics.norms import NORMS, norm_named
from dynamics.norms.instance_norm import instance_norm
from dynamics.norms.layer_norm import layer_norm
from dynamics.norms.weight_norm import weight_norm

every_norm = pytest.mark.parametrize("name", NORMS)


def network(name: str, seed: int) -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(seed)
    model = build("cnn3", name, image_size=8, num_classes=3)
    x = torch.randn(6, 1, 8, 8)
    x[1::3, :, ::2] += 4  # labels are 0, 1, 2, 0, 1, 2: noise, rows, columns
    x[2::3, :, :, ::2] += 4
    return model, x


def train(model: nn.Module, x: torch.Tensor, steps: int) -> float:
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), torch.arange(6) % 3)
        loss.backward()
        optimizer.step()
    return float(loss.detach())


def test_the_registry_has_the_papers_norms_and_their_rivals() -> None:
    assert list(NORMS) == [
        *("none", "bn", "sn", "msn", "wn", "wn_mean", "ln", "in", "sn_beta", "released_sn", "released_msn")
    ]
    assert all(norm.name == name and norm.source for name, norm in NORMS.items())


@every_norm
def test_the_help_of_train_names_it(name: str) -> None:
    (norm,) = (field for field in fields(RunConfig) if field.name == "norm")
    assert re.search(rf"\b{name}\b", str(norm.metadata))


@every_norm
def test_training_lowers_the_loss(name: str, seed: int) -> None:
    model, x = network(name, seed)
    first = train(copy.deepcopy(model), x, 1)
    assert train(model, x, 20) < 0.8 * first


@every_norm
def test_a_trained_network_survives_a_checkpoint_and_a_copy(name: str, seed: int) -> None:
    model, x = network(name, seed)
    train(model, x, 2)
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    fresh, _ = network(name, seed + 1)
    fresh.load_state_dict(torch.load(file))
    twin = copy.deepcopy(model)  # before the forward: the released one divides its weight, in evaluation too
    expected = model.eval()(x)
    for other in (fresh, twin):
        torch.testing.assert_close(other.eval()(x), expected, rtol=0, atol=0)


@every_norm
def test_training_is_the_same_twice(name: str, seed: int) -> None:
    losses = []
    for _ in range(2):
        model, x = network(name, seed)
        losses.append(train(model, x, 4))
    assert losses[0] == losses[1]


@every_norm
def test_bfloat16_autocast_trains(name: str, seed: int) -> None:
    model, x = network(name, seed)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(x).float().logsumexp(1).mean()
    loss.backward()
    gradients = [p.grad for key, p in model.named_parameters() if not key.endswith("renorm")]
    assert all(G is not None and G.dtype == torch.float32 and G.isfinite().all() for G in gradients)


@every_norm
def test_float64_stays_float64(name: str, seed: int) -> None:
    model, x = network(name, seed)
    assert model.double()(x.double()).dtype == torch.float64


@every_norm
def test_a_gradient_penalty_reaches_every_weight(name: str, seed: int) -> None:
    model, x = network(name, seed)
    x.requires_grad_()
    (slope,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
    slope.square().sum().backward()
    weights = [p for key, p in model.named_parameters() if "conv" in key and "bias" not in key and "renorm" not in key]
    assert weights
    assert all(W.grad is not None and W.grad.abs().max() > 0 for W in weights)


def test_an_unknown_norm_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=re.escape("no norm 'batch': expected one of none, bn, sn, msn")):
        norm_named("batch")


def test_weight_norm_gives_each_output_channel_its_length(seed: int) -> None:
    torch.manual_seed(seed)
    for layer, dims in ((nn.Conv2d(3, 4, 3), (1, 2, 3)), (nn.ConvTranspose2d(3, 4, 3), (0, 2, 3))):
        weight_norm(layer)
        length = layer.get_parameter("parametrizations.weight.original0")
        with torch.no_grad():
            length.copy_(torch.arange(1.0, 5).view_as(length))
        torch.testing.assert_close(layer.weight.square().sum(dims).sqrt(), torch.arange(1.0, 5))


def test_layer_norm_takes_moments_of_one_sample(seed: int) -> None:
    h = torch.randn(3, 4, 5, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    mean, var = h.mean((1, 2, 3), keepdim=True), h.var((1, 2, 3), unbiased=False, keepdim=True)
    torch.testing.assert_close(layer_norm(4, 2).double()(h), (h - mean) / (var + 1e-5).sqrt())


def test_instance_norm_takes_moments_of_one_channel_of_one_sample(seed: int) -> None:
    h = torch.randn(3, 4, 5, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    mean, var = h.mean((2, 3), keepdim=True), h.var((2, 3), unbiased=False, keepdim=True)
    torch.testing.assert_close(instance_norm(4, 2).double()(h), (h - mean) / (var + 1e-5).sqrt())


def test_instance_norm_without_space_is_refused() -> None:
    with pytest.raises(ValueError, match="instance norm needs 1 to 3 dimensions of space to average over, got 0"):
        instance_norm(4, 0)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["bn", "sn", "msn"])
def test_a_gpu_gives_the_numbers_of_the_cpu(name: str, seed: int, gpu: str) -> None:
    model, x = network(name, seed)
    model, x = model.double(), x.double()
    twin = copy.deepcopy(model).to(gpu)
    for _ in range(3):
        here, there = model(x), twin(x.to(gpu))
        here.square().sum().backward()
        there.square().sum().backward()
    torch.testing.assert_close(there.cpu(), here)
    for (key, p), q in zip(model.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(q.grad.cpu(), p.grad, msg=key)


@pytest.mark.slow
@pytest.mark.usefixtures("inductor_cache")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", ["bn", "sn", "msn"])
def test_the_default_compiler_gives_the_numbers_of_eager_mode(name: str, seed: int) -> None:
    model, x = network(name, seed)
    twin = copy.deepcopy(model)
    compiled = torch.compile(twin, fullgraph=True)
    for _ in range(3):
        eager, found = model(x), compiled(x)
        eager.square().sum().backward()
        found.square().sum().backward()
    torch.testing.assert_close(found, eager, rtol=1e-4, atol=1e-4)
    for (key, p), q in zip(model.named_parameters(), twin.named_parameters(), strict=True):
        torch.testing.assert_close(q[1].grad, p.grad, rtol=1e-3, atol=1e-3, msg=key)
