"""Spectral norm of weights, and within transforms and exporters, that torch's own takes, or that its users asked for.

Sources: pytorch/pytorch#32137 (zero weights), open-mmlab/mmgeneration PR #76 (embeddings), pytorch/pytorch#102999 and
huggingface/transformers PR #33275 (older checkpoints).
"""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, stack_module_state, vmap
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from dynamics.models import build
from dynamics.norms import MeanCentring, SpectralRegularisation, convert, spectral_norm
from dynamics.norms.operator_norm_bound import bound_operator_norm
from dynamics.norms.weight_matrix import output_dimension, unfold_weight


def original(layer: nn.Module) -> nn.Parameter:
    return layer.get_parameter("parametrizations.weight.original")


def sigma_of(weight: Tensor) -> float:
    return float(torch.linalg.svdvals(weight.detach())[0])


def same_start(layer: nn.Module, seed: int, **settings: Any) -> tuple[nn.Module, nn.Module]:
    """Return the layer under our spectral norm and under torch's, from the same random numbers."""
    theirs = copy.deepcopy(layer)
    torch.manual_seed(seed)
    spectral_norm(layer, **settings)
    torch.manual_seed(seed)
    return layer, parametrizations.spectral_norm(theirs, **settings)


# Embeddings and bilinear layers


@pytest.mark.parametrize(
    "make",
    [lambda: nn.Embedding(10, 16), lambda: nn.EmbeddingBag(10, 16, mode="sum"),
     lambda: nn.Embedding(10, 16, sparse=True), lambda: nn.Embedding(10, 16, padding_idx=3)],
    ids=["embedding", "bag", "sparse", "padded"],
)  # fmt: skip
def test_embeddings_have_spectral_norm_one_and_torchs_numbers(make: Callable[[], nn.Module], seed: int) -> None:
    torch.manual_seed(seed)
    ours, theirs = same_start(make(), seed, n_power_iterations=50)
    entries = torch.tensor([[1, 3, 3], [7, 0, 1]])
    for layer in (ours, theirs):
        if not getattr(layer, "sparse", False) or layer is ours:
            (layer(entries) * torch.arange(16)).sum().backward()
    assert sigma_of(ours.weight) == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(ours(entries), theirs(entries))
    assert not original(ours).grad.is_sparse
    if not ours.sparse:
        torch.testing.assert_close(original(ours).grad, original(theirs).grad, rtol=1e-4, atol=1e-4)


def test_the_gradient_of_a_sparse_embedding_is_that_of_a_dense_one(seed: int) -> None:
    torch.manual_seed(seed)
    sparse, dense = nn.Embedding(5, 3, sparse=True), nn.Embedding(5, 3)
    dense.load_state_dict(sparse.state_dict())
    entries, gradients = torch.tensor([0, 2, 2]), []
    for layer in (sparse, dense):
        torch.manual_seed(seed)
        spectral_norm(layer)(entries).square().sum().backward()
        gradients.append(original(layer).grad)
    torch.testing.assert_close(*gradients)


def test_a_bilinear_layer_is_normalised_as_torch_does(seed: int) -> None:
    torch.manual_seed(seed)
    ours, theirs = same_start(nn.Bilinear(3, 4, 5).double(), seed)
    a, b = torch.randn(2, 3).double(), torch.randn(2, 4).double()
    for _ in range(3):
        torch.testing.assert_close(ours(a, b), theirs(a, b), rtol=1e-12, atol=1e-12)


def test_an_embedding_that_shortens_its_entries_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Embedding has max_norm=1.0: .* Set max_norm=None"):
        spectral_norm(nn.Embedding(4, 3, max_norm=1.0))


def test_a_lazy_layer_is_refused() -> None:
    with pytest.raises(ValueError, match="LazyLinear has no weight yet: run the model once first"):
        spectral_norm(nn.LazyLinear(3))


# Zero weights and half precision

