"""Attacks on everything that reads a store: mutated files, bombs and hostile names.

Each attack damages a copy of a small store, then runs commands on it in this process. Counted are: tracebacks (an
exception that the command line does not turn into one line), hangs (a command that takes longer than ``PATIENCE``),
files outside of the store that changed, and faults that ``verify`` does not name.

    python tests/security/attacks.py --mutations 500
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import shutil
import signal
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

import meandrift as md
from dynamics import cli
from probes.storage.recorder import Recorder

PATIENCE = 60  # seconds
LAYERS = ("features.0", "features.1")
WORDS = [
    "[/b]",
    "\x1b[2J\x1b]0;owned\x07",
    "<!--<script>alert(1)</script>",
    "=HYPERLINK(1)",
    "$\\frac",
    "../../x",
    "\u202e",
]


def record(store: Path, run: str, *, closed: bool = True, layers: tuple[str, ...] = LAYERS) -> None:
    """Record a small run; left open, its last rows stand in its log, as after SIGKILL."""
    recorder = Recorder(store, run, config={"norm": "bn", "model": "cnn3", "data": "mnist", "seed": 0, "notes": WORDS})
    for step in range(4):
        keys = [
            {"step": step, "layer": name, "layer_index": at, "layer_type": "Conv2d"} for at, name in enumerate(layers)
        ]
        numbers = {"weight_mean": step / 7, "weight_var": 1.0, "grad_l2_norm": 1.0, "spectral_norm": 2.0}
        recorder.write("layers", pa.RecordBatch.from_pylist([{**key, **numbers} for key in keys]))
        losses = [{"step": step, "epoch": 0, "split": "train", "loss": 1 / (step + 1), "seconds": 0.1 * step}]
        recorder.write("steps", pa.RecordBatch.from_pylist(losses))
        counts = {"tensor": "gradient", "mantissa_bits": 3, "first_bin": 900, "counts": [3, 4], "n": 7, "n_zero": 0}
        recorder.write("histograms", pa.RecordBatch.from_pylist([{**key, **counts, "n_nonfinite": 0} for key in keys]))
        if step == 1:
            recorder.flush()
    if closed:
        recorder.close()
    else:
        recorder._owner.forget()
        owner = store / "_writers" / run / "owner.json"
        owner.write_text(json.dumps({**json.loads(owner.read_text()), "pid": 2**22 + 1}))


def make_store(folder: Path) -> Path:
    """Return a store of two finished runs and a killed one."""
    for run in ("sound", "victim"):
        record(folder / "store", run)
    record(folder / "store", "killed", closed=False)
    return folder / "store"


def files_of(store: Path) -> list[Path]:
    """Return the files that an attack may damage: those of the victim and of the killed run."""
    found = [path for path in sorted(store.rglob("*")) if path.is_file()]
    return [path for path in found if "sound" not in str(path.relative_to(store))]


# --- mutations of bytes -----------------------------------------------------------------------------------------------


def flip(content: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(content))
    return content[:place] + bytes([content[place] ^ (1 << chance.randrange(8))]) + content[place + 1 :]


def overwrite(content: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(content))
    noise = chance.randbytes(min(chance.choice([1, 4, 16, 64]), len(content) - place))
    return content[:place] + noise + content[place + len(noise) :]


def cut(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content))]


def repeat(content: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(content))
    return content[:place] + content[place : place + chance.randrange(1, 200)] + content[place:]


def largest_number(content: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(max(1, len(content) - 8))
    return content[:place] + chance.choice([b"\xff" * 4, b"\x7f\xff\xff\xff", b"\x00" * 8]) + content[place + 4 :]


BYTES: list[Callable[[bytes, random.Random], bytes]] = [flip, flip, overwrite, cut, repeat, largest_number]


# --- mutations of values: whole Parquet files in which the values make no sense ---------------------------------------


def other_type(rows: pa.Table, chance: random.Random) -> pa.Table:
    place = chance.randrange(rows.num_columns)
    kinds = [pa.string(), pa.float64(), pa.int32(), pa.list_(pa.int32()), pa.timestamp("us"), pa.bool_(), pa.null()]
    kind = chance.choice(kinds)
    values = {pa.string(): "word", pa.list_(pa.int32()): [1, 2], pa.bool_(): True}.get(
        kind, None if kind == pa.null() else 1
    )
    return rows.set_column(place, rows.column_names[place], pa.array([values] * rows.num_rows, kind))


def no_column(rows: pa.Table, chance: random.Random) -> pa.Table:
    return rows.drop_columns([chance.choice(rows.column_names)])


def nulls(rows: pa.Table, chance: random.Random) -> pa.Table:
    place = chance.randrange(rows.num_columns)
    return rows.set_column(place, rows.field(place), pa.nulls(rows.num_rows, rows.field(place).type))


def extremes(rows: pa.Table, chance: random.Random) -> pa.Table:
    place = chance.randrange(rows.num_columns)
    kind = rows.field(place).type
    if pa.types.is_integer(kind):
        value = chance.choice([-1, 2 ** (kind.bit_width - 1) - 1, -(2 ** (kind.bit_width - 1))])
    elif pa.types.is_floating(kind):
        value = chance.choice([float("nan"), float("inf"), -1e308 if kind == pa.float64() else -3e38])
    elif pa.types.is_timestamp(kind):
        value = chance.choice([-(2**62), 2**62])
    elif pa.types.is_list(kind):
        return rows.set_column(place, rows.field(place), pa.array([[]] * rows.num_rows, kind))
    else:
        words = pa.array([chance.choice([*WORDS, "x" * 100_000, ""])] * rows.num_rows, pa.string())
        return rows.set_column(
            place, rows.field(place), words.cast(kind) if kind == pa.string() else words.dictionary_encode()
        )
    return rows.set_column(
        place,
        rows.field(place),
        pa.array([value] * rows.num_rows, pa.int64() if pa.types.is_timestamp(kind) else kind).cast(kind),
    )


def no_json(rows: pa.Table, chance: random.Random) -> pa.Table:
    names = [name for name in ("config", "versions", "gaps") if name in rows.column_names]
    if not names:
        return extremes(rows, chance)
    texts = [
        "{",
        "[" * 100_000 + "]" * 100_000,
        "[1, 2]",
        '"text"',
        '{"a": ' * 200 + "1" + "}" * 200,
        '{"run": 1, "status": 2}',
        '{"model": {"deep": [1]}, "norm": null, "learning_rate": "fast", "epochs": []}',
        '[null, 7, "gap"]',
        "9" * 5000,
    ]
    name = chance.choice(names)
    return rows.set_column(rows.column_names.index(name), name, pa.array([chance.choice(texts)] * rows.num_rows))


def twice(rows: pa.Table, chance: random.Random) -> pa.Table:
    return pa.concat_tables([rows, rows])


def no_rows(rows: pa.Table, chance: random.Random) -> pa.Table:
    return rows.slice(0, 0)


VALUES = [other_type, other_type, no_column, nulls, extremes, extremes, no_json, no_json, twice, no_rows]


def mutate(path: Path, chance: random.Random) -> str:
    """Damage a file, and return how."""
    content = path.read_bytes()
    if path.suffix == ".parquet" and chance.random() < 0.5:
        change = chance.choice(VALUES)
        rows = change(pq.ParquetFile(path).read(), chance)
        pq.write_table(rows, path)
        return change.__name__
    change_bytes = chance.choice(BYTES)
    path.write_bytes(change_bytes(content, chance) if content else chance.randbytes(40))
    return change_bytes.__name__


# --- bombs ------------------------------------------------------------------------------------------------------------


def bomb_in_log(store: Path) -> None:
    """A log segment of a few kilobytes that unpacks to 300 MB."""
    schema = pa.schema([("step", pa.int64()), ("split", pa.string()), ("loss", pa.float64())])
    rows = pa.record_batch([pa.array([0] * 1_000_000), ["train"] * 1_000_000, pa.array([0.0] * 1_000_000)], schema)
    packed = pa.ipc.IpcWriteOptions(compression="zstd")
    with (
        pa.OSFile(str(store / "_writers" / "killed" / "steps-00000077.arrows"), "wb") as sink,
        pa.ipc.new_stream(sink, schema, options=packed) as writer,
    ):
        for _ in range(15):
            writer.write_batch(rows)


def bomb_of_rows(store: Path) -> None:
    """A part of a few kilobytes with 50 million rows."""
    chunk = pa.table({"step": pa.array([0] * 1_000_000), "split": ["train"] * 1_000_000, "loss": [0.0] * 1_000_000})
    path = next(store.glob("steps/run=victim/*.parquet"))
    with pq.ParquetWriter(path, chunk.schema, compression="zstd") as writer:
        for _ in range(50):
            writer.write_table(chunk)


def bomb_of_words(store: Path) -> None:
    """A part of a few kilobytes with a word of 200 MB."""
    path = next(store.glob("layers/run=victim/*.parquet"))
    words = pa.array(["x" * 200_000_000]).dictionary_encode()
    pq.write_table(pa.table({"step": [0], "layer": words, "weight_mean": [0.0]}), path, compression="zstd")


def bomb_of_json(store: Path) -> None:
    """A configuration nested 100,000 deep."""
    path = next(store.glob("runs/run=victim/*.parquet"))
    rows = pq.ParquetFile(path).read()
    deep = pa.array(['{"a":' * 100_000 + "1" + "}" * 100_000])
    pq.write_table(rows.set_column(rows.column_names.index("config"), "config", deep), path)


def bomb_of_pixels(store: Path) -> None:
    """A picture of 40,000 x 40,000 pixels in a few bytes."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    path = store / "samples" / "run=victim" / "step-00000003.png"
    path.parent.mkdir(parents=True)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


