"""Detects that the clock of the database was set, so that leases survive it.

A lease ends at a time of that clock. When the clock is set forward, every lease appears to have expired, although its
worker is alive. When it is set back, the lease of a dead worker appears to last for hours. Live workers write a new
expiry within seconds, so after a change of the clock leases are ignored until they have had time to do so.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

# Milliseconds by which the clock may differ from the expected time: network delays, and small corrections by NTP.
TOLERANCE = 1000
# Fraction of the elapsed time by which the two clocks may drift apart.
DRIFT = 0.001


class ClockWatch:
    """Compares the clock of the database with the monotonic clock of this process, which nobody can set.

    >>> seconds = 0.0
    >>> watch = ClockWatch(lambda: seconds)
    >>> watch.is_steady(1_000_000, 30), watch.is_steady(9_000_000, 30)
    (True, False)
    >>> seconds = 31.0
    >>> watch.is_steady(9_031_000, 30)
    True
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._last: tuple[int, float] | None = None  # the two clocks at the last call
        self._changed_at: float | None = None  # monotonic time at which a change was detected

    def is_steady(self, now: int, seconds: float) -> bool:
        """Whether the clock, which shows `now`, was not set in the last `seconds`. The first call returns True."""
        with self._lock:
            moment = self._monotonic()
            if self._last is not None:
                expected = self._last[0] + 1000 * (moment - self._last[1])
                if abs(now - expected) > TOLERANCE + DRIFT * 1000 * (moment - self._last[1]):
                    self._changed_at = moment
            self._last = now, moment
            return self._changed_at is None or moment - self._changed_at >= seconds
