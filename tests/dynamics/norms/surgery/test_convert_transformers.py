"""Transformers turned into SN and MSN: attention's matrices, layer norms, and what convert says of them."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from dynamics.norms import MeanCentring, convert, fold
from dynamics.norms.channel_bias import ChannelBias
from dynamics.norms.spectral.stacked_matrices import is_divided

WIDTH = 8


def encoder(seed: int, **settings: bool) -> nn.Module:
    torch.manual_seed(seed)
    layer = nn.TransformerEncoderLayer(WIDTH, 2, 16, dropout=0.0, batch_first=True, **settings)
    nested = not settings.get("norm_first", False)  # torch warns that it cannot do both
    model = nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(WIDTH), enable_nested_tensor=nested).double()
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            nn.init.normal_(module.bias)
    return model


def sequences(seed: int) -> Tensor:
    return torch.randn(3, 5, WIDTH, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def count(model: nn.Module, *kinds: type[nn.Module]) -> int:
    return sum(isinstance(module, kinds) for module in model.modules())


@pytest.mark.parametrize(("norm", "kind"), [("none", ChannelBias), ("sn", ChannelBias), ("msn", MeanCentring)])
def test_each_layer_norm_is_exchanged_with_its_shift(norm: str, kind: type[nn.Module], seed: int) -> None:
    model = encoder(seed)
    converted = convert(model, norm, exchange=("layer",))
    assert count(converted, nn.LayerNorm) == 0
    for name, module in model.named_modules():
        if isinstance(module, nn.LayerNorm):
            new = converted.get_submodule(name)
            assert isinstance(new, kind)
            assert new.channel_dim == -1
            assert torch.equal(new.bias, module.bias)
    assert all(is_divided(m) == (norm != "none") for m in converted.modules() if isinstance(m, nn.MultiheadAttention))
    assert count(model, nn.LayerNorm) == 5


def naive_msn_block(layer: nn.TransformerEncoderLayer, x: Tensor) -> Tensor:
    """Return the first forward of a post-norm layer whose norms centre and whose matrices are divided, term by term."""

    def centred(h: Tensor, m: Tensor) -> Tensor:
        return h - h.mean((0, 1)) + m

    def unit(W: Tensor) -> Tensor:
        return W / torch.linalg.svdvals(W)[0]

    attention, heads = layer.self_attn, layer.self_attn.num_heads
    biases = attention.in_proj_bias.chunk(3)
    q, k, v = (x @ unit(W).mT + b for W, b in zip(attention.in_proj_weight.chunk(3), biases, strict=True))
    q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v))
    weights = torch.softmax(q @ k.mT / (WIDTH // heads) ** 0.5, -1)
    mixed = (weights @ v).transpose(1, 2).flatten(2) @ unit(attention.out_proj.weight).mT + attention.out_proj.bias
    x = centred(x + mixed, layer.norm1.bias)
    hidden = torch.relu(x @ unit(layer.linear1.weight).mT + layer.linear1.bias)
    return centred(x + hidden @ unit(layer.linear2.weight).mT + layer.linear2.bias, layer.norm2.bias)


def test_a_converted_layer_computes_equations_6_and_7(seed: int) -> None:
    plain = encoder(seed).layers[0]
    converted = convert(plain, "msn", exchange=("layer",))
    x = sequences(seed)
    for _ in range(200):  # power iterations
        found = converted(x)
    torch.testing.assert_close(found, naive_msn_block(plain, x), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("norm", ["none", "sn", "msn"])
@pytest.mark.parametrize("norm_first", [False, True])
def test_training_evaluation_and_no_grad_work_and_agree(norm: str, norm_first: bool, seed: int) -> None:
    model = convert(encoder(seed, norm_first=norm_first), norm, exchange=("layer",))
    x, padding = sequences(seed), torch.zeros(3, 5, dtype=torch.bool)
    padding[:, 4:] = True
    model(x).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    expected = model.eval()(x, src_key_padding_mask=padding)
    with torch.no_grad():  # where torch would take its fast path
        torch.testing.assert_close(model(x, src_key_padding_mask=padding), expected)
        torch.testing.assert_close(model(x), model.requires_grad_(False)(x))


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_torchs_fast_path_multiplies_by_the_divided_weights(seed: int) -> None:
    model = convert(encoder(seed), "sn").eval()  # its layer norms are kept, so torch takes the fast path
    x, padding = sequences(seed), torch.zeros(3, 5, dtype=torch.bool)
    padding[:, 4:] = True
    expected = model(x, src_key_padding_mask=padding)
    with torch.no_grad():
        found = model(x, src_key_padding_mask=padding)
    torch.testing.assert_close(found[:, :4], expected[:, :4])  # the fast path leaves zeros where there is padding


def test_layer_norms_are_kept_unless_asked_for(seed: int) -> None:
    converted = convert(encoder(seed), "sn")
    assert count(converted, nn.LayerNorm) == 5
    with pytest.raises(
        ValueError, match=r"no batch norm .* 'msn' .*; exchange=\('layer',\) exchanges its 5 layer norms"
    ):
        convert(encoder(seed), "msn")


@pytest.mark.parametrize("second", ["none", "sn", "msn"])
def test_conversions_chain_and_keep_weights_and_shifts(second: str, seed: int) -> None:
    model = encoder(seed)
    way = convert(convert(convert(model, "msn", exchange=("layer",)), second), "none")
    for name, parameter in model.named_parameters():
        if "norm" not in name or name.endswith("bias"):
            torch.testing.assert_close(way.get_parameter(name), parameter, rtol=0, atol=0)
    assert [name for name, _ in way.layers[0].self_attn.named_parameters()] == [
        name for name, _ in model.layers[0].self_attn.named_parameters()
    ]


class Block(nn.Module):
    """A residual block without bias, as language models have it, and a recurrent cell behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(WIDTH)
        self.linear = nn.Linear(WIDTH, WIDTH, bias=False)
        self.cell = nn.GRUCell(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return self.cell((x + self.linear(self.norm(x))).flatten(0, 1))


def test_an_rms_norm_has_no_shift(seed: int) -> None:
    torch.manual_seed(seed)
    block = Block().double()
    centring = convert(block, "msn", exchange=("layer",)).norm
    assert isinstance(centring, MeanCentring)
    assert torch.equal(centring.bias, torch.zeros(WIDTH, dtype=torch.float64))
    assert isinstance(convert(block, "sn", exchange=("layer",)).norm, nn.Identity)
    without = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.LayerNorm(WIDTH, elementwise_affine=False)).double()
    assert convert(without, "msn", exchange=("layer",))[1].bias is None
    assert convert(without, "msn", exchange=("layer",))[1].running_mean.dtype == torch.float64


