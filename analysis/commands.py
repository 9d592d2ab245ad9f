"""The commands that read a store: figures, tables, report, query, diff, watch, check. Imports happen when they run."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from probes.schema.printable import say

if TYPE_CHECKING:
    from rich.console import RenderableType

app = typer.Typer()

StoreArgument = Annotated[str, typer.Argument(help="Folder or URL that a Probe recorded in.", show_default=True)]
Runs = Annotated[str | None, typer.Option(help="Run ids or patterns, commas between: 'bn-*,sn-s0'.")]
Layers = Annotated[str | None, typer.Option(help="Layer names or patterns, commas between: '*.conv1'.")]
Paper = Annotated[bool, typer.Option("--paper", help="Take the published layers, smoothing and bands.")]


def _pairs(given: list[str] | None, expected: str) -> dict[str, str]:
    """Return the text behind the first "=" of each word, by the text before it.

    The values of a name that comes several times are joined by commas.
    """
    pairs: dict[str, str] = {}
    for word in given or ():
        name, sign, value = word.partition("=")
        if not (name and sign and value):
            raise ValueError(f"{word!r}: expected {expected}")
        pairs[name] = f"{pairs[name]},{value}" if name in pairs else value
    return pairs


@app.command()
def figures(
    store: StoreArgument = "runs",
    *,
    only: Annotated[list[str] | None, typer.Option(help="Figures to draw: names or patterns. Repeatable.")] = None,
    layers: Layers = None,
    runs: Runs = None,
    formats: Annotated[str, typer.Option("--format", help="Of png, pdf, svg, commas between.")] = "png,pdf",
    paper: Paper = False,
    rename: Annotated[list[str] | None, typer.Option(help="LAYER=NAME: its name in figures. Repeatable.")] = None,
    group: Annotated[list[str] | None, typer.Option(help="NAME=PATTERN: layers shown together. Repeatable.")] = None,
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("figures"),
) -> None:
    """Draw every figure that a store's columns allow, each with a .json of its provenance.

    Example: `meandrift figures runs --only mean_drift --layers '*.conv' --out figures`
    """
    from rich.console import Console

    from analysis.gallery.gallery import write_figures

    console = Console(stderr=True)
    wanted = ",".join(only) if only else None
    with console.status("drawing") as status:
        gallery = write_figures(
            store,
            out,
            only=wanted,
            runs=runs,
            layers=layers,
            formats=formats.split(","),
            paper=paper,
            names=_pairs(rename, "--rename LAYER=NAME"),
            groups=_pairs(group, "--group NAME=PATTERN"),
            progress=lambda stem: status.update(f"drew {stem}"),
            workers=min(os.cpu_count() or 1, 4),
        )
    for paths in gallery.written.values():
        say("  ".join(str(path) for path in paths))
    for stem, reason in gallery.refused.items():
        say(f"not drawn: {stem}: {reason}", err=True)
    if gallery.refused and (wanted or not gallery.written):
        raise typer.Exit(2)


@app.command()
def tables(
    store: StoreArgument = "runs",
    *,
    only: Annotated[list[str] | None, typer.Option(help="accuracy, scores or parameters. Repeatable.")] = None,
    runs: Runs = None,
    formats: Annotated[str, typer.Option("--format", help="Of md, tex, csv, commas between.")] = "md",
    out: Annotated[Path | None, typer.Option(help="Folder to write to; else the tables are printed.")] = None,
) -> None:
    """Print or write the paper's Tables I to III beside the published numbers.

    Example: `meandrift tables runs --format tex,csv --out tables`
    """
    from analysis.paper.table_book import write_tables

    book = write_tables(store, only=",".join(only) if only else None, runs=runs, formats=formats.split(","), out=out)
    for text in book.texts if out is None else []:
        say(text)
    for path in book.written:
        say(str(path))
    for name, reason in book.refused.items():
        say(f"no table {name}: {reason}", err=True)
    if book.refused and (only or not book.texts):
        raise typer.Exit(2)


@app.command()
def report(
    store: StoreArgument = "runs",
    *,
    runs: Runs = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write.")] = Path("report.html"),
    live: Annotated[bool, typer.Option("--live", help="Serve a page that refreshes while trainings write.")] = False,
    port: Annotated[int, typer.Option(help="With --live: port on 127.0.0.1; 0 takes any that is free.")] = 0,
) -> None:
    """Write one self-contained HTML page: findings, runs, layers, charts. With --live, serve it on 127.0.0.1.

    Example: `meandrift report runs -o report.html`
    """
    if live:
        _serve(store, runs, port)
        return
    from analysis.report.report import write_report

    written = write_report(store, out, runs=runs)
    say(f"{written}  ({written.stat().st_size / 1e6:.1f} MB)")


def _serve(store: str, runs: str | None, port: int) -> None:
    from analysis.report.live import live_server

    with live_server(store, runs=runs, port=port) as server:
        typer.echo(f"http://127.0.0.1:{server.server_port}/  (Ctrl-C ends)")
        with suppress(KeyboardInterrupt):
            server.serve_forever()


@app.command()
def query(
    sql: Annotated[
        str,
        typer.Argument(
            help="SQL over the tables: layers, parameters, channels, units, histograms, spectra, steps, runs."
        ),
    ],
    *,
    store: Annotated[str, typer.Option(help="Folder or URL that a Probe recorded in.")] = "runs",
    formats: Annotated[str, typer.Option("--format", help="table or csv.")] = "table",
) -> None:
    """Answer a SQL query over a store (needs the extra `query`).

    Example: `meandrift query "SELECT run, max(accuracy) FROM steps GROUP BY run"`
    """
    from analysis.csv_text import as_csv
    from analysis.query import query as ask

    if not sql.strip():
        raise ValueError("the query is empty: expected SQL, such as SELECT run, max(loss) FROM steps GROUP BY run")
    if formats not in ("table", "csv"):
        raise ValueError(f"format {formats!r}: expected table or csv")
    answer = ask(store, sql)
    say(as_csv(answer).removesuffix("\n") if formats == "csv" else answer.to_string(index=False))


@app.command()
def diff(
    first: Annotated[str, typer.Argument(help="Id of a run.")],
    second: Annotated[str, typer.Argument(help="Id of the other.")],
    *,
    store: Annotated[str, typer.Option(help="Folder or URL that a Probe recorded in.")] = "runs",
    second_store: Annotated[str | None, typer.Option(help="Where the other run is, if in another store.")] = None,
    rtol: Annotated[float, typer.Option(help="Relative difference that counts as none.", min=0.0)] = 0.0,
) -> None:
    """Print the first step and layer at which two runs differ, column by column. Exit with status 1 if they do.

    Example: `meandrift diff before after --store runs`
    """
    from analysis.differences.run_difference import COLUMN, NAME
    from analysis.differences.run_difference import diff as compare_runs
    from probes.schema import STEP

    found = compare_runs(first, second, store=store, second_store=second_store, rtol=rtol)
    if found.empty:
        typer.echo(f"{first} and {second} agree in every row")
        return
    start = found.iloc[0]
    say(found.to_string(index=False))
    say(f"first difference: step {start[STEP]}, {start[COLUMN]}{f' of {start[NAME]}' if start[NAME] else ''}")
    raise typer.Exit(1)


@app.command()
def watch(
    store: StoreArgument = "runs",
    *,
    run: Annotated[str | None, typer.Option(help="Run id or pattern; else the run updated last.")] = None,
    column: Annotated[str | None, typer.Option(help="Column whose sparklines are shown.")] = None,
    layers: Layers = None,
    every: Annotated[float, typer.Option(help="Seconds between looks.", min=0.2)] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Look once and end.")] = False,
) -> None:
    """Watch a run in progress: findings, losses, a sparkline a layer.

    Example: `meandrift watch runs --column spectral_norm`
    """
    from rich.console import Console

    from analysis.reading.store import Store
    from analysis.terminal.watch import default_column, view
    from analysis.terminal.watch import watch as look

    console = Console()

    def now() -> RenderableType:
        height = None if once else console.height - 1
        opened = Store(store)  # anew for each look: the run goes on
        shown = column or default_column(opened, run=run)
        return view(opened, run=run, column=shown, layers=layers, width=console.width, height=height)

    if once:
        console.print(now())
    else:
        look(now, console=console, every=every)


@app.command()
def check(
    store: StoreArgument = "runs",
    *,
    runs: Runs = None,
    threshold: Annotated[
        list[str] | None, typer.Option(help="name=number in place of a default, as dead=0.5. Repeatable.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Print the findings of a store: fault, layer, first step and remedy. Exit with status 1 if one is grave.

    Below the findings it prints the warnings of the probe, and the number of kinds of findings that need more records.

    An unknown threshold prints the list of all thresholds.

    Example: `meandrift check runs --json`
    """
    from analysis.findings import GRAVE, SEVERITY, checked
    from analysis.findings.thresholds import Thresholds
    from analysis.terminal.findings_text import as_json_text, as_notes, as_paragraphs, counted

    result = checked(store, runs=runs, thresholds=Thresholds.parse(threshold or ()))
    found = result.findings
    if as_json:
        say(as_json_text(found, result.notices))
    else:
        if len(found):
            say(f"{as_paragraphs(found)}\n")
        if result.notices:
            say(as_notes(result.notices))
        say(counted(found, result.notices))
    if (found[SEVERITY] == GRAVE).any():
        raise typer.Exit(1)
