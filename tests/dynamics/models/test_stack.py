"""Mean-centring and activation in one go: nobody can tell, save by the clock."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from dynamics.models import build
from dynamics.models.activation import LeakyReLU
from dynamics.models.stack import Stack
from dynamics.norms import MeanCentring
from dynamics.norms.graph import trace

ONE_GO = "_CentreAndActivateBackward"
IMAGES = (16, 3, 32, 32)  # a gradient of 12 channels is large enough to be worth overwriting


def layers(*, bias: bool = True, inplace: bool = True, sync: bool = False) -> list[nn.Module]:
    """Return conv, centring, activation, twice, with means that are not 0."""
    torch.manual_seed(0)
    made: list[nn.Module] = []
    for channels in (3, 12):
        centring = MeanCentring(12, bias=bias, inplace=inplace, sync=sync)
        if centring.bias is not None:
            nn.init.normal_(centring.bias)
        made += [nn.Conv2d(channels, 12, 3, padding=1), centring, LeakyReLU()]
    return made


def images(seed: int) -> Tensor:
    return torch.randn(IMAGES, generator=torch.Generator().manual_seed(seed))


def trained(network: nn.Module, x: Tensor, *, autocast: bool = False) -> list[Tensor]:
    """Train for three steps; return outputs, gradients, weights and running means."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    seen: list[Tensor] = []
    for _ in range(3):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            output = network(x)
        optimizer.zero_grad()
        (output.float() ** 3).mean().backward()
        seen += [output.detach(), *(p.grad.clone() for p in network.parameters() if p.grad is not None)]
        optimizer.step()
    return seen + [value.clone() for value in network.state_dict().values()]


def functions(output: Tensor) -> list[str]:
    """Return the names of all functions that lead to a tensor, each once."""
    found, waiting = set(), [output.grad_fn]
    while waiting:
        function = waiting.pop()
        if function is not None and function not in found:
            found.add(function)
            waiting += [before for before, _ in function.next_functions]
    return [function.name() for function in found]


