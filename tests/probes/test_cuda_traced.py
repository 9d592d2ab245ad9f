"""The metrics on CUDA tensors that have a device and no values, on any machine: no look at a value, one device.

CUDA is also the default device here, as in a program that calls ``torch.set_default_device("cuda")``.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from probes.hooks.optimizers.sources import optimizer_sources
from probes.hooks.outputs import OutputHooks
from probes.hooks.training_passes import TrainingPasses
from probes.measuring.measurement import measure
from probes.measuring.observation import Observation
from probes.measuring.parameter_values import parameter_value_sources
from probes.measuring.sources import DERIVED, in_turns, parameter_sources
from probes.metrics import METRICS, metric
from probes.model.parameters import parameters_of
from probes.model.selection import select_layers
from probes.ranks import Ranks
from probes.schema import Column

pytestmark = pytest.mark.skipif(not torch.backends.cuda.is_built(), reason="needs a torch that knows CUDA")


def _initialises() -> bool:
    """Return whether a weight without values is initialised where no driver is, as torch does from 2.10 on."""
    with FakeTensorMode(), torch.device("cuda", 7):
        try:
            nn.Linear(1, 1)
        except RuntimeError:  # torch.AcceleratorError
            return False
    return True


CUDA = torch.device("cuda", 7)  # what caches keep by device may not serve a real one
NO_VALUES = FakeTensorMode()  # one for all tests, as what caches keep belongs to it
DRIVERLESS = torch.cuda.is_available() or _initialises()
DRAWS = {"operator_norm", "power_iteration"}  # from a generator of the device, which cannot be had without one
DRAWS |= {"gradient_spectral_norm", "update_spectral_norm"}
REDUCED_BACKWARD = {name for name, each in METRICS.items() if each.reducer and each.reducer.of != "output"}
HOOKED = {"grad_noise", "carried_gradient", "feeds_nonlinearity"}  # by hooks in a backward pass, or on its graph
ON_HOST = {"layer_state"}  # of modules and groups, not of tensors
OF_LAYERS = [name for name in METRICS if name not in DRAWS | REDUCED_BACKWARD | ON_HOST | HOOKED]


def fail(name: str, failure: Exception, step: int, /, **place: str) -> None:
    raise AssertionError(f"{name}, step {step}, {place}: {failure}") from failure


def report(name: str, failure: Exception) -> None:
    fail(name, failure, -1)


@pytest.fixture
def network() -> Iterator[nn.Module]:
    """Return a network on a GPU, without values."""
    if not DRIVERLESS:
        pytest.skip("this torch asks the driver of CUDA for tensors without values too")
    with NO_VALUES, CUDA:
        yield nn.Sequential(
            nn.Conv2d(3, 8, 3),
            nn.BatchNorm2d(8),
            nn.ReLU(inplace=True),
            nn.utils.parametrizations.spectral_norm(nn.Conv2d(8, 70, 5)),
            nn.Flatten(),
            nn.Linear(70 * 2 * 2, 4),
        )


def observe(network: nn.Module, metrics: list) -> list:
    """Return what metrics give in the second of two steps, in which nothing is computed.

    A source that new hooks offer goes into ``sources``.
    """
    selection, ranks = select_layers(network), Ranks(distributed=False)
    layers = selection.layers
    reducers = {each.reads: each.reducer for each in metrics if each.reducer is not None}
    state = {p: dict.fromkeys(("exp_avg", "exp_avg_sq"), torch.ones_like(p)) for p in network.parameters()}
    groups = [{"params": list(network.parameters()), "lr": torch.ones(())}]
    optimizer = SimpleNamespace(param_groups=groups, state=state)
    passes, state = TrainingPasses(selection.root, lambda: None), {}
    outputs = OutputHooks(selection.root, layers, reducers, ranks=ranks, report=report, passes=passes)
    for step in range(2):
        outputs.start_step(set(reducers))
        network(torch.randn(5, 3, 8, 8))
        for parameter in network.parameters():
            parameter.grad = torch.randn_like(parameter)
        sources = {**parameter_sources(ranks, gradient_scale=torch.ones(())), **DERIVED, **outputs.sources()}
        sources |= parameter_value_sources(ranks)
        sources |= optimizer_sources([optimizer], ranks)
        if any(each.reads.endswith("unsolved_matrices") for each in metrics):
            sources |= in_turns(())
        parameters = {one.index: one for one in parameters_of(network)}
        observation = Observation(step, {layer.index: layer for layer in layers}, sources, parameters)
        observation.read("before")
        results = measure(metrics, [observation], state=state, fail=fail)
    outputs.remove()
    passes.remove()
    return results


@pytest.mark.parametrize("name", OF_LAYERS)
def test_a_metric_stays_on_the_gpu_and_looks_at_no_value(name, network):
    results = observe(network, [METRICS[name]])
    assert [(result.values.device.type, result.metric.name) for result in results] == [("cuda", name)]
    assert results[0].indices


@pytest.mark.parametrize("name", sorted(REDUCED_BACKWARD))
def test_a_gradient_at_an_output_is_reduced_on_the_gpu(name, network):
    each = METRICS[name]
    vectors = [each.reducer.reduce(torch.randn(5, 8, 6, 6), 1) for _ in range(2)]
    if not all(isinstance(vector, torch.Tensor) for vector in vectors):
        vectors = each.reducer.finish(vectors)
    merged = each.reducer.merge(torch.stack(list(vectors)))
    assert each.compute([merged, *vectors]).device.type == "cuda"


def own(compute):
    return metric(reads="weight", columns=[Column("own", "1", "own")])(compute)


def test_a_metric_that_looks_at_a_value_is_noticed(network):
    with pytest.raises(AssertionError) as raised:
        observe(network, [own(lambda weights: torch.tensor([weight.sum().item() for weight in weights]))])
    assert isinstance(raised.value.__cause__, DataDependentOutputException)


def test_a_metric_that_mixes_devices_is_noticed(network):
    with pytest.raises(AssertionError, match=r"two (different )?devices"):
        observe(network, [own(lambda weights: torch.stack([w.sum() for w in weights]) + torch.ones(4, device="cpu"))])
