"""A real S3-compatible server on this machine: moto's, where it is installed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.fs as pafs
import pytest


@pytest.fixture(scope="session")
def endpoint() -> Iterator[str]:
    """Serve S3 while the session lasts; the value is host and port."""
    server = pytest.importorskip("moto.server", reason="needs an S3 server: pip install 'moto[server]'")
    serving = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    serving.start()
    host, port = serving.get_host_and_port()
    yield f"{host}:{port}"
    serving.stop()


@pytest.fixture
def url(endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the URL of an empty store on the server."""
    monkeypatch.setenv("MEANDRIFT_SPOOL", str(tmp_path / "spool"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    where = f"scheme=http&endpoint_override={endpoint}&region=us-east-1&allow_bucket_creation=true"
    filesystem, _ = pafs.FileSystem.from_uri(f"s3://bucket?{where}")
    filesystem.create_dir("bucket")
    return f"s3://bucket/runs-{time.time_ns()}?{where}"
