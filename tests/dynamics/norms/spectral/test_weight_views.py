"""The views that a power iteration keeps from step to step: never older than the weight."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn

from dynamics.norms import SpectralNorm, spectral_norm


def norm_of(layer: nn.Module) -> SpectralNorm:
    norm = layer.get_submodule("parametrizations.weight.0")
    assert isinstance(norm, SpectralNorm)
    return norm


def original(layer: nn.Module) -> nn.Parameter:
    return layer.get_parameter("parametrizations.weight.original")


def never_used_before(layer: nn.Module) -> nn.Module:
    """Return a layer of the same state that has laid nothing out."""
    twin = copy.deepcopy(layer)
    assert norm_of(twin)._views is None
    return twin


def change_in_place(layer: nn.Module) -> None:
    with torch.no_grad():
        original(layer).mul_(torch.linspace(0.5, 2, original(layer).numel()).view(original(layer).shape))


def change_data(layer: nn.Module) -> None:
    original(layer).data = original(layer).data.flip(0).contiguous()


def load_other_tensors(layer: nn.Module) -> None:
    layer.load_state_dict({name: 2 * t.flip(0) for name, t in layer.state_dict().items()}, assign=True)


def load_other_values(layer: nn.Module) -> None:
    layer.load_state_dict({name: 2 * t.flip(0) for name, t in layer.state_dict().items()})


def move_buffers(layer: nn.Module) -> None:
    for buffer in layer.buffers():
        buffer.data = buffer.data.clone()
    change_in_place(layer)


def change_strides(layer: nn.Module) -> None:
    """Another layout of the same memory, for kernels as high as wide."""
    original(layer).data = original(layer).data.transpose(-1, -2)


CHANGES: dict[str, Callable[[nn.Module], object]] = {
    "in place": change_in_place,
    "data": change_data,
    "buffers' data": move_buffers,
    "strides": change_strides,
    "loaded tensors": load_other_tensors,
    "loaded values": load_other_values,
    "float64": lambda layer: layer.double(),
    "channels last": lambda layer: layer.to(memory_format=torch.channels_last),
    "contiguous": lambda layer: layer.to(memory_format=torch.contiguous_format),
}
LAYERS: dict[str, Callable[[], nn.Module]] = {
    "convolution": lambda: nn.Conv2d(3, 4, 3),
    "channels last": lambda: nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last),
    "1x1": lambda: nn.Conv2d(3, 4, 1).to(memory_format=torch.channels_last),
    "one channel": lambda: nn.Conv2d(1, 4, 3).to(memory_format=torch.channels_last),
    "transposed": lambda: nn.ConvTranspose2d(3, 4, 3),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind", LAYERS)
def test_the_next_forward_sees_a_changed_weight(kind: str, change: str, seed: int) -> None:
    torch.manual_seed(seed)
    layer = spectral_norm(LAYERS[kind]())
    before = layer.weight.detach().clone()
    CHANGES[change](layer)
    twin = never_used_before(layer)
    for _ in range(3):
        assert torch.equal(layer.weight, twin.weight)
        mine, its = layer.state_dict().values(), twin.state_dict().values()
        assert all(torch.equal(a, b) for a, b in zip(mine, its, strict=True))
    if change in {"in place", "data"}:
        assert not torch.equal(layer.weight, before)


def test_a_matrix_that_is_a_copy_is_not_kept() -> None:
    kept, copied = spectral_norm(nn.Conv2d(3, 4, 3)), spectral_norm(nn.ConvTranspose2d(3, 4, 3))
    for layer in (kept, copied):
        _ = layer.weight
    assert norm_of(kept)._views is not None
    assert norm_of(copied)._views is None


@pytest.mark.parametrize(
    "weight",
    [torch.ones(4, 3, 1, 1), torch.ones(3, 4).T, torch.ones(3, 4, 1, 1).transpose(0, 1), torch.ones(4, 3, 2, 2)],
    ids=["1x1", "transposed", "transposed 1x1", "2x2"],
)
def test_the_buffers_are_written_and_the_graph_keeps_its_own(weight: torch.Tensor, seed: int) -> None:
    """Some v need no other order than the buffer's: they must not be iterated in place either."""
    generator = torch.Generator().manual_seed(seed)

    def move(parameter: nn.Parameter) -> None:
        with torch.no_grad():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))

    stored = nn.Parameter(weight.clone())
    move(stored)
    norm = SpectralNorm(stored)
    norm(stored)
    move(stored)
    u, v = norm._u.clone(), norm._v.clone()
    first = norm(stored)
    assert norm._views is not None
    assert not torch.equal(u, norm._u)
    assert not torch.equal(v, norm._v)
    (wanted,) = torch.autograd.grad(first.square().sum(), stored, retain_graph=True)
    for _ in range(3):
        norm(nn.Parameter(torch.randn(stored.shape, generator=generator)))
    (found,) = torch.autograd.grad(first.square().sum(), stored)
    assert torch.equal(found, wanted)


