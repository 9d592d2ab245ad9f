"""The wrong dimension was taken for channels: columns of an image, positions of a sequence, samples of a batch.

Found with torchvision's and timm's ConvNeXt (``LayerNorm2d``, a subclass of ``nn.LayerNorm`` with ``(N, C, H, W)``
output), Qwen3 (``q_norm``), PReLU behind a 1d convolution, and unbatched convolutions.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from probes.hooks.channels import channel_dim
from probes.hooks.seen_tensor import first_tensor, with_channels

# Each layer of torch.nn that has parameters of its own: how to make it, its input, and its channel dimension.
LAYERS = {
    "Linear": [(lambda: nn.Linear(3, 5), (2, 3), 1), (lambda: nn.Linear(3, 5), (2, 5, 7, 3), 3)],
    "Bilinear": [(lambda: nn.Bilinear(3, 4, 5), [(2, 7, 6, 3), (2, 7, 6, 4)], 3)],
    "Conv1d": [(lambda: nn.Conv1d(3, 5, 3), (2, 3, 9), 1), (lambda: nn.Conv1d(3, 5, 3), (3, 9), 0)],
    "Conv2d": [(lambda: nn.Conv2d(3, 5, 3), (2, 3, 7, 7), 1), (lambda: nn.Conv2d(3, 5, 3), (3, 7, 7), 0)],
    "Conv3d": [(lambda: nn.Conv3d(3, 5, 3), (2, 3, 7, 7, 7), 1), (lambda: nn.Conv3d(3, 5, 3), (3, 7, 7, 7), 0)],
    "ConvTranspose1d": [(lambda: nn.ConvTranspose1d(3, 5, 3), (2, 3, 9), 1)],
    "ConvTranspose2d": [
        (lambda: nn.ConvTranspose2d(3, 5, 3), (2, 3, 4, 4), 1),
        (lambda: nn.ConvTranspose2d(3, 5, 3), (3, 4, 4), 0),
    ],
    "ConvTranspose3d": [(lambda: nn.ConvTranspose3d(3, 5, 3), (2, 3, 4, 4, 4), 1)],
    "BatchNorm1d": [(lambda: nn.BatchNorm1d(5), (2, 5), 1), (lambda: nn.BatchNorm1d(5), (2, 5, 5), 1)],
    "BatchNorm2d": [(lambda: nn.BatchNorm2d(5), (2, 5, 5, 5), 1)],
    "BatchNorm3d": [(lambda: nn.BatchNorm3d(5), (2, 5, 5, 5, 5), 1)],
    "SyncBatchNorm": [],  # runs on several devices only; a batch norm
    "InstanceNorm1d": [
        (lambda: nn.InstanceNorm1d(5, affine=True), (2, 5, 5), 1),
        (lambda: nn.InstanceNorm1d(5, affine=True), (5, 5), 0),
    ],
    "InstanceNorm2d": [
        (lambda: nn.InstanceNorm2d(5, affine=True), (2, 5, 5, 5), 1),
        (lambda: nn.InstanceNorm2d(5), (5, 5, 5), 0),
    ],
    "InstanceNorm3d": [(lambda: nn.InstanceNorm3d(5, affine=True), (2, 5, 5, 5, 5), 1)],
    "GroupNorm": [(lambda: nn.GroupNorm(2, 4), (3, 4, 4, 4), 1), (lambda: nn.GroupNorm(2, 4), (3, 4, 4), 1)],
    "LayerNorm": [
        (lambda: nn.LayerNorm(5), (2, 5, 5), 2),
        (lambda: nn.LayerNorm(5), (2, 5, 3, 5), 3),
        (lambda: nn.LayerNorm((4, 5)), (2, 4, 5), 2),
        (lambda: nn.LayerNorm((5, 6, 7)), (2, 5, 6, 7), 1),
        (lambda: nn.LayerNorm(5, elementwise_affine=False), (2, 5, 5, 5), 3),
    ],
    "RMSNorm": [(lambda: nn.RMSNorm(5), (2, 5, 5), 2), (lambda: nn.RMSNorm(5), (2, 5, 3, 5), 3)],
    "Embedding": [(lambda: nn.Embedding(9, 4), torch.ones(2, 4, 4, dtype=torch.long), 3)],
    "EmbeddingBag": [(lambda: nn.EmbeddingBag(9, 4), torch.ones(2, 4, dtype=torch.long), 1)],
    "RNN": [(lambda: nn.RNN(3, 5), (5, 2, 3), 2), (lambda: nn.RNN(3, 5), (7, 3), 1)],
    "LSTM": [(lambda: nn.LSTM(3, 5, bidirectional=True), (5, 2, 3), 2)],
    "GRU": [(lambda: nn.GRU(3, 5), (5, 2, 3), 2)],
    "RNNCell": [(lambda: nn.RNNCell(3, 5), (2, 3), 1), (lambda: nn.RNNCell(3, 5), (3,), 0)],
    "LSTMCell": [(lambda: nn.LSTMCell(3, 5), (2, 3), 1)],
    "GRUCell": [(lambda: nn.GRUCell(3, 5), (2, 3), 1)],
    "MultiheadAttention": [(lambda: nn.MultiheadAttention(4, 2), [(4, 2, 4)] * 3, 2)],
    "PReLU": [
        (lambda: nn.PReLU(5), (2, 5, 5), 1),
        (nn.PReLU, (2, 6, 5), 1),
        (lambda: nn.PReLU(5), (2, 5), 1),
    ],
}


def with_own_parameters() -> set[str]:
    """Return the classes of torch.nn that make parameters, without base classes and the lazy ones."""
    found = set()
    for name, kind in vars(nn).items():
        if isinstance(kind, type) and issubclass(kind, nn.Module) and not name.startswith("Lazy"):
            ancestors = [each for each in kind.__mro__ if each.__module__.startswith("torch.nn.modules")]
            makers = [vars(each)["__init__"].__code__ for each in ancestors if "__init__" in vars(each)]
            bases = {nn.Module, nn.RNNBase, nn.RNNCellBase}
            if kind not in bases and any("Parameter" in maker.co_names for maker in makers):
                found.add(name)
    return found


def test_every_layer_of_torch_that_has_parameters_is_here():
    assert with_own_parameters() - LAYERS.keys() == set()


def tensors(given):
    if isinstance(given, torch.Tensor):
        return [given]
    return [torch.randn(shape) for shape in (given if isinstance(given, list) else [given])]


@pytest.mark.parametrize(
    ("make", "given", "expected"),
    [pytest.param(*case, id=f"{name}-{i}") for name, cases in LAYERS.items() for i, case in enumerate(cases)],
)
def test_the_channels_of_torchs_own_layers_are_known(make, given, expected):
    module = make()
    output = first_tensor(module(*tensors(given)))
    assert channel_dim(module, output.shape) == expected


class LayerNorm2d(nn.LayerNorm):
    """As torchvision and timm write it."""

    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Float32LayerNorm(nn.LayerNorm):
    """A norm of the last dimension that computes in float32."""

    def forward(self, x):
        return super().forward(x.float()).type_as(x)


class OwnRMSNorm(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x):
        return self.weight * x


class Scale(nn.Module):
    """A factor for each channel, shaped so that it multiplies the output."""

    def __init__(self, *shape):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(shape))

    def forward(self, x):
        return self.gamma * x


class Centring(nn.Module):
    """A parameter for each channel, as MeanCentring has."""

    def __init__(self, num_features):
        super().__init__()
        self.num_features = num_features
        self.bias = nn.Parameter(torch.zeros(num_features))

    def forward(self, x):
        return x + self.bias.view(-1, *[1] * (x.ndim - 2))


class Conv1D(nn.Module):
    """The linear layer of GPT-2 in transformers: its weight is (in, out)."""

    def __init__(self, out, size):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(size, out)), nn.Parameter(torch.zeros(out))

    def forward(self, x):
        return x @ self.weight + self.bias


OTHERS = [
    (LayerNorm2d(6), (2, 6, 5, 7), 1),
    (LayerNorm2d(6), (2, 6, 6, 6), 1),  # its name says that images are normalised
    (Float32LayerNorm(6), (2, 6, 5, 6), 3),
    (Float32LayerNorm(6), (6, 6, 6), 2),
    (OwnRMSNorm(8), (2, 11, 3, 8), 3),
    (OwnRMSNorm(8), (2, 8, 3, 8), 3),  # as many positions as entries: its name says that it is a norm of the last
    (OwnRMSNorm(8), (2, 8, 8), 2),
    (Scale(6, 1, 1), (2, 6, 5, 6), 1),
    (Scale(1, 1, 1, 6), (2, 6, 5, 6), 3),
    (Scale(6), (2, 5, 7, 6), 3),
    (Scale(6), (2, 6, 5, 7), 1),
    (Centring(6), (2, 6, 9), 1),
    (Centring(6), (2, 6, 6), 1),  # num_features counts the second dimension
    (Conv1D(12, 4), (2, 12, 4), 2),
    (nn.ReLU(), (2, 3, 5), 2),
    (nn.ReLU(), (2, 3, 5, 5), 1),
]


@pytest.mark.parametrize(("module", "given", "expected"), OTHERS)
def test_the_channels_of_other_modules_follow_from_their_parameters(module, given, expected):
    shape = (*given[:-1], 12) if isinstance(module, Conv1D) else given
    assert channel_dim(module, shape) == expected


@pytest.mark.parametrize(
    ("package", "name"), [("torchvision.models.convnext", "LayerNorm2d"), ("timm.layers", "LayerNorm2d")]
)
def test_the_channels_of_the_frameworks_image_norms_are_the_second(package, name):
    norm = getattr(pytest.importorskip(package), name)(6)
    assert channel_dim(norm, norm(torch.randn(2, 6, 5, 6)).shape) == 1


@pytest.mark.parametrize("name", ["RmsNorm", "LayerNorm", "GroupNorm1", "BatchNormAct2d", "LayerNorm2dFp32"])
def test_the_channels_of_timms_norms_are_where_their_weight_is(name):
    layers = pytest.importorskip("timm.layers")
    kind = getattr(layers, name, None)
    if kind is None:
        pytest.skip(f"this timm has no {name}")
    last = name in ("RmsNorm", "LayerNorm")
    norm = kind(6)
    assert channel_dim(norm, norm(torch.randn(2, 5, 7, 6) if last else torch.randn(2, 6, 5, 7)).shape) == (
        3 if last else 1
    )


def test_reducers_are_given_samples_first_and_real_numbers():
    conv = nn.Conv2d(3, 5, 3)
    seen, channels = with_channels(conv, conv(torch.randn(3, 7, 7)))
    assert (tuple(seen.shape), channels) == ((1, 5, 5, 5), 1)
    seen, channels = with_channels(nn.Linear(3, 5), torch.randn(2, 5, dtype=torch.complex64).conj())
    assert (tuple(seen.shape), channels, seen.dtype) == ((2, 5, 2), 1, torch.float32)
    for shape, expected in (((), (1, 1)), ((4,), (1, 4))):
        seen, channels = with_channels(nn.Identity(), torch.randn(shape))
        assert (tuple(seen.shape), channels) == (expected, 1)


def test_dead_channels_and_drift_of_an_image_norm_are_those_of_its_channels(record):
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), LayerNorm2d(8), nn.Flatten(), nn.Linear(800, 3))
    with torch.no_grad():
        model[1].bias[:3] = -9  # three channels of eight are never positive
    outputs = []
    model[1].register_forward_hook(lambda _m, _i, out: outputs.append(out.detach().double()))
    steps = [[lambda m: m(torch.randn(4, 3, 10, 10)).square().mean()] for _ in range(3)]
    found = record(model, *steps, every=dict.fromkeys(["activations", "saturation"], 1))
    rows = found.layers[found.layers["layer"] == "1"].sort_values("step")
    dead = [(out.amax((0, 2, 3)) <= 0).double().mean().item() for out in outputs]
    means = [out.mean((0, 2, 3)) for out in outputs]
    drift = [(mean - means[0]).square().mean().sqrt().item() for mean in means]
    assert rows["dead_fraction"].tolist() == pytest.approx(dead)
    assert rows["activation_drift"].tolist() == pytest.approx(drift, rel=1e-4)
