from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dynamics import cli
from dynamics.sweeps.ray_cluster import sweep_on_ray


def test_without_ray_one_is_told_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ValueError, match=r"needs Ray: pip install 'meandrift\[ray\]'"):
        sweep_on_ray([], store=tmp_path)


def test_the_command_line_says_so_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert cli.run(["sweep", "--cluster", "local", "--store", str(tmp_path)]) == 2
    assert capsys.readouterr().err == "error: a sweep on a cluster needs Ray: pip install 'meandrift[ray]'.\n"