def test_a_copy_lays_out_its_own_weight(seed: int) -> None:
    torch.manual_seed(seed)
    layer = spectral_norm(nn.Linear(3, 4))
    _ = layer.weight
    twin = never_used_before(layer)
    change_in_place(layer)
    before = twin.weight.detach().clone()
    change_in_place(layer)
    # Close, not equal: training and evaluation take sigma by other sums. The change is of 10 % and more.
    torch.testing.assert_close(twin.eval().weight, before)


def test_pickle_leaves_it_out() -> None:
    norm = SpectralNorm(torch.randn(3, 4))
    norm(nn.Parameter(torch.randn(3, 4)))
    file = io.BytesIO()
    torch.save(norm, file)
    file.seek(0)
    assert torch.load(file, weights_only=False)._views is None


def test_functional_call_with_other_weights(seed: int) -> None:
    torch.manual_seed(seed)
    layer, x = spectral_norm(nn.Linear(3, 4)), torch.randn(2, 3)
    layer(x)
    for other in (torch.randn(4, 3), nn.Parameter(torch.randn(4, 3))):
        norm = copy.deepcopy(norm_of(layer))
        found = torch.func.functional_call(layer, {"parametrizations.weight.original": other}, (x,))
        torch.testing.assert_close(found, nn.functional.linear(x, norm(other), layer.bias), rtol=0, atol=0)


@pytest.fixture
def swapped_parameters() -> Iterator[None]:
    torch.__future__.set_swap_module_params_on_conversion(True)
    yield
    torch.__future__.set_swap_module_params_on_conversion(False)


@pytest.mark.usefixtures("swapped_parameters")
def test_a_parameter_that_torch_swaps(seed: int) -> None:
    torch.manual_seed(seed)
    layer = spectral_norm(nn.Linear(3, 4))
    _ = layer.weight
    layer.double()
    assert original(layer).dtype == torch.float64
    twin = never_used_before(layer)
    assert torch.equal(layer.weight, twin.weight)
    state = {name: 2 * tensor for name, tensor in layer.state_dict().items()}
    layer.load_state_dict(state)
    twin = never_used_before(layer)
    assert torch.equal(layer.weight, twin.weight)
    torch.utils.swap_tensors(norm_of(layer)._v, torch.ones(3).double() / 3**0.5)
    _ = layer.weight
    assert not torch.equal(norm_of(layer)._v, torch.ones(3).double() / 3**0.5)


def test_a_weight_that_moves_leaves_nothing_behind() -> None:
    layer = spectral_norm(nn.Linear(3, 4))
    _ = layer.weight
    layer.to("meta")
    assert norm_of(layer)._views is None


def test_a_compiler_after_eager_steps_sees_no_kept_views(seed: int) -> None:
    torch.manual_seed(seed)
    layer, x = spectral_norm(nn.Conv2d(3, 4, 3)).to(memory_format=torch.channels_last), torch.randn(2, 3, 5, 5)
    layer(x)
    twin = never_used_before(layer)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    for _ in range(3):
        torch.testing.assert_close(compiled(x), twin(x))
    layer(x), twin(x)
    assert all(torch.allclose(a, b) for a, b in zip(layer.buffers(), twin.buffers(), strict=True))
