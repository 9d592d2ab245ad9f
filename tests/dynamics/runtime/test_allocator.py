from __future__ import annotations

import ctypes
import platform
import subprocess
import sys

import pytest

from dynamics.runtime.allocator import keep_freed_memory

RESIDENT_AFTER_FREEING = """
import sys
from dynamics.runtime.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
before = resident()
block = bytearray(200 << 20)
block[::4096] = b"x" * len(block[::4096])
del block
print(resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is glibc's")
@pytest.mark.parametrize(("how", "kept"), [("keep", True), ("plain", False)])
def test_freed_memory_stays_with_the_process_only_if_told(how: str, kept: bool) -> None:
    result = subprocess.run(
        [sys.executable, "-c", RESIDENT_AFTER_FREEING, how], capture_output=True, text=True, check=True
    )
    assert (int(result.stdout) > 150 << 20) == kept


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    assert not keep_freed_memory()
