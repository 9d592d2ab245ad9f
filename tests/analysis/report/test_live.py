"""The live report over HTTP: what it answers, to whom, and that it follows a store that grows."""

from __future__ import annotations

import http.client
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pytest
from pages import lines_in

from analysis.report.live import live_server
from probes.storage.recorder import Recorder


@pytest.fixture
def served() -> Iterator[Callable[..., ThreadingHTTPServer]]:
    """Return a function that serves a store until the test ends."""
    running: list[tuple[ThreadingHTTPServer, threading.Thread]] = []

    def serve(store: Path) -> ThreadingHTTPServer:
        server = live_server(str(store))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        running.append((server, thread))
        return server

    yield serve
    for server, thread in running:
        server.shutdown()
        thread.join()
        server.server_close()


def get(
    server: ThreadingHTTPServer, path: str, *, method: str = "GET", host: str | None = None
) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=30)
    connection.request(method, path, headers={"Host": host} if host else {})
    answer = connection.getresponse()
    answer.content = answer.read()
    connection.close()
    return answer


def asked(server: ThreadingHTTPServer, path: str) -> dict[str, Any]:
    answer = get(server, path)
    assert answer.status == 200, answer.content
    return json.loads(answer.content)


def test_it_answers_this_machine_alone(small_store: Path, served: Callable[..., ThreadingHTTPServer]) -> None:
    server = served(small_store)
    assert server.server_address[0] == "127.0.0.1"
    assert get(server, "/version", host="evil.example:80").status == 403
    assert get(server, "/version", host=f"localhost:{server.server_address[1]}").status == 200
    for method in ("POST", "PUT", "DELETE"):
        assert get(server, "/", method=method).status == 501


def test_every_column_is_there_and_no_line_before_it_is_asked_for(
    small_store: Path, served: Callable[..., ThreadingHTTPServer]
) -> None:
    server = served(small_store)
    summary = asked(server, "/summary")
    names = {column["name"] for column in summary["columns"]}
    assert {"grad_l2_norm", "stable_rank", "bias_mean", "loss"} <= names
    assert "blocks" not in summary
    column = asked(server, "/column?key=layers.stable_rank")
    assert len(lines_in({**summary, **column}, "layers.stable_rank")) == 12  # normalisation layers have no rank
    assert len(asked(server, f"/distribution?table=histograms&layer={quote('block1.conv')}")["items"]) == 1
    assert b"connect-src 'self'" in get(server, "/").content


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/etc/passwd", "no page at"),
        ("/../../x", "no page at"),
        ("/column?key=layers.nothing", "no column 'layers.nothing'"),
        ("/column", "key"),
        ("/distribution?table=runs&layer=x", "no distributions in table 'runs'"),
    ],
)
def test_what_is_not_there_is_one_line(
    small_store: Path, served: Callable[..., ThreadingHTTPServer], path: str, said: str
) -> None:
    answer = get(served(small_store), path)
    assert answer.status == 404
    assert said in json.loads(answer.content)["error"]


def test_it_follows_a_training_that_writes(tmp_path: Path, served: Callable[..., ThreadingHTTPServer]) -> None:
    def row(step: int) -> pa.RecordBatch:
        keys = {"step": step, "layer": "conv", "layer_index": 0, "layer_type": "Conv2d"}
        return pa.RecordBatch.from_pylist([{**keys, "weight_mean": 1.0}])

    with Recorder(tmp_path / "runs", "live") as recorder:
        recorder.write("layers", row(0))
        server = served(tmp_path / "runs")
        before = asked(server, "/version")
        assert asked(server, "/version") == before
        recorder.write("layers", row(10))
        after = asked(server, "/version")
        assert after != before
        data = {**asked(server, "/summary"), **asked(server, "/column?key=layers.weight_mean")}
        assert data["version"] == after["version"]
        assert lines_in(data, "layers.weight_mean")["live", "conv"][0].tolist() == [0, 10]


def test_a_store_that_went_is_told(make_store: Callable[..., Path], served: Callable[..., ThreadingHTTPServer]) -> None:
    store = make_store(norms=["bn"], records=2)
    server = served(store)
    shutil.rmtree(store)
    answer = get(server, "/summary")
    assert answer.status == 404
    assert "does not exist" in json.loads(answer.content)["error"]


def test_a_store_that_is_not_there_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist"):
        live_server(str(tmp_path / "nowhere"))


def test_whatever_a_store_does_to_a_request_is_one_line_of_its_answer(
    small_store: Path, served: Callable[..., ThreadingHTTPServer], capsys: pytest.CaptureFixture[str]
) -> None:
    server = served(small_store)

    def overflow() -> None:
        raise OverflowError("\x1b[2J too large\nfor a date")

    server.RequestHandlerClass.live.version = overflow
    answer = get(server, "/version")
    assert answer.status == 404
    assert json.loads(answer.content)["error"] == r"\x1b[2J too large for a date"
    assert "Traceback" not in capsys.readouterr().err
