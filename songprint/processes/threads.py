"""Linear algebra in one thread, while Songprint computes.

Its matrices are small: several threads of BLAS spend their time waiting for each other, at twice the processor time of
one, and take the cores from whatever runs beside them, such as the ear for covers. BLAS is told for the whole process,
so this counts who wants it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from threadpoolctl import ThreadpoolController

_lock = threading.Lock()
_held = ExitStack()  # what restores BLAS
_users = 0


@contextmanager
def one_thread() -> Iterator[None]:
    """Until the last of those who are in here leaves. The BLAS libraries that are loaded by then are meant."""
    global _users
    with _lock:
        if not _users:
            _held.enter_context(ThreadpoolController().limit(limits=1, user_api="blas"))
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users:
                _held.close()
