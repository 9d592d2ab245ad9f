"""The interface of an extractor: features and logits of images, and a name that stands in each score's name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn

from dynamics.norms.eval_mode import evaluating

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import Tensor


class Features(NamedTuple):
    """Features and logits of n images.

    Attributes:
        vectors: Penultimate layer, shape ``(n, d)``: for the distances.
        logits: Shape ``(n, classes)``: for the inception score.
    """

    vectors: Tensor
    logits: Tensor


class Extractor(nn.Module, ABC):
    """A classifier that scores are taken with.

    Attributes:
        name: Stands in the name of every score taken with it: ``fid_resnet20``.
    """

    name: str

    @abstractmethod
    def forward(self, images: Tensor) -> Features:
        """Return features and logits of images ``(n, 1 or 3, h, w)``, float in 0..1."""

    def fingerprint(self) -> str:
        """Return 12 hex digits of the SHA-256 of all parameters and buffers: which weights a score was taken with."""
        digest = sha256()
        for key, tensor in sorted(self.state_dict().items()):
            digest.update(key.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:12]


def extract(extractor: Extractor, images: Tensor, *, batch_size: int = 250) -> Iterator[Features]:
    """Yield the features of 8-bit images, batch by batch.

    Images are taken as an image file would hold them, so that real and generated ones differ in nothing but content.

    Args:
        extractor: Held in evaluation mode while a batch is in it; afterwards each of its modules is as it was.
        images: uint8, shape ``(n, channels, h, w)``.
        batch_size: Images that are in the extractor at once.

    Raises:
        ValueError: The images are not uint8.
    """
    if images.dtype != torch.uint8:
        raise ValueError(f"images of {images.dtype}: expected uint8, 0 to 255; see samples.to_bytes.")
    device = next(extractor.parameters()).device
    for batch in images.split(batch_size):
        with evaluating(extractor), torch.no_grad():
            features = extractor(batch.to(device).float() / 255)
        yield features


def read_weights(path: Path) -> Mapping[str, Any]:
    """Return the state dict in a file of ``torch.save``: its content, or the entry ``state_dict`` of it.

    Raises:
        ValueError: The file cannot be read, or holds something else.
    """
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a file that is not torch's is answered with whatever its unpickler stumbled over
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"extractor weights {path} cannot be read ({reason}).") from error
    weights = saved.get("state_dict", saved) if isinstance(saved, Mapping) else saved
    if not isinstance(weights, Mapping):
        raise ValueError(f"extractor weights {path}: expected a state dict, got {type(weights).__name__}.")
    return weights


def load_weights(module: nn.Module, weights: Mapping[str, Any], path: Path) -> None:
    """Copy a state dict into a module, or refuse it in one line.

    Raises:
        ValueError: A tensor is missing or has another shape; unknown ones are unknown layers.
    """
    expected = module.state_dict()
    ignored = ("num_batches_tracked",)  # written by newer torch, absent in older files, used by no evaluation
    wrong = [
        key
        for key in expected
        if not key.endswith(ignored) and getattr(weights.get(key), "shape", None) != expected[key].shape
    ]
    unknown = [key for key in weights if key not in expected]
    if wrong or unknown:
        raise ValueError(
            f"{path}: not the weights of {type(module).__name__}: {len(wrong)} of {len(expected)} tensors missing or "
            f"of another shape (first: {wrong[:1]}), {len(unknown)} unknown (first: {unknown[:1]})."
        )
    module.load_state_dict(dict(weights), strict=False)
