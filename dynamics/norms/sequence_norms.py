"""The norms of a transformer: layer norms that are kept or exchanged, and reparametrised matrices."""

from __future__ import annotations

from torch import nn
from torch.nn.utils import parametrizations

from dynamics.norms.spectral.stacked_matrices import STACKED, stacked_weights
from dynamics.norms.surgery.convert import convert
from dynamics.norms.surgery.layer_norms import exchange_layer_norms
from dynamics.norms.weight_matrix import LAYERS
from dynamics.norms.weight_norm import weight_norm

SEQUENCE_NORMS = ("none", "ln", "sn", "msn", "wn", "wn_mean")
_CONVERTED = {"none", "sn", "msn"}


def normalise_sequence_model(model: nn.Module, norm: str) -> nn.Module:
    """Change the norm of a network of sequences, ``(batch, time, channel)``, in place, and return the network.

    | norm | matrices W of linear layers, attention and recurrent cells | replacement of a layer norm |
    |---|---|---|
    | ``ln`` | W | none: it is kept |
    | ``none`` | W | the shift m alone |
    | ``sn`` | W / sigma(W), queries, keys, values and gates each by its own sigma | the shift m alone |
    | ``msn`` | the same | ``h - E[h] + m``, the mean over batch and time |
    | ``wn`` | ``g V / |V|`` a row | the shift m alone |
    | ``wn_mean`` | the same | ``h - E[h] + m`` |

    Embeddings are kept. The network keeps its weights under each norm.

    Args:
        model: A network with layer norms over its channels.
        norm: One of :data:`SEQUENCE_NORMS`.

    Raises:
        ValueError: The norm is none of these, or :func:`~dynamics.norms.surgery.convert.convert` refuses the network.

    Source: Eq. 6 and 7; Salimans and Kingma 2016, Eq. 2, for weight norm.
    """
    if norm not in SEQUENCE_NORMS:
        why = ": batch norm has its channels in dimension 1, a sequence in its last" if norm == "bn" else ""
        raise ValueError(f"norm {norm!r} is none of sequences{why}. Expected one of {', '.join(SEQUENCE_NORMS)}.")
    if norm == "ln":
        return model
    if norm in _CONVERTED:
        return convert(model, norm, exchange=("layer",), inplace=True)
    model = exchange_layer_norms(model, "msn" if norm == "wn_mean" else "none")
    for module in list(model.modules()):
        if isinstance(module, LAYERS):
            weight_norm(module)
        if isinstance(module, STACKED):  # weight norm acts on each row, so that stacked matrices need no split
            for name in stacked_weights(module):
                parametrizations.weight_norm(module, name, dim=0)
    return model
