"""The probe with findings and figures of its own run.

pandas and matplotlib are imported only when findings or figures are asked for.
"""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Callable, Sequence
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any

from torch import nn

import probes
from probes.recording.opening.off_switch import SwitchedOff
from probes.recording.tables.observers import Observer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from meandrift.live_findings import LiveFindings
    from meandrift.live_plot import LivePlot
    from meandrift.tables import FindingsTable

log = logging.getLogger("meandrift")


class Probe(probes.Probe):
    """:class:`probes.Probe` with findings and figures of its run.

    Examples:
        >>> with md.Probe(model, optimizer, run="first", warn=True) as probe:  # doctest: +SKIP
        ...     train()
        >>> probe.findings()  # doctest: +SKIP
        >>> probe.plot("grad_l2_norm")  # doctest: +SKIP
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Any = None,
        *,
        store: str | os.PathLike[str] = "runs",
        warn: bool | Callable[[str], object] = False,
        observers: Sequence[Observer] = (),
        **options: Any,
    ) -> None:
        """Attach to a model.

        Args:
            model: As for :class:`probes.Probe`.
            optimizer: The same.
            store: Folder or URL of the store.
            warn: Report each grave finding once, about a second after the record at which it begins: to the logger
                ``meandrift``, or to a function that takes the text, such as ``print``. The search takes at most a
                fiftieth of the time, in a thread of its own.
            observers: As for :class:`probes.Probe`.
            options: All other arguments of :class:`probes.Probe`.
        """
        self._live = self._live_findings(warn if callable(warn) else log.warning) if warn else None
        self._store = os.fspath(store)
        watching = [] if self._live is None else [self._live]
        super().__init__(model, optimizer, store=store, observers=[*observers, *watching], **options)

    def findings(self) -> FindingsTable:
        """Return the findings of the run so far, as :func:`analysis.findings.findings`; empty if the probe is off."""
        from meandrift.tables import findings, no_findings

        if isinstance(self, SwitchedOff):
            return no_findings()
        self.flush()
        return findings(self._store, runs=self.run)

    def plot(self, column: str, *, live: bool = False, **options: Any) -> Figure | LivePlot:
        """Return a figure of a column of ``layers``, a line per layer, or of ``steps``: see :func:`analysis.plot`.

        The figure is empty if the probe is off.

        Args:
            column: The column, such as ``"weight_mean"`` or ``"loss"``.
            live: Draw the figure in this cell of a notebook, and again while the run goes on. The result is then a
                :class:`meandrift.live_plot.LivePlot`.
            options: ``layers``, ``steps``, ``smooth`` of :func:`analysis.plot`.

        Raises:
            ValueError: ``live`` outside of a notebook, or there is no such column or layer.
        """
        from analysis.gallery.column_figure import plot
        from analysis.plotting.notebook_figure import NotebookFigure

        if isinstance(self, SwitchedOff):
            return NotebookFigure()
        self.flush()
        draw = partial(plot, column, self._store, runs=self.run, **options)
        if not live:
            return draw()
        from meandrift.live_plot import LivePlot

        shown = LivePlot(draw, recorded=self._cycle.step > self._cycle.first_step)
        self._run.observers.add(shown)
        return shown

    def close(self, status: str = "finished") -> None:
        """Close the run, and report the grave findings of its last records."""
        super().close(status)
        if self._live is not None:
            try:
                self._live.look()
            except Exception as failure:  # findings that fail must not end a training
                log.warning("the findings of the last records are not known: %s: %s", type(failure).__name__, failure)

    def _live_findings(self, say: Callable[[str], object]) -> LiveFindings:
        from meandrift.live_findings import LiveFindings

        return LiveFindings(lambda: self.run, say)

    def __repr__(self) -> str:
        return f"Probe of run {self.run!r} in store {self._store!r}: {self._in_short()}"

    def _repr_html_(self) -> str:
        if isinstance(self, SwitchedOff):
            return f"<p>{escape(repr(self))}</p>"
        head = f"<p><b>Probe</b> of run <code>{escape(self.run)}</code> in store <code>{escape(self._store)}</code>: "
        return f"{head}{escape(self._in_short())}</p>"

    def _in_short(self) -> str:
        layers, steps, gaps = len(self._selection.layers), self._cycle.step, self._gaps.count
        counts = ((layers, "layer"), (steps, "step"), (gaps, "gap or note"))
        texts = [f"{count:,} {word if count == 1 else _PLURALS[word]}" for count, word in counts]
        return ", ".join([*texts, "closed" if self._closed else "recording"])


def _with_all_parameters() -> inspect.Signature:
    """Return the signature of :class:`Probe` with the arguments that it passes on, for ``help()`` and notebooks."""
    own = inspect.signature(Probe.__init__)
    parameters = {**inspect.signature(probes.Probe.__init__).parameters, **own.parameters}
    del parameters["options"]
    shown = [parameter for parameter in parameters.values() if not parameter.name.startswith("_")]
    return own.replace(parameters=shown)


Probe.__init__.__signature__ = _with_all_parameters()  # type: ignore[attr-defined]
_PLURALS = {"layer": "layers", "step": "steps", "gap or note": "gaps and notes"}
