"""Versions of the store's layout: since when a column has its present meaning, and the refusal of newer versions."""

from __future__ import annotations

from collections.abc import Mapping

SCHEMA_VERSION = 2
VERSION_KEY = "meandrift.schema_version"  # in the metadata of every part and log segment

_KEYS = frozenset(
    {"step", "epoch", "layer", "layer_index", "layer_type", "tensor", "view", "split"},
)
_SINCE: dict[int, dict[str, frozenset[str]]] = {
    1: {
        "layers": _KEYS
        | {
            "weight_mean",
            "weight_var",
            "weight_l2_norm",
            "weight_nonfinite",
            "raw_weight_mean",
            "raw_weight_var",
            "bias_mean",
            "bias_var",
            "kernel_singular_value_mean",
            "grad_mean",
            "grad_var",
            "grad_l2_norm",
            "grad_sparsity",
            "grad_nonfinite",
            "update_ratio",
            "update_angle",
            "activation_mean",
            "activation_var",
            "activation_nonfinite",
            "saturated_fraction",
            "activation_grad_var",
            "activation_grad_sparsity",
        },
        "histograms": _KEYS | {"mantissa_bits", "first_bin", "counts", "n", "n_zero", "n_nonfinite"},
        "spectra": _KEYS,
        "steps": _KEYS | {"loss", "accuracy", "lr", "seconds"},
        "runs": frozenset(
            {
                "status",
                "started",
                "updated",
                "last_step",
                "config",
                "versions",
                "device",
                "gaps",
                "schema_version",
            }
        ),
    },
}
"""By past version and table: the columns that have had their present meaning since that version.

When a new version is made, list under the previous version the unlisted columns that the new version does not change.
"""


class NewerSchemaError(ValueError):
    """A file was written under a later schema version than this meandrift reads."""


def since(table: str, column: str) -> int:
    """Return the schema version since which a column of a table has the meaning of its description.

    A column that no past version lists is new in the present version, or has a new meaning.

    >>> since("layers", "weight_mean"), since("layers", "spectral_norm")
    (1, 2)
    """
    listed = (version for version, tables in _SINCE.items() if column in tables.get(table, ()))
    return min(listed, default=SCHEMA_VERSION)


def version_of(metadata: Mapping[bytes, bytes] | None) -> int | None:
    """Return the schema version in a file's metadata; None if there is none, as in files of other programs."""
    text = (metadata or {}).get(VERSION_KEY.encode(), b"").decode(errors="replace")
    return int(text) if text.isdecimal() else None


def check_readable(metadata: Mapping[bytes, bytes] | None, file: object) -> None:
    """Refuse a file of a later schema version.

    Raises:
        NewerSchemaError: The file's version is later than this version. The message names the file and the remedy.
    """
    version = version_of(metadata)
    if version is not None and version > SCHEMA_VERSION:
        raise NewerSchemaError(
            f"{file} has schema version {version}, and this meandrift reads versions 1 to {SCHEMA_VERSION}: update it "
            "(pip install -U meandrift), or choose other runs"
        )
