"""One file a figure. A new figure is a file here, a line in ``_ALL`` and a test.

Then ``python docs/generated.py --write`` puts it into the docs, and
``python tests/analysis/test_recorded_store.py --write`` keeps the hash of the table that it prepares.
"""

from __future__ import annotations

from analysis.figures.accuracy import Accuracy
from analysis.figures.accuracy_time import AccuracyTime
from analysis.figures.attention_map import AttentionMap
from analysis.figures.block_map import BlockMap
from analysis.figures.channels import Channels
from analysis.figures.complexity import Complexity
from analysis.figures.coordinate_check import CoordinateCheck
from analysis.figures.dead_fraction import DeadFraction
from analysis.figures.drift_by_depth import DriftByDepth
from analysis.figures.drift_map import DriftMap
from analysis.figures.gan_bounds import GanBounds
from analysis.figures.gan_gradients import GanGradients
from analysis.figures.gan_losses import GanLosses
from analysis.figures.gan_outputs import GanOutputs
from analysis.figures.gan_samples import GanSamples
from analysis.figures.gan_scores import GanScores
from analysis.figures.gradient_histogram_map import GradientHistogramMap
from analysis.figures.gradient_histograms import GradientHistograms
from analysis.figures.gradient_mass import GradientMass
from analysis.figures.gradient_norm import GradientNorm
from analysis.figures.gradient_sparsity import GradientSparsity
from analysis.figures.gradient_variance import GradientVariance
from analysis.figures.landscape import Landscape
from analysis.figures.layer_means import LayerMeans
from analysis.figures.learning_rates import LearningRates
from analysis.figures.lipschitz import Lipschitz
from analysis.figures.mean_drift import MeanDrift
from analysis.figures.norms_by_layer import NormsByLayer
from analysis.figures.overview import Overview
from analysis.figures.residual_map import ResidualMap
from analysis.figures.router_map import RouterMap
from analysis.figures.singular_value_map import SingularValueMap
from analysis.figures.singular_values import SingularValues
from analysis.figures.spectrum import Spectrum
from analysis.figures.update_size import UpdateSize
from analysis.plotting.figure_spec import FigureSpec

_ALL: tuple[type[FigureSpec], ...] = (
    GradientSparsity,
    Accuracy,
    LayerMeans,
    MeanDrift,
    GradientHistograms,
    SingularValues,
    DriftMap,
    DriftByDepth,
    Channels,
    DeadFraction,
    NormsByLayer,
    Lipschitz,
    Complexity,
    Landscape,
    GradientMass,
    GradientVariance,
    GradientNorm,
    GradientHistogramMap,
    SingularValueMap,
    Spectrum,
    UpdateSize,
    Overview,
    AttentionMap,
    RouterMap,
    ResidualMap,
    BlockMap,
    LearningRates,
    CoordinateCheck,
    AccuracyTime,
    GanLosses,
    GanOutputs,
    GanScores,
    GanGradients,
    GanBounds,
    GanSamples,
)
FIGURES: dict[str, type[FigureSpec]] = {spec.name: spec for spec in _ALL}
"""The figures by name, in the order in which they are drawn."""
