"""Exchange two folders in one step, so that a reader always finds one complete folder."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from pathlib import Path

_UNSUPPORTED = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP}
_AT_FDCWD = -100
_EXCHANGE = 2  # RENAME_EXCHANGE on Linux, RENAME_SWAP on macOS


def exchange(first: Path, second: Path) -> bool:
    """Give each of two folders the other's name, atomically.

    Returns:
        True if done. False if this platform or file system cannot exchange folders; nothing has then changed.

    Raises:
        OSError: One of the two is missing, or may not be renamed.
    """
    names = os.fsencode(first), os.fsencode(second)
    libc = ctypes.CDLL(None if os.name == "posix" else "msvcrt", use_errno=True)
    if sys.platform == "linux" and hasattr(libc, "renameat2"):
        failed = libc.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], ctypes.c_uint(_EXCHANGE))
    elif sys.platform == "darwin":
        failed = libc.renamex_np(*names, ctypes.c_uint(_EXCHANGE))
    else:
        return False
    if failed and ctypes.get_errno() not in _UNSUPPORTED:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(first), None, str(second))
    return not failed
