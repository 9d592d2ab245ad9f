"""All figures of a store at once, and the reason for each that cannot be drawn."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.figures import FIGURES
from analysis.gallery.figure import prepare
from analysis.gallery.saving import check_formats, save
from analysis.reading.depth_order import layer_names
from analysis.reading.run_table import runs as read_runs
from analysis.reading.selection import Patterns, matching
from analysis.reading.store import AnyStore, Store
from analysis.reading.tables import Steps, records
from analysis.summaries.naming.layer_groups import Groups
from probes import schema
from probes.schema.printable import one_line

_LONGEST_WORD = 40  # letters of a setting in a file name, before its digest
FEW = 4  # fewer figures are drawn before a second process has started
_Part = tuple[str, str, list[str]]  # figure, file stem, runs
_Drawn = tuple[str, list[Path], str | None]  # file stem, files written, why it could not be drawn


@dataclass(frozen=True)
class Gallery:
    """The figures written and refused.

    Attributes:
        written: Files by figure.
        refused: The reason for each figure that could not be drawn, by its name. Figures of GANs that were not asked
            for are left out if the store has no GAN.
    """

    written: dict[str, list[Path]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


def write_figures(
    store: AnyStore,
    out: str | Path,
    *,
    only: Patterns = None,
    runs: Patterns = None,
    layers: Patterns = None,
    steps: Steps = None,
    formats: Sequence[str] = ("png", "pdf"),
    paper: bool = False,
    names: Mapping[str, str] | None = None,
    groups: Groups | None = None,
    options: Mapping[str, Any] | None = None,
    progress: Callable[[str], object] = str,
    workers: int = 1,
) -> Gallery:
    """Write every figure that a store's columns allow, with its provenance, into a folder.

    Networks and data sets whose layers cannot be compared have a file each (``mean_drift.vgg7.png``).

    Args:
        store: The store's folder or URL, or an open Store.
        out: Folder for the files; made if it is not there.
        only: Names or shell patterns of figures; None draws all.
        runs: Run ids or shell patterns.
        layers: Layer names, patterns or depth positions, for the figures that show layers.
        steps: First and last step, both included.
        formats: Some of png, pdf and svg.
        paper: Whether to take the published layers, smoothing and bands.
        names: Names for layers in the figures, by the name that they have in the store.
        groups: Layers that are shown together, by the name of the group, in the figures of single numbers a layer.
        options: Further options, passed to the figures that have them.
        progress: Called with each file stem once its figure is written or refused.
        workers: Number of processes that draw, this process included. With more than one, a script must keep its own
            work under ``__main__``.

    Raises:
        FileNotFoundError: There is no such store.
        ValueError: No such figure, format, run or layer, or the store is empty. One figure without data is no error.
    """
    chosen = matching(only, list(FIGURES), what="figure")
    opened = Store.open(store)
    run_table = read_runs(opened, runs=runs)
    if layers is not None:
        matching(layers, layer_names(opened, runs=runs), what="layer")  # refuses layers that no figure has
    parts = [(name, stem, found) for name in chosen for stem, found in _parts(name, run_table)]
    given = {"names": dict(names or {}), "groups": dict(groups or {})}
    task = _Task(opened, Path(out), layers, steps, tuple(check_formats(formats)), paper, given, dict(options or {}))
    gallery = Gallery()
    for stem, written, refused in _each(task, parts, workers):
        progress(stem)
        if refused is None:
            gallery.written[stem] = written
        else:
            gallery.refused[stem] = refused
    return gallery if only is not None else _without_foreign(gallery)


def _without_foreign(gallery: Gallery) -> Gallery:
    """Remove the refusals of GAN figures if none could be drawn, as in a training without a GAN."""
    gans = {stem for stem in (*gallery.written, *gallery.refused) if FIGURES[stem.partition(".")[0]].of_gans}
    if gans & set(gallery.written):
        return gallery
    return Gallery(gallery.written, {stem: why for stem, why in gallery.refused.items() if stem not in gans})


@dataclass(frozen=True)
class _Task:
    store: Store
    out: Path
    layers: Patterns
    steps: Steps
    formats: tuple[str, ...]
    paper: bool
    naming: dict[str, Any]
    options: dict[str, Any]

    def __call__(self, part: _Part) -> _Drawn:
        """Draw one figure; return its stem, the files written, and why it could not be drawn."""
        name, stem, runs = part
        kept = {key: value for key, value in self.options.items() if hasattr(FIGURES[name], key)}
        asked: dict[str, Any] = {"steps": self.steps, "layers": self.layers, "paper": self.paper, **self._naming(name)}
        try:
            ready = prepare(name, self.store, runs=runs, **asked, **kept)
            return stem, save(ready, self.store, self.out, stem=stem, formats=self.formats), None
        except ValueError as reason:
            return stem, [], str(reason)
        except (ArithmeticError, LookupError, TypeError, OSError) as fault:  # a store may hold senseless values
            return stem, [], f"{type(fault).__name__}: {one_line(fault)}"

    def _naming(self, name: str) -> dict[str, Any]:
        """Return the layers' names and groups. Groups are for figures of table ``layers`` only."""
        return self.naming if FIGURES[name].reads == schema.LAYERS else {**self.naming, "groups": None}


