"""A run as a ``with`` block: closed when the block ends, with the status of that end."""

from __future__ import annotations

from types import TracebackType
from typing import Self


class RunContext:
    """Base of classes that have a method ``close`` and are used as a ``with`` block."""

    def close(self, status: str = "finished") -> None:
        """End the run with a status."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.close("interrupted" if issubclass(kind, KeyboardInterrupt) else "failed")
