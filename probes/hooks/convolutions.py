"""The convolutions of a model as linear maps: weight, settings, and the shape of the input of the last call."""

from __future__ import annotations

from torch import Tensor

from probes.measuring.observation import Observation, Reading, read_each
from probes.metrics.operator_norm import Convolution
from probes.model.layer import Layer
from probes.model.module_kinds import CONVOLUTIONS

CONVOLUTION = "convolution"  # the name of this source
_SETTINGS = ("stride", "padding", "dilation", "groups", "padding_mode")

Shape = tuple[int, ...]
Shapes = dict[int, tuple[Shape | None, Shape]]  # shapes of input and output, by index of the layer


def called_convolutions(shapes: Shapes, observation: Observation) -> Reading:
    """Return the convolutions that were called.

    Args:
        shapes: The shapes of input and output of the layers' last calls; None where no input was found.
        observation: The layers and their weights.
    """

    def read(index: int, weight: Tensor) -> Convolution | None:
        called = shapes.get(index)
        return _convolution(observation.layers[index], weight, *called) if called and index in convolutions else None

    weights = observation.read("effective_weight")
    convolutions = {i for i, layer in observation.layers.items() if isinstance(layer.module, CONVOLUTIONS)}
    failures = {index: why for index, why in weights.failures.items() if index in convolutions}
    return read_each(weights.by_layer(), read, failures=failures)


def _convolution(layer: Layer, weight: Tensor, given: Shape | None, output: Shape) -> Convolution:
    # A transposed convolution is the adjoint of the convolution of its output with the same kernel.
    shape = output if layer.transposed else given
    if shape is None:
        raise ValueError("no tensor was found among the arguments that the convolution was called with.")
    if weight.is_complex():
        raise ValueError("the weight is complex: expected a real one.")
    settings = {name: getattr(layer.module, name) for name in _SETTINGS}
    return Convolution(weight, tuple(shape[-weight.ndim + 1 :]), **settings)
