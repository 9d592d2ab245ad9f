"""Training under a probe is bitwise the training without one, through the project's own loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dynamics.classifier.training import Observer, train
from dynamics.data.batches import TrainingBatches
from dynamics.data.sources import load_data
from dynamics.models import build
from probes import Probe

STEPS_AN_EPOCH, EPOCHS = 4, 2


class Trained:
    """All that training leaves behind: losses, state and the random stream."""

    def __init__(self, losses: list[torch.Tensor], model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.losses = losses
        self.model = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        self.moments = {
            f"{number}.{name}": torch.as_tensor(value)
            for number, state in optimizer.state_dict()["state"].items()
            for name, value in state.items()
        }
        self.random = torch.get_rng_state()

    def differences(self, other: Trained) -> list[str]:
        """Return what differs by a single bit."""
        found = [
            f"loss {step}" for step, (a, b) in enumerate(zip(self.losses, other.losses, strict=True)) if not same(a, b)
        ]
        for kind in ("model", "moments"):
            mine, theirs = getattr(self, kind), getattr(other, kind)
            assert list(mine) == list(theirs)
            found += [f"{kind} {name}" for name in mine if not same(mine[name], theirs[name])]
        return found + ([] if same(self.random, other.random) else ["random state"])


def same(first: torch.Tensor, second: torch.Tensor) -> bool:
    return torch.equal(first, second)


def trained(norm: str, data_name: str, probing: Any = None) -> Trained:
    """Train the 3-layer CNN with dropout before its classifier, so that the random stream matters."""
    data = load_data(data_name)
    batches = TrainingBatches(data.train, mean=data.mean, std=data.std, batch_size=16, augmentation="crop")
    torch.manual_seed(0)
    network = build("cnn3", norm, in_channels=1, image_size=data.image_size, num_classes=data.num_classes)
    model = nn.Sequential(network.features, nn.Flatten(), nn.Dropout(0.2), network.classifier)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    probe = None if probing is None else probing(model, optimizer)
    losses = [step.loss for step in train(model, optimizer, batches, epochs=EPOCHS, probe=probe)]
    result = Trained(losses, model, optimizer)
    if isinstance(probe, Probe):
        probe.close()
    return result


@pytest.mark.parametrize("norm", ["none", "bn", "sn", "msn"])
def test_a_probe_at_every_step_changes_no_bit(norm: str, tiny_data: str, tmp_path: Path) -> None:
    def probing(model: nn.Module, optimizer: torch.optim.Optimizer) -> Observer:
        return Probe(model, optimizer, store=tmp_path, run="probed", every=1, strict=True)

    assert trained(norm, tiny_data).differences(trained(norm, tiny_data, probing)) == []


class Listener:
    """Hears of every step and does nothing: the observer that the disturbing ones are made from."""

    def __init__(self, model: nn.Module, _optimizer: torch.optim.Optimizer) -> None:
        self.model, self.epoch = model, None

    def log(self, **_scalars: Any) -> None:
        self.disturb()

    def disturb(self) -> None:
        pass


class DrawsANumber(Listener):
    def disturb(self) -> None:
        torch.rand(())


class ReadsAWeight(Listener):
    """Reads a weight as one does: under a spectral norm in training mode that is one power iteration more."""

    def disturb(self) -> None:
        _ = self.model[0].block2.conv.weight


class NudgesAGradient(Listener):
    def disturb(self) -> None:
        self.model[0].block1.conv.bias.grad[0] *= 1.001


@pytest.mark.parametrize(
    ("disturbing", "seen"),
    [(DrawsANumber, "random state"), (ReadsAWeight, "loss 2"), (NudgesAGradient, "moments 0.exp_avg")],
)
def test_the_check_sees_a_disturbance(disturbing: type[Listener], seen: str, tiny_data: str) -> None:
    found = trained("sn", tiny_data).differences(trained("sn", tiny_data, disturbing))
    assert seen in found


def test_the_check_finds_nothing_where_nothing_is(tiny_data: str) -> None:
    assert trained("sn", tiny_data).differences(trained("sn", tiny_data, Listener)) == []
