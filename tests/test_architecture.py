"""The arrows dynamics -> probes -> Parquet -> analysis, held."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("dynamics", "probes", "analysis", "meandrift")

FORBIDDEN = {
    "analysis": {"torch", "torchvision", "dynamics", "meandrift"},
    "probes": {"dynamics", "analysis", "meandrift"},
    "dynamics": {"meandrift"},
}


def imports(source: str) -> set[str]:
    """Return every top-level package a source file imports, lazily or not."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.split(".")[0])
    return found


def forbidden_imports(package: str, root: Path = ROOT) -> list[str]:
    """Return ``file: package`` for each import that points against the arrow."""
    return [
        f"{path.relative_to(root)}: {name}"
        for path in sorted((root / package).rglob("*.py"))
        for name in sorted(imports(path.read_text()) & FORBIDDEN[package])
    ]


@pytest.mark.parametrize("package", FORBIDDEN)
def test_imports_follow_the_arrow(package: str) -> None:
    assert forbidden_imports(package) == []


@pytest.mark.parametrize("line", ["import torch", "from torch.nn import Linear", "def f():\n    import torch.nn as nn"])
def test_the_arrow_check_sees_a_wrong_import(line: str, tmp_path: Path) -> None:
    wrong = tmp_path / "analysis" / "wrong.py"
    wrong.parent.mkdir()
    wrong.write_text(line)
    assert forbidden_imports("analysis", tmp_path) == ["analysis/wrong.py: torch"]


LAYERS: dict[str, dict[str, set[str]]] = {
    "probes": {
        "metrics": {"schema"},
        "model": {"gaps"},
        "measuring": {"metrics", "model", "ranks", "schedule", "schema"},
        "hooks": {"measuring", "metrics", "model", "gaps", "ranks"},
        "probe_pass": {"hooks", "measuring", "metrics", "model", "ranks"},
        "background": {"measuring", "metrics"},
        "mirrors": {"schema"},
        "storage": {"arrow_arrays", "mirrors", "schema"},
        "recording": {
            "arrow_arrays",
            "background",
            "gaps",
            "measuring",
            "metrics",
            "model",
            "ranks",
            "schema",
            "storage",
        },
        "checkpoints": {"measuring", "metrics", "model", "ranks", "recording", "schema", "storage"},
        "integrations": {"probe", "recording", "storage"},
    },
    "analysis": {
        "reading": set(),
        "summaries": {"reading"},
        "differences": {"reading"},
        "findings": {"reading", "summaries"},
        "plotting": {"reading", "summaries"},
        "figures": {"plotting", "reading", "summaries"},
        "inference": {"reading", "summaries"},
        "gallery": {"figures", "plotting", "reading", "summaries", "whole_file"},
        "paper": {"csv_text", "reading", "summaries", "whole_file"},
        "report": {"findings", "plotting", "reading", "summaries", "whole_file"},
        "terminal": {"findings", "reading", "summaries"},
    },
    "dynamics": {
        "data": set(),
        "norms": set(),
        "models": {"norms"},
        "bounds": {"norms"},
        "landscape": {"norms"},
        "runtime": {"norms"},
        "classifier": {"bounds", "data", "landscape", "models", "norms", "runtime", "source_commit"},
        "authors_checkpoints": {"classifier", "data", "models"},
        "deploy": {"classifier", "data", "norms", "runtime"},
        "gan": {"bounds", "data", "models", "norms", "runtime"},
        "sweeps": {"classifier", "data", "gan", "norms", "runtime"},
    },
}
"""For each inner folder, the folders and modules of the same package that it may import."""
BACKGROUND_USERS = {"probe", "step_cycle", "recording", "background"}


