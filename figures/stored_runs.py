"""The runs of the committed store, in the groups that the pictures and the page of this folder show."""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).parent
STORE = HERE / "store"
MEASURES = HERE / "measures" / "store"  # recorded with the bracket, the landscape and a fixed batch
THREE = ("bn", "sn", "msn")
RATES = ("0.0001", "0.001", "0.1")
CNN3 = [f"cnn3-mnist-{norm}-lr0.001-s{seed}" for norm in THREE for seed in (0, 1, 2)]
CNN3_ONE = [f"cnn3-mnist-{norm}-lr0.001-s0" for norm in THREE]
RELEASED = [f"cnn3-mnist-{norm}-released-lr0.001-s0" for norm in THREE]
VGG7 = [f"vgg7-cifar10-{norm}-lr0.001-s0" for norm in THREE]
DENSENET = [f"densenet_bc-cifar10-{norm}-lr0.001-s0" for norm in ("bn-released_scope", "sn", "msn")]
WEIGHT_NORM = "cnn3-mnist-wn-lr0.001-s0"
NETWORKS = {"cnn3": CNN3, "vgg7": VGG7, "densenet": DENSENET}


def at_all_rates(*, released: bool = False) -> list[str]:
    """Return the runs of the 3-layer CNN at every learning rate, under the paper's norms or the scripts'."""
    infix = "-released" if released else ""
    return [f"cnn3-mnist-{norm}{infix}-lr{rate}-s0" for norm in THREE for rate in RATES]
