"""The norm that an intervention makes, in the paper's networks."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor, nn

from dynamics.models import build
from dynamics.norms import NORMS
from dynamics.norms.interventions.centring import InterventionalCentring
from dynamics.norms.interventions.intervention import Intervention


def network(norm: str, **parts: object) -> nn.Module:
    torch.manual_seed(0)
    changed = Intervention(**parts).applied(NORMS[norm])  # type: ignore[arg-type]
    return build("cnn3", changed, image_size=8, num_classes=3).double()


def images(seed: int) -> Tensor:
    return torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def output_and_gradients(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    output = model(x)
    output.square().sum().backward()
    grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {"output": output.detach(), **grads}


def test_no_intervention_leaves_every_norm_as_it_is() -> None:
    assert all(Intervention().applied(norm) is norm for norm in NORMS.values())


@pytest.mark.parametrize(
    ("norm", "parts", "same"),
    [
        ("sn", {"centring": "full", "mean": "learned"}, "msn"),
        ("wn", {"centring": "full", "mean": "learned"}, "wn_mean"),
        ("msn", {"centring": "none", "mean": "zero"}, "sn"),
        ("sn", {"centring": "backward", "mean": "zero"}, None),
        ("released_sn", {"centring": "full", "mean": "learned", "scale": "learned"}, "released_msn"),
    ],
)
def test_parts_put_together_are_the_norm_that_has_them(
    norm: str, parts: dict[str, str], same: str | None, seed: int
) -> None:
    x = images(seed)
    found, expected = output_and_gradients(network(norm, **parts), x), output_and_gradients(network(same or norm), x)
    if same is None:  # backward alone: the network computes what it did, and learns otherwise
        assert torch.equal(found["output"], expected["output"])
        assert not torch.equal(found["features.block1.conv.bias"], expected["features.block1.conv.bias"])
        return
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-9, atol=1e-10, msg=name)


def test_mean_only_batch_norm_is_centring_without_a_norm(seed: int) -> None:
    model = network("none", centring="full", mean="learned")
    seen: list[Tensor] = []
    model.features.block2.norm.register_forward_hook(lambda _m, _i, output: seen.append(output.detach().clone()))
    model(images(seed))
    torch.testing.assert_close(seen[0].mean((0, 2, 3)), torch.zeros(32, dtype=torch.float64), atol=1e-12, rtol=0)
    assert type(model.features.block2.conv) is nn.Conv2d


@pytest.mark.parametrize("norm", ["sn", "msn"])
def test_sigma_is_the_spectral_norm_of_every_weight(norm: str) -> None:
    model, plain = network(norm, sigma=2.0).eval(), network(norm).eval()
    for layer in ("features.block1.conv", "features.block3.conv", "classifier"):
        doubled, single = (m.get_submodule(layer).weight for m in (model, plain))
        assert torch.linalg.matrix_norm(doubled.detach().flatten(1), 2).item() == pytest.approx(
            2, rel=0.05
        )  # one iteration a step
        assert torch.equal(doubled, 2 * single)


def test_the_gradient_goes_through_sigma_as_without(seed: int) -> None:
    model, x = network("sn", sigma=2.0), images(seed)
    found = output_and_gradients(model, x)["classifier.parametrizations.weight.original"]
    W = model.classifier.parametrizations.weight.original.detach().requires_grad_()
    u, v = (model.classifier.parametrizations.weight[0].get_buffer(name) for name in ("_u", "_v"))
    features = model.eval().features(x).flatten(1).detach()
    # The power iteration of the forward is over: sigma = u^T W v with the u and v that it left.
    logits = features @ (2 * W / (u @ W @ v)).mT + model.classifier.bias
    (expected,) = torch.autograd.grad(logits.square().sum(), W)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)


def test_sigma_of_the_operator_norm_is_its_bound() -> None:
    model = network("sn_beta", sigma=0.01).eval()
    assert torch.linalg.matrix_norm(model.classifier.weight.detach(), 2).item() == pytest.approx(0.01, rel=1e-3)


def test_a_dense_net_of_spectral_norm_can_have_the_m_of_mean_spectral_norm() -> None:
    sizes = {"in_channels": 3, "image_size": 8, "depth": 10, "growth": 2}
    shifted = build("densenet_bc", Intervention(mean="learned").applied(NORMS["sn"]), **sizes)  # type: ignore[arg-type]
    msn = build("densenet_bc", "msn", **sizes)  # type: ignore[arg-type]
    names = [name for name, _ in msn.named_parameters()]
    assert [name for name, _ in shifted.named_parameters()] == names
    kinds = {type(module) for name, module in shifted.named_modules() if "norm" in name.rpartition(".")[2]}
    assert kinds == {InterventionalCentring}


@pytest.mark.parametrize(
    ("norm", "parts", "message"),
    [
        ("bn", {"centring": "full"}, "norm 'bn' standardises its input"),
        ("sn", {"strength": 0.5}, "centring_strength 0.5: norm 'sn' has no centring to weaken"),
        ("bn", {"sigma": 2.0}, "sigma 2: norm 'bn' holds no spectral norm; expected sn, msn or sn_beta"),
        ("sn", {"centring": "both"}, "centring 'both': expected one of own, none, full"),
        ("sn", {"scale": "yes"}, "channel_scale 'yes': expected one of own, none, learned"),
        ("sn", {"sigma": 0.0}, "sigma 0.0: expected a number above 0"),
        ("sn", {"momentum": 0.0}, "centring_momentum 0.0: expected a number above 0, at most 1"),
        ("sn", {"mean": "walk"}, "channel_mean 'walk': expected a number behind 'walk', such as walk:0.5"),
        ("sn", {"mean": "replay:"}, "channel_mean 'replay:': expected one of own, zero, learned, fixed:VALUE"),
    ],
)
def test_what_cannot_be_is_told(norm: str, parts: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        network(norm, **parts)


def test_a_scale_is_the_lipschitz_constant_of_the_module() -> None:
    from dynamics.bounds.lipschitz import module_factor

    model = network("sn", scale="learned", centring="full")
    model.features.block1.norm.weight.data[:] = -3.0
    assert module_factor(model.features.block1.norm) == 3.0
    assert module_factor(network("sn", centring="full").features.block1.norm) == 1.0
