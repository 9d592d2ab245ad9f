"""The commands that keep a store: runs, recover, compact, rm, verify and export. Imports happen when they run."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from probes.schema.printable import printable, say

if TYPE_CHECKING:
    from probes.storage.files import StoreFiles

app = typer.Typer()

Store = Annotated[str, typer.Option(help="Folder or URL of the store.", show_default=True)]
Force = Annotated[bool, typer.Option("--force", help="Take runs of other machines too: their writers are dead.")]


def _open(store: str) -> StoreFiles:
    from probes.storage.files import open_store

    files = open_store(store)
    if not files.runs() and not files.workspaces():
        raise FileNotFoundError(f"store {store!r} holds no run: check its path, or record one with a Probe first")
    return files


def _end(failed: list[str]) -> None:
    """Say what could not be done, after all else was, and exit with status 1 if there is anything."""
    for reason in failed:
        say(reason, err=True)
    if failed:
        raise typer.Exit(1)


@app.command()
def runs(
    store: Annotated[str, typer.Argument(help="Folder or URL of the store.", show_default=True)] = "runs",
) -> None:
    """List the runs of a store, those of killed writers with the rows that they left in their logs.

    Example: `meandrift runs runs`
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from probes.storage.listing import KILLED, list_runs
    from probes.storage.strangers import strangers

    files = _open(store)
    damage: list[str] = []
    rows = list(list_runs(files, damage.append))
    listed = Table("run", "status", "started", "updated", "last step", "device", "rows", "size", box=None)
    listed.columns[0].min_width = max(len(row[0]) for row in rows)  # an id cut short could not be used
    for row in rows:
        listed.add_row(*(Text(printable(cell)) for cell in row))
    Console().print(listed)
    if any(row[1] == KILLED for row in rows):
        say(
            f"note: `meandrift recover --store {quote(store)}` brings what killed writers left into the tables",
            err=True,
        )
    for fault in damage:
        say(f"damaged: {fault}", err=True)
    for path, problem in strangers(files):
        say(f"left out: {path} {problem}", err=True)


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
        say(str(recovered))
    if not done:
        say("nothing to recover")


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
    from probes.storage.recovery import recover_dead
    from probes.storage.writer_lock import RunIsOwnedError, WriterLock

    files = _open(store)
    files.check_known(run or [])
    recover_dead(files, run)
    failed: list[str] = []
    for name in run or files.runs():
        try:
            owner = WriterLock(files.workspace(name))
        except RunIsOwnedError as error:
            say(f"left alone: {error}", err=True)
            continue
        except OSError as error:
            failed.append(f"left as it is: {error}")
            continue
        try:
            for table in compact_run(files, name):
                say(f"{name}/{table.table}: {table.before} parts -> {table.after}")
        except OSError as error:
            failed.append(f"run {name} is left as it is: {error}")
        finally:
            owner.release()
    _end(failed)


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
    failed: list[str] = []
    for name in run:
        try:
            remove_run(files, name, force=force)
        except (OSError, ValueError) as error:
            failed.append(f"run {name} is not deleted: {error}")
        else:
            say(f"deleted {name}")
    _end(failed)


@app.command()
def verify(
    run: Annotated[list[str] | None, typer.Argument(help="Runs to verify; none means all.")] = None,
    *,
    store: Store = "runs",
) -> None:
    """Read every file and check it; name the bad ones and exit with status 1 if there are any.

    Example: `meandrift verify --store runs`
    """
    from probes.storage.verify import verify as verify_store

    found = verify_store(_open(store), run)
    for fault in found.faults:
        say(f"BAD {fault.path}: {fault.problem}")
    for note in found.notes:
        say(f"note: {note}")
    say(f"{found.files} files, {found.rows} rows, {len(found.faults)} faults")
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
    from probes.storage.export import export as export_table

    kind = kind or destination.suffix.removeprefix(".") or "tensorboard"
    rows = export_table(_open(store), destination, table=table, kind=kind, runs=run)
    say(f"{rows} rows of {table} -> {destination}")
