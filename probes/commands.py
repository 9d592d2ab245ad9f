"""The commands that keep a store: runs, recover, compact, rm, verify and export. Imports happen when they run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from probes.schema.printable import printable, say

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


def _chosen(store: str, runs: list[str] | None) -> tuple[StoreFiles, list[str] | None]:
    """Return the files of a store and the ids of the chosen runs; `tag:WORD` is replaced by the runs with that tag."""
    from probes.storage.tags import chosen_runs

    files = _open(store)
    chosen = None if runs is None else chosen_runs(files, runs)
    files.check_known(chosen or [])
    return files, chosen


def _end(failed: list[str]) -> None:
    """Print the failures after all other work is done, and exit with status 1 if there are any."""
    for reason in failed:
        say(reason, err=True)
    if failed:
        raise typer.Exit(1)


@app.command()
def runs(
    store: Annotated[str, typer.Argument(help="Folder or URL of the store.", show_default=True)] = "runs",
    *,
    tag: Annotated[list[str] | None, typer.Option(help="Only runs with this tag, or pattern. Repeatable.")] = None,
    as_json: Json = False,
) -> None:
    """List the runs of a store, with the rows that killed writers left in their logs.

    Example: `meandrift runs runs`
    """
    from probes.storage.listing import KILLED, list_runs
    from probes.storage.strangers import strangers
    from probes.storage.tags import chosen_runs

    files = _open(store)
    damage: list[str] = []
    chosen = chosen_runs(files, [f"tag:{word}" for word in tag]) if tag else None
    rows = list(list_runs(files, chosen, damage.append))
    if as_json:
        typer.echo(json.dumps([row.plain() for row in rows], indent=2))
        return
    _print_table([row.words() for row in rows])
    if any(row.status == KILLED for row in rows):
        say(
            f"note: `meandrift recover --store {quote(store)}` brings what killed writers left into the tables",
            err=True,
        )
    for fault in damage:
        say(f"damaged: {fault}", err=True)
    for path, problem in strangers(files):
        say(f"left out: {path} {problem}", err=True)


def _print_table(rows: list[dict[str, str]]) -> None:
    """Print rows without wrapping or cutting a word.

    Columns that do not fit a narrow terminal are named below the table.
    """
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()

    def table(left_out: Sequence[str], rows: Sequence[dict[str, str]]) -> Table:
        shown = [name for name in rows[0] if name not in left_out]
        made = Table(box=None)
        for name in shown:
            made.add_column(name, no_wrap=True, justify="right" if name in ("last step", "rows", "size") else "left")
        for row in rows:
            made.add_row(*(Text(row[name]) for name in shown))  # stored text is no markup
        return made

    safe = [{name: printable(cell) for name, cell in row.items()} for row in rows]
    widest = {name: max((row[name] for row in safe), key=cell_len) for name in rows[0]}
    for count in range(len(_LEAVES) + 1):
        made = table(_LEAVES[:count], [widest])  # as wide as the whole table, and fast to measure
        needed = console.measure(made, options=console.options.update(width=10_000)).maximum
        if needed <= console.width:
            break
    console.print(table(_LEAVES[:count], safe), width=needed, crop=False)
    if count:
        typer.echo(f"no room for {', '.join(_LEAVES[:count])}: see --json", err=True)


_LEAVES = ("per 1,000 steps", "started", "device", "size", "rows", "last step")
"""The columns of ``runs`` that a narrow terminal leaves out, in the order in which they are left out."""


@app.command()
def recover(
    run: Annotated[list[str] | None, typer.Argument(help="Runs to recover; none means all.")] = None,
    *,
    store: Store = "runs",
    force: Force = False,
) -> None:
    """Bring the rows that dead writers left in their logs into the tables. Live writers are left alone.

    Example: `meandrift recover --store runs`
    """
    from probes.storage.recovery import recover_dead

    if force and not run:
        raise ValueError("--force takes runs from other machines: say which, meandrift recover RUN --force")
    files, run = _chosen(store, run)
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
    thin: Annotated[int, typer.Option(help="Keep one record in this many; 0 keeps all.", min=0)] = 0,
) -> None:
    """Join the small parts of finished runs into large ones. Readers may go on reading.

    With --thin 10 every tenth record is kept, and the others are deleted for good; evaluations are kept.

    Example: `meandrift compact --store runs --thin 10`
    """
    from probes.storage.compaction import compact_run
    from probes.storage.counting import counted
    from probes.storage.record_thinning import thin_run
    from probes.storage.recovery import recover_dead
    from probes.storage.writer_lock import RunIsOwnedError, WriterLock

    files, run = _chosen(store, run)
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
            if thin:
                thinned = thin_run(files, name, thin)
                typer.echo(f"{name}: {thinned.before:,} rows -> {thinned.after:,}")
            for table in compact_run(files, name):
                say(f"{name}/{table.table}: {counted(table.before, 'part')} -> {table.after}")
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

    files, chosen = _chosen(store, run)  # all ids are checked before the first run is deleted
    failed: list[str] = []
    for name in chosen or ():
        try:
            remove_run(files, name, force=force)
        except (OSError, ValueError) as error:
            failed.append(f"run {name} is not deleted: {error}")
        else:
            say(f"deleted {name}")
    _end(failed)


@app.command(name="tag")
def tag_runs(
    run: Annotated[list[str], typer.Argument(help="Runs to tag.")],
    *,
    add: Annotated[list[str] | None, typer.Option(help="Tag to add. Repeatable.")] = None,
    remove: Annotated[list[str] | None, typer.Option(help="Tag to take away. Repeatable.")] = None,
    store: Store = "runs",
) -> None:
    """Tag finished runs with words. `--runs tag:WORD` and every other choice of runs then finds them.

    Example: `meandrift tag bn-s0 sn-s0 --add baseline --store runs`
    """
    from probes.storage.tags import set_tags

    files, chosen = _chosen(store, run)
    for name in chosen or ():
        tags = set_tags(files, name, add=add or (), remove=remove or ())
        typer.echo(f"{name}: {', '.join(tags) or 'no tags'}")


@app.command()
def verify(
    run: Annotated[list[str] | None, typer.Argument(help="Runs to verify; none means all.")] = None,
    *,
    store: Store = "runs",
    as_json: Json = False,
) -> None:
    """Read and check every file, name the bad ones, and exit with status 1 if there are any.

    Example: `meandrift verify --store runs`
    """
    from probes.storage.counting import counted
    from probes.storage.verify import verify as verify_store

    found = verify_store(*_chosen(store, run))
    if as_json:
        faults = [fault._asdict() for fault in found.faults]
        typer.echo(
            json.dumps({"files": found.files, "rows": found.rows, "faults": faults, "notes": found.notes}, indent=2)
        )
    else:
        for fault in found.faults:
            say(f"BAD {fault.path}: {fault.problem}")
        for note in found.notes:
            say(f"note: {note}")
        counts = ((found.files, "file"), (found.rows, "row"), (len(found.faults), "fault"))
        typer.echo(", ".join(counted(count, word) for count, word in counts))
    if found.faults:
        raise typer.Exit(1)


@app.command()
def export(
    destination: Annotated[Path, typer.Argument(help="File or, for TensorBoard, folder to make.")],
    *,
    store: Store = "runs",
    table: Annotated[
        str, typer.Option(help="layers, parameters, channels, units, histograms, spectra, steps or runs.")
    ] = "layers",
    kind: Annotated[
        str,
        typer.Option("--format", help="parquet, csv or tensorboard. Default: the ending of the destination's name."),
    ] = "",
    run: Annotated[list[str] | None, typer.Option(help="Runs to export; repeatable; none means all.")] = None,
) -> None:
    """Write a table to one Parquet file, to CSV or to a TensorBoard log folder.

    Example: `meandrift export layers.csv --table layers --run bn-s0`
    """
    from probes.storage.counting import counted
    from probes.storage.export import export as export_table

    kind = kind or destination.suffix.removeprefix(".") or "tensorboard"
    files, chosen = _chosen(store, run)
    rows = export_table(files, destination, table=table, kind=kind, runs=chosen)
    say(f"{counted(rows, 'row')} of {table} -> {destination}")
