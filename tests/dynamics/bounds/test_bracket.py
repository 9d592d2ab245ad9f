"""The Lipschitz bracket: the stretch that is measured never exceeds the bound, and meets it where it should."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from dynamics.bounds.bracket import lipschitz_bracket, why_unbounded
from dynamics.models import build
from dynamics.norms import NORMS, fold

SMALL = {
    "cnn3": {"image_size": 4, "num_classes": 4},
    "vgg7": {"in_channels": 1, "image_size": 32, "num_classes": 4},
    "densenet_bc": {"in_channels": 1, "image_size": 8, "num_classes": 4, "depth": 10, "growth": 3},
}
WITHOUT_BOUND = {"ln", "in"}
CASES = [("cnn3", norm) for norm in NORMS]
CASES += [("densenet_bc", norm) for norm in ("bn", "sn", "msn", "in", "released_msn")]
CASES += [("vgg7", norm) for norm in ("bn", "sn", "msn")]


def steps(model: nn.Module, *, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Train in training mode on random images; return them and their labels."""
    draw = torch.Generator().manual_seed(seed)
    example = model.example_input()
    images = torch.randn(12, *example.shape[1:], generator=draw)
    labels = torch.randint(4, (12,), generator=draw)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    for _ in range(count):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model.train()(images), labels).backward()
        optimizer.step()
    return images, labels


@pytest.mark.parametrize(("name", "norm"), CASES)
def test_nothing_measured_exceeds_the_bound_at_any_record_of_a_training(name: str, norm: str, seed: int) -> None:
    torch.manual_seed(seed)
    model = build(name, norm, **SMALL[name])
    for record in range(2):
        images, labels = steps(model, count=2 * record, seed=seed)
        found = lipschitz_bracket(model, images[:4], labels[:4])
        bound = found.pop("lipschitz_bound")
        product = found.pop("unfolded_product")
        assert all(value is not None and math.isfinite(value) and value > 0 for value in found.values())
        assert found["jacobian_norm_mean"] <= found["jacobian_norm"]
        assert found["layer_tightness"] <= 1 + 1e-3
        if norm in WITHOUT_BOUND:
            assert (bound, product) == (None, None)
            continue
        assert found["jacobian_norm"] <= bound
        assert found["margin_gradient_norm"] <= math.sqrt(2) * bound


def test_of_one_linear_layer_the_measured_stretch_is_the_bound(seed: int) -> None:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 5))
    found = lipschitz_bracket(model, torch.randn(3, 3, 4), torch.tensor([0, 1, 2]))
    sigma = float(torch.linalg.matrix_norm(model[1].weight.detach().double(), 2))
    assert found["jacobian_norm"] == pytest.approx(sigma, rel=1e-3)
    assert found["lipschitz_bound"] == pytest.approx(sigma, rel=1e-6)
    assert found["unfolded_product"] == pytest.approx(sigma, rel=1e-6)


def test_of_aligned_layers_in_a_chain_it_is_the_bound_and_of_others_below(seed: int) -> None:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    with torch.no_grad():
        model[1].weight.copy_(model[0].weight.T)  # its largest direction is what the first puts out
    inputs, labels = torch.randn(3, 4), torch.tensor([0, 1, 2])
    aligned = lipschitz_bracket(model, inputs, labels)
    assert aligned["jacobian_norm"] == pytest.approx(aligned["lipschitz_bound"], rel=1e-3)
    with torch.no_grad():
        model[1].weight.copy_(torch.randn(4, 4))
    other = lipschitz_bracket(model, inputs, labels)
    assert other["jacobian_norm"] < 0.99 * other["lipschitz_bound"]


@pytest.mark.parametrize("name", ["cnn3", "vgg7"])
def test_batch_norms_bound_is_that_of_the_folded_network(name: str, seed: int) -> None:
    torch.manual_seed(seed)
    model = build(name, "bn", **SMALL[name])
    images, labels = steps(model, count=3, seed=seed)
    unfolded, folded = (lipschitz_bracket(m, images[:2], labels[:2]) for m in (model, fold(model)))
    assert unfolded == pytest.approx(folded, rel=1e-6)


