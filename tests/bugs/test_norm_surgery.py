"""Norms exchanged and folded in networks that are not torch's plainest.

Found by trying models: timm's EfficientNets lost their activations in ``convert``, a SyncBatchNorm its synchronisation.
"""

from __future__ import annotations

import copy
import io
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor, nn

from dynamics.norms import MeanCentring, SpectralNorm, convert, fold, spectral_norm
from dynamics.norms.channel_bias import ChannelBias

ROOT = Path(__file__).parents[2]


class BatchNormAct2d(nn.BatchNorm2d):
    """As timm has it: batch norm, dropout and activation in one module."""

    def __init__(self, channels: int, act: nn.Module | None = None, drop: nn.Module | None = None) -> None:
        super().__init__(channels)
        self.drop, self.act = drop or nn.Identity(), act or nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, self.training, self.momentum, self.eps
        )
        return self.act(self.drop(x))


class SyncBatchNormAct(nn.SyncBatchNorm):
    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(super().forward(x))


class EpsilonBatchNorm2d(nn.BatchNorm2d):
    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-3)


class NoisyBatchNorm2d(nn.BatchNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + torch.randn_like(x) * self.training


class ScaledBatchNormAct2d(BatchNormAct2d):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class WeightStandardised(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight / self.weight.std()
        return nn.functional.conv2d(x, weight, self.bias)


def network(norm: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), norm, nn.Conv2d(4, 4, 3))


def departure_from_affine(model: nn.Module) -> float:
    x, y = torch.randn(2, 2, 3, 8, 8)
    model = model.eval()
    with torch.no_grad():
        return float((model(x + y) + model(0 * x) - model(x) - model(y)).abs().max())


@pytest.mark.parametrize("norm", ["none", "sn", "msn"])
def test_convert_keeps_the_activation_of_a_batch_norm_subclass(norm: str, seed: int) -> None:
    torch.manual_seed(seed)
    model = network(BatchNormAct2d(4, act=nn.SiLU(), drop=nn.Dropout2d(0.5)))
    nn.init.normal_(model[1].bias)
    converted = convert(model, norm)
    assert [type(module) for module in converted[1].children()][1:] == [nn.Dropout2d, nn.SiLU]
    assert departure_from_affine(converted) > 1e-3
    torch.testing.assert_close(converted[1][0].bias, model[1].bias)


def test_what_stood_behind_keeps_its_mode() -> None:
    model = network(BatchNormAct2d(4, drop=nn.Dropout(0.5))).train()
    model[1].drop.eval()
    assert [module.training for module in convert(model, "msn")[1].modules()] == [True, True, False, True]
    model[1].training = False
    assert [module.training for module in convert(model, "msn")[1].modules()] == [False, False, False, True]


def test_there_and_back_the_activation_runs_once(seed: int) -> None:
    torch.manual_seed(seed)
    model = network(BatchNormAct2d(4, act=nn.Softplus()))
    back = convert(convert(model, "msn"), "bn")
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(back(x), model(x))
    assert type(back[1][0]) is nn.BatchNorm2d


def test_converted_to_batch_norm_a_subclass_stays() -> None:
    model = network(NoisyBatchNorm2d(4))
    assert type(convert(model, "bn")[1]) is NoisyBatchNorm2d


def test_a_subclass_with_settings_of_its_own_is_converted() -> None:
    assert type(convert(network(EpsilonBatchNorm2d(4)), "msn")[1]) is MeanCentring


@pytest.mark.parametrize("norm", [NoisyBatchNorm2d(4), ScaledBatchNormAct2d(4)], ids=lambda norm: type(norm).__name__)
def test_convert_refuses_by_name_what_it_would_lose(norm: nn.Module) -> None:
    with pytest.raises(ValueError, match=rf"^1: {type(norm).__name__} has a forward of its own, .* Use BatchNorm2d"):
        convert(network(norm), "msn")


def test_looking_at_a_subclass_moves_neither_its_moments_nor_the_random_state() -> None:
    model = network(BatchNormAct2d(4, drop=nn.Dropout(0.5)))
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    convert(convert(model, "none"), "none")
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model[1].training


def test_timms_activations_survive() -> None:
    timm = pytest.importorskip("timm")
    model = timm.create_model("efficientnet_lite0")

    def activations(network: nn.Module) -> int:
        return sum(isinstance(module, (nn.ReLU, nn.ReLU6)) for module in network.modules())

    assert activations(convert(model, "msn")) == activations(model) > 0


EVERY_BATCH_NORM = {
    "1d, no space": (lambda: nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), (5, 3)),
    "1d": (lambda: nn.Sequential(nn.Conv1d(3, 4, 2), nn.BatchNorm1d(4)), (5, 3, 6)),
    "2d": (lambda: nn.Sequential(nn.Conv2d(3, 4, 2), nn.BatchNorm2d(4)), (5, 3, 6, 6)),
    "3d": (lambda: nn.Sequential(nn.Conv3d(3, 4, 2), nn.BatchNorm3d(4)), (5, 3, 4, 4, 4)),
    "synchronised": (lambda: nn.Sequential(nn.Conv2d(3, 4, 2), nn.SyncBatchNorm(4)), (5, 3, 6, 6)),
    "lazy, run once": (lambda: nn.Sequential(nn.Conv2d(3, 4, 2), nn.LazyBatchNorm2d()), (5, 3, 6, 6)),
}


