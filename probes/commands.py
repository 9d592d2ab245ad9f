"""The commands that keep a store: runs, recover, compact, rm, verify and export. Imports happen when they run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from probes.storage.files import StoreFiles

app = typer.Typer()

Store = Annotated[str, typer.Option(help="Folder or URL of the store.", show_default=True)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Force = Annotated[bool, typer.Option("--force", help="Take runs of other machines too: their writers are dead.")]


def _open(store: str) -> StoreFiles:
    from probes.storage.files import open_store

    files = open_store(store)
    if not files.runs() and not files.workspaces():
        raise FileNotFoundError(f"store {store!r} holds no run: check its path, or record one with a Probe first")
    return files


@app.command()
def runs(
    store: Annotated[str, typer.Argument(help="Folder or URL of the store.", show_default=True)] = "runs",
    *,
    as_json: Json = False,
) -> None:
    """List the runs of a store, those of killed writers with the rows that they left in their logs.

    Example: `meandrift runs runs`
    """
    from probes.storage.listing import KILLED, list_runs
    from probes.storage.strangers import strangers

    files = _open(store)
    rows = list(list_runs(files))
    if as_json:
        typer.echo(json.dumps([row.plain() for row in rows], indent=2))
        return
    _print_table([row.words() for row in rows])
    if any(row.status == KILLED for row in rows):
        typer.echo(
            f"note: `meandrift recover --store {quote(store)}` brings what killed writers left into the tables",
            err=True,
        )
    for path, problem in strangers(files):
        typer.echo(f"left out: {path} {problem}", err=True)


def _print_table(rows: list[dict[str, str]]) -> None:
    """Print rows without a wrapped or cut word: columns that a narrow terminal has no room for are named below."""
    from rich.console import Console
    from rich.table import Table

    console = Console()

    def table(left_out: Sequence[str]) -> Table:
        shown = [name for name in rows[0] if name not in left_out]
        made = Table(box=None)
        for name in shown:
            made.add_column(name, no_wrap=True, justify="right" if name in ("last step", "rows", "size") else "left")
        for row in rows:
            made.add_row(*(row[name] for name in shown))
        return made

    for count in range(len(_LEAVES) + 1):
        made = table(_LEAVES[:count])
        needed = console.measure(made, options=console.options.update(width=10_000)).maximum
        if needed <= console.width:
            break
    console.print(made, width=needed, crop=False)
    if count:
        typer.echo(f"no room for {', '.join(_LEAVES[:count])}: see --json", err=True)


_LEAVES = ("started", "device", "size", "rows", "last step")
"""The columns of ``runs`` that a narrow terminal has no room for, the first to go first."""


@app.command()
def recover(
    run: Annotated[list[str] | None, typer.Argument(help="Runs to recover; none means all.")] = None,
    *,
    store: Store = "runs",
    force: Force = False,
) -> None:
    """Bring what dead writers left in their logs into the tables. Live writers are left alone.

    Example: `meandrift recover --store runs`
    """
    from probes.storage.recovery import recover_dead

    if force and not run:
        raise ValueError("--force takes runs from other machines: say which, meandrift recover RUN --force")
    files = _open(store)
    files.check_known(run or [])
    done = recover_dead(files, run, force=force)
    for recovered in done:
        typer.echo(str(recovered))
    if not done:
        typer.echo("nothing to recover")


@app.command()
def compact(
    run: Annotated[list[str] | None, typer.Argument(help="Runs to compact; none means all.")] = None,
    *,
    store: Store = "runs",
) -> None:
    """Join the small parts of finished runs into large ones. Readers may go on reading.

    Example: `meandrift compact --store runs`
    """
    from probes.storage.compaction import compact_run
    from probes.storage.counting import counted
    from probes.storage.recovery import recover_dead
    from probes.storage.writer_lock import RunIsOwnedError, WriterLock

    files = _open(store)
    files.check_known(run or [])
    recover_dead(files, run)
    for name in run or files.runs():
        try:
            owner = WriterLock(files.workspace(name))
        except RunIsOwnedError as error:
            typer.echo(f"left alone: {error}", err=True)
            continue
        try:
            for table in compact_run(files, name):
                typer.echo(f"{name}/{table.table}: {counted(table.before, 'part')} -> {table.after}")
        finally:
            owner.release()


@app.command()
def rm(
    run: Annotated[list[str], typer.Argument(help="Runs to delete.")],
    *,
    store: Store = "runs",
    force: Force = False,
) -> None:
    """Delete runs: their rows in every table, their logs, checkpoints and samples.

    Example: `meandrift rm bn-s0 sn-s0 --store runs`
    """
    from probes.storage.removal import remove_run

    files = _open(store)
    files.check_known(run)  # all of them, before the first is gone
    for name in run:
        remove_run(files, name, force=force)
        typer.echo(f"deleted {name}")


@app.command()
def verify(
    run: Annotated[list[str] | None, typer.Argument(help="Runs to verify; none means all.")] = None,
    *,
    store: Store = "runs",
    as_json: Json = False,
) -> None:
    """Read every file and check it; name the bad ones and exit with status 1 if there are any.

    Example: `meandrift verify --store runs`
    """
    from probes.storage.counting import counted
    from probes.storage.verify import verify as verify_store

    found = verify_store(_open(store), run)
    if as_json:
        faults = [fault._asdict() for fault in found.faults]
        typer.echo(
            json.dumps({"files": found.files, "rows": found.rows, "faults": faults, "notes": found.notes}, indent=2)
        )
    else:
        for fault in found.faults:
            typer.echo(f"BAD {fault.path}: {fault.problem}")
        for note in found.notes:
            typer.echo(f"note: {note}")
        counts = ((found.files, "file"), (found.rows, "row"), (len(found.faults), "fault"))
        typer.echo(", ".join(counted(count, word) for count, word in counts))
    if found.faults:
        raise typer.Exit(1)


@app.command()
def export(
    destination: Annotated[Path, typer.Argument(help="File or, for TensorBoard, folder to make.")],
    *,
    store: Store = "runs",
    table: Annotated[str, typer.Option(help="layers, histograms, spectra, steps or runs.")] = "layers",
    kind: Annotated[
        str, typer.Option("--format", help="parquet, csv or tensorboard; by default what the name ends with.")
    ] = "",
    run: Annotated[list[str] | None, typer.Option(help="Runs to export; repeatable; none means all.")] = None,
) -> None:
    """Write a table to one Parquet file, to CSV or to a TensorBoard log folder.

    Example: `meandrift export layers.csv --table layers --run bn-s0`
    """
    from probes.storage.counting import counted
    from probes.storage.export import export as export_table

    kind = kind or destination.suffix.removeprefix(".") or "tensorboard"
    rows = export_table(_open(store), destination, table=table, kind=kind, runs=run)
    typer.echo(f"{counted(rows, 'row')} of {table} -> {destination}")
