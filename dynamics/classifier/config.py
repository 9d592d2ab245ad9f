"""The settings of a classifier run: a frozen record of every setting that its numbers depend on."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from os import PathLike
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, ClassVar, Self, get_type_hints

from dynamics.runtime.options import setting

if TYPE_CHECKING:
    from dynamics.norms.interventions.intervention import Intervention
    from dynamics.runtime.events import Ended

DIGITS = ("mnist", "mnist-subset", "svhn")  # not mirrored by augmentation: a mirrored digit is no digit
PRECISIONS = ("float32", "bfloat16", "float16")
DEFINITIONS = ("paper", "released")
AUTO = "auto"  # the augmentation depends on the data set, the activation on the definition
ACTIVATIONS = (AUTO, "leaky_relu", "relu")
SCHEDULES = ("constant", "cosine", "decay")
INTERVENTION = "Intervention"
LEAST = {
    **dict.fromkeys(("batch_size", "epochs", "accumulate", "every"), 1),
    **dict.fromkeys(("train_images", "threads", "probe_images", "bracket_every", "landscape_every"), 0),
    **dict.fromkeys(("depth", "growth", "width", "context", "records", "spectral_regularisation"), 0),
}
OBSERVING = frozenset({"every", "include", "exclude", "device", "probe_images", "bracket_every", "landscape_every"})
MOST = 2**31 - 1  # the largest value of an integer setting
MOST_THREADS = 1024  # above the cores of any machine; threads that the system cannot start end the process


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """The settings of one run. Two runs with equal settings give equal numbers on one machine.

    Attributes:
        length: Name of the setting that fixes the length of a run.

    Raises:
        ValueError: A setting is outside its range; the message names the value and the expected range. Names of models,
            norms and data sets are not checked here, but when the run looks them up.
    """

    length: ClassVar[str] = "epochs"

    model: str = setting("cnn3", "Network", "Network: cnn3, vgg7, densenet_bc; of text: transformer.")
    norm: str = setting(
        "msn",
        "Network",
        "Normalisation: none, bn, sn, msn, wn, wn_mean, ln, in, sn_beta, released_sn or released_msn; of a "
        "transformer: ln (the rule), sn, msn, wn, wn_mean or none.",
    )
    definition: str = setting("paper", "Network", "Norms as the paper's equations (paper) or its scripts (released).")
    scope: str = setting(
        "full", "Network", "Layers that get the norm: full, or those of the scripts, released (densenet_bc)."
    )
    activation: str = setting(
        AUTO, "Network", "Nonlinearity: leaky_relu, relu, or auto: that of the definition, leaky_relu as a rule."
    )
    depth: int = setting(
        0,
        "Network",
        "Layers of densenet_bc (6n + 4), or blocks of transformer. 0: 100 layers, as in the paper, or 4 blocks.",
    )
    growth: int = setting(0, "Network", "Channels that a layer of densenet_bc adds; 0: 12, as in the paper.")
    width: int = setting(0, "Network", "Channels of transformer, a multiple of its 4 heads; 0: 64.")
    context: int = setting(0, "Network", "Characters that transformer reads at once; 0: 64.")
    centring: str = setting(
        "own", INTERVENTION, "Where the batch mean acts: own (the norm's), none, full, forward, backward or running."
    )
    centring_strength: float = setting(1.0, INTERVENTION, "Share of the mean that centring subtracts.")
    centring_momentum: float = setting(
        0.1, INTERVENTION, "Weight of the newest batch in the running mean, if centring, mean or scale is changed."
    )
    channel_mean: str = setting(
        "own",
        INTERVENTION,
        "The mean m that each channel gets: own, zero, learned, fixed:VALUE, deviations:VALUE, walk:SIZE, replay:FILE.",
    )
    channel_scale: str = setting("own", INTERVENTION, "A scale of each channel: own, none or learned.")
    sigma: float = setting(1.0, INTERVENTION, "Spectral norm that sn and msn give a weight; sn_beta: at most that.")
    spectral_regularisation: float = setting(
        0.0, INTERVENTION, "lambda of the loss term lambda / 2 * sum of sigma(W)^2, with norm none or bn."
    )
    data: str = setting(
        "mnist-subset",
        "Data",
        "Data set: mnist-subset (shipped), mnist, fashion-mnist, svhn, cifar10, folder:PATH, npz:PATH; "
        "text:PATH, or text: alone for the text that is shipped.",
    )
    augmentation: str = setting(AUTO, "Data", "none, crop, crop-flip, or auto: crop-flip, but digits are not mirrored.")
    learning_rate: float = setting(0.001, "Training", "Adam's learning rate.")
    batch_size: int = setting(64, "Training", "Images, or windows of text, an optimizer step, over all processes.")
    epochs: int = setting(10, "Training", "Passes through the training images or text.")
    schedule: str = setting(
        "constant", "Training", "The rate: constant, cosine (to 0), or decay (to 0, linear, in the last third)."
    )
    seed: int = setting(0, "Training", "Seed of weights, order and augmentation.")
    train_images: int = setting(0, "Data", "Use only the first so many training images of each class; 0: all.")
    accumulate: int = setting(1, "Training", "Micro-batches whose gradients add up to one optimizer step.")
    precision: str = setting("float32", "Machine", "float32; or mixed: bfloat16, or float16 with loss scaling.")
    compile: bool = setting(False, "Machine", "Compile the model with torch.compile.")
    device: str = setting("auto", "Machine", "cpu, cuda, cuda:1, ...; auto: a GPU where there is one.")
    threads: int = setting(
        1, "Machine", "CPU threads of a run; the order of sums, so the last digits, depend on it. 0: all cores."
    )
    every: int = setting(50, "Probe", "Optimizer steps between two records of the probe; expensive metrics less often.")
    records: int = setting(
        0,
        "Probe",
        "Records in all, evenly spaced, spectra and histograms at three of them; 0: as --every says.",
    )
    save_means: str = setting(
        "", "Probe", "Write the channel means every 10 steps into this .npz file, for --channel-mean replay:FILE."
    )
    include: str = setting("", "Probe", "Observe only layers that match these patterns, commas between.")
    exclude: str = setting("", "Probe", "Do not observe layers that match these patterns, commas between.")
    probe_images: int = setting(
        64, "Probe", "Training images that the network is given in evaluation mode for table channels; 0: none."
    )
    bracket_every: int = setting(
        1, "Probe", "Epochs between two measurements of the network's Lipschitz bracket; 0: none."
    )
    landscape_every: int = setting(
        0, "Probe", "Epochs between two measurements of loss landscape and internal covariate shift; 0: none."
    )

    def __post_init__(self) -> None:
        from dynamics.data.augmentation import AUGMENTATIONS  # imported here: these modules import torch, which is slow
        from dynamics.models.parts.scope import SCOPES

        for name, least in LEAST.items():
            if (value := getattr(self, name)) < least:
                raise ValueError(f"{name} {value}: expected {least} or more.")
        if self.records in (1, 2):
            raise ValueError(f"records {self.records}: expected 3 or more, or 0 to record as --every says.")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise ValueError(f"learning_rate {self.learning_rate}: expected a number above 0.")
        if self.threads > MOST_THREADS:
            raise ValueError(f"threads {self.threads}: expected {MOST_THREADS} or fewer.")
        if self.batch_size % self.accumulate:
            raise ValueError(f"accumulate {self.accumulate}: expected a divisor of batch_size {self.batch_size}.")
        for name, known in (
            ("precision", PRECISIONS),
            ("definition", DEFINITIONS),
            ("scope", SCOPES),
            ("augmentation", (AUTO, *AUGMENTATIONS)),
            ("activation", ACTIVATIONS),
            ("schedule", SCHEDULES),
        ):
            if (value := getattr(self, name)) not in known:
                raise ValueError(f"{name} {value!r}: expected one of {', '.join(known)}.")
        _ = self.intervention  # raises for an unknown intervention

    @property
    def intervention(self) -> Intervention:
        """The interventions on the norm: its centring, mean, scale and sigma."""
        from dynamics.norms.interventions.intervention import Intervention

        return Intervention(
            centring=self.centring,
            strength=self.centring_strength,
            momentum=self.centring_momentum,
            mean=self.channel_mean,
            scale=self.channel_scale,
            sigma=self.sigma,
        )

    @property
    def may_change(self) -> frozenset[str]:
        """Settings that a resumed run may change: they alter no step already taken."""
        # A scheduled learning rate, and the steps of a fixed number of records, depend on the length of the run.
        return OBSERVING if self.schedule != "constant" or self.records else OBSERVING | {self.length}

    @property
    def name(self) -> str:
        """A run id that distinguishes this run from others in a sweep: ``cnn3-mnist-msn-lr0.001-s0``."""
        data = PurePath(self.data.partition(":")[2]).stem or self.data.rstrip(":")
        released = {"definition": "-released", "scope": "-released_scope"}
        marks = "".join(mark for setting, mark in released.items() if getattr(self, setting) == "released")
        rate = f"{self.learning_rate:g}".replace("+", "")
        name = f"{self.model}-{data}-{self.norm}{marks}-lr{rate}-s{self.seed}"
        return re.sub(r"[^A-Za-z0-9._-]", "_", name)  # an unknown model or norm is refused later, under its own name

    def to_dict(self) -> dict[str, Any]:
        """Return the settings by name, in the form that the store keeps."""
        return asdict(self)

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> Self:
        """Return the configuration whose settings were read from a store.

        Raises:
            ValueError: This version does not know a setting, or a value is not of its setting's type.
        """
        known = {entry.name for entry in fields(cls)}
        if unknown := sorted(set(settings) - known):
            raise ValueError(f"unknown settings {', '.join(unknown)}: expected only {', '.join(sorted(known))}.")
        for name, kind in get_type_hints(cls).items():
            if name in settings and not _is_a(settings[name], kind):
                raise ValueError(f"{name} {settings[name]!r:.60}: expected a value of type {kind.__name__}.")
        return cls(**settings)

    @property
    def cores(self) -> int:
        """CPU cores that a run uses; 1 if it uses all cores (``threads`` 0)."""
        return self.threads or 1

    def train(self, *, extractor: str = "", **arguments: Any) -> Ended:
        """Train the network to the end; the arguments are those of :func:`dynamics.classifier.run.run`."""
        from dynamics.classifier.run import run

        del extractor  # a classifier has no samples to score
        return run(self, **arguments)

    @classmethod
    def check(cls, configs: Iterable[Self], *, data_dir: str | PathLike[str] = "data", download: bool = False) -> None:
        """Refuse configurations that cannot run; see :func:`dynamics.classifier.setup.check`."""
        from dynamics.classifier.setup import check

        check(configs, data_dir=data_dir, download=download)


def _is_a(value: Any, kind: Any) -> bool:
    """Return whether a value from JSON has a setting's type. A float setting accepts integers too."""
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    return isinstance(value, (int, float) if kind is float else kind) and not (kind is int and abs(value) > MOST)


