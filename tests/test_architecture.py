"""The arrows dynamics -> probes -> Parquet -> analysis, held."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

FORBIDDEN = {
    "analysis": {"torch", "torchvision", "dynamics"},
    "probes": {"dynamics", "analysis"},
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
