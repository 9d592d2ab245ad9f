"""Tick labels as plain text, with powers of ten in superscript digits."""

from __future__ import annotations

import math
import re

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FuncFormatter, LogFormatterSciNotation, LogLocator, NullLocator, ScalarFormatter

_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def power_of_ten(exponent: int) -> str:
    """Return ``10`` with its exponent raised.

    >>> power_of_ten(-3)
    '10⁻³'
    """
    return f"10{str(exponent).translate(_RAISED)}"


def scientific(value: float) -> str:
    """Return a number as a multiple of a power of ten, without the multiple if that is one.

    >>> [scientific(value) for value in (1e-4, 4e-3, -2.5e6, 0.0)]
    ['10⁻⁴', '4×10⁻³', '−2.5×10⁶', '0']
    """
    if value == 0:
        return "0"
    mantissa, exponent = f"{abs(value):.2e}".split("e")
    factor = f"{float(mantissa):g}"
    sign = "−" if value < 0 else ""
    return sign + ("" if factor == "1" else f"{factor}×") + power_of_ten(int(exponent))


def short_number(value: float, *, digits: int = 2) -> str:
    """Return a positive number with a few digits, as a multiple of a power of ten where it is large or below 0.01.

    >>> [short_number(value) for value in (29.4, 641.0, 0.004, float("inf"))], short_number(165.2, digits=3)
    (['29', '6.4×10²', '4×10⁻³', 'inf'], '165')
    """
    rounded = float(f"{value:.{digits}g}")
    if not math.isfinite(rounded):
        return in_digits(rounded)
    return f"{rounded:g}" if 0.01 <= rounded < 10**digits else scientific(rounded)


def in_digits(value: float) -> str:
    """Return a number without an exponent.

    >>> [in_digits(value) for value in (60.0, 0.05, -2.5)]
    ['60', '0.05', '−2.5']
    """
    return f"{value:g}".replace("-", "−")


class Decades(LogFormatterSciNotation):
    """Labels of a logarithmic axis; matplotlib chooses which ticks have a label."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        """Return the label of a tick, empty where matplotlib would leave it out."""
        return scientific(x) if super().__call__(x, pos) else ""


class Plain(ScalarFormatter):
    """Labels of a linear axis, with a common power of ten beside them."""

    def get_offset(self) -> str:
        """Return the common factor of the labels, such as ``×10⁻³``."""
        text = super().get_offset()
        factor = re.fullmatch(r"1e(−|-)?(\d+)", text)
        return f"×{power_of_ten(int(('-' if factor[1] else '') + factor[2]))}" if factor else text


def write_plainly(axes: Axes) -> None:
    """Give both axes labels of plain text, unless they were given labels of their own; their scales must be set."""
    for axis in (axes.xaxis, axes.yaxis):
        labels = axis.get_major_formatter()
        if isinstance(labels, LogFormatterSciNotation) and min(axis.get_view_interval()) > 0:
            _write_decades(axis)
        elif isinstance(labels, ScalarFormatter):
            axis.set_major_formatter(Plain())


def _write_decades(axis: Axis) -> None:
    """Label the powers of ten of a logarithmic axis; on a short axis also multiples of them, such as 2 and 5."""
    low, high = sorted(axis.get_view_interval())
    decades = np.log10(high / low)
    digits = low >= 0.01 and high <= 10_000
    powers = np.floor(np.log10(high)) - np.ceil(np.log10(low)) + 1
    if powers >= 2 and not (digits and decades < 2.2):
        axis.set_major_formatter(Decades())
        axis.set_minor_locator(NullLocator())  # hidden ticks take as long to draw as visible ticks
        return
    write = in_digits if digits else scientific
    axis.set_minor_locator(LogLocator(subs=_parts(decades)))
    for set_formatter in (axis.set_major_formatter, axis.set_minor_formatter):
        set_formatter(FuncFormatter(lambda value, _: write(value)))
    looks = axis.get_tick_params(which="major")
    axis.set_tick_params(which="minor", size=3)
    axis.grid(visible=looks.get("gridOn", False), which="minor")


def _parts(decades: float) -> tuple[float, ...]:
    """Return the multiples of a power of ten that have room on an axis of so many decades."""
    if decades > 1:
        return 2.0, 5.0
    return (2.0, 3.0, 4.0, 6.0) if decades > 0.4 else tuple(map(float, range(2, 10)))
