"""Pages without code blocks of their own: what they link to, name and quote is there."""

from __future__ import annotations

import importlib
import inspect
import json
import re
import tomllib
from pathlib import Path

import pytest
import typer

import meandrift as md

ROOT = Path(__file__).parents[1]
FAQ = (ROOT / "docs" / "faq.md").read_text(encoding="utf-8")
COMPARISON = (ROOT / "docs" / "comparison.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
NOTEBOOK = json.loads((ROOT / "examples" / "mean_drift.ipynb").read_text(encoding="utf-8"))
PAGES = {
    "docs/faq.md": FAQ,
    "docs/comparison.md": COMPARISON,
    "CONTRIBUTING.md": CONTRIBUTING,
    "examples/README.md": (ROOT / "examples" / "README.md").read_text(encoding="utf-8"),
    "examples/mean_drift.ipynb": "\n".join("".join(cell["source"]) for cell in NOTEBOOK["cells"]),
}


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and MkDocs make them alike of plain words."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def broken_links(page: str, text: str) -> list[str]:
    """Return the links of a page that lead to no file or to no heading."""
    found = []
    for link in re.findall(r"\]\(([^)]+)\)", text):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            found.append(link)
    return found


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    assert broken_links(page, PAGES[page]) == []


@pytest.mark.parametrize("link", ["gone.md", "store.md#gone"])
def test_a_broken_link_is_noticed(link: str) -> None:
    assert broken_links("docs/faq.md", f"[a page]({link})") == [link]


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_is_named_is_there(page: str) -> None:
    named = re.findall(r"`((?:examples|tests|docs|figures|probes|analysis|dynamics)/[\w/.-]+)", PAGES[page])
    assert [path for path in named if "NAME" not in path and not (ROOT / path).exists()] == []


def options() -> dict[str, set[str]]:
    """Return the options of each command."""
    from dynamics.cli import make_app

    commands = typer.main.get_command(make_app()).commands
    return {name: {option for entry in command.params for option in entry.opts} for name, command in commands.items()}


def test_commands_of_the_questions_exist_with_their_options() -> None:
    known = options()
    for line in re.findall(r"`meandrift ([a-z].*?)`", FAQ.replace("\n", " ")):
        command, *words = line.split()
        assert command in known, line
        assert {word for word in words if word.startswith("-")} <= known[command], line


def known_names() -> set[str]:
    """Return the columns, metrics, groups, tables and arguments that the questions may name."""
    from probes import Probe, schema
    from probes.metrics import METRICS

    columns = {column.name for metric in METRICS.values() for column in metric.columns}
    columns |= {column.name for column in (*schema.STEPS_COLUMNS, *schema.RUNS_COLUMNS)}
    metrics = {*METRICS, *(metric.group for metric in METRICS.values())}
    return columns | metrics | set(schema.TABLES) | set(inspect.signature(Probe.__init__).parameters)


def test_names_in_the_questions_are_those_of_the_code() -> None:
    named = set(re.findall(r"`([a-z]+(?:_[a-z0-9]+)+)`", FAQ))
    assert {"update_angle", "operator_norm", "activation_drift"} <= named
    assert named - known_names() == set()
    assert {name for name in re.findall(r"\bmd\.(\w+)", FAQ) if not hasattr(md, name)} == set()


def test_prices_of_the_comparison_are_those_that_were_measured() -> None:
    measured = (ROOT / "tests" / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
    idle, _, one_core = measured.partition("on one core in all")
    row = r"^\| cnn3 \| ([^|]+) \| (\d\.\d+) \("
    idle, one_core = (dict(re.findall(row, part, re.MULTILINE)) for part in (idle, one_core))
    told = re.findall(r"^\| ([^|]+) \| (\d\.\d\d) \| (?:(\d\.\d\d) )?\|$", COMPARISON, re.MULTILINE)
    names = {
        "meandrift, weights and gradients": "weights+gradients",
        "meandrift, and activations": "+activations",
        "meandrift, everything": "everything",
        "delve": "delve",
        "WeightWatcher, `analyze()`": "weightwatcher",
        '`wandb.watch(log="all", log_freq=1)`, offline': "wandb",
        "TensorBoard histograms of weights and gradients": "tensorboard",
    }
    assert [shown for shown, _, _ in told] == list(names)
    for shown, beside, alone in told:
        assert beside == f"{float(idle[names[shown]]):.2f}"
        assert not alone or alone == f"{float(one_core[names[shown]]):.2f}"


def test_sources_of_the_comparison_are_all_used_and_all_there() -> None:
    text, _, sources = COMPARISON.partition("## Sources")
    assert set(re.findall(r"\[(\d)\]", text)) == set(re.findall(r"^(\d)\. ", sources, re.MULTILINE))


def test_registries_are_where_the_page_for_contributors_says() -> None:
    rows = re.findall(r"^\| \w+ \| `(\S+)/NAME\.py` \| (.*?) \|", CONTRIBUTING, re.MULTILINE)
    assert len(rows) == 8
    for folder, registry in rows:
        assert (ROOT / folder).is_dir()
        if named := re.match(r"`(\w+)` in `(\S+)/__init__\.py`", registry):
            assert hasattr(importlib.import_module(named[2].replace("/", ".")), named[1])


def test_the_citation_has_the_version_of_the_package() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
