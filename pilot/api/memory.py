# SPDX-License-Identifier: Apache-2.0
"""The C library's heap, which holds what is sent: responses of a megabyte, copied and encrypted for each of a thousand proxies.

glibc gives blocks of that size back to the system as soon as they are free, and takes them again zeroed, page by page: a tenth of the CPU of
a push to all. So during work the heap keeps what it has, and once there is rest all of it is given back at once.
"""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # malloc.h
_KEPT = 256 << 20
_LARGEST = 32 << 20  # glibc takes no more


def keep_heap() -> None:
    """Keep freed memory until `give_back`. It holds for the whole process; without glibc nothing happens."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None and hasattr(ctypes.CDLL(None), "gnu_get_libc_version"):
        mallopt(_MMAP_THRESHOLD, _LARGEST)
        mallopt(_TRIM_THRESHOLD, _KEPT)
        mallopt(_TOP_PAD, 16 << 20)


def give_back() -> None:
    """Return all free pages to the system; tens of milliseconds, so not on an event loop."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
