"""Numbers on axes as plain text: powers of ten have raised digits, which stay text in PDF and SVG."""

from __future__ import annotations

import re

from matplotlib.axes import Axes
from matplotlib.ticker import LogFormatterSciNotation, NullLocator, ScalarFormatter

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


class Decades(LogFormatterSciNotation):
    """Labels of a logarithmic axis; which ticks have one is matplotlib's choice."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        """Return the label of a tick, empty where matplotlib would leave it out."""
        return scientific(x) if super().__call__(x, pos) else ""


class Plain(ScalarFormatter):
    """Labels of a linear axis, a common power of ten beside them."""

    def get_offset(self) -> str:
        """Return the common factor of the labels, such as ``×10⁻³``."""
        text = super().get_offset()
        factor = re.fullmatch(r"1e(−|-)?(\d+)", text)
        return f"×{power_of_ten(int(('-' if factor[1] else '') + factor[2]))}" if factor else text


def write_plainly(axes: Axes) -> None:
    """Give both axes labels of plain text, unless they were given labels of their own; their scales must be set."""
    for axis in (axes.xaxis, axes.yaxis):
        labels = axis.get_major_formatter()
        if isinstance(labels, LogFormatterSciNotation):
            axis.set_major_formatter(Decades())
            low, high = sorted(axis.get_view_interval())
            if high < 10 * low:
                axis.set_minor_formatter(Decades(labelOnlyBase=False, minor_thresholds=(1, 0.4)))
            else:
                axis.set_minor_locator(NullLocator())  # ticks that the style does not show cost as much as others
        elif isinstance(labels, ScalarFormatter):
            axis.set_major_formatter(Plain())
