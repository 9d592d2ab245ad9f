"""The paper's experiments, each as a grid of runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

from dynamics.classifier.config import LEARNING_RATES, RunConfig, protocol
from dynamics.gan.config import GanConfig, loss_settings
from dynamics.sweeps.grid import grid

if TYPE_CHECKING:
    import pandas as pd

COMPARED = ("bn", "sn", "msn")  # the norms of the paper's comparison


@dataclass(frozen=True)
class Experiment:
    """Runs that are compared.

    Attributes:
        title: The comparison, the network and the data set.
        base: The settings that all runs share.
        axes: The values of the settings that vary.
        quick: Settings of a shorter version, for a machine without a GPU.
        quick_axes: Axes of the shorter version that have fewer values.
        pictured: Whether the figures and tables of the paper are made from its runs.
    """

    pictured: ClassVar[bool] = True
    title: str
    base: RunConfig
    axes: Mapping[str, tuple[Any, ...]]
    quick: Mapping[str, Any] = field(default_factory=dict)
    quick_axes: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    def runs(self, *, quick: bool = False) -> dict[str, RunConfig]:
        """Return the configuration of each run by its id."""
        if not quick:
            return grid(self.base, self.axes)
        return grid(replace(self.base, **self.quick), {**self.axes, **self.quick_axes})

    def results(self, store: str, *, quick: bool = False) -> pd.DataFrame:
        """Return one row for each run: its settings, accuracies, loss, steps and parameters."""
        from dynamics.sweeps.results import results

        return results(store, self.runs(quick=quick), settings=list(self.axes))


@dataclass(frozen=True)
class GanExperiment:
    """The paper's three critics, each with its loss.

    Attributes:
        title: The comparison, the network and the data set.
        base: The settings that all runs share.
        quick: Settings of a shorter version.
        pictured: Whether the figures and tables of the paper are made from its runs.
    """

    pictured: ClassVar[bool] = True
    title: str
    base: GanConfig
    quick: Mapping[str, Any]

    def runs(self, *, quick: bool = False) -> dict[str, GanConfig]:
        """Return the configuration of each run by its id."""
        base = replace(self.base, **self.quick) if quick else self.base
        configs = [replace(base, norm=norm, **loss_settings(norm)) for norm in COMPARED]
        return {config.name: config for config in configs}

    def results(self, store: str, *, quick: bool = False) -> pd.DataFrame:
        """Return the scores of the runs."""
        from analysis.paper.score_table import score_table

        return score_table(store, runs=list(self.runs(quick=quick)))


@dataclass(frozen=True)
class PlannedExperiment:
    """Interventions: the arms of several plans.

    Attributes:
        title: The question of the experiment.
        plans: Names of shipped plans, in the order in which they are trained.
        quick: Settings of a shorter version, which has one seed.
        pictured: False: the paper's figures compare norms, not arms. ``figures/causes/tables.py`` makes their tables.
    """

    pictured: ClassVar[bool] = False
    title: str
    plans: tuple[str, ...]
    quick: Mapping[str, Any]

    def runs(self, *, quick: bool = False) -> dict[str, RunConfig]:
        """Return the configuration of each run by its id."""
        from dynamics.sweeps.plans.planned import planned_configs

        options = {name: [value] for name, value in {**self.quick, "seed": 0}.items()} if quick else {}
        return planned_configs(self.plans, options)

    def results(self, store: str, *, quick: bool = False) -> pd.DataFrame:
        """Return one row for each arm: its runs, and their last accuracy with its interval over seeds."""
        from analysis.inference.arm_intervals import arm_intervals
        from analysis.inference.run_scores import run_scores

        return arm_intervals(run_scores(store, runs=list(self.runs(quick=quick))))


EXPERIMENTS: dict[str, Experiment | GanExperiment | PlannedExperiment] = {
    "cnn3-subset": Experiment(
        "3-layer CNN, 5,000 training and 1,000 test digits of MNIST",
        RunConfig(epochs=10, every=6),
        {"norm": COMPARED},
    ),
    "cnn3-mnist": Experiment(
        "3-layer CNN, MNIST",
        RunConfig(**protocol("paper", "cnn3"), every=50),
        {"norm": COMPARED, "learning_rate": LEARNING_RATES, "definition": ("paper", "released")},
        quick={"epochs": 10},
    ),
    "vgg7-svhn": Experiment(
        "VGG-7, SVHN",
        RunConfig(**protocol("paper", "vgg7"), every=100),
        {"norm": COMPARED, "learning_rate": LEARNING_RATES},
        quick={"epochs": 10},
    ),
    "vgg7-cifar10": Experiment(
        "VGG-7, CIFAR-10",
        RunConfig(**protocol("paper", "vgg7") | {"data": "cifar10"}, every=100),
        {"norm": COMPARED, "learning_rate": LEARNING_RATES},
        quick={"epochs": 10},
    ),
    "densenet-cifar10": Experiment(
        "DenseNet-BC-100, CIFAR-10",
        RunConfig(**protocol("paper", "densenet_bc"), every=100),
        {"norm": COMPARED, "learning_rate": LEARNING_RATES, "scope": ("full", "released")},
        # The first 1,000 images of each class; 468 steps in all.
        quick={"epochs": 3, "train_images": 1000, "every": 10},
        quick_axes={"learning_rate": (0.001,)},
    ),
    "gan-cifar10": GanExperiment(
        "GAN, CIFAR-10: WGAN-GP with batch norm, SNGAN, MSNGAN",
        GanConfig(data="cifar10", steps=100_000, sample_every=2000, score_every=5000),
        quick={"steps": 2000, "width": 16, "sample_every": 500, "score_every": 500, "reference_images": 10_000},
    ),
    "causes": PlannedExperiment(
        "interventions on spectral norm and its rivals",
        ("c1-forward-backward", "c4-scale", "c6-controls", "c5-scripts", "c8-plateau"),
        quick={"epochs": 1},
    ),
}

NOT_THE_PAPERS = ("cnn3-subset", "causes")


def experiments_named(name: str) -> dict[str, Experiment | GanExperiment | PlannedExperiment]:
    """Return the experiment named ``name``; for ``all`` every experiment of the paper.

    Raises:
        ValueError: There is no such name; the message lists the valid names.
    """
    if name == "all":
        return {known: experiment for known, experiment in EXPERIMENTS.items() if known not in NOT_THE_PAPERS}
    if name not in EXPERIMENTS:
        raise ValueError(f"no experiment {name!r}: expected one of {', '.join(EXPERIMENTS)} or all.")
    return {name: EXPERIMENTS[name]}
