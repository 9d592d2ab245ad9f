"""A figure in a notebook's cell that is drawn again while the run goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHARE = 0.05  # share of the time that drawing may take: it holds Python's lock, which the training needs too


class LivePlot:
    """An observer of a probe that draws its figure again when rows come, in the thread of the observers.

    The figure stays in the cell that made it, even if the training runs in another cell. Drawing takes at most a
    twentieth of the time: a figure that takes 0.3 s to draw is renewed every 6 s. It is drawn once more when the run is
    closed.

    Attributes:
        figure: The figure as it was drawn last; None before the first record.
    """

    def __init__(self, draw: Callable[[], Figure], *, recorded: bool) -> None:
        """Draw the figure and show it.

        Args:
            draw: Returns the figure of the run so far.
            recorded: Whether there is something to draw. If not, the plot waits for the first record.

        Raises:
            ValueError: This process is not a notebook, or the figure cannot be drawn.
        """
        self._draw = draw
        show = _notebooks_display()
        began = time.monotonic()
        self.figure = draw() if recorded else None
        self._wait_after(began)
        self._handle = show(_Waiting() if self.figure is None else self.figure, display_id=True)

    def __repr__(self) -> str:
        return "live plot"

    def __call__(self, tables: Mapping[str, pa.Table]) -> None:  # noqa: ARG002 - an observer is given them
        """Draw the figure again, if enough time has passed."""
        if time.monotonic() >= self._next:
            self._renew()

    def close(self) -> None:
        """Draw the figure for the last time."""
        self._renew()

    def _renew(self) -> None:
        began = time.monotonic()
        self.figure = self._draw()
        self._handle.update(self.figure)
        self._wait_after(began)

    def _wait_after(self, began: float) -> None:
        now = time.monotonic()
        self._next = now + (now - began) / SHARE


class _Waiting:
    def __repr__(self) -> str:
        return "waiting for the first record"


def _notebooks_display() -> Callable[..., Any]:
    """Return the function that shows a value in a cell.

    Raises:
        ValueError: No notebook's kernel runs in this process.
    """
    try:
        from IPython import get_ipython
        from IPython.display import display
    except ImportError:
        get_ipython = None
    if get_ipython is None or not hasattr(get_ipython(), "kernel"):
        raise ValueError(
            "plot(live=True) draws in a cell of a notebook, and this process is not a notebook: leave live out, and"
            " look at the run with `meandrift report --live` or `meandrift watch`."
        )
    return display
