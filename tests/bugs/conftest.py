"""What the tests of mended faults may ask for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread_and_a_fixed_seed(seed: int) -> Iterator[None]:
    """Train alike in every session."""
    torch.manual_seed(seed)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Return where this test's store is."""
    return tmp_path / "runs"


@pytest.fixture
def table(store: Path) -> Callable[..., pd.DataFrame]:
    """Return a function that reads rows of a table of the store, as a user would."""

    def read(name: str, **equal: Any) -> pd.DataFrame:
        found = pd.read_parquet(store / name)
        for column, value in equal.items():
            found = found[found[column] == value]
        return found.reset_index(drop=True)

    return read


@pytest.fixture
def gaps(store: Path) -> Callable[[], list[dict[str, Any]]]:
    """Return a function that reads the gaps of the store's only run."""
    return lambda: json.loads(pd.read_parquet(store / "runs")["gaps"].iloc[0])
