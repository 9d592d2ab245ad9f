"""Is training with a probe, every metric at every step, bit for bit the training without?

    python tests/gpu/silence.py --device cuda

For each norm: two bare trainings and a probed one, from the same seed. Compared are losses, parameters, buffers, the
optimizer's state and the random generators of CPU and GPU. Some of CUDA's algorithms add in any order, so that two
bare trainings may differ; the probe must be silent wherever they do not. Each training is also made under
`torch.use_deterministic_algorithms`.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
from part import Part, recorded
from torch import Tensor, nn
from torch.nn import functional as F

from dynamics.models import build
from probes import Probe
from probes.metrics import METRICS

NORMS = ("none", "bn", "sn", "msn")
MODES = ("default", "deterministic")
SIZES = {"cnn3": (64, 1, 28, 28), "vgg7": (64, 3, 32, 32)}  # of a batch
TINY = {"cnn3": (6, 1, 8, 8)}
STEPS, TINY_STEPS = 12, 3
CHANCES = 3  # further bare trainings that may differ, before the probe is said to have changed something

Trained = dict[str, Tensor]  # all that a training leaves behind, on the CPU
Probing = Callable[[nn.Module, torch.optim.Optimizer], Probe]


def train(
    norm: str,
    network: str,
    shape: tuple[int, ...],
    *,
    device: torch.device,
    steps: int,
    probing: Probing | None = None,
    disturb: Callable[[], object] = lambda: None,
) -> Trained:
    """Train from a fixed seed; dropout draws from the device's generator, the images from the CPU's."""
    torch.manual_seed(1)
    body = build(network, norm, in_channels=shape[1], image_size=shape[2])
    model = nn.Sequential(body, nn.Dropout(0.2)).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    labels = torch.arange(shape[0], device=device) % 10
    probe = probing(model, optimizer) if probing else None
    losses = []
    for _ in range(steps):
        loss = F.cross_entropy(model(torch.randn(shape).to(device)), labels)
        optimizer.zero_grad()
        loss.backward()
        disturb()
        optimizer.step()
        losses.append(loss.detach())
        if probe is not None:
            probe.log(loss=loss)
    if probe is not None:
        probe.close()
    return left_behind(losses, model, optimizer)


def left_behind(losses: list[Tensor], model: nn.Module, optimizer: torch.optim.Optimizer) -> Trained:
    """Return losses, model, optimizer and random generators, by name."""
    parts = {f"loss {step}": loss for step, loss in enumerate(losses)}
    parts |= {f"model {name}": tensor for name, tensor in model.state_dict().items()}
    for number, state in optimizer.state_dict()["state"].items():
        parts |= {f"optimizer {number} {name}": torch.as_tensor(value) for name, value in state.items()}
    parts["random state of the CPU"] = torch.get_rng_state()
    if losses[0].is_cuda:
        parts["random state of the GPU"] = torch.cuda.get_rng_state(losses[0].device)
    return {name: part.detach().cpu().clone() for name, part in parts.items()}


def differences(one: Trained, other: Trained) -> dict[str, Any]:
    """Return what differs by a bit, the first of them by name, and by how much at most; nothing if all is equal."""
    assert list(one) == list(other)
    unlike = [name for name, part in one.items() if not torch.equal(bits(part), bits(other[name]))]
    if not unlike:
        return {}
    largest = max(float((one[name].double() - other[name].double()).abs().max()) for name in unlike)
    return {"unlike": len(unlike), "of": len(one), "first": unlike[:5], "largest": repr(largest)}


def bits(tensor: Tensor) -> Tensor:
    """Return the bytes of a tensor: NaN is like itself, and 0 not like -0."""
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def compare(train_once: Callable[..., Trained], store: Path, *, steps: int) -> dict[str, Any]:
    """Train twice without a probe and once with it; return what differs, and what the probe had to say."""
    probing = partial(Probe, store=store, run="probed", every=dict.fromkeys(METRICS, 1))
    with warnings.catch_warnings(record=True) as usual:
        warnings.simplefilter("always")
        bare, again = train_once(), train_once()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        began = time.monotonic()
        probed = train_once(probing=probing)
        seconds = time.monotonic() - began
    bare_differ, probed_differ = differences(bare, again), differences(bare, probed)
    for _ in range(CHANCES if probed_differ else 0):  # two bare runs may be equal by chance
        bare_differ = bare_differ or differences(bare, train_once())
    return {
        "bare_runs_equal": not bare_differ,
        "silent": None if bare_differ else not probed_differ,  # None: two bare runs differ, so that nothing can be said
        "bare_differ": bare_differ,
        "probed_differ": probed_differ,
        "steps": steps,
        **recorded(store),
        "warned": sorted({str(one.message)[:300] for one in caught} - {str(one.message)[:300] for one in usual}),
        "probed_seconds": round(seconds, 2),
    }


def complaints(outcome: dict[str, Any]) -> Iterator[str]:
    """Yield what is wrong with an outcome: a probe that recorded nothing is silent, too."""
    if outcome["silent"] is False:
        yield f"not silent: {outcome['probed_differ']}"
    if outcome["recorded_steps"] != outcome["steps"]:
        yield f"{outcome['recorded_steps']} of {outcome['steps']} steps recorded"
    if outcome["gaps"]:
        yield f"gaps: {outcome['gaps'][0]}"


@contextmanager
def algorithms(mode: str) -> Iterator[None]:
    """Let torch choose its algorithms, or ask it for those that always add in the same order."""
    torch.use_deterministic_algorithms(mode == "deterministic", warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


def notices_a_disturbance(train_once: Callable[..., Trained], device: torch.device) -> bool:
    """Whether a single number drawn from the device's generator is seen."""
    return bool(differences(train_once(), train_once(disturb=lambda: torch.rand(1, device=device))))


def main() -> int:
    """Compare the trainings of each norm."""
    part = Part(__doc__)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # deterministic algorithms ask for it
    sizes, steps = (TINY, TINY_STEPS) if part.tiny else (SIZES, STEPS)
    failures, outcomes = [], {norm: {} for norm in NORMS}
    for network, mode, norm in product(sizes, MODES, NORMS):
        train_once = partial(train, norm, network, sizes[network], device=part.device, steps=steps)
        name = f"{network} {mode}"
        with tempfile.TemporaryDirectory() as folder, algorithms(mode):
            try:
                outcomes[norm][name] = outcome = compare(train_once, Path(folder), steps=steps)
                failures += [f"{norm}, {name}: {complaint}" for complaint in complaints(outcome)]
            except Exception as error:  # the other norms go on
                outcomes[norm][name] = {"silent": False, "error": f"{type(error).__name__}: {error}"[:2000]}
                failures.append(f"{norm}, {name}: {outcomes[norm][name]['error']}"[:300])
        part.keep(norms=outcomes)
    noticed = notices_a_disturbance(
        partial(train, "bn", "cnn3", sizes["cnn3"], device=part.device, steps=steps), part.device
    )
    part.keep(notices_a_disturbance=noticed)
    if not noticed:
        failures.append("the comparison does not notice a moved random generator")
    every = [outcome for named in outcomes.values() for outcome in named.values()]
    silent, equal = (sum(outcome.get(key) is True for outcome in every) for key in ("silent", "bare_runs_equal"))
    return part.end(failures, headline=f"silent in {silent} of the {equal} of {len(every)} where bare runs are equal")


if __name__ == "__main__":
    sys.exit(main())
