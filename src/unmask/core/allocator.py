"""Large blocks that are freed stay with the process, so that the next step need not fault them in again."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def keep_freed_memory() -> bool:
    """Tell glibc's allocator to keep freed memory instead of returning it to the kernel.

    Activations of many megabytes are freed and asked for again at every step of training; by default each time costs
    page faults (``benchmarks/training.py``: 8 to 19 % of a training step's CPU time). The process holds its peak
    memory until it ends. True where it took effect, False with another C library; calling it twice does no harm.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # musl and others
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, 1 << 30)) and bool(mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1))
