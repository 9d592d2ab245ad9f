"""The interface of an extractor: features and logits of images, and a name that is part of each score's name."""

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
        vectors: Output of the penultimate layer, ``(n, d)``, for the distances.
        logits: ``(n, classes)``, for the inception score.
    """

    vectors: Tensor
    logits: Tensor


class Extractor(nn.Module, ABC):
    """A classifier whose features and logits are scored.

    Attributes:
        name: Part of the name of every score that uses this extractor: ``fid_resnet20``.
    """

    name: str

    @abstractmethod
    def forward(self, images: Tensor) -> Features:
        """Return features and logits of images ``(n, 1 or 3, h, w)``, float in 0..1."""

    def fingerprint(self) -> str:
        """Return 12 hex digits of the SHA-256 of all parameters and buffers. They identify the weights of a score."""
        digest = sha256()
        for key, tensor in sorted(self.state_dict().items()):
            digest.update(key.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:12]


def extract(extractor: Extractor, images: Tensor, *, batch_size: int = 250) -> Iterator[Features]:
    """Yield the features of 8-bit images, batch by batch.

    Real and generated images both have 8 bits, as in an image file, so that only their content differs.

    Args:
        extractor: Put into evaluation mode for each batch; afterwards each of its modules has its former mode.
        images: uint8, shape ``(n, channels, h, w)``.
        batch_size: Images in one forward.

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
    """Return the state dict in a file of ``torch.save``: the content, or its entry ``state_dict``.

    Raises:
        ValueError: The file cannot be read, or holds something else.
    """
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises many kinds of errors on a foreign file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"extractor weights {path} cannot be read ({reason}).") from error
    weights = saved.get("state_dict", saved) if isinstance(saved, Mapping) else saved
    if not isinstance(weights, Mapping):
        raise ValueError(f"extractor weights {path}: expected a state dict, got {type(weights).__name__}.")
    return weights


def load_weights(module: nn.Module, weights: Mapping[str, Any], path: Path) -> None:
    """Copy a state dict into a module.

    Raises:
        ValueError: A tensor is missing, has another shape or is unknown. The message is one line.
    """
    expected = module.state_dict()
    ignored = ("num_batches_tracked",)  # files of an older torch lack it, and evaluation does not use it
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