HALVES = (torch.float16, torch.bfloat16)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("size", [6, 3000])
def test_a_zero_weight_gives_zero_and_is_normalised_once_it_is_not(dtype: torch.dtype, size: int, seed: int) -> None:
    torch.manual_seed(seed)
    layer = nn.Linear(size, 5, bias=False).to(dtype)
    nn.init.zeros_(layer.weight)
    spectral_norm(layer)
    x = torch.randn(3, size).to(dtype)
    for mode in (True, False):
        output = layer.train(mode)(x)
        output.sum().backward()
        assert torch.equal(output, torch.zeros_like(output))
        assert original(layer).grad.isfinite().all()
    with torch.no_grad():
        original(layer).copy_(torch.randn(5, size))
        for _ in range(100):
            layer.train()(x)
    assert sigma_of(layer.weight.double()) == pytest.approx(1, abs=2e-2)


@pytest.mark.parametrize("dtype", HALVES)
def test_half_precision_has_the_sigma_of_double_precision(dtype: torch.dtype, seed: int) -> None:
    torch.manual_seed(seed)
    layer = spectral_norm(nn.Conv2d(8, 16, 3).to(dtype))
    x = torch.randn(2, 8, 5, 5, dtype=dtype)
    for _ in range(200):
        layer(x)
    exact = original(layer).double() / sigma_of(original(layer).double().flatten(1))
    for mode in (True, False):
        torch.testing.assert_close(layer.train(mode).weight.double(), exact, rtol=2e-2, atol=1e-4)
    layer(x).float().square().sum().backward()
    assert original(layer).grad.dtype == dtype
    assert original(layer).grad.isfinite().all()


def test_large_half_precision_weights_do_not_overflow() -> None:
    layer = nn.Linear(64, 64, bias=False).half()
    nn.init.constant_(layer.weight, 6e4)  # sigma is 64 times that, and no number of float16
    spectral_norm(layer)
    torch.testing.assert_close(layer.weight, torch.full((64, 64), 1 / 64).half(), rtol=1e-2, atol=0)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("norm", ["sn", "msn"])
def test_whole_networks_in_half_precision_train(norm: str, dtype: torch.dtype, seed: int) -> None:
    torch.manual_seed(seed)
    model, x = build("cnn3", norm, image_size=8).to(dtype), torch.randn(4, 1, 8, 8).to(dtype)
    model(x).float().logsumexp(1).mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("mode", [True, False])
@pytest.mark.parametrize("dtype", HALVES)
def test_half_precision_compiles_into_one_graph(dtype: torch.dtype, mode: bool, seed: int) -> None:
    torch.manual_seed(seed)
    layer, x = spectral_norm(nn.Linear(6, 5).to(dtype)).train(mode), torch.randn(3, 6).to(dtype)
    twin = copy.deepcopy(layer)
    compiled = torch.compile(twin, backend="aot_eager", fullgraph=True)
    for _ in range(2):
        expected, found = layer(x), compiled(x)
        expected.float().square().sum().backward()
        found.float().square().sum().backward()
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(original(twin).grad, original(layer).grad)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_a_bounded_zero_weight_stays_finite_and_is_bounded_once_it_is_not(dtype: torch.dtype, seed: int) -> None:
    torch.manual_seed(seed)
    layer, x = nn.Linear(6, 5, bias=False).to(dtype), torch.randn(3, 6).to(dtype)
    nn.init.zeros_(layer.weight)
    bound_operator_norm(layer, (6,))
    assert torch.equal(layer(x), torch.zeros(3, 5, dtype=dtype))
    with torch.no_grad():
        original(layer).copy_(3 * torch.randn(5, 6))
        for _ in range(100):
            layer(x)
    assert sigma_of(layer.weight.double()) == pytest.approx(1, abs=2e-2)


# Complex weights