@pytest.mark.parametrize("kind", EVERY_BATCH_NORM)
def test_every_batch_norm_of_torch_becomes_centring_and_comes_back(kind: str) -> None:
    make, shape = EVERY_BATCH_NORM[kind]
    model, x = make(), torch.randn(shape)
    model(x)
    converted = convert(model, "msn")
    assert type(converted[1]) is MeanCentring
    assert converted[1].sync is isinstance(model[1], nn.SyncBatchNorm)
    assert converted(x).mean((0, *range(2, x.ndim))).abs().max() < 1e-5
    assert type(convert(convert(converted, "none"), "bn")[1]) is type(model[1])


OTHER_NORMS = (
    *(nn.InstanceNorm2d(4, affine=True), nn.GroupNorm(2, 4), nn.LayerNorm([4, 6, 6]), nn.LocalResponseNorm(2)),
    torchvision.ops.FrozenBatchNorm2d(4),
)


@pytest.mark.parametrize("other", OTHER_NORMS, ids=lambda norm: type(norm).__name__)
def test_other_norms_are_left(other: nn.Module) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), other)
    assert type(convert(model, "msn")[2]) is type(other)


def test_synchronisation_survives_every_way_round() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.SyncBatchNorm(4), nn.Conv2d(4, 4, 3), SyncBatchNormAct(4))
    for way in (["msn"], ["sn", "msn"], ["msn", "none", "msn"]):
        converted = model
        for norm in way:
            converted = convert(converted, norm)
        assert converted[1].sync
        assert converted[3][0].sync
        assert type(converted[3][1]) is nn.SiLU
    assert "sync=True" in repr(converted)


# Run as a program of its own: a test module under importlib mode cannot be imported by a spawned process.
CONVERTED = """
import gc, sys
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from dynamics.norms import convert

rank, store = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)

def network(norm):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 3), norm(3), nn.Tanh(), nn.Conv2d(3, 2, 3))
    return convert(model, "msn", inplace=True).double()

batch = torch.randn(6, 2, 7, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 1
mine = batch[:2] if rank == 0 else batch[2:]
whole, parted = network(nn.BatchNorm2d), DistributedDataParallel(network(nn.SyncBatchNorm))
alone = whole(batch)
together = parted(mine)
torch.testing.assert_close(together, alone[:2] if rank == 0 else alone[2:])
alone.square().sum().backward()
together.square().sum().backward()
for (name, expected), found in zip(whole.named_parameters(), parted.module.parameters(), strict=True):
    torch.testing.assert_close(2 * found.grad, expected.grad, msg=name)  # DDP takes the mean of two sums
torch.testing.assert_close(parted.module[1].running_mean, whole[1].running_mean)

# One process a group: the group is kept, so each centres on its own batch.
groups = [dist.new_group([0]), dist.new_group([1])]
of_its_own = network(lambda channels: nn.SyncBatchNorm(channels, process_group=groups[rank]))
assert of_its_own[1].process_group is groups[rank]
torch.testing.assert_close(of_its_own(mine), network(nn.BatchNorm2d)(mine))

del parted, together, found, alone
gc.collect()
dist.barrier()
dist.destroy_process_group()
print("agreed")
"""


