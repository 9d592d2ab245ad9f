"""A network as an ONNX file, run by onnxruntime on the test images."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

PACKAGES = ("onnx", "onnxruntime", "onnxscript")


class NoOnnxError(ValueError):
    """No ONNX file could be made of a network; the message states the reason."""


def export_onnx(network: nn.Module, image: Tensor, path: Path) -> Path:
    """Write a network as ONNX with a variable batch size. The write is atomic, and a missing folder is made.

    Args:
        network: A network of plain weights, in evaluation mode.
        image: An example, ``(1, channels, height, width)``.
        path: The file.

    Raises:
        NoOnnxError: A package of the extra ``deploy`` is missing, or torch cannot export the network.
    """
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        raise NoOnnxError(f"no ONNX file: {', '.join(missing)} not installed (pip install 'meandrift[deploy]')")
    batch = torch.export.Dim("batch")
    images = image.expand(2, *image.shape[1:]).clone()  # two images, because torch treats a size of 1 as constant
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")  # torch warns of deprecations in its own code
            program = torch.onnx.export(network, (images,), dynamo=True, dynamic_shapes=({0: batch},), verbose=False)
            assert program is not None
            program.save(partial)
    except Exception as error:  # the exporter raises many kinds of errors, depending on the network
        partial.unlink(missing_ok=True)
        raise NoOnnxError(f"no ONNX file: torch cannot export {type(network).__name__}: {error}") from error
    return partial.replace(path)


def onnx_network(path: Path) -> Callable[[Tensor], Tensor]:
    """Return the function of an ONNX file, images to logits, computed by onnxruntime on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def logits(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {name: images.numpy()})[0])

    return logits