@pytest.mark.filterwarnings("ignore:Complex modules are a new feature")
@pytest.mark.parametrize(
    ("make", "shape"),
    [(lambda: nn.Linear(6, 5), (4, 6)), (lambda: nn.Conv2d(2, 3, 3), (1, 2, 5, 5)),
     (lambda: nn.ConvTranspose1d(2, 3, 3), (1, 2, 5))],
)  # fmt: skip
def test_a_complex_weight_is_divided_by_its_largest_singular_value(
    make: Callable[[], nn.Module], shape: tuple[int, ...], seed: int
) -> None:
    torch.manual_seed(seed)
    layer = make().to(torch.complex128)
    spectral_norm(layer)
    x = torch.randn(shape, dtype=torch.complex128)
    for _ in range(500):
        layer(x)
    weight = original(layer).detach()
    matrix = unfold_weight(weight, dim=output_dimension(layer))
    for mode in (True, False):
        torch.testing.assert_close(layer.train(mode).weight.detach(), weight / torch.linalg.svdvals(matrix)[0])


def test_the_derivative_of_a_complex_weight_is_that_of_the_function(seed: int) -> None:
    torch.manual_seed(seed)
    layer = spectral_norm(nn.Linear(3, 2, dtype=torch.complex128)).eval()
    weight = original(layer).detach().requires_grad_()
    norm = layer.parametrizations.weight[0]
    for _ in range(300):
        norm.train()(weight)
    norm.eval()
    assert torch.autograd.gradcheck(norm, weight)

    def exact(W: Tensor) -> Tensor:
        return W / torch.linalg.svdvals(W)[0]

    for function in (norm, exact):
        (slope,) = torch.autograd.grad((function(weight) * torch.arange(3)).abs().sum(), weight)
        if function is norm:
            found = slope
    torch.testing.assert_close(found, slope)


# torch.func, forward-mode derivatives, batched gradients


def cnn() -> nn.Module:
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Tanh(), nn.Flatten(), nn.Linear(12, 2))
    return convert(model, "msn").double()


def plain_gradients(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    model(x).square().sum().backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("mode", [True, False])
def test_torch_func_grad_is_the_gradient_and_moves_the_same_buffers(mode: bool, seed: int) -> None:
    torch.manual_seed(seed)
    model, x = cnn().train(mode), torch.randn(5, 2, 4, 4).double()
    twin = copy.deepcopy(model)

    def loss(parameters: dict[str, Tensor]) -> Tensor:
        return functional_call(model, parameters, (x,)).square().sum()

    for _ in range(2):
        found = grad(loss)({name: p.detach() for name, p in model.named_parameters()})
        expected = plain_gradients(twin, x)
        for name, slope in expected.items():
            torch.testing.assert_close(found[name], slope, msg=name)
        for (name, a), b in zip(model.named_buffers(), twin.buffers(), strict=True):
            torch.testing.assert_close(a, b, msg=name)


@pytest.mark.parametrize("norm", ["none", "bn", "wn", "wn_mean", "ln", "in", "sn_beta", "sn", "msn"])
def test_torch_func_grad_is_the_gradient_for_every_norm(norm: str, seed: int) -> None:
    torch.manual_seed(seed)
    model, x = build("cnn3", norm, image_size=8).double(), torch.randn(4, 1, 8, 8).double()
    twin = copy.deepcopy(model)
    buffers = {
        name: buffer.clone() for name, buffer in model.named_buffers()
    }  # torch's batch norm takes no captured one

    def loss(parameters: dict[str, Tensor], buffers: dict[str, Tensor]) -> Tensor:
        return functional_call(model, (parameters, buffers), (x,)).square().sum()

    found = grad(loss)({name: p.detach() for name, p in model.named_parameters()}, buffers)
    for name, slope in plain_gradients(twin, x).items():
        torch.testing.assert_close(found[name], slope, msg=name)
    for name, buffer in twin.named_buffers():
        torch.testing.assert_close(buffers[name], buffer, msg=name)


def test_a_regularisation_has_its_gradient_under_torch_func(seed: int) -> None:
    class Regularised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))
            self.penalty = SpectralRegularisation(self.model, strength=0.3)

        def forward(self, x: Tensor) -> Tensor:
            return self.model(x) + self.penalty()

    torch.manual_seed(seed)
    model, x = Regularised().double(), torch.randn(5, 4).double()
    twin = copy.deepcopy(model)
    found = grad(lambda p: functional_call(model, p, (x,)).square().sum())(
        {name: p.detach() for name, p in model.named_parameters()}
    )
    for name, slope in plain_gradients(twin, x).items():
        torch.testing.assert_close(found[name], slope, msg=name)
    for a, b in zip(model.buffers(), twin.buffers(), strict=True):
        torch.testing.assert_close(a, b)