@pytest.mark.timeout(200)
def test_a_converted_synchronised_norm_centres_on_the_batch_of_all_processes(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(CONVERTED)
    ranks = [
        subprocess.Popen(
            [sys.executable, str(program), str(rank), str(tmp_path / "store")],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    for process in ranks:
        output, errors = process.communicate(timeout=150)
        assert process.returncode == 0, errors
        assert output.splitlines()[-1] == "agreed"  # some versions of gloo print their connections


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
@pytest.mark.parametrize("hook", [nn.utils.spectral_norm, nn.utils.weight_norm])
def test_a_weight_that_a_hook_computes_is_refused(hook: Callable[[nn.Module], nn.Module]) -> None:
    with pytest.raises(ValueError, match=r"^0: a hook computes its weight .* remove that first"):
        convert(nn.Sequential(hook(nn.Conv2d(3, 4, 3)), nn.BatchNorm2d(4)), "msn")


@pytest.mark.parametrize("norm", ["none", "bn", "sn", "msn"])
def test_copies_of_converted_networks_go_their_own_way_and_state_dicts_travel(norm: str, seed: int) -> None:
    torch.manual_seed(seed)
    model, x = convert(network(BatchNormAct2d(4)), norm), torch.randn(2, 3, 8, 8)
    model(x)
    twin, file = copy.deepcopy(model), io.BytesIO()
    before = copy.deepcopy(model.state_dict())
    for _ in range(2):
        twin(x + 1).square().sum().backward()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    torch.save(model.state_dict(), file)
    file.seek(0)
    fresh = convert(network(BatchNormAct2d(4)), norm)
    fresh.load_state_dict(torch.load(file))
    torch.testing.assert_close(fresh.eval()(x), model.eval()(x), rtol=0, atol=0)


@pytest.mark.parametrize("norm", ["none", "bn"])
def test_converted_networks_without_parametrizations_are_saved_whole(norm: str, seed: int) -> None:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    assert_saved_whole(convert(convert(model, "msn"), norm), torch.randn(2, 3, 8, 8))


def test_a_folded_network_is_saved_whole(seed: int) -> None:
    torch.manual_seed(seed)
    model = convert(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()), "msn")
    assert_saved_whole(fold(model), torch.randn(2, 3, 8, 8))


@pytest.mark.parametrize("norm", ["sn", "msn"])
def test_torch_says_that_a_reparametrised_network_is_saved_by_its_state(norm: str) -> None:
    model = convert(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), norm)
    with pytest.raises(RuntimeError, match=r"only supported through state_dict"):
        torch.save(model, io.BytesIO())


def assert_saved_whole(model: nn.Module, x: Tensor) -> None:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    again = torch.load(file, weights_only=False)
    torch.testing.assert_close(again.eval()(x), model.eval()(x), rtol=0, atol=0)


CONVOLUTIONS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(4, 6), (5, 4)),
    "conv1d": (lambda: nn.Conv1d(4, 6, 3, padding=1, padding_mode="circular"), (5, 4, 7)),
    "conv2d": (lambda: nn.Conv2d(4, 6, 3, stride=2, padding="valid"), (5, 4, 7, 7)),
    "conv2d, depthwise": (lambda: nn.Conv2d(4, 8, 3, groups=4, dilation=2, padding="same"), (5, 4, 7, 7)),
    "conv2d, reflecting": (lambda: nn.Conv2d(4, 6, 3, groups=2, padding=1, padding_mode="reflect"), (5, 4, 7, 7)),
    "conv3d": (lambda: nn.Conv3d(4, 6, 2, bias=False, groups=2), (5, 4, 4, 4, 4)),
    "transposed 1d": (lambda: nn.ConvTranspose1d(4, 6, 3, stride=2, groups=2), (5, 4, 5)),
    "transposed 2d": (lambda: nn.ConvTranspose2d(4, 6, 3, bias=False), (5, 4, 5, 5)),
    "transposed 2d, grouped": (lambda: nn.ConvTranspose2d(4, 6, 3, groups=2, padding=1), (5, 4, 5, 5)),
    "transposed 2d, depthwise": (lambda: nn.ConvTranspose2d(4, 8, 3, groups=4, bias=False), (5, 4, 5, 5)),
    "transposed 3d, grouped": (lambda: nn.ConvTranspose3d(4, 4, 2, groups=2, stride=2), (5, 4, 3, 3, 3)),
}  # fmt: skip
BATCH_NORMS = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}


