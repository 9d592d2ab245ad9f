from __future__ import annotations

import copy
from itertools import islice
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dynamics.classifier.training import train
from dynamics.data.batches import TrainingBatches
from dynamics.data.images import DataSet
from dynamics.data.sources import load_data
from dynamics.models import build


@pytest.fixture
def data(tiny_data: str) -> DataSet:
    return load_data(tiny_data)


def batches(data: DataSet, *, size: int = 16) -> TrainingBatches:
    return TrainingBatches(data.train, mean=data.mean, std=data.std, batch_size=size, augmentation="crop")


def model_and_optimizer(norm: str, data: DataSet) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = build("cnn3", norm, in_channels=1, image_size=data.image_size, num_classes=data.num_classes)
    return model, torch.optim.Adam(model.parameters(), lr=0.003)


def same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    return list(first) == list(second) and all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("norm", ["bn", "msn"])
def test_the_loop_is_the_plain_loop_bit_for_bit(data: DataSet, norm: str) -> None:
    model, optimizer = model_and_optimizer(norm, data)
    losses = [float(step.loss) for step in train(model, optimizer, batches(data), epochs=2)]
    plain, plain_optimizer = model_and_optimizer(norm, data)
    plain_losses = []
    for epoch in range(2):
        for images, labels in batches(data).epoch(epoch):
            plain_optimizer.zero_grad()
            loss = F.cross_entropy(plain(images), labels)
            loss.backward()
            plain_optimizer.step()
            plain_losses.append(loss.item())
    assert losses == plain_losses
    assert same(model.state_dict(), plain.state_dict())


def test_training_learns(data: DataSet) -> None:
    model, optimizer = model_and_optimizer("msn", data)
    steps = list(train(model, optimizer, batches(data), epochs=12))
    assert float(steps[-1].accuracy) > 0.9
    assert float(steps[-1].loss) < 0.5 * float(steps[0].loss)


def test_steps_and_epochs_are_counted(data: DataSet) -> None:
    model, optimizer = model_and_optimizer("none", data)
    steps = list(train(model, optimizer, batches(data), epochs=2))
    assert [(step.step, step.epoch) for step in steps] == [(i, i // 4) for i in range(8)]


@pytest.mark.parametrize("stop", [3, 4, 5])
def test_a_loop_gone_into_at_any_step_goes_on_bit_for_bit(data: DataSet, stop: int) -> None:
    whole, optimizer = model_and_optimizer("msn", data)
    losses = [float(step.loss) for step in train(whole, optimizer, batches(data), epochs=2)]
    model, optimizer = model_and_optimizer("msn", data)
    for _ in islice(train(model, optimizer, batches(data), epochs=2), stop):
        pass
    rest = [float(step.loss) for step in train(model, optimizer, batches(data), epochs=2, start=stop)]
    assert rest == losses[stop:]
    assert same(model.state_dict(), whole.state_dict())


def test_micro_batches_add_up_to_the_batch(data: DataSet) -> None:
    model, _ = model_and_optimizer("none", data)
    whole, parted = model.double(), copy.deepcopy(model).double()
    losses = []
    for network, parts in ((whole, 1), (parted, 4)):
        optimizer = torch.optim.SGD(network.parameters(), lr=0.0)
        losses.append(float(next(train(_Double(network), optimizer, batches(data), epochs=1, accumulate=parts)).loss))
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    for one, other in zip(whole.parameters(), parted.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-10, atol=1e-12)


class _Double(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.model(images.double())


def test_bfloat16_computes_in_bfloat16_and_keeps_float32_weights(data: DataSet) -> None:
    model, optimizer = model_and_optimizer("msn", data)
    types = []
    model.features.block2.conv.register_forward_hook(lambda _m, _i, output: types.append(output.dtype))
    step = next(train(model, optimizer, batches(data), epochs=1, autocast=torch.bfloat16))
    assert types == [torch.bfloat16]
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert torch.isfinite(step.loss)
