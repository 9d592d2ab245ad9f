"""Every figure on stores that are not the paper's: a vision transformer without BN, SN and MSN, and one lone run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from analysis.figures import FIGURES
from analysis.gallery.figure import prepare
from probes import Probe

STORES = ("transformer", "lone")
# What a store has no columns for.
REFUSED = {
    "lone": {
        "learning_rates": "compares learning rates, and all runs have 0.001",
        "coordinate_check": "needs width in the configuration of runs",
    },
    "transformer": {
        "router_map": "no row of table 'units' has router_load measured",
        "lipschitz": "needs jacobian_norm in table 'steps'",
        "complexity": "needs spectral_complexity in table 'steps'",
        "landscape": "needs loss_along_gradient_min",
        "learning_rates": "needs learning_rate in the configuration of runs",
        "coordinate_check": "needs width in the configuration of runs",
    },
}


class VisionTransformer(nn.Module):
    """Patches of 4 x 4 pixels, two encoder layers with LayerNorm, a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 16, 4, stride=4)
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, 4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.encoder(self.patches(images).flatten(2).transpose(1, 2)).mean(dim=1))


@pytest.fixture(scope="session")
def transformer_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of one short training of a vision transformer, whose run has no settings. Read only."""
    store = tmp_path_factory.mktemp("vit") / "runs"
    torch.manual_seed(0)
    model = VisionTransformer()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    with Probe(model, optimizer, store=store, run="vit", every=1, probe_batch=torch.randn(4, 1, 16, 16)) as probe:
        for step in range(5):
            loss = nn.functional.cross_entropy(model(torch.randn(8, 1, 16, 16)), torch.randint(4, (8,)))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            probe.log(loss=loss, accuracy=0.25 + step / 10)
        probe.log(split="test", accuracy=0.5)
    return store


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("name", list(FIGURES))
def test_a_figure_is_drawn_or_refused_in_one_line(name: str, store: str, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue(f"{store}_store")
    if name.startswith("gan_") or name in REFUSED[store]:
        expected = REFUSED[store].get(
            name, "has no sample grids" if name == "gan_samples" else f"figure '{name}' needs"
        )
        with pytest.raises(ValueError, match=expected) as refused:
            prepare(name, path).draw()
        assert "\n" not in str(refused.value)
        return
    picture = prepare(name, path).draw()
    shown = [axes for axes in picture.axes if axes.get_visible() and axes.get_subplotspec() is not None]
    assert shown
    assert all(axes.has_data() for axes in shown)
    words = " ".join(text.get_text() for text in picture.texts)
    assert ("1 run" if store == "transformer" else "1 seed") in words
    assert not {"BN", "SN", "MSN"} & set(words.replace(",", " ").split())
