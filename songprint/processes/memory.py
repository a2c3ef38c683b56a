"""Limit the memory that a call may allocate, so that a hostile file fails instead of taking all memory of the machine.

The limit is RLIMIT_DATA, which counts private writable memory only. RLIMIT_AS would also count files that are mapped
to memory, such as the index of a large library, and address space that ONNX Runtime and glibc reserve without using it.
Linux only; elsewhere nothing is limited.
"""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_PAGE_FIELD = 5  # of /proc/self/statm: pages of data and stack
# In messages of exceptions that libraries raise instead of MemoryError.
_SIGNS = (
    "bad_alloc",
    "bad allocation",
    "Failed to allocate memory",
    "can't start new thread",
    "Cannot allocate memory",
)


class _Shared:
    """The limit that calls in several threads of this process share."""

    def __init__(self) -> None:
        self.lock, self.users = threading.Lock(), 0
        self.before = (0, 0)  # the limits of the process while no call runs


_shared = _Shared()


@contextmanager
def limited(allowance: int) -> Iterator[None]:
    """Allow this process to allocate `allowance` bytes more than it has now; 0 for any number.

    Beyond that, Python and NumPy raise MemoryError, and C libraries fail in ways that `is_lack` detects, or end the
    process. The limit holds for all threads of the process. Calls at the same time share the limit of the first, and
    the last one to end restores what was before.
    """
    if not allowance or sys.platform != "linux":
        yield
        return
    import resource

    with _shared.lock:
        if not _shared.users:
            soft, hard = _shared.before = resource.getrlimit(resource.RLIMIT_DATA)
            wanted = [_data_bytes() + allowance, *(each for each in (soft, hard) if each != resource.RLIM_INFINITY)]
            resource.setrlimit(resource.RLIMIT_DATA, (min(wanted), hard))
        _shared.users += 1
    try:
        yield
    finally:
        with _shared.lock:
            _shared.users -= 1
            if not _shared.users:
                resource.setrlimit(resource.RLIMIT_DATA, _shared.before)


def release() -> None:
    """Return memory that is no longer used to the system, after work that needed much of it.

    Large arrays in reference cycles wait long for Python's garbage collector, and glibc keeps what lies between blocks
    in use: without this, a process that runs one job after the other grows for hours.
    """
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc; musl has none
        if trim is not None:
            trim(0)


def is_lack(error: BaseException) -> bool:
    """Whether an exception means that memory could not be allocated."""
    return isinstance(error, MemoryError) or any(sign in str(error) for sign in _SIGNS)


def _data_bytes() -> int:
    import resource

    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[_PAGE_FIELD]) * resource.getpagesize()
