"""How a daemon of ours holds memory: what is freed is kept for the next packet, not faulted in again."""

from __future__ import annotations

import contextlib
import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # mallopt(3)
KEPT_BYTES = 16 * 1024 * 1024
"""Free memory at the heap's end beyond which it goes back to the system."""
LARGE_BYTES = 4 * 1024 * 1024
"""Only larger pieces get pages of their own; packets are of 128 KiB, glibc's own threshold."""


def keep_heap() -> None:
    """Ask glibc for it; bulk transfers took a page fault per 4 KiB otherwise. Other C libraries are left alone."""
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
