"""The decoder of characters: it knows no later character, learns a text, and takes every norm."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from dynamics.models.character_decoder import CharacterDecoder
from dynamics.norms import MeanCentring, convert

TEXT = torch.tensor([[number % 3 for number in range(12)], [number % 4 for number in range(12)]])
CONVERTED = {"ln": None, "none": "none", "sn": "sn", "msn": "msn"}
every_norm = pytest.mark.parametrize("norm", CONVERTED)


def decoder(norm: str, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    model = CharacterDecoder(5, width=16, blocks=2, heads=2, context=12)
    return model if CONVERTED[norm] is None else convert(model, norm, exchange=("layer",))


def loss(model: nn.Module) -> Tensor:
    return nn.functional.cross_entropy(model(TEXT[:, :-1]).flatten(0, 1), TEXT[:, 1:].flatten())


@every_norm
def test_evaluation_knows_no_later_character(norm: str, seed: int) -> None:
    model = decoder(norm, seed)
    loss(model)  # running means
    model.eval()
    other = TEXT.clone()
    other[:, 7:] = 4
    found, expected = model(other), model(TEXT)
    torch.testing.assert_close(found[:, :7], expected[:, :7])
    assert not torch.allclose(found[:, 7:], expected[:, 7:])


@every_norm
def test_it_learns_a_text_that_repeats(norm: str, seed: int) -> None:
    model = decoder(norm, seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    before = loss(model).item()
    for _ in range(60):
        optimizer.zero_grad()
        found = loss(model)
        found.backward()
        optimizer.step()
    assert loss(model).item() < 0.5 * before


def test_msn_centres_each_norms_place(seed: int) -> None:
    model = decoder("msn", seed)
    assert sum(isinstance(module, MeanCentring) for module in model.modules()) == 5


def test_its_size_is_what_its_docstring_says() -> None:
    model = CharacterDecoder()
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 2) == 0.82
    assert model(model.example_input()).shape == (1, 64, 65)


def test_a_longer_text_and_an_uneven_width_are_refused() -> None:
    with pytest.raises(ValueError, match="expected at most 12 characters, got 13"):
        decoder("ln", 0)(torch.zeros(1, 13, dtype=torch.int64))
    with pytest.raises(ValueError, match="width: expected a multiple of the 3 heads, got 16"):
        CharacterDecoder(5, width=16, heads=3)
