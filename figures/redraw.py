"""Draw every picture of this folder anew from the stores beside it.

    python figures/redraw.py                    # all, about two minutes
    python figures/redraw.py densenet released  # some folders

Each entry below is a folder with the runs in its pictures, the figures, and their options. A figure whose columns were
not recorded is left out, and the reason is printed in one line.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stored_runs import CNN3, CNN3_ONE, DENSENET, HERE, RELEASED, VGG7, WEIGHT_NORM, at_all_rates

from analysis.gallery.gallery import write_figures

DRIFT = ("drift_map", "drift_by_depth", "dead_fraction")
MEASURED = ("lipschitz", "complexity", "landscape", "channels")
PAPER = ("gradient_sparsity", "accuracy", "layer_means", "mean_drift", "gradient_histograms", "singular_values")


@dataclass(frozen=True)
class Folder:
    """The pictures of one folder.

    Attributes:
        runs: Run ids.
        only: Names of figures.
        options: Options of the figures that have any.
        paper: Whether figures have the layers, smoothing and bands of the paper.
        store: Folder of the store.
        formats: File formats, among png, pdf and svg.
        layers: Layers that all figures of the folder show.
    """

    runs: Sequence[str]
    only: Sequence[str]
    options: Mapping[str, Any] = field(default_factory=dict)
    paper: bool = False
    store: str = "store"
    formats: Sequence[str] = ("png",)
    layers: str | None = None


FOLDERS = {
    "paper/cnn3": Folder(CNN3, PAPER, paper=True),
    "paper/vgg7": Folder(VGG7, PAPER, paper=True),
    "paper/densenet": Folder(DENSENET, PAPER, paper=True),
    "cnn3": Folder(
        CNN3,
        (
            *PAPER,
            *DRIFT,
            *(
                "norms_by_layer",
                "gradient_mass",
                "gradient_variance",
                "gradient_norm",
                "gradient_histogram_map",
                "singular_value_map",
            ),
            *("spectrum", "update_size", "overview"),
        ),
        formats=("png", "pdf"),
    ),
    "vgg7": Folder(
        VGG7,
        (
            *PAPER,
            *DRIFT,
            *("norms_by_layer", "gradient_mass", "gradient_variance", "overview"),
        ),
    ),
    "densenet": Folder(
        DENSENET,
        (
            *("accuracy", *DRIFT),
            *("gradient_mass", "gradient_variance", "overview"),
        ),
    ),
    "released": Folder(
        RELEASED,
        (
            *("accuracy", "drift_map", "drift_by_depth", "gradient_mass", "gradient_variance"),
            *("norms_by_layer", "singular_values", "spectrum"),
        ),
    ),
    "learning_rates": Folder(at_all_rates(), ("learning_rates",)),
    "released/learning_rates": Folder(at_all_rates(released=True), ("learning_rates",)),
    "weight_norm": Folder([*CNN3_ONE, WEIGHT_NORM], ("singular_values", "spectrum")),
    "measures/cnn3": Folder(CNN3_ONE, MEASURED, store="measures/store", formats=("png", "pdf")),
    "measures/vgg7": Folder(VGG7, MEASURED, store="measures/store"),
    "transformers": Folder([], ("attention_map", "residual_map"), store="transformers/store"),
    "transformers/parts": Folder([], ("block_map",), {"column": "activation_rms"}, store="transformers/store"),
    "gan": Folder([], ("gan_*",), store="gan/store"),
    "gan/critic": Folder([], ("singular_values", "mean_drift"), store="gan/store", layers="critic.*conv"),
    "gan/critic/drift": Folder([], ("drift_map",), store="gan/store", layers="critic.*"),
    "gan/generator/drift": Folder([], ("drift_map",), store="gan/store", layers="generator.*"),
    "gan/generator": Folder([], ("singular_values", "mean_drift"), store="gan/store", layers="generator.*conv"),
}


def draw(name: str) -> None:
    """Draw the figures of one folder and print those that are left out."""
    folder = FOLDERS[name]
    gallery = write_figures(
        HERE / folder.store,
        HERE / name,
        only=list(folder.only),
        runs=list(folder.runs) or None,
        layers=folder.layers,
        paper=folder.paper,
        formats=folder.formats,
        options=folder.options,
    )
    for stem, reason in gallery.refused.items():
        print(f"{name}: {stem} left out: {reason[:160]}")


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folders", nargs="*", help=f"of {', '.join(FOLDERS)}")
    for wanted in arguments.parse_args().folders or FOLDERS:
        draw(wanted)