def hostile_names(store: Path) -> None:
    """A run whose layers are named by somebody who means harm."""
    record(store, "named", layers=tuple(WORDS))
    path = next(store.glob("runs/run=victim/*.parquet"))
    rows = pq.ParquetFile(path).read()
    for name in ("status", "device"):
        rows = rows.set_column(rows.column_names.index(name), name, pa.array([" ".join(WORDS)]))
    pq.write_table(rows, path)


BOMBS = {
    each.__name__: each
    for each in (bomb_in_log, bomb_of_rows, bomb_of_words, bomb_of_json, bomb_of_pixels, hostile_names)
}


# --- commands ---------------------------------------------------------------------------------------------------------


def new_probe(store: Path, out: Path) -> None:
    """Record a new run, as any training that shares the store does."""
    with Recorder(store, f"new{len(list(out.glob('new*')))}", overwrite=True) as recorder:
        recorder.write("steps", pa.RecordBatch.from_pylist([{"step": 0, "split": "train", "loss": 1.0}]))


def resume_victim(store: Path, out: Path) -> None:
    """Go on with the damaged run."""
    Recorder(store, "victim", resume="auto").close()


def tables_in_python(store: Path, out: Path) -> None:
    """Read each table as ``import meandrift as md`` gives it, and show what a notebook shows."""
    readers: list[Callable[[], object]] = [
        lambda: shown(md.runs(store)),
        lambda: shown(md.findings(store)),
        lambda: md.join(md.layers(store), md.steps(store)),
        lambda: md.with_settings(md.layers(store), store, ["norm", "model"], optional=True),
        lambda: md.histogram_density(md.histograms(store), np.linspace(-1, 1, 5)),
        lambda: md.gradient_concentration(md.histograms(store)),
        lambda: (md.spectra(store), md.parameters(store)),
        lambda: md.channel_drift(md.channels(store)),
        lambda: [md.fields(store, table) for table in ("layers", "steps", "histograms")],
        lambda: md.top_layers(md.compare(md.drift(md.layers(store)).reset_index()), "weight_mean"),
        lambda: md.groups(store, {"all": "*"}),
        lambda: md.runs(store, runs="tag:*"),
    ]
    for read in readers:
        with contextlib.suppress(ValueError, OSError):
            read()


