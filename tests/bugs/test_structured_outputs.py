"""A layer that returns a dataclass had no activations, and no gap said so.

Found with layers that return their own dataclass in place of a tuple, a dict or transformers' ``ModelOutput``.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict, UserDict
from typing import NamedTuple

import pytest
import torch
from torch import nn

from probes.hooks.seen_tensor import first_tensor


@dataclasses.dataclass
class Output:
    logits: torch.Tensor
    state: torch.Tensor | None = None


@dataclasses.dataclass(slots=True)
class WithSlots:
    loss: torch.Tensor | None
    logits: torch.Tensor


class Tuple(NamedTuple):
    logits: torch.Tensor


def tensor_of(output):
    return first_tensor(output)


KINDS = {
    "dataclass": Output,
    "dataclass with slots": lambda x: WithSlots(None, x),
    "dataclass in a tuple": lambda x: (None, Output(x)),
    "named tuple": Tuple,
    "dict": lambda x: {"loss": None, "logits": x},
    "ordered dict": lambda x: OrderedDict(logits=x),
    "mapping": lambda x: UserDict(logits=x),
    "list": lambda x: [x],
}


class Block(nn.Module):
    def __init__(self, wrap):
        super().__init__()
        self.weight, self.wrap = nn.Parameter(torch.randn(3, 4)), wrap

    def forward(self, x):
        return self.wrap(x @ self.weight.t())


class Net(nn.Module):
    def __init__(self, wrap):
        super().__init__()
        self.block, self.head = Block(wrap), nn.Linear(3, 2)

    def forward(self, x):
        return self.head(tensor_of(self.block(x)))


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_tensor_of_a_structured_output_is_recorded(kind, record):
    model, x = Net(KINDS[kind]), torch.randn(8, 4)
    truth = (x @ model.block.weight.t()).double()
    found = record(model, [lambda m: m(x).square().mean()])
    assert found["block"]["activation_mean"] == pytest.approx(truth.mean().item(), rel=1e-5, abs=1e-7)
    assert found["block"]["activation_grad_var"] > 0
    assert found.gaps == []


def test_a_model_output_of_transformers_is_recorded(record):
    outputs = pytest.importorskip("transformers.modeling_outputs")
    model, x = Net(lambda x: outputs.BaseModelOutput(last_hidden_state=x)), torch.randn(8, 4)
    truth = (x @ model.block.weight.t()).double().mean().item()
    assert record(model, [lambda m: m(x).square().mean()])["block"]["activation_mean"] == pytest.approx(truth, rel=1e-5)


class Opaque:
    def __init__(self, logits):
        self.logits = logits


def test_an_output_without_a_tensor_that_is_found_is_a_gap(record):
    class Through(Net):
        def forward(self, x):
            return self.head(self.block(x).logits)

    found = record(Through(Opaque), [lambda m: m(torch.randn(8, 4)).square().mean()])
    assert found.of("activations") == [("block", "the output, a Opaque, has no tensor in it that is found")]
    assert found["head"]["activation_mean"] is not None


def test_an_output_that_contains_itself_is_a_gap_and_ends_no_training(record):
    class Through(Net):
        def forward(self, x):
            return self.head(self.block(x)[1])

    def wrap(x):
        endless: list = []
        endless += [endless, x]
        return endless

    found = record(Through(wrap), [lambda m: m(torch.randn(8, 4)).square().mean()])
    (gap,) = found.of("activation_moments")
    assert gap[0] == "block"
    assert gap[1].startswith("RecursionError")