def test_buffers_that_the_function_takes_move_too(seed: int) -> None:
    torch.manual_seed(seed)
    model, x = cnn(), torch.randn(5, 2, 4, 4).double()
    twin, before = copy.deepcopy(model), copy.deepcopy(model.state_dict())
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}

    def loss(parameters: dict[str, Tensor], buffers: dict[str, Tensor]) -> Tensor:
        return functional_call(model, (parameters, buffers), (x,)).square().sum()

    grad(loss)({name: p.detach() for name, p in model.named_parameters()}, buffers)
    twin(x)
    for name, buffer in twin.named_buffers():
        torch.testing.assert_close(buffers[name], buffer, msg=name)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.filterwarnings("ignore:.*torch.jit")  # torch's own
@pytest.mark.parametrize("mode", [True, False])
def test_forward_mode_agrees_with_reverse_mode(mode: bool, seed: int) -> None:
    torch.manual_seed(seed)
    model, x = cnn().train(mode), torch.randn(3, 2, 4, 4).double()
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    directions = {name: torch.randn_like(p) for name, p in parameters.items()}
    start = copy.deepcopy(model.state_dict())

    def output(parameters: dict[str, Tensor]) -> Tensor:
        return functional_call(model, parameters, (x,))

    _, slope = jvp(output, (parameters,), (directions,))
    model.load_state_dict(start)
    jacobian = jacrev(output)(parameters)
    model.load_state_dict(start)
    expected = sum((jacobian[name].flatten(2) @ directions[name].flatten()) for name in parameters)
    torch.testing.assert_close(slope, expected)
    forward = jacfwd(output)(parameters)
    for name in parameters:
        torch.testing.assert_close(forward[name], jacobian[name], msg=name)
    model.load_state_dict(start)
    with forward_ad.dual_level():
        duals = {name: forward_ad.make_dual(parameters[name], directions[name]) for name in parameters}
        torch.testing.assert_close(forward_ad.unpack_dual(output(duals)).tangent, expected)


@pytest.mark.filterwarnings("ignore:.*torch.jit")  # torch's own
def test_the_hessian_is_that_of_double_backward(seed: int) -> None:
    torch.manual_seed(seed)
    layer, x = spectral_norm(nn.Linear(3, 2, bias=False).double()).eval(), torch.randn(4, 3).double()
    name, weight = "parametrizations.weight.original", original(layer)

    def loss(W: Tensor) -> Tensor:
        return functional_call(layer, {name: W}, (x,)).tanh().sum()

    (slope,) = torch.autograd.grad(layer(x).tanh().sum(), weight, create_graph=True)
    rows = [torch.autograd.grad(entry, weight, retain_graph=True)[0] for entry in slope.flatten()]
    torch.testing.assert_close(hessian(loss)(weight.detach()).reshape(6, 6), torch.stack(rows).reshape(6, 6))


def test_gradients_of_each_sample(seed: int) -> None:
    torch.manual_seed(seed)
    model, x = cnn().eval(), torch.randn(5, 2, 4, 4).double()
    parameters = {name: p.detach() for name, p in model.named_parameters()}

    def loss(parameters: dict[str, Tensor], sample: Tensor) -> Tensor:
        return functional_call(model, parameters, (sample[None],)).square().sum()

    found = vmap(grad(loss), in_dims=(None, 0))(parameters, x)
    for i, sample in enumerate(x):
        for name, slope in plain_gradients(model, sample[None]).items():
            torch.testing.assert_close(found[name][i], slope, msg=name)