def assert_same(found: list[Tensor], expected: list[Tensor]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_numbers_are_those_of_the_modules_bit_for_bit(
    memory_format: torch.memory_format, autocast: bool, bias: bool, seed: int
) -> None:
    modules = layers(bias=bias)
    stack, apart = Stack(*copy.deepcopy(modules)), nn.Sequential(*modules)
    x = images(seed).contiguous(memory_format=memory_format)
    assert functions(stack(x)).count(ONE_GO) == 2
    apart(x)
    assert_same(trained(stack, x, autocast=autocast), trained(apart, x, autocast=autocast))


def test_settings_are_those_of_the_modules(seed: int) -> None:
    modules = layers()
    for module in modules:
        if isinstance(module, MeanCentring):
            module.momentum = 0.7
        elif isinstance(module, LeakyReLU):
            module.negative_slope = 0.3
    stack, apart = Stack(*copy.deepcopy(modules)), nn.Sequential(*modules)
    assert_same(trained(stack, images(seed)), trained(apart, images(seed)))


@pytest.mark.parametrize("model", ["cnn3", "vgg7", "densenet_bc"])
def test_every_centring_of_the_papers_networks_is_taken_in_one_go(model: str) -> None:
    options = {"depth": 16} if model == "densenet_bc" else {}
    network = build(model, "msn", in_channels=3, image_size=32, **options)
    names = functions(network(torch.randn(2, 3, 32, 32)))
    assert names.count(ONE_GO) == sum(isinstance(module, MeanCentring) for module in network.modules()) > 0
    assert "_RecentreBackward" not in names


def watch_with_a_forward_hook(module: nn.Module) -> object:
    return module.register_forward_hook(lambda *_: None)


def watch_with_a_forward_pre_hook(module: nn.Module) -> object:
    return module.register_forward_pre_hook(lambda *_: None)


def watch_with_a_compiler(module: nn.Module) -> object:
    module._compiled_call_impl = module._call_impl  # as Module.compile does
    return module


def put_a_function_in_the_place_of_its_forward(module: nn.Module) -> object:
    module.forward = module.forward
    return module


WATCHED = [value for name, value in list(globals().items()) if name.startswith(("watch_", "put_"))]


@pytest.mark.parametrize("watch", WATCHED)
@pytest.mark.parametrize("which", [1, 2])
def test_a_module_that_is_watched_is_called_and_no_number_moves(
    watch: Callable[[nn.Module], object], which: int, seed: int
) -> None:
    modules = layers()
    modules[which + 3].register_forward_hook(lambda *_: calls.append("hook"))  # so is the other pair
    stack, watched = Stack(*copy.deepcopy(layers())), Stack(*modules)
    calls: list[str] = []
    watch(watched[which])
    assert ONE_GO not in functions(watched(images(seed)))
    stack(images(seed))
    assert_same(trained(watched, images(seed)), trained(stack, images(seed)))
    assert calls == ["hook"] * 4


@pytest.mark.parametrize("which", [1, 2])
@pytest.mark.parametrize("register", ["register_full_backward_hook", "register_full_backward_pre_hook"])
def test_a_backward_hook_meets_what_it_meets_in_a_sequential(register: str, which: int, seed: int) -> None:
    """Torch refuses such a hook beside a change in place, and names it: no hook is passed over in silence."""
    for sequence in (Stack(*layers()), nn.Sequential(*layers())):
        getattr(sequence[which], register)(lambda *_: None)
        with pytest.raises(RuntimeError, match="BackwardHookFunction"):
            sequence(images(seed))


@pytest.fixture
def global_hook() -> Iterator[list[str]]:
    called: list[str] = []
    handle = nn.modules.module.register_module_forward_hook(lambda module, *_: called.append(type(module).__name__))
    yield called
    handle.remove()


def test_hooks_on_all_modules_see_all_modules(global_hook: list[str], seed: int) -> None:
    Stack(*layers())(images(seed))
    assert global_hook == ["Conv2d", "MeanCentring", "LeakyReLU"] * 2 + ["Stack"]


class OwnCentring(MeanCentring):
    """Somebody's own kind, which may do what it likes."""


class OwnLeakyReLU(LeakyReLU):
    """Somebody's own kind, which may do what it likes."""


class Transpose(nn.Module):
    """Hands on a view."""

    def forward(self, h: Tensor) -> Tensor:
        return h.transpose(1, 3)


def test_what_cannot_be_one_is_apart(seed: int) -> None:
    x = images(seed)
    assert ONE_GO not in functions(Stack(*layers(inplace=False))(x))
    assert ONE_GO not in functions(Stack(*layers(sync=True))(x))
    assert ONE_GO not in functions(Stack(*layers()).eval()(x))
    conv, centring, activation, *_ = layers()
    assert ONE_GO not in functions(Stack(conv, centring)(x))
    assert ONE_GO not in functions(Stack(conv, centring, nn.Identity(), activation)(x))
    assert ONE_GO not in functions(Stack(conv, centring, nn.LeakyReLU(0.1))(x))
    assert ONE_GO not in functions(Stack(conv, centring, centring)(x))
    assert ONE_GO not in functions(Stack(conv, OwnCentring(12, inplace=True), activation)(x))
    assert ONE_GO not in functions(Stack(conv, centring, OwnLeakyReLU())(x))
    assert ONE_GO not in functions(
        Stack(nn.Conv2d(3, 12, 3), Transpose(), MeanCentring(30, inplace=True), activation)(x)
    )


def test_evaluation_is_that_of_the_modules(seed: int) -> None:
    modules = layers()
    stack, apart = Stack(*copy.deepcopy(modules)).eval(), nn.Sequential(*modules).eval()
    assert torch.equal(stack(images(seed)), apart(images(seed)))


def test_without_gradients_the_running_mean_moves_alike(seed: int) -> None:
    modules = layers()
    stack, apart = Stack(*copy.deepcopy(modules)), nn.Sequential(*modules)
    with torch.no_grad():
        assert torch.equal(stack(images(seed)), apart(images(seed)))
    assert torch.equal(stack[1].running_mean, apart[1].running_mean)


def test_first_and_second_derivative_are_those_of_the_function(seed: int) -> None:
    stack = Stack(MeanCentring(2, inplace=True), LeakyReLU()).double()
    h = torch.randn(3, 2, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64, requires_grad=True)
    assert ONE_GO in functions(stack(h * 1))
    assert torch.autograd.gradcheck(
        lambda h, m: torch.func.functional_call(stack, {"0.bias": m}, h**3), (h, m_of(stack))
    )
    assert torch.autograd.gradgradcheck(lambda h: stack(h**3), h)


def m_of(stack: Stack) -> Tensor:
    return torch.full_like(stack[0].bias, 0.3).requires_grad_()


def test_a_gradient_that_somebody_keeps_is_not_overwritten(seed: int) -> None:
    stack = Stack(*layers())
    kept: list[Tensor] = []
    output = stack(images(seed))
    output.register_hook(kept.append)
    (3 * output).sum().backward()
    assert torch.equal(kept[0], torch.full_like(output, 3))


def test_an_input_it_cannot_take_is_refused(seed: int) -> None:
    with pytest.raises(ValueError, match=r"expected \(N, 12, ...\), got \(16, 3, 32, 32\)"):
        Stack(MeanCentring(12, inplace=True), LeakyReLU())(images(seed).requires_grad_() * 1)
    with pytest.raises(ValueError, match="one value a channel"):
        Stack(MeanCentring(12, inplace=True), LeakyReLU())(torch.randn(1, 12, requires_grad=True) * 1)


def test_a_compiler_sees_operations_and_no_break(seed: int) -> None:
    graphs: list[torch.fx.GraphModule] = []

    def keep(graph: torch.fx.GraphModule, _: list[Tensor]) -> Callable[..., object]:
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(Stack(*layers()), backend=keep, fullgraph=True)
    torch.testing.assert_close(compiled(images(seed)), Stack(*layers())(images(seed)))
    assert "autograd_function_apply" not in graphs[0].code


def test_a_graph_in_training_has_a_node_for_each_module() -> None:
    graph = trace(Stack(*layers()).train())
    called = [node.target for node in graph.nodes if node.op == "call_module"]
    assert called == ["0", "1", "2", "3", "4", "5"]


def test_the_argument_has_the_name_it_has_in_a_sequential(seed: int) -> None:
    assert torch.equal(Stack(*layers())(input=images(seed)), nn.Sequential(*layers())(input=images(seed)))
