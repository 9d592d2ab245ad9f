"""One layer that cannot be measured costs its own numbers of one metric, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from probes import Probe
from probes.hooks.gradient_hooks import GradientHooks
from probes.hooks.optimizers.sources import optimizer_sources
from probes.hooks.outputs import OutputHooks
from probes.hooks.training_passes import TrainingPasses
from probes.measuring.changes import needed_before
from probes.measuring.measurement import measure
from probes.measuring.observation import Observation, Reading
from probes.measuring.parameter_values import parameter_value_sources
from probes.measuring.sources import DERIVED, in_turns, parameter_sources
from probes.metrics import METRICS, Metric
from probes.model.parameters import parameters_of
from probes.model.selection import select_layers
from probes.ranks import Ranks
from probes.recording.tables.dense_table import finished
from probes.schema import DENSE_TABLES, FEEDS, LAYERS, Column

VICTIM_WIDTH = 7  # channels of the layer that fails, and of no other
REDUCED = {name: metric for name, metric in METRICS.items() if metric.reducer is not None}


def make_network() -> nn.Sequential:
    norm = nn.utils.parametrizations.weight_norm
    return nn.Sequential(
        norm(nn.Conv2d(1, 4, 3, padding=1)),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        norm(nn.Conv2d(4, VICTIM_WIDTH, 3, padding=1)),
        nn.ReLU(),
        norm(nn.Conv2d(VICTIM_WIDTH, 5, 3)),
        nn.Flatten(),
        nn.Linear(5 * 16, 3),
    )


def report(what: str, failure: Exception) -> None:
    raise AssertionError(what) from failure


def observe(metrics=METRICS, *, solved=range(4)) -> Observation:
    """Return a step with two micro-batches, before and after the update, of the same network each time.

    The matrices of the first layers are solved, the others' norms come from power iteration.
    """
    torch.manual_seed(0)
    network, ranks = make_network(), Ranks(distributed=False)
    selection = select_layers(network)
    reducers = {each.reads: each.reducer for each in metrics.values() if each.reducer is not None}
    passes = TrainingPasses(network, lambda: None)
    outputs = OutputHooks(
        selection.root, selection.layers, reducers, ranks=ranks, report=report, shapes=True, passes=passes
    )
    parameters = parameters_of(network)
    micro_batches = GradientHooks(parameters, ranks=ranks, report=report)
    groups = [{"params": [each], "lr": 0.001 * (1 + place)} for place, each in enumerate(network.parameters())]
    optimizer = torch.optim.Adam(groups)
    outputs.start_step({*reducers, FEEDS})
    micro_batches.start_step(measured=True)
    for _ in range(2):
        network(torch.randn(6, 1, 6, 6)).square().sum().backward()
    sources = {**parameter_sources(ranks), **parameter_value_sources(ranks), **DERIVED, **in_turns(solved)}
    sources |= {**outputs.sources(), **micro_batches.sources(), **optimizer_sources([optimizer], ranks)}
    observation = Observation(
        0, {layer.index: layer for layer in selection.layers}, sources, {one.index: one for one in parameters}
    )
    for source in needed_before(list(metrics.values())):
        observation.read(source)
    optimizer.step()
    return observation


class Failures(list):
    """Take failures as the run does: metric, step and place."""

    def __call__(self, what: str, failure: Exception, step: int, /, **place: str) -> None:
        self.append((what, step, place, str(failure)))


def values(metrics, observation, fail) -> dict[tuple[str, str], np.ndarray]:
    """Return what each metric gives for each layer."""
    found = {}
    for result in measure(list(metrics), [observation], state={}, fail=fail):
        for index, column in zip(result.indices, finished(result).T, strict=True):
            (place,) = observation.place(result.metric.table, index).values()
            found[result.metric.name, place] = column[column != -1]
    return found


def same(one, other) -> None:
    assert one.keys() == other.keys()
    for key, numbers in one.items():
        np.testing.assert_array_equal(numbers, other[key], err_msg=str(key))


def equal(one, other) -> bool:
    if isinstance(one, tuple):
        return all(map(torch.equal, one, other))
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one is other


def failing_on(victim, compute):
    """Return a metric's function that raises if the victim is among its tensors."""

    def raises(tensors, *state):
        if any(equal(tensor, victim) for tensor in tensors):
            raise ArithmeticError("this layer has no such number")
        return compute(tensors, *state)

    return raises


