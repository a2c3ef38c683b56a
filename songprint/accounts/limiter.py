"""Rate limits: a token bucket for each client, within one process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

# Beyond this number of buckets, full ones are deleted, so that unknown clients cannot exhaust the memory.
_MAX_BUCKETS = 10_000


class Limiter:
    """Lets requests pass at a given rate. After a pause, one second's worth (or `burst`) passes at once.

    >>> limiter = Limiter(clock=lambda: 0.0)
    >>> [limiter.wait("client", rate=2) for _ in range(3)]
    [0.0, 0.0, 0.5]
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: dict[
            str, tuple[float, float, float]
        ] = {}  # tokens, time of the last request, seconds from empty to full

    def wait(self, client: str, rate: float, burst: float | None = None) -> float:
        """Return 0 and count the request if it may pass, else the seconds after which it may."""
        most = max(1.0, burst or rate)
        with self._lock:
            now = self._clock()
            tokens, moment, _ = self._buckets.get(client, (most, now, 0.0))
            tokens = min(most, tokens + (now - moment) * rate)
            passes = tokens >= 1
            self._buckets[client] = (tokens - passes, now, most / rate)
            if len(self._buckets) > _MAX_BUCKETS:
                self._buckets = {name: bucket for name, bucket in self._buckets.items() if now - bucket[1] < bucket[2]}
            return 0.0 if passes else (1 - tokens) / rate