# The paper's text fixes Adam and the learning rates. Batch size and epochs come from its released scripts.
LEARNING_RATES = (0.1, 0.001, 0.0001)
_PAPER: dict[str, dict[str, Any]] = {
    "cnn3": {"data": "mnist", "batch_size": 128, "epochs": 200},
    "vgg7": {"data": "svhn", "batch_size": 64, "epochs": 400},
    "densenet_bc": {"data": "cifar10", "batch_size": 64, "epochs": 400},
}
PROTOCOLS = ("paper", "released")


def protocol(name: str, model: str) -> dict[str, Any]:
    """Return the settings that a protocol fixes for a model; all others keep their defaults.

    ``paper`` is the experiment of the paper's text for that model. ``released`` is the experiment of the authors'
    scripts: it has their norms and layers and seed 8088, and mirrors digits too.

    Raises:
        ValueError: There is no such protocol, or it has no settings for the model.
    """
    if name not in PROTOCOLS:
        raise ValueError(f"protocol {name!r}: expected one of {', '.join(PROTOCOLS)}.")
    if model not in _PAPER:
        raise ValueError(f"protocol {name!r} has no settings for model {model!r}: expected one of {', '.join(_PAPER)}.")
    settings = {"model": model, **_PAPER[model]}
    if name == "released":
        scope = "released" if model == "densenet_bc" else "full"
        settings |= {"definition": "released", "scope": scope, "seed": 8088}
    return settings
