"""Counts the seconds of audio that /v1/identify processes, for billing.

Each job is recorded when it ends. Queries are many and short, so their seconds are summed in memory and written every
few seconds: one row per key and day of this server process. A server that is killed loses what it counted since then.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections import defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from songprint.errors import SongprintError

if TYPE_CHECKING:
    from songprint.jobs.usage import Usage

log = logging.getLogger(__name__)

WRITE_SECONDS = 10.0  # between two writes


class Meter:
    """Sums the seconds by day and key; a thread writes them."""

    def __init__(self, usage: Usage) -> None:
        self._usage = usage
        self._run = secrets.token_hex(8)
        self._lock = threading.Lock()
        self._seconds: dict[tuple[str, str], float] = defaultdict(float)  # by day and key
        self._changed: set[tuple[str, str]] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write_regularly, name="songprint-meter", daemon=True)
        self._thread.start()

    def note(self, key_id: str, seconds: float) -> None:
        """Count a query of this duration."""
        day_and_key = (datetime.now(UTC).date().isoformat(), key_id)
        with self._lock:
            self._seconds[day_and_key] += seconds
            self._changed.add(day_and_key)

    def write(self) -> None:
        """Write all sums that changed to the database."""
        with self._lock:
            changed, self._changed = self._changed, set()
            sums = {each: self._seconds[each] for each in changed}
        for (day, key_id), seconds in sums.items():
            try:
                self._usage.note(key_id, f"clips-{self._run}-{day}-{key_id}"[:64], seconds)
            except SongprintError as error:  # the next query of this key writes the sum again
                log.warning("cannot write the usage of %s: %s", key_id or "this machine", error)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self.write()

    def _write_regularly(self) -> None:
        while not self._stop.wait(WRITE_SECONDS):
            self.write()
