"""Rate limits: a token bucket for each client, within one process.

A key and its sub-keys share the rate of the key: a request must pass the buckets of its own key and of all keys above.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

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
        return self._wait([(client, rate, max(1.0, burst or rate))])

    def wait_for_all(self, limits: Iterable[tuple[str, float]]) -> float:
        """Like `wait` for a request that belongs to several clients, each with a rate. All count it, or none does."""
        return self._wait([(client, rate, max(1.0, rate)) for client, rate in limits])

    def _wait(self, limits: list[tuple[str, float, float]]) -> float:
        """`limits` are clients, their rates and the most that pass at once."""
        with self._lock:
            now, longest = self._clock(), 0.0
            filled: dict[str, tuple[float, float, float]] = {}
            for client, rate, most in limits:
                tokens, moment, _ = self._buckets.get(client, (most, now, 0.0))
                tokens = min(most, tokens + (now - moment) * rate)
                filled[client] = tokens, now, most / rate
                longest = max(longest, (1 - tokens) / rate)
            passes = longest <= 0
            for client, (tokens, moment, seconds) in filled.items():
                self._buckets[client] = tokens - passes, moment, seconds
            if len(self._buckets) > _MAX_BUCKETS:
                self._buckets = {name: bucket for name, bucket in self._buckets.items() if now - bucket[1] < bucket[2]}
            return 0.0 if passes else longest
