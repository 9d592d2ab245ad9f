"""A checkpoint of the authors' MNIST networks, loaded into the released variant of the 3-layer CNN.

The files are ``checkpoint/*MNIST.t7`` of github.com/AntixK/mean-spectral-norm, each a dictionary of ``net``, a state
dict, ``acc``, the test accuracy in per cent, and ``epoch``. In the state dict:

==========================================  ==========================================================
``main.<i>.weight``, ``.bias``              convolutions (4 dimensions) and norms (1), by ascending i
``main.<i>.running_mean``, ``running_var``  of a norm; MSN uses the mean alone
``main.<i>.renorm``, ``fc.renorm``          one number, of layers with spectral normalisation
``fc.weight``, ``fc.bias``                  the classifier
==========================================  ==========================================================

The entries tell the norm of the network:

============  ===========  ====
``renorm``    norms        norm
============  ===========  ====
yes           yes          MSN
yes           no           SN
no            yes          BN
no            no           none
============  ===========  ====

The activation is not in the state dict: it is ReLU in files named ``Conv...`` and LeakyReLU(0.1) in the others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dynamics.models import build
from dynamics.models.parts.leaky_relu import LeakyReLU
from probes.storage.damage import reason
from probes.storage.seal import check_archive

SHAPES = ((16, 1, 5, 5), (32, 16, 3, 3), (32, 32, 4, 4))  # of the convolutions
_PLACE = re.compile(r"main\.(\d+)\.(\w+)")
_STATISTICS = ("weight", "bias", "running_mean", "running_var")


@dataclass(frozen=True)
class Checkpoint:
    """One file.

    Attributes:
        norm: ``none``, ``bn``, ``sn`` or ``msn``.
        activation: ``relu`` or ``leaky_relu``.
        accuracy: The stored test accuracy, 0 to 1.
        epoch: The last epoch before the file was stored, counted from 0.
        model: The network, in evaluation mode.
    """

    norm: str
    activation: str
    accuracy: float
    epoch: int
    model: nn.Module


def load_checkpoint(path: str | PathLike[str]) -> Checkpoint:
    """Return the network in a file of the authors. No code in the file is executed.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is no checkpoint of this layout. The message names the missing or misshapen tensor.
    """
    path = Path(path)
    stored = _read(path)
    state: dict[str, Tensor] = stored["net"]
    norm = norm_of(state)
    activation = "relu" if path.name.startswith("Conv") else "leaky_relu"
    kind = f"released_{norm}" if norm in {"sn", "msn"} else norm
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)  # the power iteration of a released norm starts from a random vector
        model = build("cnn3", kind, activation=nn.ReLU if activation == "relu" else LeakyReLU)
    fill(model, state, where=path.name)
    return Checkpoint(norm, activation, float(stored["acc"]) / 100, int(stored["epoch"]), model.eval())


def norm_of(state: Mapping[str, Tensor]) -> str:
    """Return the norm that a state dict belongs to: ``none``, ``bn``, ``sn`` or ``msn``."""
    spectral = any(name.endswith(".renorm") for name in state)
    centred = any(name.endswith(".running_mean") for name in state)
    return {(True, True): "msn", (True, False): "sn", (False, True): "bn", (False, False): "none"}[spectral, centred]


def fill(model: nn.Module, state: Mapping[str, Tensor], *, where: str) -> None:
    """Copy a state dict of the authors into the released 3-layer CNN of its norm.

    Raises:
        ValueError: A tensor is missing, or has another shape.
    """
    convolutions, norms = _places(state, where=where)
    blocks = list(model.get_submodule("features").children())
    for block, tensors in zip(blocks, convolutions, strict=True):
        _copy(block.get_submodule("conv"), tensors, where=where)
    for block, tensors in zip(blocks, norms, strict=bool(norms)):
        _copy_norm(block.get_submodule("norm"), tensors, where=where)
    classifier = {name.removeprefix("fc."): tensor for name, tensor in state.items() if name.startswith("fc.")}
    _copy(model.get_submodule("classifier"), classifier, where=f"{where}, fc")


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            check_archive(file)
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # the unpickler raises many kinds of errors on a foreign file
        raise ValueError(f"{path} cannot be read: expected a file of torch.save: {reason(error)}") from error
    keys = set(stored) if isinstance(stored, dict) else set()
    if not keys >= {"net", "acc", "epoch"}:
        raise ValueError(
            f"{path}: expected a dictionary of net, acc and epoch, got {sorted(keys) or type(stored).__name__}"
        )
    if not isinstance(stored["net"], Mapping) or not all(isinstance(one, Tensor) for one in stored["net"].values()):
        raise ValueError(f"{path}: expected tensors by name under net, got {type(stored['net']).__name__}")
    if not all(isinstance(stored[name], int | float) for name in ("acc", "epoch")):
        raise ValueError(f"{path}: expected numbers under acc and epoch")
    return stored


def _places(state: Mapping[str, Tensor], *, where: str) -> tuple[list[dict[str, Tensor]], list[dict[str, Tensor]]]:
    """Return the tensors of each convolution and of each norm, in the order of the forward."""
    parts: dict[int, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        if match := _PLACE.fullmatch(name):
            parts.setdefault(int(match[1]), {})[match[2]] = tensor
    ordered = [parts[place] for place in sorted(parts) if "weight" in parts[place]]
    convolutions = [tensors for tensors in ordered if tensors["weight"].ndim == 4]
    norms = [tensors for tensors in ordered if tensors["weight"].ndim == 1]
    shapes = tuple(tuple(tensors["weight"].shape) for tensors in convolutions)
    if shapes != SHAPES or len(norms) not in {0, len(SHAPES)}:
        raise ValueError(
            f"{where}: expected the authors' MNIST network, convolutions {SHAPES} and a norm for each or none, got "
            f"convolutions {shapes} and {len(norms)} norms."
        )
    return convolutions, norms


def _copy_norm(module: nn.Module, tensors: Mapping[str, Tensor], *, where: str) -> None:
    """Copy scale, shift and running moments. A released centring keeps its mean in the submodule ``centring``."""
    if isinstance(module, nn.BatchNorm2d):
        _copy(module, tensors, *_STATISTICS, where=where)
        return
    _copy(module, tensors, where=where)
    _copy(module.get_submodule("centring"), tensors, "running_mean", where=where)


@torch.no_grad()
def _copy(module: nn.Module, tensors: Mapping[str, Tensor], *names: str, where: str) -> None:
    for name in names or ("weight", "bias"):
        target = getattr(module, name)
        if name not in tensors or tensors[name].shape != target.shape:
            came = tuple(tensors[name].shape) if name in tensors else "none"
            raise ValueError(f"{where}: {type(module).__name__} needs a {name} of {tuple(target.shape)}, got {came}")
        target.copy_(tensors[name])