def test_gradients_of_each_sample_in_training_leave_spectral_norms_to_move_once(seed: int) -> None:
    torch.manual_seed(seed)
    layer, x = spectral_norm(nn.Linear(3, 2).double()), torch.randn(5, 3).double()
    twin = copy.deepcopy(layer)

    def loss(parameters: dict[str, Tensor], sample: Tensor) -> Tensor:
        return functional_call(layer, parameters, (sample,)).square().sum()

    vmap(grad(loss), in_dims=(None, 0))({name: p.detach() for name, p in layer.named_parameters()}, x)
    twin(x)
    for a, b in zip(layer.buffers(), twin.buffers(), strict=True):
        torch.testing.assert_close(a, b)


def test_an_ensemble_has_buffers_for_each_member(seed: int) -> None:
    torch.manual_seed(seed)
    models, x = [cnn() for _ in range(3)], torch.randn(5, 2, 4, 4).double()
    parameters, buffers = stack_module_state(models)
    skeleton = copy.deepcopy(models[0]).to("meta")

    def call(parameters: dict[str, Tensor], buffers: dict[str, Tensor]) -> Tensor:
        return functional_call(skeleton, (parameters, buffers), (x,))

    found = vmap(call)({name: p.detach() for name, p in parameters.items()}, buffers)
    for i, model in enumerate(models):
        torch.testing.assert_close(found[i], model(x).detach())
        for name, buffer in model.named_buffers():
            torch.testing.assert_close(buffers[name][i], buffer, msg=name)


def test_samples_of_their_own_cannot_share_a_running_mean() -> None:
    module = MeanCentring(3)
    with pytest.raises(ValueError, match=r"vmap: each sample would write a value of its own .* Use eval\(\)"):
        vmap(lambda sample: module(sample[None]))(torch.randn(4, 3, 5))
    assert vmap(lambda sample: module.eval()(sample[None]))(torch.randn(4, 3, 5)).shape == (4, 1, 3, 5)


@pytest.mark.parametrize("mode", [True, False])
def test_gradients_come_in_batches(mode: bool, seed: int) -> None:
    torch.manual_seed(seed)
    model, x = cnn().train(mode), torch.randn(5, 2, 4, 4).double()
    y = model(x)
    directions = torch.randn(4, *y.shape).double()
    parameters = list(model.parameters())
    together = torch.autograd.grad(y, parameters, directions, is_grads_batched=True, retain_graph=True)
    for i, direction in enumerate(directions):
        for a, b in zip(together, torch.autograd.grad(y, parameters, direction, retain_graph=True), strict=True):
            torch.testing.assert_close(a[i], b)


def test_second_derivatives_come_in_batches(seed: int) -> None:
    torch.manual_seed(seed)
    model, x = cnn(), torch.randn(3, 2, 4, 4).double().requires_grad_()
    (slope,) = torch.autograd.grad(model(x).square().sum(), x, create_graph=True)
    directions, weight = torch.randn(2, *x.shape).double(), original(model[0])
    (together,) = torch.autograd.grad(slope, weight, directions, is_grads_batched=True, retain_graph=True)
    for found, direction in zip(together, directions, strict=True):
        torch.testing.assert_close(found, torch.autograd.grad(slope, weight, direction, retain_graph=True)[0])


@pytest.mark.filterwarnings("ignore:Complex modules are a new feature")
@pytest.mark.parametrize(
    ("layer", "x"),
    [
        (lambda: nn.Embedding(5, 3), lambda: torch.arange(4)),
        (lambda: nn.Linear(3, 2, dtype=torch.complex128), lambda: torch.randn(4, 3, dtype=torch.complex128)),
        (lambda: nn.Linear(3, 2).bfloat16(), lambda: torch.randn(4, 3).bfloat16()),
    ],
    ids=["embedding", "complex", "bfloat16"],
)
def test_a_gradient_penalty_reaches_the_weights_of_every_kind(
    layer: Callable[[], nn.Module], x: Callable[[], Tensor], seed: int
) -> None:
    torch.manual_seed(seed)
    norm = spectral_norm(layer())
    weight = original(norm)
    (slope,) = torch.autograd.grad(norm(x()).abs().square().sum(), weight, create_graph=True)
    slope.abs().square().sum().backward()
    assert weight.grad.isfinite().all()
    assert weight.grad.abs().max() > 0