def _each(task: _Task, parts: list[_Part], workers: int) -> Iterator[_Drawn]:
    if workers <= 1 or len(parts) < FEW:
        yield from map(task, parts)
        return
    # Processes are not forked: the caller may have threads of torch or Arrow, which do not survive a fork.
    pool = ProcessPoolExecutor(min(workers, len(parts)) - 1, mp_context=get_context("spawn"))
    try:
        # The other processes begin with the last figures once they have started. This process draws the first
        # meanwhile.
        futures = [pool.submit(_in_worker, task, part) for part in reversed(parts)]
        for part, future in zip(parts, reversed(futures), strict=True):
            if future.cancel():
                yield task(part)
                continue
            drawn, caught = future.result()
            for warning in caught:
                warnings.warn(warning, stacklevel=2)  # the caller's warning filters hold in this process
            yield drawn
    finally:
        pool.shutdown(cancel_futures=True)


def _in_worker(task: _Task, part: _Part) -> tuple[_Drawn, list[Warning]]:
    """Return a drawn figure and the warnings raised while it was drawn."""
    with warnings.catch_warnings(record=True) as caught:
        drawn = task(part)
    return drawn, [entry.message for entry in caught if isinstance(entry.message, Warning)]


def _parts(name: str, runs: pd.DataFrame) -> list[tuple[str, list[str]]]:
    """Return file stems with run ids: one stem, unless networks or data sets differ and the figure compares layers."""
    varying = [key for key in ("model", "data") if key in runs and runs[key].nunique(dropna=False) > 1]
    if FIGURES[name].across_models or not varying:
        return [(name, list(runs[schema.RUN]))]
    parts: dict[tuple[str, ...], list[str]] = {}
    for row in records(runs):
        parts.setdefault(tuple(_setting(row[key]) for key in varying), []).append(row[schema.RUN])
    words = [_file_words(values) for values in zip(*parts, strict=True)]
    stems = [".".join([name, *(word[v] for word, v in zip(words, values, strict=True) if v)]) for values in parts]
    return list(zip(_distinct(stems), parts.values(), strict=True))


def _setting(value: Any) -> str:
    """Return a setting as text; empty for a run without the setting, such as a user's own training."""
    return "" if pd.api.types.is_scalar(value) and pd.isna(value) else str(value)


def _distinct(stems: list[str]) -> list[str]:
    """Return the stems, with a number behind each repeated stem."""
    return [
        stem if stems[:i].count(stem) == 0 else f"{stem}-{stems[:i].count(stem) + 1}" for i, stem in enumerate(stems)
    ]


def _file_words(values: Iterable[str]) -> dict[str, str]:
    """Return a word for file names for each value: short, without separators, and different from the other words."""
    found: dict[str, str] = {}
    for value in dict.fromkeys(values):
        word = "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in value)
        if len(word) > _LONGEST_WORD or word in found.values():
            digest = hashlib.sha256(value.encode(errors="replace")).hexdigest()[:8]
            word = f"{word[:_LONGEST_WORD]}-{digest}"
        found[value] = word
    return found