def test_a_converted_block_folds(seed: int) -> None:
    torch.manual_seed(seed)
    converted, x = convert(Block().double(), "msn", exchange=("layer",)), sequences(seed)
    converted(x)
    with pytest.warns(UserWarning, match="fold left 1 unfolded: norm"):
        folded = fold(converted)
    assert type(folded.cell) is nn.GRUCell
    torch.testing.assert_close(folded(x), converted.eval()(x))


def test_it_says_what_it_changed_and_kept(seed: int) -> None:
    said: list[str] = []
    model = nn.ModuleDict({"block": Block(), "memory": nn.LSTM(WIDTH, WIDTH), "table": nn.Embedding(3, WIDTH)})
    before = copy.deepcopy(model.state_dict())
    convert(model, "msn", exchange=("layer",), say=said.append)
    assert said == [
        "1 RMSNorm -> MeanCentring: block.norm",
        "1 Linear -> Linear with weight / sigma: block.linear",
        "1 GRUCell -> GRUCell with weight_ih, weight_hh / sigma: block.cell",
        "kept 1 LSTM: memory",
        "kept 1 Embedding: table",
    ]
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_it_says_what_stands_behind_a_batch_norm() -> None:
    said: list[str] = []
    convert(nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)), "sn", say=said.append)
    assert said == [
        "1 Linear -> Linear with weight / sigma: 0",
        "1 BatchNorm1d -> ChannelBias: 1",
    ]


class OwnForward(nn.LayerNorm):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 2


@pytest.mark.parametrize(
    ("norms", "norm", "message"),
    [
        ([nn.LayerNorm((5, WIDTH))], "msn", "1: expected a norm over the last dimension alone"),
        ([OwnForward(WIDTH)], "msn", "1: OwnForward has a forward of its own"),
        ([nn.LayerNorm(WIDTH)], "bn", "layer norms become none, sn or msn, not bn: batch norm"),
        ([], "msn", "has no layer norm or RMS norm that 'msn' could replace"),
    ],
)
def test_what_cannot_be_exchanged_is_refused(norms: list[nn.Module], norm: str, message: str) -> None:
    model = nn.Sequential(nn.Linear(WIDTH, WIDTH), *norms)
    with pytest.raises(ValueError, match=message):
        convert(model, norm, exchange=("layer",), inplace=True)
    assert type(model[0]) is nn.Linear


def test_a_centring_of_sequences_becomes_no_batch_norm() -> None:
    model = nn.Sequential(nn.Linear(WIDTH, WIDTH), MeanCentring(WIDTH, channel_dim=-1))
    with pytest.raises(
        ValueError, match="1: expected channels in dimension 1, as batch norm has them, got MeanCentring"
    ):
        convert(model, "bn")


@pytest.mark.parametrize("exchange", ["layer", (), ("group",)])
def test_an_unknown_exchange_is_refused(exchange: object) -> None:
    with pytest.raises(ValueError, match=r"exchange: expected a tuple of 'batch', 'layer', got"):
        convert(nn.Linear(2, 2), "sn", exchange=exchange)  # type: ignore[arg-type]


def test_a_foreign_parametrization_of_attention_is_refused() -> None:
    attention = nn.MultiheadAttention(4, 2)
    nn.utils.parametrizations.orthogonal(attention, "in_proj_weight")
    with pytest.raises(ValueError, match="0: another parametrization computes one of its tensors"):
        convert(nn.Sequential(attention), "sn")
