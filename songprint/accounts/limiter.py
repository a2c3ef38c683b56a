"""How often somebody may ask: a bucket of tokens for each, refilled as time goes by. It counts in one process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

_FORGOTTEN = 10_000  # buckets, beyond which full ones are thrown away: strangers must not fill the memory


class Limiter:
    """Requests are let through at a rate, and a second's worth (or `burst`) at once after a pause.

    >>> limiter = Limiter(clock=lambda: 0.0)
    >>> limiter.wait("somebody", rate=2), limiter.wait("somebody", rate=2), limiter.wait("somebody", rate=2)
    (0.0, 0.0, 0.5)
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: dict[str, tuple[float, float, float]] = {}  # tokens, moment, seconds from empty to full

    def wait(self, who: str, rate: float, burst: float | None = None) -> float:
        """0 if a request may pass now, and then it counts; else the seconds after which to ask again."""
        most = max(1.0, burst or rate)
        with self._lock:
            now = self._clock()
            tokens, moment, _ = self._buckets.get(who, (most, now, 0.0))
            tokens = min(most, tokens + (now - moment) * rate)
            passes = tokens >= 1
            self._buckets[who] = (tokens - passes, now, most / rate)
            if len(self._buckets) > _FORGOTTEN:
                self._buckets = {name: bucket for name, bucket in self._buckets.items() if now - bucket[1] < bucket[2]}
            return 0.0 if passes else (1 - tokens) / rate