def shaken(model: nn.Module, x: Tensor) -> nn.Module:
    """Return the model in evaluation mode, every parameter and running moment with a value of its own."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        for _ in range(3):
            model(x + torch.randn_like(x))
    return model.eval()


@pytest.mark.parametrize("kind", CONVOLUTIONS)
@pytest.mark.parametrize("norm", ["bn", "bn without scale", "msn", "sn", "none"])
def test_every_convolution_folds_with_equal_outputs(kind: str, norm: str, seed: int) -> None:
    torch.manual_seed(seed)
    make, shape = CONVOLUTIONS[kind]
    x, layer = torch.randn(shape), make()
    channels = layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
    model = nn.Sequential(layer, BATCH_NORMS[len(shape)](channels, affine=norm != "bn without scale"))
    model = shaken(model if norm.startswith("bn") else convert(model, norm), x)
    folded = fold(model)
    assert len(folded) == 1
    torch.testing.assert_close(folded(x), model(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("norm", ["bn", "msn", "none"])
def test_fold_keeps_the_activation_of_a_batch_norm_subclass(norm: str, seed: int) -> None:
    torch.manual_seed(seed)
    x = torch.randn(2, 3, 8, 8)
    model = shaken(convert(network(BatchNormAct2d(4, drop=nn.Dropout(0.5))), norm), x)
    folded = fold(model)
    torch.testing.assert_close(folded(x), model(x), rtol=1e-5, atol=1e-5)
    assert not any(isinstance(module, (nn.BatchNorm2d, MeanCentring, ChannelBias)) for module in folded.modules())


class Linked(nn.Module):
    """A layer and a norm, joined by a function of the two."""

    def __init__(
        self, layer: nn.Module, norm: nn.Module, join: Callable[[nn.Module, nn.Module, Tensor], Tensor]
    ) -> None:
        super().__init__()
        self.layer, self.norm, self._join = layer, norm, join

    def forward(self, x: Tensor) -> Tensor:
        return self._join(self.layer, self.norm, x)


def behind(layer: nn.Module, norm: nn.Module, x: Tensor) -> Tensor:
    return norm(layer(x))


def rectified(module: nn.Module) -> nn.Module:
    module.register_forward_hook(lambda _module, _given, h: h.relu())
    return module


UNFOLDABLE: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "read twice": (
        lambda: Linked(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), lambda f, g, x: g(h := f(x)) + h),
        "norm .it reads no module's output, or one that something else reads too",
    ),
    "called twice": (
        lambda: Linked(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), lambda f, g, x: g(g(f(x)))),
        "norm .the forward calls it 2 times",
    ),
    "behind an activation": (
        lambda: nn.Sequential(nn.Conv2d(4, 4, 1), nn.Tanh(), nn.BatchNorm2d(4)),
        "2 .it reads the output of 1, a Tanh",
    ),
    "behind a layer called twice": (
        lambda: Linked(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), lambda f, g, x: g(f(f(x)))),
        "norm .the forward calls layer 2 times",
    ),
    "no running moments": (
        lambda: Linked(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4, track_running_stats=False), behind),
        "norm .it has no running moments",
    ),
    "a norm with noise": (
        lambda: Linked(nn.Conv2d(4, 4, 1), NoisyBatchNorm2d(4), behind),
        "norm .NoisyBatchNorm2d has a forward or hooks of its own",
    ),
    "behind a standardised weight": (
        lambda: Linked(WeightStandardised(4, 4, 1), nn.BatchNorm2d(4), behind),
        "norm .layer has a forward or hooks of its own",
    ),
    "behind a weight that a hook computes": (
        lambda: Linked(nn.utils.spectral_norm(nn.Conv2d(4, 4, 1)), nn.BatchNorm2d(4), behind),
        "norm .layer has a forward or hooks of its own",
    ),
    "behind a hook": (
        lambda: Linked(rectified(nn.Conv2d(4, 4, 1)), nn.BatchNorm2d(4), behind),
        "norm .layer has a forward or hooks of its own",
    ),
    "a centring with a hook": (
        lambda: Linked(nn.Conv2d(4, 4, 1), rectified(MeanCentring(4)), behind),
        "norm .MeanCentring has a forward or hooks of its own",
    ),
    "centring of the input": (
        lambda: Linked(nn.Conv2d(4, 4, 1), MeanCentring(4), lambda f, g, x: f(g(x))),
        "norm .it reads no module's output",
    ),
    "a bias reparametrised": (
        lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 1), "bias", dim=None)),
        "0 .reparametrised: bias; a weight alone would be folded",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", UNFOLDABLE)
def test_fold_says_what_it_leaves_and_why_and_keeps_the_outputs(case: str, seed: int) -> None:
    torch.manual_seed(seed)
    make, reason = UNFOLDABLE[case]
    x = torch.randn(3, 4, 5, 5)
    model = shaken(make(), x)
    with pytest.warns(UserWarning, match=rf"fold left 1 unfolded: {reason}"):
        folded = fold(model)
    torch.testing.assert_close(folded(x), model(x), rtol=1e-5, atol=1e-5)


def test_fold_tells_the_channels_of_a_sequence_from_those_of_a_linear_layer(seed: int) -> None:
    torch.manual_seed(seed)
    x = torch.randn(3, 7, 4)  # (N, L, C): batch norm reads L
    model = shaken(nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(7)), x)
    with pytest.warns(UserWarning, match="1 .it has 7 channels, and 0 5"):
        folded = fold(model)
    torch.testing.assert_close(folded(x), model(x))


def test_fold_names_the_first_few_with_reasons_and_the_rest() -> None:
    model = nn.Sequential(*(nn.BatchNorm2d(2) for _ in range(10)))
    with pytest.warns(UserWarning, match=r"left 10 unfolded: 0 \(it reads no .* and 2 more: 8, 9$"):
        fold(model)


def test_fold_says_nothing_where_nothing_is_left() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fold(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))


def test_a_norm_that_goes_by_two_names_is_folded_once(seed: int) -> None:
    torch.manual_seed(seed)
    x = torch.randn(3, 4, 5, 5)

    class Aliased(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.norm = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
            self.alias = self.norm

        def forward(self, x: Tensor) -> Tensor:
            return self.alias(self.layer(x))

    aliased = shaken(Aliased(), x)
    torch.testing.assert_close(fold(aliased)(x), aliased(x), rtol=1e-5, atol=1e-5)


def test_embeddings_under_spectral_norm_fold(seed: int) -> None:
    torch.manual_seed(seed)
    model = nn.Sequential(spectral_norm(nn.Embedding(6, 4)), nn.Linear(4, 2)).eval()
    folded = fold(model)
    entries = torch.arange(6)
    assert not any(isinstance(module, SpectralNorm) for module in folded.modules())
    torch.testing.assert_close(folded(entries), model(entries))