# Tracing and export


def networks() -> list[tuple[nn.Module, tuple[Tensor, ...]]]:
    return [
        (build("cnn3", "msn", image_size=8), (torch.randn(3, 1, 8, 8),)),
        (convert(build("cnn3", "bn", image_size=8), "sn"), (torch.randn(3, 1, 8, 8),)),
        (nn.Sequential(spectral_norm(nn.Embedding(5, 3)), spectral_norm(nn.Linear(3, 2))), (torch.arange(4),)),
    ]


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize("which", range(3))
def test_traced_networks_give_the_same_and_can_be_saved(which: int, seed: int) -> None:
    torch.manual_seed(seed)
    model, inputs = networks()[which]
    model(*inputs)
    model.eval()
    file = io.BytesIO()
    torch.jit.save(torch.jit.trace(model, inputs), file)
    file.seek(0)
    torch.testing.assert_close(torch.jit.load(file)(*inputs), model(*inputs))


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_a_network_traced_in_training_moves_its_buffers(seed: int) -> None:
    torch.manual_seed(seed)
    model, x = build("cnn3", "msn", image_size=8), torch.randn(3, 1, 8, 8)
    traced, twin = torch.jit.trace(model, x, check_trace=False), build("cnn3", "msn", image_size=8)
    twin.load_state_dict(traced.state_dict())
    torch.testing.assert_close(traced(x), twin(x))
    buffers = dict(twin.named_buffers())
    for name, buffer in traced.named_buffers():
        torch.testing.assert_close(buffer, buffers[name], msg=name)


@pytest.mark.skipif(torch.__version__ < "2.7", reason="torch.export of 2.6 loses no_grad, so out= is refused")
@pytest.mark.parametrize(("which", "strict"), [(0, False), (1, False), (2, False), (2, True)])
def test_exported_networks_give_the_same(which: int, strict: bool, seed: int) -> None:
    torch.manual_seed(seed)
    model, inputs = networks()[which]
    model(*inputs)
    exported = torch.export.export(model.eval(), inputs, strict=strict)
    torch.testing.assert_close(exported.module()(*inputs), model(*inputs))
    operations = {str(node.target) for node in exported.graph.nodes}
    assert not {name for name in operations if "foreach" in name}  # ONNX has none on lists


@pytest.mark.parametrize("which", range(3))
def test_networks_become_onnx(which: int, seed: int) -> None:
    pytest.importorskip("onnxscript")
    reference = pytest.importorskip("onnx.reference")
    torch.manual_seed(seed)
    model, inputs = networks()[which]
    model(*inputs)
    program = torch.onnx.export(model.eval(), inputs, dynamo=True, verbose=False)
    session = reference.ReferenceEvaluator(program.model_proto)
    (found,) = session.run(None, {session.input_names[0]: inputs[0].numpy()})
    torch.testing.assert_close(torch.from_numpy(found), model(*inputs).detach(), rtol=1e-4, atol=1e-4)


# Older checkpoints


def older_state(model: nn.Module) -> dict[str, Tensor]:
    """Return the state of a network of ours under the names of ``torch.nn.utils.spectral_norm``."""
    names = {"weight.original": "weight_orig", "weight.0._u": "weight_u", "weight.0._v": "weight_v"}
    state = {}
    for name, tensor in model.state_dict().items():
        head, mark, tail = name.partition("parametrizations.")
        state[head + names[tail] if mark else name] = tensor.clone()
    return state


