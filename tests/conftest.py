"""What every test may ask for."""

from __future__ import annotations

import itertools
import os
import signal
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

os.environ.setdefault("MPLBACKEND", "Agg")
# Read when torch is first imported. The tensors of tests are small, and two threads that share a core with another
# process wait for each other ten times longer than they compute.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# The same examples in every session: a test that fails for one machine fails for all. `--hypothesis-profile nightly`
# looks for new ones.
settings.register_profile("suite", max_examples=50, deadline=None, derandomize=True)
settings.register_profile("nightly", max_examples=500, deadline=None)
settings.load_profile("suite")

# A shell starts what it runs in the background with Ctrl-C ignored, and so does all that this starts: tests press it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)  # there may be no xdist
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return how many processes ``-n auto`` is: none but this where every test is named, else two."""
    return 0 if all("::" in argument for argument in config.args) else 2


REHEARSED = os.environ.get("MEANDRIFT_REHEARSE") == "1"


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test marked ``gpu`` where there is no GPU; ``MEANDRIFT_REHEARSE=1`` runs it on the CPU if it can."""
    if item.get_closest_marker("gpu") and not (REHEARSED and "gpu" in getattr(item, "fixturenames", ())):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the device of a test marked ``gpu``, computing in float32: convolutions round to TF32 by default."""
    import torch

    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    return "cpu" if REHEARSED else "cuda"


@pytest.fixture
def as_on_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have metrics compute on the CPU as they do on a GPU, where a look at a number would wait for it."""
    from probes.metrics import waiting

    monkeypatch.setattr(waiting, "ASYNCHRONOUS", {"cuda", "cpu"})


_COUNTED = itertools.count()


@pytest.fixture(scope="session")
def inductor_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what torch's compiler makes here from the user's other sessions, and theirs from here.

    It looks graphs up without regard to the instruction set: one made under another ATEN_CPU_CAPABILITY rounds
    otherwise, or crashes.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path_factory.mktemp("inductor")))
        yield


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """Return a seed of the test's own, the same in every session."""
    return zlib.crc32(request.node.nodeid.encode())


@pytest.fixture
def rng(seed: int) -> np.random.Generator:
    """Return a seeded NumPy generator."""
    return np.random.default_rng(seed)


@pytest.fixture
def alike(seed: int) -> Iterator[None]:
    """Train with one thread and from a fixed seed, alike in every session."""
    import torch

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
def table(store: Path) -> Callable[..., Any]:
    """Return a function that reads rows of a table of the store, as a user would."""
    import pandas as pd

    def read(name: str, **equal: Any) -> pd.DataFrame:
        found = pd.read_parquet(store / name)
        for column, value in equal.items():
            found = found[found[column] == value]
        return found.reset_index(drop=True)

    return read


@pytest.fixture(autouse=True)
def spool(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a spool of the test's own, so that no test writes into the home of who runs it."""
    folder = tmp_path_factory.getbasetemp() / "spools" / str(next(_COUNTED))
    monkeypatch.setenv("MEANDRIFT_SPOOL", str(folder))
    return folder