def holders_of(victim, names, observation):
    """Yield metric and layer (or parameter) for each that reads this tensor: a weight is a parameter too."""
    for name in names:
        for index, tensor in observation.read(METRICS[name].reads).by_layer().items():
            if equal(tensor, victim):
                yield name, *observation.place(METRICS[name].table, index).values()


@pytest.mark.parametrize("name", [name for name in METRICS if name != "carried_gradient"])  # flags are alike
def test_a_layer_whose_metric_raises_costs_only_itself(name):
    observation = observe()
    whole = values(METRICS.values(), observation, Failures())
    reading = observation.read(METRICS[name].reads)
    place = len(reading.indices) // 2
    raises = failing_on(reading.tensors[place], METRICS[name].compute)
    same_function = [n for n, each in METRICS.items() if each.compute == METRICS[name].compute]
    changed = {n: replace(each, compute=raises) if n in same_function else each for n, each in METRICS.items()}
    touched = set(holders_of(reading.tensors[place], same_function, observation))
    for chosen in ([changed[name]], list(changed.values())):
        failures = Failures()
        found = values(chosen, observation, failures)
        names = {metric.name for metric in chosen}
        same(found, {key: each for key, each in whole.items() if key[0] in names and key not in touched})
        assert {(what, step, *place.values()) for what, step, place, _ in failures} == {
            (what, 0, layer) for what, layer in touched if what in names
        }


@pytest.mark.parametrize("part", ["reduce", "finish", "merge"])
@pytest.mark.parametrize("name", REDUCED)
def test_a_layer_whose_reducer_raises_costs_only_itself(name, part, request):
    reducer = METRICS[name].reducer
    if part == "finish":
        if reducer.finish is None:
            pytest.skip("this reducer has no second part")
        request.getfixturevalue("as_on_a_device")  # some have it only there
    begun, vectors = [], []

    def reduce(tensor, channel_dim):
        found = reducer.reduce(tensor, channel_dim)
        if tensor.shape[1] == VICTIM_WIDTH:
            if part == "reduce":
                raise ArithmeticError("this layer cannot be reduced")
            begun.append(found)
            vectors.append(found if isinstance(found, torch.Tensor) else reducer.finish([found])[0])
        return found

    def finish(found):
        if part == "finish" and any(each is victim for each in found for victim in begun):
            raise ArithmeticError("this layer cannot be finished")
        return reducer.finish(found)

    def merge(parts):
        if part == "merge" and any(torch.equal(parts[0], vector) for vector in vectors):
            raise ArithmeticError("this layer cannot be merged")
        return reducer.merge(parts)

    raising = replace(reducer, reduce=reduce, merge=merge, finish=finish if reducer.finish else None)
    changed = {n: replace(m, reducer=raising) if m.reducer is reducer else m for n, m in METRICS.items()}
    failures = Failures()
    observation = observe(changed)
    found = values(changed.values(), observation, failures)
    whole = values(METRICS.values(), observe(), Failures())
    victim = "5" if reducer.of == "input" else "3"  # the layer that is given what the other returns
    touched = {(n, victim) for n, metric in METRICS.items() if metric.reducer is reducer}
    same(found, {key: each for key, each in whole.items() if key not in touched})
    assert {(what, step, place["layer"]) for what, step, place, _ in failures} == {(n, 0, victim) for n, _ in touched}


class Wrapped(torch.Tensor):
    """A tensor that says of itself that it wraps others, as packed tensors do."""

    def __tensor_flatten__(self):
        return ["codes"], None


@pytest.mark.parametrize("source", ["effective_weight", "weight", "matrices", "spectra", "weight_histogram", "bias"])
def test_a_layer_without_values_costs_only_itself(source):
    network = make_network()
    network[7] = nn.Linear(80, 3, device="meta")
    layers = {layer.index: layer for layer in select_layers(network).layers}
    reading = Observation(0, layers, {**parameter_sources(Ranks(distributed=False)), **DERIVED}).read(source)
    assert {layers[index].name: str(why) for index, why in reading.failures.items()} == {
        "7": "it is on device meta, where tensors have no values."
    }
    assert {"0", "3", "5"} <= {layers[index].name for index in reading.indices}


