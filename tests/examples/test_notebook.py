"""The notebook: it runs from top to bottom in a kernel, and its numbers are those of the page of verdicts."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(600)  # on a machine that may be busy
ROOT = Path(__file__).parents[2]
CELLS = json.loads((ROOT / "examples" / "mean_drift.ipynb").read_text(encoding="utf-8"))["cells"]
CODE = ["".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "code"]
VERDICTS = (ROOT / "figures" / "README.md").read_text(encoding="utf-8")
READ_BACK = """
import json
print("READ BACK", json.dumps({
    "accuracy": accuracy.T.to_dict(), "seen": seen.T.to_dict(), "correlation": rank_correlation, "runs": len(points),
    "tautology": tautology[["min", "max"]].to_numpy().ravel().tolist(), "verdicts": verdicts["says"].to_dict(),
}))
"""


@pytest.fixture(scope="module")
def messages() -> list[dict[str, Any]]:
    """Run every cell as Jupyter does, beside the notebook; return what the kernel says."""
    jupyter = pytest.importorskip("jupyter_client.manager")
    pytest.importorskip("ipykernel")
    inline = "module://matplotlib_inline.backend_inline"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": inline}
    manager, client = jupyter.start_new_kernel(cwd=str(ROOT / "examples"), env=environment)
    said: list[dict[str, Any]] = []
    try:
        for cell in [*CODE, READ_BACK]:
            reply = client.execute_interactive(cell, timeout=200, output_hook=said.append)
            assert reply["content"]["status"] == "ok", f"{cell}\n{reply['content']}"
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    return said


@pytest.fixture(scope="module")
def numbers(messages: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what the notebook has computed."""
    printed = "".join(m["content"]["text"] for m in messages if m["msg_type"] == "stream")
    return json.loads(printed.partition("READ BACK ")[2])


def by_norm(row: dict[str, float], form: str, sign: str = "") -> str:
    return ", ".join(f"{norm.upper()} {row[norm]:{form}}{sign}" for norm in ("bn", "sn", "msn"))


def test_it_warns_of_nothing_and_draws_its_figures(messages: list[dict[str, Any]]) -> None:
    errors = [m["content"]["text"] for m in messages if m["msg_type"] == "stream" and m["content"]["name"] == "stderr"]
    assert errors == []
    shown = [m["content"]["data"] for m in messages if m["msg_type"] in {"execute_result", "display_data"}]
    assert sum("image/png" in data for data in shown) == 5
    assert sum("text/html" in data for data in shown) == 8


def test_its_accuracies_and_drifts_are_those_of_the_verdicts(numbers: dict[str, Any]) -> None:
    for row in numbers["accuracy"].values():
        assert by_norm(row, ".2f", " %") in VERDICTS
    networks = {"CNN": "3-layer CNN", "VGG-7": "VGG-7", "DenseNet": "DenseNet"}
    medians = "; ".join(f"{short} {by_norm(numbers['seen'][name], '.2g')}" for short, name in networks.items())
    assert medians in VERDICTS
    correlation = f"{numbers['correlation']:+.2f}".replace("-", "−")
    assert f"over {numbers['runs']} runs of the CNN" in VERDICTS
    assert f"the best accuracy {correlation}" in VERDICTS


def test_drift_behind_a_norm_is_the_rms_of_its_shift(numbers: dict[str, Any]) -> None:
    assert numbers["tautology"] == pytest.approx([1.0] * 4, abs=1e-3)


def test_its_last_words_say_what_its_tables_say(numbers: dict[str, Any]) -> None:
    """The prose at the end names networks; the computed lines before it name them too."""
    lines = list(numbers["verdicts"].values())
    assert lines[0] == lines[2] == "yes: VGG-7, DenseNet, CNN, scripts; no: 3-layer CNN"
    assert lines[1] == "yes: DenseNet; no: 3-layer CNN, VGG-7, CNN, scripts"


def test_it_is_committed_without_outputs() -> None:
    code = [cell for cell in CELLS if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
