"""Run the parts of a sitting on a GPU, each in a process of its own with a time box, and sum them up.

    python tests/gpu/sitting.py RESULTS run NAME --seconds 100 [--deadline UNIX_TIME]
    python tests/gpu/sitting.py RESULTS summary NAME...

``run`` starts ``NAME.py`` beside this file and writes ``RESULTS/NAME.json``; it always ends with status 0, so that the
next part begins. ``summary`` prints a line a part, writes ``RESULTS/summary.json`` and ends with status 1 unless all
are ok. Only the standard library is used: what is told of a part does not depend on what the part needs.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
GRACE = 5  # seconds between the request to end and the kill
LAST_LINES = 30
PACKAGES = ("torch", "torchvision", "numpy", "pandas", "pyarrow", "pytest", "triton")


def run(results: Path, name: str, *, seconds: float, deadline: float | None) -> None:
    """Run a part, unless it is ok already or its box does not fit into what is left; write what became of it."""
    told, found = results / f"{name}.json", results / f"{name}.found.json"
    if is_ok(read(told)):
        print(f"{name}: ok already", flush=True)
        return
    part: dict[str, Any] = {"part": name, "device": device(), "box_seconds": seconds, "at": now()}
    left = seconds + GRACE if deadline is None else deadline - time.time()
    if left < seconds + GRACE:
        reason = f"{max(0, left):.0f} s of the sitting were left and it may take {seconds + GRACE:.0f}"
        print(f"{name}: not begun. {reason}", flush=True)
        if not told.exists():
            write(told, part | {"status": "not begun", "reason": reason})
        return
    print(f"{name}: at most {seconds:.0f} s", flush=True)
    found.unlink(missing_ok=True)
    command = [sys.executable, str(HERE / f"{name}.py"), "--found", str(found), "--seconds", str(seconds)]
    part |= in_a_box(command, seconds)
    part |= {"machine": machine(), "code": code(), "found": read(found)}
    if part["status"] == "failed" and (failures := (part["found"] or {}).get("failures")):
        part["reason"] = f"{len(failures)} failures, the first: {failures[0]}"[:500]
    write(told, part)
    found.unlink(missing_ok=True)
    print(f"{name}: {part['status']}, {part['seconds']:.0f} s. {part['reason']}".rstrip(), flush=True)


def in_a_box(command: list[str], seconds: float) -> dict[str, Any]:
    """Run a command and all that it starts for so many seconds at most; return what became of it."""
    began = time.monotonic()
    with tempfile.TemporaryFile() as output:  # no pipe: a child that is left over would hold it open
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
        in_time = ends_within(process, seconds)
        for order in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, order)
            if ends_within(process, GRACE):
                break
        output.seek(0)
        lines = output.read().decode(errors="replace").strip().splitlines()
    if not in_time:
        status, reason = "out of time", f"ended after {seconds:.0f} s"
    elif process.returncode:
        status, reason = "failed", lines[-1] if lines else f"exit status {process.returncode}, and no output"
    else:
        status, reason = "ok", ""
    return {
        "status": status,
        "reason": reason,
        "seconds": round(time.monotonic() - began, 1),
        "exit_status": process.returncode,
        "output": lines[-LAST_LINES:],
    }


def ends_within(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Wait for a process, so long at most; return whether it has ended."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def summary(results: Path, names: list[str]) -> bool:
    """Print and write what became of the parts; return whether all are ok."""
    parts = {name: read(results / f"{name}.json") or {"status": "missing", "reason": ""} for name in names}
    kept = ("status", "reason", "seconds", "device", "at", "code")
    rows = {
        name: {key: part[key] for key in kept if key in part} | {"headline": (part.get("found") or {}).get("headline")}
        for name, part in parts.items()
    }
    write(results / "summary.json", {"at": now(), "machine": machine(), "code": code(), "parts": rows})
    print(json.dumps(machine(), indent=1))
    for name, row in rows.items():
        print(f"{name:10} {row['status']:11} {row.get('seconds', 0):4.0f} s  {row['headline'] or row['reason']}")
    return all(row["status"] == "ok" for row in rows.values())


def is_ok(part: dict[str, Any] | None) -> bool:
    """Whether a part has been run with success on this kind of device."""
    return part is not None and part["status"] == "ok" and part["device"] == device()


def machine() -> dict[str, Any]:
    """Return what the numbers were taken on."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total,compute_mode", "--format=csv,noheader"]
    try:
        gpus = subprocess.run(query, capture_output=True, text=True, timeout=30, check=True).stdout.strip().splitlines()
    except (OSError, subprocess.SubprocessError):
        gpus = []
    return {
        "gpus": gpus,
        "cores": len(os.sched_getaffinity(0)),
        "machine": platform.machine(),
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }


def version(package: str) -> str | None:
    """Return the version of an installed package, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def code() -> str:
    """Return a hash of the source files that the results depend on: a checkout need not have a history."""
    root = HERE.parents[1]
    files = [path for folder in ("dynamics", "probes", "tests") for path in (root / folder).rglob("*.py")]
    content = hashlib.sha256()
    for path in sorted(files):
        content.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    return content.hexdigest()[:12]


def device() -> str:
    """Return the kind of device that parts run on."""
    return os.environ.get("MEANDRIFT_DEVICE", "cuda")


def now() -> str:
    """Return the time in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def read(path: Path) -> dict[str, Any] | None:
    """Return what a JSON file holds; None if it is not there or was cut off."""
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return found


def write(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file that is never seen half-written."""
    whole = path.with_suffix(".new")
    whole.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
    whole.replace(path)


def main() -> int:
    """Do what the command line asks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    what = parser.add_subparsers(dest="what", required=True)
    one = what.add_parser("run", help="run a part")
    one.add_argument("name")
    one.add_argument("--seconds", type=float, required=True, help="its time box")
    one.add_argument("--deadline", type=float, help="when the sitting ends, in seconds since 1970")
    what.add_parser("summary", help="sum up").add_argument("names", nargs="+")
    arguments = parser.parse_args()
    if arguments.what == "run":
        run(arguments.results, arguments.name, seconds=arguments.seconds, deadline=arguments.deadline)
        return 0
    return 0 if summary(arguments.results, arguments.names) else 1


if __name__ == "__main__":
    sys.exit(main())
