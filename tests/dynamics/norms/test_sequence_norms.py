"""The norms of a transformer: what becomes of its matrices and of its layer norms."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from dynamics.models.sequences import build_sequence_model
from dynamics.norms import MeanCentring
from dynamics.norms.channel_bias import ChannelBias
from dynamics.norms.sequence_norms import SEQUENCE_NORMS, normalise_sequence_model

TEXT = torch.tensor([[number % 3 for number in range(12)], [number % 4 for number in range(12)]])
PLACES = {"ln": nn.LayerNorm, "msn": MeanCentring, "wn_mean": MeanCentring}
every_norm = pytest.mark.parametrize("norm", SEQUENCE_NORMS)


def decoder(norm: str, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return build_sequence_model("transformer", norm, characters=5, width=16, blocks=2, heads=2, context=12)


def learn(model: nn.Module, steps: int) -> Tensor:
    """Return the loss after some steps of Adam."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(TEXT[:, :-1]).flatten(0, 1), TEXT[:, 1:].flatten())
        loss.backward()
        optimizer.step()
    return loss.detach()


def matrices(model: nn.Module) -> dict[str, Tensor]:
    """Return every matrix that multiplies an activation, by name; queries, keys and values apart."""
    found = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            found[name] = module.weight
        if isinstance(module, nn.MultiheadAttention):
            found |= {f"{name}.{part}": W for part, W in enumerate(module.in_proj_weight.chunk(3))}
    return {name: W.detach() for name, W in found.items()}


@every_norm
def test_each_layer_norm_is_kept_or_exchanged(norm: str, seed: int) -> None:
    model = decoder(norm, seed)
    kinds = [type(m) for m in model.modules() if isinstance(m, (nn.LayerNorm, MeanCentring, ChannelBias))]
    assert kinds == [PLACES.get(norm, ChannelBias)] * 5


@every_norm
def test_it_learns_and_evaluation_knows_no_later_character(norm: str, seed: int) -> None:
    model = decoder(norm, seed)
    assert learn(model, 60) < 0.5 * learn(decoder(norm, seed), 1)
    model.eval()
    other = TEXT.clone()
    other[:, 7:] = 4
    torch.testing.assert_close(model(other)[:, :7], model(TEXT)[:, :7])


@pytest.mark.parametrize("norm", ["sn", "msn"])
def test_every_matrix_has_a_spectral_norm_of_1_after_training(norm: str, seed: int) -> None:
    model = decoder(norm, seed)
    learn(model, 40)
    found = matrices(model.eval())
    assert len(found) == 2 * 6 + 1
    for W in found.values():
        assert torch.linalg.matrix_norm(W, 2) == pytest.approx(1, abs=0.05)  # one power iteration a step


@pytest.mark.parametrize("norm", ["wn", "wn_mean"])
def test_weight_norm_starts_from_the_plain_weights_and_learns_a_length_of_each_row(norm: str, seed: int) -> None:
    model, plain = decoder(norm, seed), decoder("none", seed)
    before = matrices(model)
    for name, W in matrices(plain).items():
        torch.testing.assert_close(before[name], W)
    learn(model, 20)
    state = model.state_dict()
    for name, W in matrices(model).items():
        module, _, part = name.rpartition(".")
        stacked = part.isdigit()
        key = f"{module}.parametrizations.in_proj_weight" if stacked else f"{name}.parametrizations.weight"
        g, V = state[f"{key}.original0"], state[f"{key}.original1"]
        rows = g * V / V.norm(dim=1, keepdim=True)  # Salimans and Kingma, Eq. 2
        torch.testing.assert_close(W, rows.chunk(3)[int(part)] if stacked else rows)
        assert not torch.allclose(W.norm(dim=1), before[name].norm(dim=1))


@every_norm
def test_at_one_seed_every_norm_starts_from_the_same_weights_and_leaves_the_same_stream(norm: str, seed: int) -> None:
    plain, after = decoder("ln", seed), torch.rand(1)
    model, then = decoder(norm, seed), torch.rand(1)
    assert torch.equal(after, then)
    torch.testing.assert_close(model.get_parameter("characters.weight"), plain.get_parameter("characters.weight"))
    sigma = torch.linalg.matrix_norm(plain.get_parameter("readout.weight"), 2) if norm in {"sn", "msn"} else 1
    torch.testing.assert_close(
        matrices(model.eval())["readout"] * sigma, matrices(plain)["readout"], rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize(
    ("norm", "message"),
    [
        (
            "bn",
            r"norm 'bn' is none of sequences: batch norm has its channels in dimension 1, .* Expected one of none, ln",
        ),
        ("rms", r"norm 'rms' is none of sequences\. Expected one of none, ln, sn, msn, wn, wn_mean\."),
    ],
)
def test_another_norm_is_refused_and_changes_nothing(norm: str, message: str, seed: int) -> None:
    model = decoder("ln", seed)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=message):
        normalise_sequence_model(model, norm)
    assert list(model.state_dict()) == list(before)


def test_an_unknown_model_is_refused() -> None:
    with pytest.raises(ValueError, match="no model 'lstm' of sequences: expected one of transformer"):
        build_sequence_model("lstm", "ln", characters=5)