def test_the_bound_of_a_batch_norm_network_is_the_product_of_its_dense_matrices(seed: int) -> None:
    torch.manual_seed(seed)
    model = build("cnn3", "bn", **SMALL["cnn3"])
    images, labels = steps(model, count=3, seed=seed)
    product = 1.0
    x = images[:1].double()
    reference = copy.deepcopy(model).double().eval()
    for block in reference.features:
        affine = nn.Sequential(block.conv, block.norm)
        jacobian = torch.autograd.functional.jacobian(affine, x).reshape(-1, x.numel())
        product *= float(torch.linalg.matrix_norm(jacobian, 2))
        x = block(x).detach()
    product *= float(torch.linalg.matrix_norm(reference.classifier.weight.detach(), 2))
    assert lipschitz_bracket(model, images[:2], labels[:2])["lipschitz_bound"] == pytest.approx(product, rel=1e-3)


class Residual(nn.Module):
    """``W2 relu(W1 x) + x`` between two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.inner, self.outer = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 6)
        self.relu, self.last = nn.ReLU(), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.last(x + self.outer(self.relu(self.inner(x))))


def test_a_residual_block_multiplies_by_one_plus_its_branch(seed: int) -> None:
    torch.manual_seed(seed)
    model = Residual()
    norms = {
        name: float(torch.linalg.matrix_norm(layer.weight.detach().double(), 2))
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear)
    }
    found = lipschitz_bracket(model, torch.randn(5, 6), torch.arange(5) % 3)
    expected = norms["first"] * (1 + norms["inner"] * norms["outer"]) * norms["last"]
    assert found["lipschitz_bound"] == pytest.approx(expected, rel=1e-6)
    assert found["jacobian_norm"] <= expected


def test_torchvisions_resnet_has_a_bound_that_holds(seed: int) -> None:
    torch.manual_seed(seed)
    model = torchvision.models.ResNet(BasicBlock, [1, 1, 1, 1], num_classes=3)
    images = torch.randn(4, 3, 16, 16)
    model(images)
    found = lipschitz_bracket(model, images[:2], torch.tensor([0, 1]))
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == 13
    assert 0 < found["jacobian_norm"] <= found["lipschitz_bound"]


class Attention(nn.Module):
    """Self-attention without projections, and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last((x @ x.transpose(1, 2)).softmax(-1) @ x).mean(1)


def test_attention_has_no_bound_and_a_reason_and_its_stretch_is_measured() -> None:
    model = Attention()
    found = lipschitz_bracket(model, torch.randn(3, 5, 4), torch.tensor([0, 1, 2]))
    assert found["lipschitz_bound"] is None
    assert found["unfolded_product"] is None
    assert found["jacobian_norm"] > 0
    assert why_unbounded(model) == "lipschitz_bound: no bound known for the operation 'matmul'"
    assert why_unbounded(Residual()) == ""


def test_a_nan_in_a_weight_shows(seed: int) -> None:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3))
    with torch.no_grad():
        model[0].weight[0, 0] = torch.nan
    found = lipschitz_bracket(model, torch.randn(2, 4), torch.tensor([0, 1]))
    assert all(math.isnan(value) for value in found.values())


@pytest.mark.parametrize("norm", ["bn", "sn", "msn", "released_sn"])
def test_the_model_is_left_bitwise_alone(norm: str, seed: int) -> None:
    torch.manual_seed(seed)
    model = build("cnn3", norm, **SMALL["cnn3"])
    images, labels = steps(model, count=2, seed=seed)
    before = copy.deepcopy(model.state_dict())
    gradients = [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]
    random = torch.get_rng_state()
    lipschitz_bracket(model, images, labels)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    left = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert all(torch.equal(g, kept) for g, kept in zip(left, gradients, strict=True))
    assert torch.equal(torch.get_rng_state(), random)
    assert all(module.training for module in model.modules())