def figures_in_python(store: Path, out: Path) -> None:
    """Draw figures of the victim as a notebook does."""
    for draw in (md.plot, md.figure):
        with contextlib.suppress(ValueError, OSError):
            draw("weight_mean", store)
    plt.close("all")


def shown(table: pd.DataFrame) -> None:
    print(repr(table))
    print(table._repr_html_())


FIGURES = "weight_mean,gradient_histograms,accuracy_time"
READERS: dict[str, list[str] | Callable[[Path, Path], None]] = {
    "runs": ["runs", "STORE"],
    "verify": ["verify", "--store", "STORE"],
    "export parquet": ["export", "OUT/layers.parquet", "--store", "STORE"],
    "export csv": ["export", "OUT/steps.csv", "--table", "steps", "--store", "STORE"],
    "export runs": ["export", "OUT/runs.csv", "--table", "runs", "--store", "STORE"],
    "query": ["query", "SELECT run, count(*), max(step) FROM steps GROUP BY run", "--store", "STORE"],
    "query csv": ["query", "SELECT DISTINCT run, layer FROM layers", "--store", "STORE", "--format", "csv"],
    "watch": ["watch", "STORE", "--once"],
    "watch victim": ["watch", "STORE", "--once", "--run", "victim"],
    "check": ["check", "STORE"],
    "tables": ["tables", "STORE", "--format", "tex"],
    "report": ["report", "STORE", "-o", "OUT/report.html"],
    "figures": f"figures STORE --only {FIGURES} --format svg --out OUT/figures".split(),
    "diff": ["diff", "sound", "victim", "--store", "STORE"],
    "tables in Python": tables_in_python,
    "figures in Python": figures_in_python,
    "from run": ["train", "--from-run", "victim", "--store", "STORE", "--epochs", "0"],
}
WRITERS: dict[str, list[str] | Callable[[Path, Path], None]] = {
    "new probe": new_probe,
    "resume": resume_victim,
    "recover": ["recover", "--store", "STORE"],
    "compact": ["compact", "--store", "STORE"],
    "tag": ["tag", "victim", "--add", "seen", "--store", "STORE"],
    "rm": ["rm", "victim", "--store", "STORE"],
}
COMMANDS = READERS | WRITERS


