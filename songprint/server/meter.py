"""Counts the queries of /v1/identify and the seconds of audio in them, for billing.

Each job is recorded when it ends. Queries are many and short, so they are summed in memory and added to the database
every few seconds. A server that is killed loses what it counted since then.

A client that listens, such as the page, sends the same recording again and again while it grows. Such queries count as
one, with the seconds of the longest: a query whose bytes begin with those of an earlier query of the same key adds only
what is new in it. The header of a WAV file, which contains its length, is left out of the comparison.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from songprint.errors import SongprintError

if TYPE_CHECKING:
    from songprint.jobs.usage import Usage

log = logging.getLogger(__name__)

WRITE_SECONDS = 10.0  # between two writes
REPEAT_SECONDS = 60.0  # after a query, in which another one may continue it
_REMEMBERED = 8  # latest queries of each key
_HEADER_BYTES = 44  # of a WAV file
_COMPARED_BYTES = 4 << 20  # longer queries are never continued


@dataclass(frozen=True)
class _Sent:
    """A query that a later one may continue."""

    at: float  # monotonic time in seconds
    size: int  # bytes without the header
    digest: bytes
    seconds: float


@dataclass
class _Sum:
    queries: int = 0
    seconds: float = 0.0


class Meter:
    """Sums queries and their seconds by day and key; a thread writes them."""

    def __init__(self, usage: Usage, clock: Callable[[], float] = time.monotonic) -> None:
        self._usage = usage
        self._clock = clock
        self._lock = threading.Lock()
        self._sums: dict[tuple[str, str], _Sum] = defaultdict(_Sum)  # by day and key; not written yet
        self._sent: dict[str, deque[_Sent]] = defaultdict(lambda: deque(maxlen=_REMEMBERED))  # by key
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write_regularly, name="songprint-meter", daemon=True)
        self._thread.start()

    def note(self, key_id: str, seconds: float, file: Path | None = None) -> None:
        """Count a query of this duration, or what it adds to the earlier query that its `file` continues."""
        audio = _audio(file) if file is not None else b""
        with self._lock:
            continued = self._continued(key_id, audio) if audio else None
            total = self._sums[datetime.now(UTC).date().isoformat(), key_id]
            total.queries += continued is None
            total.seconds += max(0.0, seconds - (continued.seconds if continued else 0.0))
            if audio:
                longest = max(seconds, continued.seconds if continued else 0.0)
                digest = _hasher(audio).digest()
                self._sent[key_id].append(_Sent(self._clock(), len(audio), digest, longest))

    def write(self) -> None:
        """Add all sums to the database. Those that it cannot store are kept for the next time."""
        with self._lock:
            sums, self._sums = self._sums, defaultdict(_Sum)
        for (day, key_id), total in sums.items():
            try:
                self._usage.add_queries(key_id, day, total.queries, total.seconds)
            except SongprintError as error:
                log.warning("cannot write the usage of %s: %s", key_id or "this machine", error)
                with self._lock:
                    self._sums[day, key_id].queries += total.queries
                    self._sums[day, key_id].seconds += total.seconds

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self.write()

    def _continued(self, key_id: str, audio: bytes) -> _Sent | None:
        """The earlier query with which this audio begins, which is then forgotten; None if there is none."""
        sent, now = self._sent[key_id], self._clock()
        found, hashed, done = None, _hasher(), 0
        for each in sorted(sent, key=lambda each: each.size):
            if each.size > len(audio) or now - each.at > REPEAT_SECONDS:
                continue
            hashed.update(audio[done : each.size])
            done = each.size
            if hashed.digest() == each.digest:
                found = each
        if found is not None:
            sent.remove(found)
        return found

    def _write_regularly(self) -> None:
        while not self._stop.wait(WRITE_SECONDS):
            self.write()


def _audio(file: Path) -> bytes:
    """The bytes of a query without the header; empty if they are too many to compare, or if the file is gone."""
    try:
        if file.stat().st_size > _COMPARED_BYTES:
            return b""
        return file.read_bytes()[_HEADER_BYTES:]
    except OSError:
        return b""


def _hasher(audio: bytes = b"") -> hashlib.blake2b:
    return hashlib.blake2b(audio, digest_size=16)
