"""Seconds of clips that were named at once, counted for the bill.

Jobs are counted one by one as they end. Clips are many and short, so they are summed in memory and written every few
seconds: one row for each key and day of this server's run. A server that is killed loses what came since the last time.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections import defaultdict
from datetime import UTC, datetime

from songprint.errors import SongprintError
from songprint.jobs.usage import Usage

log = logging.getLogger(__name__)

EVERY = 10.0  # seconds


class Meter:
    """Sums up and writes down."""

    def __init__(self, usage: Usage) -> None:
        self._usage = usage
        self._run = secrets.token_hex(8)
        self._lock = threading.Lock()
        self._seconds: dict[tuple[str, str], float] = defaultdict(float)  # of day and key
        self._changed: set[tuple[str, str]] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write_regularly, name="songprint-meter", daemon=True)
        self._thread.start()

    def note(self, key_id: str, seconds: float) -> None:
        """Count a clip of so many seconds."""
        this = (datetime.now(UTC).date().isoformat(), key_id)
        with self._lock:
            self._seconds[this] += seconds
            self._changed.add(this)

    def write(self) -> None:
        """Bring the database up to date."""
        with self._lock:
            changed, self._changed = self._changed, set()
            sums = {this: self._seconds[this] for this in changed}
        for (day, key_id), seconds in sums.items():
            try:
                self._usage.note(key_id, f"clips-{self._run}-{day}-{key_id}"[:64], seconds)
            except SongprintError as error:  # it is tried again with the next clip of this key
                log.warning("the usage of %s could not be written: %s", key_id or "this machine", error)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self.write()

    def _write_regularly(self) -> None:
        while not self._stop.wait(EVERY):
            self.write()
