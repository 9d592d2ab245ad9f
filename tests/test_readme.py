"""The README says what the code does: its Python runs, its tree is the tree, its dictionary is the metrics'.

``python tests/test_readme.py`` prints the tree to put into it.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PACKAGES = ("dynamics", "probes", "analysis")


def code_blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def first_sentence(module: Path) -> str:
    """Return what a module says it is: the first line of its docstring."""
    docstring = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8")))
    assert docstring, f"{module} has no docstring"
    return docstring.splitlines()[0]


def tree(root: Path = ROOT) -> str:
    """Return the file tree: a line for each folder and each module, in its own words."""
    lines = []
    for folder in sorted({path.parent for package in PACKAGES for path in (root / package).rglob("*.py")}):
        indent = "  " * (len(folder.relative_to(root).parts) - 1)
        about = first_sentence(folder / "__init__.py")
        lines.append(f"{indent}{folder.name + '/':<28}{about}")
        for module in sorted(folder.glob("*.py")):
            if module.stem not in {"__init__", "__main__"}:
                lines.append(f"{indent}  {module.name:<26}{first_sentence(module)}")
    return "\n".join(lines)


def run_blocks(blocks: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    monkeypatch.chdir(folder)
    names: dict[str, object] = {}
    for block in blocks:
        exec(block, names)
    return names


def test_examples_run_and_end_in_dataframes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = run_blocks(code_blocks("python"), tmp_path, monkeypatch)
    layers, drift = names["layers"], names["drift"]
    assert isinstance(layers, pd.DataFrame)
    assert {"run", "step", "layer", "weight_mean", "singular_value_mean", "grad_sparsity"} <= set(layers.columns)
    assert layers["spectral_norm"].notna().any()
    assert isinstance(drift, pd.DataFrame)
    assert list(drift.columns) == ["0", "2"]


def test_tree_is_the_tree() -> None:
    assert tree() in README, "run `python tests/test_readme.py` and put its output into the README"


def test_a_new_module_changes_the_tree(tmp_path: Path) -> None:
    for package in PACKAGES:
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text('"""A package."""')
    before = tree(tmp_path)
    (tmp_path / "probes" / "new.py").write_text('"""A new idea."""')
    assert set(tree(tmp_path).splitlines()) - set(before.splitlines()) == {"  new.py                    A new idea."}


def test_data_dictionary_is_the_metrics_own() -> None:
    from probes.dictionary import data_dictionary

    assert data_dictionary().rstrip() in README, "run `python -m probes.dictionary` and put its output into the README"


def test_readme_names_every_command() -> None:
    from dynamics.cli import make_app

    commands = {command.name or command.callback.__name__ for command in make_app().registered_commands}
    assert {name for name in commands if f"`meandrift {name}`" not in README} == set()


def test_readme_names_every_figure() -> None:
    from analysis.figures import FIGURES

    assert {name for name in FIGURES if f"`{name}`" not in README} == set()


def test_every_file_that_the_readme_links_to_is_there() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


if __name__ == "__main__":
    print(tree())
