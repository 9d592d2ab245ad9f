"""One file a figure. A new figure is a file here, a line in ``FIGURES`` and a test."""

from __future__ import annotations

from analysis.figures.accuracy import Accuracy
from analysis.figures.gradient_histograms import GradientHistograms
from analysis.figures.gradient_sparsity import GradientSparsity
from analysis.figures.mean_drift import MeanDrift
from analysis.figures.picture import Picture
from analysis.figures.singular_values import SingularValues
from analysis.figures.weight_mean import WeightMean

_ALL: tuple[type[Picture], ...] = (
    GradientSparsity,
    Accuracy,
    WeightMean,
    MeanDrift,
    GradientHistograms,
    SingularValues,
)
FIGURES: dict[str, type[Picture]] = {picture.name: picture for picture in _ALL}
