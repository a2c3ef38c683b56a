"""Limit linear algebra to one thread while Songprint computes.

The matrices are small: several BLAS threads mostly wait for each other, use twice the processor time of one, and take
cores from other work, such as the cover encoder. The limit holds for the whole process, so its users are counted.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from threadpoolctl import ThreadpoolController

_lock = threading.Lock()
_limit = ExitStack()  # closing it restores the number of threads
_users = 0


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit the BLAS libraries that are loaded now to one thread, until the last user leaves the context."""
    global _users
    with _lock:
        if not _users:
            _limit.enter_context(ThreadpoolController().limit(limits=1, user_api="blas"))
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users:
                _limit.close()
