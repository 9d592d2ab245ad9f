"""Layers that are not plain: embeddings, recurrent, attention, tied, shared, frozen, unused, lazy, replaced."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from probes import Probe
from probes.model.layer import effective_weight
from probes.model.selection import select_layers


def names(model, **how):
    return [layer.name for layer in select_layers(model, **how).layers]


def probe_once(model, forward, store, **how):
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    with Probe(model, optimizer, store=store, run="a", every=1, strict=True, **how):
        forward(model).backward()
        optimizer.step()


def test_a_sparse_embedding_gradient_counts_the_rows_that_are_not_there(store, table):
    model = nn.Sequential(nn.Embedding(10, 4, sparse=True), nn.Linear(4, 2))
    probe_once(model, lambda m: m(torch.tensor([1, 1, 7])).square().sum(), store)
    row = table("layers", layer="0").loc[0]
    truth = model[0].weight.grad.to_dense().double().numpy()
    assert row["grad_sparsity"] == pytest.approx(0.8)
    assert row["grad_var"] == pytest.approx(truth.var(), rel=1e-5)


def test_every_weight_of_an_lstm_has_a_row_and_its_output_one(store, table):
    model = nn.LSTM(3, 5, num_layers=2)
    bias = model.bias_hh_l1.detach().double().numpy().copy()
    probe_once(model, lambda m: m(torch.randn(4, 2, 3))[0].sum(), store)
    layers = table("layers")
    assert layers["layer"].tolist() == ["LSTM", "weight_ih_l0", "weight_hh_l0", "weight_ih_l1", "weight_hh_l1"]
    assert layers["activation_mean"].notna().tolist() == [True, False, False, False, False]
    assert layers["spectral_norm"].notna().tolist() == [False, True, True, True, True]
    assert layers["bias_var"].iloc[4] == pytest.approx(bias.var(), rel=1e-5)


def test_attention_records_its_input_projection_and_its_output(store, table):
    model = nn.MultiheadAttention(8, 2, batch_first=True)
    probe_once(model, lambda m: m(*[torch.randn(2, 5, 8)] * 3)[0].sum(), store)
    layers = table("layers").set_index("layer")
    assert list(layers.index) == ["MultiheadAttention", "in_proj_weight", "out_proj"]
    assert np.isfinite(layers.loc["MultiheadAttention", "activation_var"])
    assert np.isfinite(layers.loc["in_proj_weight", "grad_var"])
    assert np.isfinite(layers.loc["out_proj", "grad_var"])


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.encode = nn.Embedding(7, 4)
        self.decode = nn.Linear(4, 7, bias=False)
        self.decode.weight = self.encode.weight

    def forward(self, x):
        return self.decode(self.encode(x))


def test_a_tied_weight_is_recorded_once_and_the_tie_is_named(store, table):
    probe_once(Tied(), lambda m: m(torch.tensor([1, 2])).square().mean(), store)
    layers = table("layers").set_index("layer")
    assert layers["weight_mean"].notna().to_dict() == {"encode": True, "decode": False}
    assert layers["activation_mean"].notna().all()
    gaps = json.loads(table("runs")["gaps"].item())
    assert gaps == [{"what": "weight", "why": "tied to 'encode', recorded there", "layer": "decode"}]


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.again = self.first

    def forward(self, x):
        return self.again(self.first(x) + 1)


def test_a_module_used_twice_is_one_layer_with_both_outputs_merged(store, table):
    model, outputs = Shared(), []
    model.first.register_forward_hook(lambda _m, _i, out: outputs.append(out.detach()))
    probe_once(model, lambda m: m(torch.randn(5, 3)).square().mean(), store)
    row = table("layers")
    assert row["layer"].tolist() == ["first"]
    assert row["activation_var"].item() == pytest.approx(torch.cat(outputs).double().var(correction=0).item(), rel=1e-5)
    assert json.loads(table("runs")["gaps"].item())[0]["why"] == "the same module as 'first', recorded there"


def test_a_frozen_layer_has_weights_and_activations_but_no_gradient(store, table):
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
    model[0].requires_grad_(False)
    probe_once(model, lambda m: m(torch.randn(4, 3)).sum(), store)
    frozen = table("layers", layer="0").loc[0]
    assert np.isfinite(frozen["weight_mean"])
    assert np.isfinite(frozen["activation_mean"])
    assert frozen[["grad_mean", "grad_sparsity", "update_ratio"]].isna().all()


def test_a_layer_not_used_in_a_step_is_null_there_and_nothing_fails(store, table):
    model = nn.ModuleDict({"used": nn.Linear(3, 2), "idle": nn.Linear(3, 2)})
    probe_once(model, lambda m: m["used"](torch.randn(4, 3)).sum(), store)
    idle = table("layers", layer="idle").loc[0]
    assert idle[["grad_mean", "activation_mean"]].isna().all()
    assert np.isfinite(idle["weight_mean"])


def test_other_weights_of_two_dimensions_are_layers_of_their_own():
    class Patches(nn.Module):
        def __init__(self):
            super().__init__()
            self.token = nn.Parameter(torch.randn(1, 1, 4))
            self.scale = nn.Parameter(torch.ones(4))
            self.body = nn.Linear(4, 4)

    assert names(nn.ModuleDict({"vit": Patches()})) == ["vit.token", "vit.scale", "vit.body"]


def test_names_do_not_show_wrappers_and_parametrizations():
    inner = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)), nn.BatchNorm1d(2))
    assert names(torch.compile(inner, backend="eager")) == ["0", "1"]
    assert [layer.kind for layer in select_layers(inner).layers] == ["Linear", "BatchNorm1d"]


def test_patterns_and_types_choose_layers(network):
    assert names(network, include=[nn.Conv2d]) == ["0", "3"]
    assert names(network, include=["[0-2]"], exclude=[nn.BatchNorm2d]) == ["0", "2"]
    assert names(network, exclude="7") == ["0", "1", "3"]


def test_a_pattern_that_matches_nothing_is_refused_with_what_there_is(network):
    with pytest.raises(ValueError, match=r"include='conv\*' matches no layer; this model has .*0, 1, 2"):
        select_layers(network, include=["conv*"])
    with pytest.raises(ValueError, match="nothing to observe in ReLU"):
        select_layers(nn.ReLU())


def test_a_lazy_layer_is_refused_until_it_has_weights():
    with pytest.raises(ValueError, match="layer 'LazyLinear' is lazy and has no weights yet: run one batch"):
        select_layers(nn.LazyLinear(3))


@pytest.mark.parametrize("normalise", [nn.utils.spectral_norm, nn.utils.weight_norm])
def test_the_older_norm_hooks_are_read_without_running_them(normalise, store, table):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch deprecates weight_norm
        layer = normalise(nn.Linear(4, 3))
    used = []
    layer.register_forward_hook(lambda m, *_: used.append(m.weight.detach().clone()))
    probe_once(layer, lambda m: m(torch.randn(2, 4)).sum(), store)
    row = table("layers").loc[0]
    assert row["weight_var"] == pytest.approx(used[0].double().var(correction=0).item(), rel=1e-5)
    assert np.isfinite(row["grad_mean"])


def test_reading_an_effective_weight_runs_no_power_iteration():
    layer = nn.utils.parametrizations.spectral_norm(nn.Linear(5, 4))
    state = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
    read = effective_weight(select_layers(layer).layers[0])
    assert all(torch.equal(tensor, state[name]) for name, tensor in layer.state_dict().items())
    assert all(module.training for module in layer.modules())
    layer.eval()
    assert torch.equal(read, layer.weight)


def test_channels_last_and_in_place_activations_do_not_change_what_is_seen(network, images, store, table):
    seen = []
    model = network.to(memory_format=torch.channels_last)
    model[0].register_forward_hook(lambda _m, _i, out: seen.append(out.detach().clone()))
    probe_once(model, lambda m: m(images.to(memory_format=torch.channels_last)).square().mean(), store)
    row = table("layers", layer="0").loc[0]
    assert row["activation_var"] == pytest.approx(seen[0].double().var(correction=0).item(), rel=1e-5)
    assert row["activation_mean"] == pytest.approx(seen[0].double().mean().item(), rel=1e-4, abs=1e-6)


def test_a_module_replaced_later_is_noticed(network, images, store):
    def train():
        F.mse_loss(network(images), torch.zeros(8, 3)).backward()
        optimizer.step()

    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    with Probe(network, optimizer, store=store, run="a", every=1):
        network[7] = nn.Linear(6 * 4 * 4, 3)
        with pytest.warns(RuntimeWarning, match="added or replaced after the probe was attached: 7"):
            train()