@pytest.mark.filterwarnings("ignore:.*spectral_norm.* is deprecated:FutureWarning")
@pytest.mark.parametrize(
    ("make", "shape"),
    [(lambda: nn.Linear(4, 3), (2, 4)), (lambda: nn.Conv2d(2, 3, 3), (1, 2, 6, 6)),
     (lambda: nn.ConvTranspose2d(2, 3, 3), (1, 2, 6, 6))],
)  # fmt: skip
def test_a_checkpoint_of_the_older_spectral_norm_goes_on_where_it_stopped(
    make: Callable[[], nn.Module], shape: tuple[int, ...], seed: int
) -> None:
    torch.manual_seed(seed)
    theirs, x = nn.Sequential(nn.utils.spectral_norm(make())).double(), torch.randn(shape).double()
    for _ in range(30):
        theirs(x)
    ours = nn.Sequential(spectral_norm(make())).double()
    ours.load_state_dict(theirs.state_dict())
    for mode in (False, True):
        torch.testing.assert_close(ours.train(mode)(x), theirs.train(mode)(x), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x), rtol=1e-3, atol=1e-3)


def test_a_checkpoint_of_torch_0_4_has_no_right_vector(seed: int) -> None:
    torch.manual_seed(seed)
    W = torch.randn(3, 2, 3, 3, dtype=torch.float64)
    U, S, _ = torch.linalg.svd(W.flatten(1))
    old = {"weight_orig": W, "weight_u": U[:, 0], "weight": W / S[0], "bias": torch.zeros(3, dtype=torch.float64)}
    layer = spectral_norm(nn.Conv2d(2, 3, 3)).double().eval()
    layer.load_state_dict(old)
    torch.testing.assert_close(layer.weight.detach(), W / S[0])


@pytest.mark.parametrize("assign", [True, False])
def test_mean_spectral_networks_load_older_names(assign: bool, seed: int) -> None:
    torch.manual_seed(seed)
    trained, x = build("cnn3", "msn", image_size=8), torch.randn(4, 1, 8, 8)
    for _ in range(3):
        trained(x)
    old = older_state(trained)
    fresh = build("cnn3", "msn", image_size=8)
    assert "features.block1.conv.weight_orig" in old
    fresh.load_state_dict(old, assign=assign)
    assert "features.block1.conv.weight_orig" in old  # the caller's own is left
    torch.testing.assert_close(fresh.eval()(x), trained.eval()(x), rtol=0, atol=0)
    torch.testing.assert_close(fresh.train()(x), trained.train()(x), rtol=0, atol=0)


def test_torchs_parametrization_loads_into_ours_below_a_model(seed: int) -> None:
    torch.manual_seed(seed)
    theirs = nn.Sequential(
        parametrizations.spectral_norm(nn.Embedding(5, 3)), parametrizations.spectral_norm(nn.Linear(3, 2))
    )
    ours = nn.Sequential(spectral_norm(nn.Embedding(5, 3)), spectral_norm(nn.Linear(3, 2)))
    ours.load_state_dict(theirs.state_dict())
    torch.testing.assert_close(ours.eval()(torch.arange(5)), theirs.eval()(torch.arange(5)))


def test_a_missing_tensor_of_an_older_checkpoint_is_told() -> None:
    layer = spectral_norm(nn.Linear(3, 2))
    with pytest.raises(RuntimeError, match=r"(?s)Missing key.*weight.original.*Unexpected key.*weight_orig"):
        layer.load_state_dict({"weight_orig": torch.ones(2, 3), "bias": torch.ones(2)})


def test_a_layer_made_plain_again_takes_no_older_checkpoint(seed: int) -> None:
    model = convert(convert(nn.Sequential(nn.Linear(3, 2)), "sn"), "none")
    with pytest.raises(RuntimeError, match=r"Missing key.*0\.weight"):
        model.load_state_dict(older_state(nn.Sequential(spectral_norm(nn.Linear(3, 2)))))
    plain = nn.Sequential(nn.Linear(3, 2))
    model.load_state_dict(plain.state_dict())
    x = torch.randn(2, 3)
    torch.testing.assert_close(model(x), F.linear(x, plain[0].weight, plain[0].bias))