class HangError(BaseException):
    """A command took too long."""


@contextlib.contextmanager
def patience() -> Iterator[None]:
    """Raise :class:`HangError` in the block when it takes longer than ``PATIENCE``."""

    def ring(*_: object) -> None:
        raise HangError

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def run(name: str, store: Path, out: Path) -> tuple[str, str]:
    """Run a command; return all that it said, and the traceback if it raised what is no error of a caller."""
    command, said = COMMANDS[name], io.StringIO()
    out.mkdir(exist_ok=True)
    for old in (out / "layers.parquet", out / "steps.csv", out / "runs.csv"):
        old.unlink(missing_ok=True)
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), warnings.catch_warnings(), patience():
        warnings.simplefilter("always")
        try:
            if callable(command):
                command(store, out)
            else:
                cli.run([word.replace("STORE", str(store)).replace("OUT", str(out)) for word in command])
        except (ValueError, OSError) as error:
            print(f"error: {error}")
        except HangError:
            return said.getvalue(), f"{name} hangs"
        except Exception:
            return said.getvalue(), traceback.format_exc()
    return said.getvalue(), ""


def contents(folder: Path) -> dict[str, bytes]:
    """Return all files below a folder."""
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def attack(
    damage: Callable[[Path], object],
    names: list[str],
    template: Path,
    folder: Path,
    said_by: dict[str, str] | None = None,
) -> Counter[str]:
    """Damage a copy of a store, run commands on it, and count what went wrong; note what each command said."""
    found: Counter[str] = Counter()
    said_by = {} if said_by is None else said_by
    shutil.rmtree(folder, ignore_errors=True)
    outside = folder / "outside"
    outside.mkdir(parents=True)
    (outside / "letter.txt").write_text("precious")
    shutil.copytree(template, folder / "store", symlinks=True)
    damage(folder / "store")
    before = contents(outside)
    for name in names:
        said, raised = run(name, folder / "store", folder / "out")
        said_by[name] = said
        if raised:
            found["hangs" if raised.endswith("hangs") else "tracebacks"] += 1
            print(f"{name}: {raised}\n")
        if any(letter in said for letter in "\x1b\x07\u202e"):
            found["escapes"] += 1
            print(f"{name}: an escape sequence reached the terminal\n")
        found["outside"] += contents(outside) != before
    return found


def is_named(damaged: Path, said: str) -> bool:
    """Return whether ``verify`` named a damaged file."""
    return any(damaged.name in line for line in said.splitlines() if line.startswith(("BAD", "error")))


def mutations(number: int, *, seed: int, folder: Path, every: bool) -> Counter[str]:
    """Attack with random mutations; run ``every`` command after each, or verify and one other."""
    template, found = make_store(folder / "template"), Counter[str]()
    for index in range(number):
        chance = random.Random(f"{seed}-{index}")
        path = chance.choice(files_of(template)).relative_to(template)
        told: list[str] = []

        def damage(store: Path, path: Path = path, chance: random.Random = chance, told: list[str] = told) -> None:
            before = (store / path).read_bytes()
            told.append(mutate(store / path, chance))
            told.append("unchanged" if (store / path).read_bytes() == before else "changed")

        names = ["verify", *(COMMANDS if every else [chance.choice([*COMMANDS])])]
        said: dict[str, str] = {}
        here = attack(damage, list(dict.fromkeys(names)), template, folder / "attacked", said)
        # As a writer's death leaves it, or nobody's: the owner file says who writes, and the lock is what counts.
        harmless = (
            path.name == "owner.json" or (path.suffix == ".arrows" and told[0] == "cut") or told[1] == "unchanged"
        )
        if not harmless and not is_named(path, said["verify"]):
            here["unnamed"] += 1
            print(f"mutation {index}: verify does not name {path} after {told[0]}\n")
        if here.total():
            print(f"mutation {index}: {told[0]} of {path}: {dict(here)}\n")
        found += here
    found["mutations"] = number
    return found


def main() -> None:
    """Parse the command line and print what was found as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutations", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--all", action="store_true", help="every command after each mutation, not two of them")
    parser.add_argument("--bombs", action="store_true", help="bombs too")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    os.environ["MEANDRIFT_SPOOL"] = str(folder / "spool")
    found = mutations(arguments.mutations, seed=arguments.seed, folder=folder, every=arguments.all)
    for name, bomb in BOMBS.items() if arguments.bombs else ():
        template = make_store(folder / f"template-{name}")
        here = attack(bomb, list(COMMANDS), template, folder / "attacked")
        found += here
        print(f"{name}: {dict(here)}")
    shutil.rmtree(folder)
    print(json.dumps(dict(found)))


if __name__ == "__main__":
    main()
