"""The live page shows what a training writes while it is open, and every column."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from analysis.report.live import live_server
from probes.storage.recorder import Recorder

pytestmark = pytest.mark.browser


def row(step: int) -> pa.RecordBatch:
    keys = {"step": step, "layer_type": "Linear"}
    rows = [{**keys, "layer": f"l{i}", "layer_index": i, "grad_l2_norm": 1.0 + i, "stable_rank": 3.0} for i in range(3)]
    return pa.RecordBatch.from_pylist(rows)


def test_it_refreshes_while_a_training_writes(
    tmp_path: Path, visit: Callable[..., Any], wait_for_drawing: Callable[[Any], None]
) -> None:
    with Recorder(tmp_path / "runs", "live", config={"lr": 1}) as recorder:
        recorder.write("layers", row(0))
        with live_server(str(tmp_path / "runs")) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            try:
                page = visit(f"http://127.0.0.1:{server.server_address[1]}/")
                assert "1 run, 1 in progress. Refreshed while trainings write" in page.locator("#summary").inner_text()
                steps = "charts.get('layers.grad_l2_norm').lines.map((line) => [...line.x])"
                assert page.evaluate(steps) == [[0], [0], [0]]
                page.locator("#layers").get_by_label("l1", exact=True).uncheck()
                page.get_by_label("add chart").select_option("layers.stable_rank")
                wait_for_drawing(page)
                assert page.locator("[id='chart-layers.stable_rank'] canvas").count() >= 1
                recorder.write("layers", row(10))
                deadline = time.monotonic() + 60
                while page.evaluate(steps) != [[0, 10], [0, 10]]:  # the choice of layers stays
                    assert time.monotonic() < deadline, page.evaluate(steps)
                    page.wait_for_timeout(200)
                page.context.close()  # before the server goes
            finally:
                server.shutdown()
                thread.join()
