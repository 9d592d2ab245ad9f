"""Everything here works where torch is not installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BLOCKED = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision", "dynamics"):
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Block())
"""
WORK = """
import analysis
from analysis.gallery.gallery import write_figures
from analysis.report.report import write_report
from analysis.paper.table_book import write_tables
from analysis.terminal.watch import default_column, view
store, out = sys.argv[1:]
gallery = write_figures(store, out, only="mean_drift,accuracy,spectrum", formats=["svg"])
assert not gallery.refused, gallery.refused
write_report(store, out + "/report.html")
write_tables(store)
view(store, column=default_column(store))
print(len(analysis.layers(store)), "torch" in sys.modules)
"""


def in_a_fresh_python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_everything_works_with_torch_blocked_from_import(small_store: Path, tmp_path: Path) -> None:
    done = in_a_fresh_python(BLOCKED + WORK, small_store, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["720", "False"]


@pytest.mark.parametrize("name", ["torch", "dynamics.classifier.config"])
def test_the_block_blocks(name: str) -> None:
    done = in_a_fresh_python(BLOCKED + f"import {name}")
    assert done.returncode == 1
    assert f"{name.partition('.')[0]} is blocked" in done.stderr


def test_importing_analysis_loads_neither_pandas_nor_matplotlib() -> None:
    done = in_a_fresh_python("import sys, analysis; print('pandas' in sys.modules, 'matplotlib' in sys.modules)")
    assert done.stdout.split() == ["False", "False"]
