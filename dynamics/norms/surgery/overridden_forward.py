"""Subclasses of torch's layers and norms: whether they compute as torch's class, and which modules a norm adds."""

from __future__ import annotations

import copy
from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dynamics.norms.channel_bias import ChannelBias
from dynamics.norms.mean_centring import MeanCentring
from dynamics.norms.torch_internals import FORWARD_METHODS, BatchNorm

NORM_MODULES = (
    *(nn.SyncBatchNorm, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, BatchNorm),
    *(MeanCentring, ChannelBias),
)
"""The norms that networks are converted between. The first class that matches a module decides its kind."""
_SPACE = {nn.BatchNorm1d: (), nn.BatchNorm3d: (3, 3, 3)}


def computes_as(module: nn.Module, kinds: tuple[type[nn.Module], ...]) -> bool:
    """Return whether a module computes by the methods of the first class in ``kinds`` that it is an instance of."""
    kind = next(kind for kind in kinds if isinstance(module, kind))
    same = all(getattr(type(module), name, None) is getattr(kind, name, None) for name in FORWARD_METHODS)
    return same and not any(name in vars(module) for name in FORWARD_METHODS)


def modules_behind(norm: nn.Module) -> OrderedDict[str, nn.Module] | None:
    """Return the modules that a norm's forward calls after its normalisation; None if they cannot be determined.

    torch's own norms, and subclasses that do not override the forward, call no such modules. A batch norm subclass with
    its own forward may have children, as timm's BatchNormAct2d has ``drop`` and ``act``. The children are returned if,
    in training and evaluation, the subclass maps random numbers to the output of batch norm followed by the children. A
    synchronised norm is tested only in evaluation, because in training it would wait for other processes.
    """
    if computes_as(norm, NORM_MODULES):
        return OrderedDict()
    behind = OrderedDict(norm.named_children())
    if not behind or not isinstance(norm, BatchNorm) or norm.running_mean is None or norm.running_mean.is_meta:
        return None
    modes = (False,) if isinstance(norm, nn.SyncBatchNorm) else (False, True)
    return behind if all(_adds_no_more_than(norm, behind, training=mode) for mode in modes) else None


@torch.no_grad()
def _adds_no_more_than(norm: BatchNorm, behind: OrderedDict[str, nn.Module], *, training: bool) -> bool:
    """Return whether the norm's output equals batch norm followed by ``behind``, which may hold random modules."""
    norm, added = copy.deepcopy(norm).train(training), copy.deepcopy(nn.Sequential(behind)).train(training)
    x = _example(norm)
    normalised = _batch_norm(norm, x, training=training)
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(0)
        expected = added(normalised)
        torch.manual_seed(0)
        try:
            found = norm(x)
        except Exception:  # any error means that its forward needs more than this input
            return False
    alike = isinstance(found, Tensor) and found.shape == expected.shape
    return alike and torch.allclose(found, expected, rtol=1e-4, atol=1e-4)


def _batch_norm(norm: BatchNorm, x: Tensor, *, training: bool) -> Tensor:
    """Return Eq. 1 of x with the norm's settings. The norm's running moments are not changed."""
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None
    assert variance is not None
    return F.batch_norm(x, mean.clone(), variance.clone(), norm.weight, norm.bias, training, eps=norm.eps)


def _example(norm: BatchNorm) -> Tensor:
    """Return random numbers of a shape that the norm accepts, ``(N, C, ...)``. The global generator is not changed."""
    space = next((size for kind, size in _SPACE.items() if isinstance(norm, kind)), (3, 3))
    numbers = torch.randn(4, norm.num_features, *space, generator=torch.Generator().manual_seed(0), device="cpu")
    assert norm.running_mean is not None
    return numbers.to(norm.running_mean)
