"""Rows of a file that wandb has written offline: the format of LevelDB's log, its records as protobuf."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_HEADER = 7  # bytes, of the file and of each piece: checksum, length, kind
_BLOCK = 32768
_LAST = {1, 4}  # kinds of the piece that ends a record


def history(file: Path, *, seconds: float = 30) -> list[dict[str, Any]]:
    """Return the committed rows of a run that is finished, by key; wandb's service may still write its file."""
    last = time.monotonic() + seconds
    while True:
        rows, ended = _rows(file)
        if ended:
            return rows
        assert time.monotonic() < last, f"{file} has no end"
        time.sleep(0.1)


def _rows(file: Path) -> tuple[list[dict[str, Any]], bool]:
    from wandb.proto import wandb_internal_pb2

    rows: list[dict[str, Any]] = []
    ended = False
    for content in _records(file.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(content)
        ended = ended or record.WhichOneof("record_type") == "exit"
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            rows.append({item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items})
    return rows, ended


def _records(content: bytes) -> Iterator[bytes]:
    place, record = _HEADER, b""
    while place + _HEADER <= len(content):
        left = _BLOCK - place % _BLOCK
        if left < _HEADER:  # too little for a piece: zeros
            place += left
            continue
        length, kind = struct.unpack("<HB", content[place + 4 : place + _HEADER])
        record += content[place + _HEADER : place + _HEADER + length]
        place += _HEADER + length
        if kind in _LAST:
            yield record
            record = b""
