"""Results of functions of arrays, cached by the content of the array."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from threading import Lock

import numpy as np
from cachetools import LRUCache


class ArrayCache:
    """A function of an array that keeps its most recently used results, up to `max_bytes`. Thread-safe.

    Results are shared and read-only.
    """

    def __init__(self, function: Callable[[np.ndarray], np.ndarray], max_bytes: int):
        self._function = function
        self._results: LRUCache[bytes, np.ndarray] = LRUCache(max_bytes, getsizeof=lambda result: result.nbytes)
        self._lock = Lock()

    def __call__(self, array: np.ndarray) -> np.ndarray:
        key = blake2b(np.ascontiguousarray(array).data, digest_size=16).digest()
        with self._lock:
            result = self._results.get(key)
        if result is None:
            result = self._function(array)
            result.flags.writeable = False
            with self._lock:
                if result.nbytes <= self._results.maxsize:
                    self._results[key] = result
        return result