@pytest.mark.parametrize("source", ["gradient", "gradient_histogram"])
def test_a_gradient_that_cannot_be_read_costs_only_itself(source):
    network = make_network()
    for parameter in network.parameters():
        parameter.grad = torch.randn_like(parameter)
    network[7].weight.grad = network[7].weight.grad.as_subclass(Wrapped)
    layers = {layer.index: layer for layer in select_layers(network).layers}
    reading = Observation(0, layers, {**parameter_sources(Ranks(distributed=False)), **DERIVED}).read(source)
    assert [layers[index].name for index in reading.failures] == ["7"]
    assert [layers[index].name for index in reading.indices] == ["0", "1", "3", "5"]


def test_tensors_on_two_devices_are_computed_apart():
    calls = []

    def total(tensors):
        calls.append(len(tensors))
        return torch.stack([tensor.sum() for tensor in tensors])[None]

    def spread(_observation):
        return Reading([0, 2, 3], [torch.ones(2), torch.ones(3, device="meta"), torch.ones(4)])

    column = Column("total", "1", "sum(x)", "any")
    metric = Metric("total", "own", "spread", total, (column,))
    observation = Observation(0, observe().layers, {"spread": spread})
    failures = Failures()
    results = measure([metric], [observation], state={}, fail=failures)
    assert [(result.indices, result.values.device.type) for result in results] == [([0, 3], "cpu"), ([2], "meta")]
    assert results[0].values.tolist() == [[2, 4]]
    assert (calls, failures) == ([2, 1], [])


def test_what_raises_for_every_layer_alike_is_told_once():
    def never(_tensors):
        raise ArithmeticError("never")

    failures = Failures()
    broken = replace(METRICS["weight_moments"], compute=never)
    values([broken], observe(), failures)
    assert failures == [("weight_moments", 0, {}, "never")]


def train(store, run, every) -> None:
    torch.manual_seed(0)
    network = make_network()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    with Probe(network, optimizer, store=store, run=run, every=every, metrics=list(every), strict=True):
        for _ in range(3):
            optimizer.zero_grad()
            for _ in range(2):
                network(torch.randn(6, 1, 6, 6)).square().sum().backward()
            optimizer.step()


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    store = tmp_path_factory.mktemp("everything")
    train(store, "all", dict.fromkeys(METRICS, 1))
    return store


def exact(cell):
    return tuple(cell) if isinstance(cell, np.ndarray) else cell


def plain(table, columns):
    """Return some columns in the order of steps and layers, their words no categories."""
    words = table.select_dtypes("category").columns
    ordered = table.astype(dict.fromkeys(words, object))[columns].map(exact)
    keys = [key for key in ("step", "layer", "parameter", "tensor", "view") if key in columns]
    return ordered.sort_values(keys).reset_index(drop=True)


GROUPS = sorted({metric.group for metric in METRICS.values()} - METRICS.keys())


@pytest.mark.parametrize("name", [*METRICS, *GROUPS])
def test_alone_a_metric_gives_the_numbers_that_it_gives_among_all(name, everything, tmp_path):
    train(tmp_path, "alone", {name: 1})
    if name in METRICS and METRICS[name].reads.endswith("unsolved_matrices"):  # too dear for a spectrum: here is none
        assert not (tmp_path / LAYERS).exists()
        return
    recorded = [metric for metric in METRICS.values() if name in (metric.name, metric.group)]
    for table in {metric.table for metric in recorded}:
        alone = pd.read_parquet(tmp_path / table)
        among = pd.read_parquet(everything / table)
        if table in DENSE_TABLES:
            own = dict.fromkeys(c.name for metric in recorded if metric.table == table for c in metric.columns)
            columns = ["step", "layer" if table == LAYERS else "parameter", *own]
            among = among[columns].dropna(how="all", subset=columns[2:])
            among = among.astype({name: alone[name].dtype for name in own})  # a count is a float beside a null
        else:
            column = "tensor" if table == "histograms" else "view"
            labels = {metric.label for metric in recorded}
            columns = [each for each in alone.columns if each != "run"]
            among = among[among[column].isin(labels)]
        pd.testing.assert_frame_equal(plain(alone, columns), plain(among, columns), check_exact=True)
