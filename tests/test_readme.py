"""The README says what the code does: its Python runs, its tree is the tree, its dictionary is the metrics'.

``python tests/test_readme.py`` prints the parts that follow from the code; ``--write`` puts them into the README.
"""

from __future__ import annotations

import ast
import contextlib
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import typer

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PACKAGES = ("dynamics", "probes", "analysis", "meandrift")
BESIDE = {
    "docs": "Pages for users.",
    "notes": "Notes for developers: measurements that decisions rest on.",
}
"""Folders beside the packages that the tree lists, and what each holds."""
REGISTRIES = {
    "a metric": "probes/metrics",
    "a hook": "probes/hooks",
    "a figure": "analysis/figures",
    "a finding": "analysis/findings",
    "a norm": "dynamics/norms",
    "an integration": "probes/integrations",
    "a mirror": "probes/mirrors",
}
"""Where something of a kind is added."""


def code_blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def first_sentence(module: Path) -> str:
    """Return what a file says it is: the first line of its docstring, or the heading of a page."""
    if module.suffix == ".md":
        return module.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
    docstring = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8")))
    assert docstring, f"{module} has no docstring"
    return docstring.splitlines()[0]


def tree(root: Path = ROOT) -> str:
    """Return the file tree: a line for each folder and each module, in its own words."""
    lines = []
    for folder in sorted({path.parent for package in PACKAGES for path in (root / package).rglob("*.py")}):
        indent = "  " * (len(folder.relative_to(root).parts) - 1)
        about = first_sentence(folder / "__init__.py")
        lines.append(f"{indent}{folder.name + '/':<30}{about}")
        for module in sorted(folder.glob("*.py")):
            if module.stem not in {"__init__", "__main__"}:
                lines.append(f"{indent}  {module.name:<28}{first_sentence(module)}")
    lines += [f"{module.name:<30}{first_sentence(module)}" for module in sorted(root.glob("*.py"))]
    for folder, about in BESIDE.items():
        pages = sorted(path for path in (root / folder).rglob("*") if path.suffix in {".py", ".md"})
        lines += [f"{folder + '/':<30}{about}"] if pages else []
        lines += [f"  {page.relative_to(root / folder)!s:<28}{first_sentence(page)}" for page in pages]
    return "\n".join(lines) + "\n"


def where_to_add() -> str:
    """Return the line that says where a new metric, hook, figure, ... goes."""
    places = ", ".join(f"{kind} `{folder}/`" for kind, folder in REGISTRIES.items() if (ROOT / folder).is_dir())
    return f"To add: {places}. The docstring of each folder says the steps.\n"


def figure_table() -> str:
    """Return the table of figures."""
    from analysis.figures import FIGURES

    rows = [f"| `{name}` | {spec.title} | {spec.paper} |\n" for name, spec in FIGURES.items()]
    return "| figure | shows | paper |\n|---|---|---|\n" + "".join(rows)


def dictionary() -> str:
    """Return the data dictionary."""
    from probes.dictionary import data_dictionary

    return data_dictionary()


PARTS: dict[str, tuple[str, Callable[[], str]]] = {
    "where to add": (r"To add: .*?\n", where_to_add),
    "tree": (r"(?<=```text\n)analysis/ .*?(?=```\n)", tree),
    "figures": (r"\| figure \| shows \| paper \|\n.*?(?=\n#)", figure_table),
    "dictionary": (r"### `layers`\n.*?(?=\n## )", dictionary),
}
"""Parts of the README that follow from the code: a pattern that finds each, and the function that makes it."""