def inner_imports(path: Path, package: str) -> set[str]:
    """Return the folders and modules of a package that a source file of it imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            parts = node.module.split(".")
            if parts[0] == package:
                found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith(f"{package}.")}
    return found


def arrows(package: str, root: Path = ROOT) -> dict[str, set[str]]:
    """Return, for each folder and module at the top of a package, the others that it imports."""
    found: dict[str, set[str]] = {}
    for path in sorted((root / package).rglob("*.py")):
        parts = path.relative_to(root / package).with_suffix("").parts
        if path.name not in {"__init__.py", "__main__.py"} or len(parts) > 1:
            found.setdefault(parts[0], set()).update(inner_imports(path, package) - {parts[0]})
    return found


def wrong_arrows(package: str, root: Path = ROOT) -> list[str]:
    """Return ``folder -> folder`` for each import that an inner folder may not have."""
    found = arrows(package, root)
    return [
        f"{folder} -> {other}"
        for folder, allowed in LAYERS[package].items()
        for other in sorted(found.get(folder, set()) - allowed)
    ]


@pytest.mark.parametrize("package", LAYERS)
def test_inner_folders_import_what_lies_before_them(package: str) -> None:
    assert wrong_arrows(package) == []


@pytest.mark.parametrize(
    ("file", "line", "arrow"),
    [
        ("metrics/wrong.py", "from probes.model.layer import Layer", "metrics -> model"),
        ("hooks/wrong.py", "def f():\n    from probes.recording.record import Record", "hooks -> recording"),
        ("measuring/wrong.py", "import probes.recording.record", "measuring -> recording"),
        ("measuring/wrong.py", "from probes import gaps", "measuring -> gaps"),
    ],
)
def test_the_check_of_inner_folders_sees_a_wrong_import(file: str, line: str, arrow: str, tmp_path: Path) -> None:
    wrong = tmp_path / "probes" / file
    wrong.parent.mkdir(parents=True)
    wrong.write_text(line)
    assert wrong_arrows("probes", tmp_path) == [arrow]


def background_users(root: Path = ROOT) -> set[str]:
    return {name for name, imported in arrows("probes", root).items() if "background" in imported}


def test_only_the_step_cycle_and_recording_know_the_background() -> None:
    assert background_users() <= BACKGROUND_USERS


def test_the_check_of_the_background_sees_another_user(tmp_path: Path) -> None:
    wrong = tmp_path / "probes" / "hooks" / "wrong.py"
    wrong.parent.mkdir(parents=True)
    wrong.write_text("from probes.background.worker import Worker")
    assert background_users(tmp_path) == {"hooks"}


def circle(found: dict[str, set[str]]) -> list[str]:
    """Return folders or modules that import each other in a circle; none if there is no circle."""

    def walk(path: list[str]) -> list[str]:
        for other in sorted(found.get(path[-1], set())):
            if other in path:
                return [*path[path.index(other) :], other]
            if closed := walk([*path, other]):
                return closed
        return []

    return next((closed for start in sorted(found) if (closed := walk([start]))), [])


@pytest.mark.parametrize("package", PACKAGES)
def test_no_folders_import_each_other_in_a_circle(package: str) -> None:
    assert circle(arrows(package)) == []


def test_the_check_of_circles_sees_one() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]


MANY_FILES = {"probes/metrics", "probes/storage", "dynamics/norms", "analysis/figures", "analysis/findings"}
"""Registries, one file an entry, and the store."""


def crowded_folders(root: Path = ROOT, *, most: int = 9) -> list[str]:
    """Return the folders that hold more files than can be taken in at a glance."""
    folders = sorted({path.parent for package in PACKAGES for path in (root / package).rglob("*.py")})
    counts = {folder: [p for p in folder.glob("*.py") if p.stem not in {"__init__", "__main__"}] for folder in folders}
    return [
        f"{folder.relative_to(root)}: {len(files)} files"
        for folder, files in counts.items()
        if len(files) > most and str(folder.relative_to(root)) not in MANY_FILES
    ]


def test_a_folder_shows_at_most_nine_files() -> None:
    assert crowded_folders() == []


def test_the_check_of_folders_sees_a_crowded_one(tmp_path: Path) -> None:
    (tmp_path / "probes").mkdir()
    for number in range(10):
        (tmp_path / "probes" / f"file{number}.py").touch()
    assert crowded_folders(tmp_path) == ["probes: 10 files"]


def long_ones(root: Path = ROOT, *, file_lines: int = 300, function_lines: int = 40) -> list[str]:
    """Return the files and the functions that are too long to be one idea; a docstring does not count."""
    found = []
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            source = path.read_text()
            name = path.relative_to(root)
            if source.count("\n") > file_lines:
                found.append(f"{name}: {source.count(chr(10))} lines")
            found += [f"{name}: {function}" for function in _long_functions(ast.parse(source), function_lines)]
    return found


def _long_functions(tree: ast.Module, most: int) -> list[str]:
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [f"{node.name} has {length} lines" for node in functions if (length := _body_lines(node)) > most]


def _body_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
    return (node.end_lineno or 0) - first.lineno + 1


def test_no_file_and_no_function_is_long() -> None:
    assert long_ones() == []


def test_the_check_of_lengths_sees_a_long_file_and_a_long_function(tmp_path: Path) -> None:
    (tmp_path / "probes").mkdir()
    (tmp_path / "probes" / "long.py").write_text("def f():\n" + "    x = 1\n" * 301)
    assert long_ones(tmp_path) == ["probes/long.py: 302 lines", "probes/long.py: f has 301 lines"]


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)


@pytest.mark.parametrize("module", ["probes", "probes.schema", "analysis", "dynamics.cli"])
def test_import_loads_no_torch(module: str) -> None:
    result = run_python(f"import sys, {module}; sys.exit('torch' in sys.modules)")
    assert result.returncode == 0, result.stderr


def test_import_of_the_probe_loads_torch_and_no_dynamics() -> None:
    result = run_python(
        "import sys; from probes import Probe; sys.exit('torch' not in sys.modules or 'dynamics' in sys.modules)"
    )
    assert result.returncode == 0, result.stderr


def test_probes_name_the_attributes_they_have() -> None:
    import probes

    with pytest.raises(AttributeError, match="no attribute 'Prob'; it has Probe, Recorder"):
        _ = probes.Prob
