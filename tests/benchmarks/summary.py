"""Write the measured tables as Markdown, from the JSON files that the benchmarks leave in ``results/``.

    python tests/benchmarks/norm_speed.py --json tests/benchmarks/results/norm_speed-1.json   # and -2, -3, ...
    python tests/benchmarks/probe_overhead.py --result tests/benchmarks/results/probe_overhead.json time --peers
    python tests/benchmarks/summary.py > tests/benchmarks/RESULTS.md

A ratio of ``norm_speed.py`` moves with what the process's heap happens to look like, so that it is given as the median
over several processes, and the range; so are those of ``probe_overhead.py``. A process whose control is further than
``STEADY`` from 1 says nothing of differences of that size: it is counted and left out.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results")
STEADY = 0.02
_NETWORKS = ("cnn3", "vgg7", "densenet_bc")
NORM_BARS = {  # (model, norm, reference): at most
    **{(model, "sn", "bn"): 0.76 for model in _NETWORKS},
    **{(model, "msn", "bn"): 0.84 for model in _NETWORKS},
    **{(model, "sn", "none"): 1.05 for model in _NETWORKS},
    **{(model, "msn", "none"): 1.12 for model in _NETWORKS},
}


def read(pattern: str) -> list[dict[str, Any]]:
    """Return the results whose file names match."""
    return [json.loads(path.read_text()) for path in sorted(RESULTS.glob(pattern))]


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table."""
    lines = [list(head), *(list(row) for row in rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def machine(result: dict[str, Any]) -> str:
    """Return the machine and the settings of the numbers, in a line."""
    words = {True: "yes", False: "no"}
    shown = {
        key: words.get(value, value) if isinstance(value, bool) else value for key, value in result["machine"].items()
    }
    rounded = {key: f"{value:.1f}" if isinstance(value, float) else value for key, value in shown.items()}
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in rounded.items() if value is not None)


def steady(run: dict[str, Any] | None, control: str, key: str) -> bool:
    """Whether a process has measured a network, with a control near 1 if it had one."""
    return run is not None and (control not in run or abs(run[control][key] - 1) <= STEADY)


def left_out(runs: Iterable[tuple[str, dict[str, Any]]], control: str, key: str) -> str:
    """Return, by network, how many processes are left out because of their control."""
    models = [model for model, run in runs if not steady(run, control, key)]
    counts = ", ".join(f"{model} {models.count(model)}" for model in dict.fromkeys(models))
    return f"Left out, with a control further than {STEADY} from 1: {counts or 'none'}.\n"


def norm_rows(results: list[dict[str, Any]]) -> Iterator[list[str]]:
    """Yield a row for each network and norm."""
    for model in dict.fromkeys(model for result in results for model in result["models"]):
        runs = [run for result in results if steady(run := result["models"].get(model), "again", "of_none")]
        for norm in dict.fromkeys(norm for run in runs for norm in run):
            own = [run[norm] for run in runs if norm in run]
            cells = [ratio(own, norm, model, reference) for reference in ("bn", "none")]
            yield [model, norm, f"{statistics.median(row['ms'] for row in own):.1f}", *cells, str(len(own))]


def ratio(rows: list[dict[str, float]], norm: str, model: str, reference: str) -> str:
    """Return the median ratio over processes, its range, and the bar it is to stay under."""
    values = [row[f"of_{reference}"] for row in rows if f"of_{reference}" in row]
    if not values or norm == reference:
        return ""
    middle, bar = statistics.median(values), NORM_BARS.get((model, norm, reference))
    spread = f" ({min(values):.3f} to {max(values):.3f})" if len(values) > 1 else ""
    judged = "" if bar is None else f", at most {bar}: {'met' if round(middle, 3) <= bar else '**missed**'}"
    return f"{middle:.3f}{spread}{judged}"


def overhead_rows(results: list[dict[str, Any]]) -> Iterator[list[str]]:
    """Yield a row for each network and arm."""
    for model in dict.fromkeys(model for result in results for model in result["time"]):
        arms_of = [result["time"].get(model, {}).get("arms") for result in results]
        runs = [run for run in arms_of if steady(run, "bare again", "ratio")]
        for name in dict.fromkeys(name for run in runs for name in run):
            arms = [run[name] for run in runs if name in run]
            ratios = [arm["ratio"] for arm in arms]
            middle, bar, size = statistics.median(ratios), arms[0].get("bar"), arms[-1].get("bytes_a_layer_and_step")
            spread = f" ({min(ratios):.3f} to {max(ratios):.3f})" if len(arms) > 1 else ""
            judged = "" if bar is None else f"{bar}: {'met' if round(middle, 3) <= bar else '**missed**'}"
            sizes = "" if size is None else f"{size:.0f}"
            yield [model, name, f"{middle:.3f}{spread}", judged, sizes, str(len(arms))]


def main() -> None:
    """Print the page."""
    print("# Benchmark results\n")
    print("`python tests/benchmarks/summary.py` prints this page from `results/`. All numbers were measured on CPUs;")
    print("[On a GPU](../../docs/gpu.md) has those of a GPU. [Missed targets](LIMITS.md) has the reasons.\n")
    norms = read("norm_speed-*.json")
    print(f"## Whole training steps, by norm\n\n{machine(norms[0])}\n")
    print("`again` is a second network without a norm. Its distance from 1 is the noise of a ratio.\n")
    print(left_out((pair for result in norms for pair in result["models"].items()), "again", "of_none"))
    print(table(("network", "norm", "ms a step", "of BN", "of no norm", "processes"), norm_rows(norms)))
    for idle_core in (True, False):
        results = [result for result in read("probe_overhead-*.json") if result["machine"]["idle_core"] is idle_core]
        where = "with an idle core" if idle_core else "on one core in all"
        print(f"\n## Training steps with the probe, {where}\n\n{machine(results[0])}\n")
        print(
            "The ratio is the duration of a step with the probe, divided by one without. Targets (`at most`) are those"
        )
        print("of the time of the measurement.")
        print("Median over processes (range) of the median over rounds. `bare again` is the control; all arms but")
        print("`default` record at every step.")
        timed = ((model, run["arms"]) for result in results for model, run in result["time"].items())
        print(left_out(timed, "bare again", "ratio"))
        head = ("network", "recorded", "ratio", "at most", "bytes a layer and step", "processes")
        print(table(head, overhead_rows(results)))
    for flat in read("flat.json"):
        for model, found in flat["flat"].items():
            beside = f"beside bare steps {found['last_over_first_beside_bare']:.3f} (at most {found['bar']})"
            whole = f"last 50 over first 50 {found['last_over_first']:.3f}"
            print(f"\n{model}, {found['steps']:,} steps: {whole}, {beside}.")
    for memory in read("memory.json"):
        print("\n## Memory\n\nPeak resident memory, medians over processes; at most 2 % of the training's and 64 MB.\n")
        keys = ("training_mib", "extra_mib", "bar_mib")
        rows = (
            [model, *(f"{found[key]:.0f}" for key in keys), str(found["steps"]), str(len(found["peaks_mib"]["bare"]))]
            for model, found in memory["memory"].items()
        )
        heads = ("network", "training, MiB", "more under the probe, MiB", "at most, MiB", "steps", "processes an arm")
        print(table(heads, rows))
    for store in read("store.json"):
        print("\n## Writing\n")
        latencies = ("write p50, us", "write p99, us", "flush p50, ms", "flush p99, ms")
        heads = ("rows a call", "rows a second", "bytes a row of 35 columns", *latencies)
        print(table(heads, map(write_cells, store["write"])))
        asked = store["read"]["asked"]
        print(f"\n## Questions to a store of {store['read']['rows']:,} rows\n")
        columns = ("engine: question", "ms", "ms on a tenth of the runs", "memory gained, MB", "answer, MB")
        print(table(columns, ([question, *store_cells(answers)] for question, answers in asked.items())))


def write_cells(write: dict[str, Any]) -> list[str]:
    """Return the columns of the table of writing."""
    flush = next(value for key, value in write.items() if key.startswith("flush_ms"))
    latencies = (write["write_us"]["p50"], write["write_us"]["p99"], flush["p50"], flush["p99"])
    counts = (f"{write['rows_a_call']:,}", f"{write['rows_a_second']:,}", str(write["bytes_a_row_compacted"]))
    return [*counts, *(f"{latency:.0f}" for latency in latencies)]


def store_cells(answers: dict[str, Any]) -> list[str]:
    """Return time, time on the smaller store, memory and size of an answer."""
    whole, tenth = answers["whole"], answers["tenth"]
    return [str(whole["ms"]), str(tenth["ms"]), str(whole["gained_mb"]), str(whole["answer_mb"])]


if __name__ == "__main__":
    main()