def brought_up_to_date(readme: str) -> str:
    """Return a README with each of ``PARTS`` as it must be."""
    for pattern, made in PARTS.values():
        assert len(re.findall(pattern, readme, flags=re.DOTALL)) == 1, f"expected one place of {pattern}"
        text = made()
        readme = re.sub(pattern, lambda _, text=text: text, readme, flags=re.DOTALL)
    return readme


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Run every example as a user would, 21 steps in the place of each ``...``, and return the names it leaves."""
    folder = tmp_path_factory.mktemp("readme")
    names: dict[str, Any] = {"folder": folder}

    def train() -> None:
        for _ in range(21):
            names["optimizer"].zero_grad()
            names["model"](torch.randn(64, 8)).square().mean().backward()
            names["optimizer"].step()

    names["train"] = train
    with contextlib.chdir(folder):
        for block in code_blocks("python"):
            exec(re.sub(r"\.\.\.  # (train|go on)", "train()", block), names)
    return names


def recorded(examples: dict[str, Any], run: str, column: str) -> list[int]:
    """Return the steps at which a run of the examples measured a column of its first layer."""
    rows = pd.read_parquet(examples["folder"] / "runs" / "layers" / f"run={run}")
    return rows.loc[(rows["layer"] == "0") & rows[column].notna(), "step"].tolist()


def test_examples_run_and_end_in_dataframes(examples: dict[str, Any]) -> None:
    layers, drift = examples["layers"], examples["drift"]
    assert isinstance(layers, pd.DataFrame)
    assert {"run", "step", "layer", "weight_mean", "singular_value_mean", "grad_sparsity"} <= set(layers.columns)
    assert layers["spectral_norm"].notna().any()
    assert isinstance(drift, pd.DataFrame)
    assert list(drift.columns) == ["0", "2"]


def test_each_schedule_of_the_example_records_when_its_comment_says(examples: dict[str, Any]) -> None:
    assert recorded(examples, "scheduled", "weight_mean") == [0, 10, 20]
    assert recorded(examples, "scheduled", "activation_mean") == [0, 1]
    assert recorded(examples, "scheduled", "grad_mean") == [0, 1, 2, 3, 4, 7, 10, 16]
    assert recorded(examples, "scheduled", "spectral_norm") == [0]
    spectra = pd.read_parquet(examples["folder"] / "runs" / "spectra" / "run=scheduled")
    assert sorted(set(spectra["step"])) == [0, 10]


def test_the_metric_of_the_example_is_a_column_at_every_step(examples: dict[str, Any]) -> None:
    assert recorded(examples, "own", "weight_max_abs") == list(range(21))
    assert recorded(examples, "own", "spectral_norm") == [0]
    from analysis import layers

    every_run = layers(examples["folder"] / "runs", columns=["weight_max_abs"])
    assert every_run["weight_max_abs"].notna().groupby(every_run["run"].astype(str)).any().to_dict() == {
        "first": False,
        "long": False,
        "own": True,
        "scheduled": False,
    }


def test_the_checkpoint_of_the_example_goes_on_where_it_was_taken(examples: dict[str, Any]) -> None:
    assert examples["saved"]["probe"]["step"] == 21
    assert recorded(examples, "long", "weight_mean") == [0, 10, 20, 30, 40]
    drift = pd.read_parquet(examples["folder"] / "runs" / "layers" / "run=long").query("layer == '0'")
    assert (drift["activation_drift"] == 0).tolist() == [True, False, False, False, False]


def test_readme_names_every_group_of_metrics() -> None:
    from probes.metrics import METRICS

    assert {metric.group for metric in METRICS.values() if f"`{metric.group}`" not in README} == set()


def test_readme_names_every_norm() -> None:
    from dynamics.norms import NORMS

    assert {name for name in NORMS if f"`{name}`" not in README} == set()


def test_help_of_train_names_every_norm() -> None:
    from dynamics.classifier.config import RunConfig
    from dynamics.norms import NORMS

    said = RunConfig.__dataclass_fields__["norm"].metadata["help"]
    assert {name for name in NORMS if not re.search(rf"\b{name}\b", said)} == set()


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_follows_from_the_code_is_up_to_date(part: str) -> None:
    pattern, made = PARTS[part]
    [found] = re.findall(pattern, README, flags=re.DOTALL)
    assert found == made(), "run `python tests/test_readme.py --write`"


def test_a_part_that_is_out_of_date_is_written_anew() -> None:
    stale = README
    for now, before in {"| `lipschitz` |": "| `lip` |", "  query.py ": "  sql.py ", "| `lr` |": "| `rate` |"}.items():
        assert now in stale
        stale = stale.replace(now, before)
    assert brought_up_to_date(stale) == README


def test_a_new_module_changes_the_tree(tmp_path: Path) -> None:
    for package in PACKAGES:
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text('"""A package."""')
    before = tree(tmp_path)
    (tmp_path / "probes" / "new.py").write_text('"""A new idea."""')
    assert set(tree(tmp_path).splitlines()) - set(before.splitlines()) == {"  new.py                      A new idea."}


def test_readme_names_every_command() -> None:
    from dynamics.cli import make_app

    commands = {command.name or command.callback.__name__ for command in make_app().registered_commands}
    assert {name for name in commands if f"`meandrift {name}`" not in README} == set()


def command_lines(text: str) -> list[str]:
    """Return the command lines in Markdown, each as the words after ``meandrift``."""
    spans = re.findall(r"`(meandrift [a-z][^`\n]*|torchrun [^`\n]*)`", text)
    blocks = [line for block in re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL) for line in block.splitlines()]
    found = [re.search(r"(?:meandrift|-m dynamics) ([a-z].*)", line) for line in spans + blocks]
    return [match[1] for match in found if match]


def options() -> dict[str, set[str]]:
    """Return the options of each command."""
    from dynamics.cli import make_app

    commands = typer.main.get_command(make_app()).commands
    return {name: {option for entry in command.params for option in entry.opts} for name, command in commands.items()}


def unknown_options(line: str) -> set[str]:
    """Return the options of a command line that its command does not have."""
    command, _, rest = line.partition(" ")
    return set(re.findall(r"(?<!\S)-{1,2}[a-z][a-z-]*", rest)) - options()[command]


def test_commands_in_the_readme_have_the_options_it_gives_them() -> None:
    lines = command_lines(README)
    assert "gan --critic-norm msn --width 16 --steps 500" in lines
    assert {line: unknown for line in lines if (unknown := unknown_options(line))} == {}
    named = set(re.findall(r"`(--[a-z-]+)", README))
    assert "--data-dir" in named
    assert named <= set.union(*options().values())


def test_an_option_that_is_none_is_noticed() -> None:
    assert unknown_options("train --nrom bn --run x") == {"--nrom"}


def test_every_command_shows_an_example_as_the_readme_says(capsys: pytest.CaptureFixture[str]) -> None:
    from dynamics.cli import make_app, run

    for command in make_app().registered_commands:
        name = command.name or command.callback.__name__
        assert run([name, "--help"]) == 0
        assert f"Example: meandrift {name}" in capsys.readouterr().out


def test_every_file_that_the_readme_links_to_is_there() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


if __name__ == "__main__":
    sys.path[0] = str(ROOT)  # not its own folder, whose folders have the packages' names
    if "--write" in sys.argv:
        (ROOT / "README.md").write_text(brought_up_to_date(README), encoding="utf-8")
    else:
        print("\n".join(made() for _, made in PARTS.values()))
