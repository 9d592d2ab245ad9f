"""The report as a page that refreshes while trainings write: a server for this machine only.

It answers on 127.0.0.1 only, and only requests whose host is 127.0.0.1 or localhost, so that a foreign page cannot
reach it under another name (DNS rebinding). No request changes the store.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from analysis.reading.files.changes import fingerprint
from analysis.reading.selection import Patterns
from analysis.reading.store import Store
from analysis.report.blocks import blocks
from analysis.report.data import Summary, as_page, lines_of, summarised
from analysis.report.distributions import TABLES, Extent, distributions, layers_with
from analysis.report.report import page
from probes.schema.printable import one_line

HOST = "127.0.0.1"
_POINTS, _MOST_POINTS = 2_000_000, 2_000  # most points of one column, and of one line
_BYTES = 50_000_000
_EXTENT = Extent(runs=50, layers=1, steps=200)


class LiveReport:
    """The answers of the server, which are computed again after the store has changed.

    Attributes:
        location: The store's folder or URL.
        runs: Run ids or patterns; runs that begin later are matched too.
    """

    def __init__(self, location: str, runs: Patterns = None) -> None:
        self.location, self.runs = location, runs
        self._lock = threading.Lock()
        self._version = ""
        self._store = Store(location)
        self._summary: Summary | None = None
        self._answers: dict[tuple[str, ...], dict[str, Any]] = {}

    def version(self) -> dict[str, Any]:
        """Return a word that changes with the store."""
        return {"version": fingerprint(self.location)}

    def summary(self) -> dict[str, Any]:
        """Return runs, settings, findings and columns."""
        with self._lock:
            summary = self._current()
            return {**summary.page, "version": self._version}

    def column(self, key: str) -> dict[str, Any]:
        """Return the lines of one column of all runs.

        Raises:
            ValueError: There is no such column.
        """
        with self._lock:
            summary = self._current()
            columns = [column for column in summary.columns if column.key == key]
            if not columns:
                raise ValueError(f"no column {key!r}; there are: {', '.join(c.key for c in summary.columns)}")
            wanted = lines_of(summary, columns, budget=_POINTS, most=_MOST_POINTS, bytes=_BYTES)
            return self._answer(("column", key), lambda: as_page(blocks(self._store, wanted)))

    def distribution(self, table: str, layer: str) -> dict[str, Any]:
        """Return the histograms or spectra of one layer.

        Raises:
            ValueError: There is no such table.
        """
        if table not in TABLES:
            raise ValueError(f"no distributions in table {table!r}; expected {' or '.join(TABLES)}")
        with self._lock:
            runs = self._current().runs

            def read() -> dict[str, Any]:
                return {"items": distributions(self._store, table, runs, first=[layer], extent=_EXTENT)}

            return self._answer((table, layer), read)

    def _answer(self, key: tuple[str, ...], read: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        if key not in self._answers:
            self._answers[key] = read()
        return self._answers[key]

    def _current(self) -> Summary:
        version = fingerprint(self.location)
        if self._summary is None or version != self._version:
            self._store, self._answers = Store(self.location), {}
            summary = summarised(self._store, runs=self.runs, every=True)
            summary.page.update({table: [] for table in TABLES}, live=True)
            summary.page["distributed"] = {table: layers_with(self._store, table, summary.runs) for table in TABLES}
            self._summary, self._version = summary, version
        return self._summary


def live_server(store: str, *, runs: Patterns = None, port: int = 0) -> ThreadingHTTPServer:
    """Return a server of the live report that does not serve yet; port 0 takes any free port.

    Raises:
        FileNotFoundError: There is no such store.
        ValueError: The store is empty, or no run matches.
        OSError: The port is taken.
    """
    report = LiveReport(store, runs)
    report.summary()

    class Handler(_Handler):
        live = report

    return ThreadingHTTPServer((HOST, port), Handler)


class _Handler(BaseHTTPRequestHandler):
    live: LiveReport
    server: ThreadingHTTPServer

    def do_GET(self) -> None:
        if not self._is_named_as_local():
            self._send(HTTPStatus.FORBIDDEN, "text/plain; charset=utf-8", b"expected the address 127.0.0.1\n")
            return
        address = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(address.query).items()}
        try:
            if address.path == "/":
                content = page(self.live.summary()).encode(errors="backslashreplace")
                self._send(HTTPStatus.OK, "text/html; charset=utf-8", content)
            else:
                self._send_json(HTTPStatus.OK, self._asked(address.path, asked))
        except Exception as error:  # the store may be of anybody; the page shows the error and asks again
            self._send_json(HTTPStatus.NOT_FOUND, {"error": one_line(error)})

    def _asked(self, path: str, asked: dict[str, str]) -> dict[str, Any]:
        if path == "/version":
            return self.live.version()
        if path == "/summary":
            return self.live.summary()
        if path == "/column":
            return self.live.column(asked["key"])
        if path == "/distribution":
            return self.live.distribution(asked["table"], asked["layer"])
        raise ValueError(f"no page at {path!r}: expected /")

    def _is_named_as_local(self) -> bool:
        port = self.server.server_port
        return self.headers.get("Host", "") in {f"{HOST}:{port}", f"localhost:{port}"}

    def _send_json(self, status: HTTPStatus, content: dict[str, Any]) -> None:
        text = json.dumps(content, separators=(",", ":"), allow_nan=False)
        self._send(status, "application/json", text.encode())

    def _send(self, status: HTTPStatus, kind: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        with suppress(BrokenPipeError, ConnectionResetError):  # the page was closed meanwhile
            self.end_headers()
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Write no log, because the terminal belongs to the user."""
