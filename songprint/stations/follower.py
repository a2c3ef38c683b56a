"""Followers: the threads of a worker process that follow stations, and the one that claims stations for them.

A worker process with fewer stations claims sooner, so several processes share the stations. A follower that stops
with its process leaves its songs open: the next follower ends or continues them.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from songprint.accounts.vault import Vault
from songprint.audio.streams.ahead import Source
from songprint.audio.streams.connect import connect
from songprint.audio.streams.station import shown
from songprint.errors import SongprintError
from songprint.outside import fetch
from songprint.scan import parts
from songprint.scan.listen import STALL, Listener, follow
from songprint.scan.scan import Scanner
from songprint.stations import buffer
from songprint.stations.buffer import Buffer
from songprint.stations.history import History
from songprint.stations.station import CONNECTED, SILENT, STALLED, UNREACHABLE, Play, Station
from songprint.stations.stations import LEASE, LeaseLost, Stations
from songprint.types import Event, EventType, Segment

if TYPE_CHECKING:
    from datetime import datetime

    from songprint.audio.channels import Block
    from songprint.config import Settings
    from songprint.library import Library
    from songprint.scan.channels import StreamScanner

log = logging.getLogger(__name__)

Open = Callable[[str], Source]  # a URL -> the open stream

HEARTBEAT = 3.0  # seconds between two heartbeats; also the time until a stopped station is no longer followed
POLL_SECONDS = 1.0  # between two polls for stations without a worker
POLL_SECONDS_PER_STATION = 0.2  # more for each station that the process follows: idle processes claim first
UPKEEP_SECONDS = 300.0  # between two deletions of old plays and audio
RESTART_SECONDS = 10.0  # before a stream that has ended is opened again
SILENCE_LEVEL = 1e-6  # mean square of samples, -60 dBFS
SILENCE_SECONDS = 15.0  # after which a station is silent


class Followers:
    """Claims stations and follows each in a thread, until it is stopped."""

    def __init__(
        self,
        library: Library,
        settings: Settings,
        *,
        lease: float = LEASE,
        name: str = "",
        open_stream: Open | None = None,
        new_scanner: Callable[[], StreamScanner] | None = None,
    ) -> None:
        """`open_stream` and `new_scanner` are replaced in tests."""
        database = library.store.catalog.database
        self.stations = Stations(database, Vault(database, library.store.path))
        self.history = History(database)
        self.name = name or f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"
        self._library, self._lease = library, lease
        rules = fetch.Rules.of_streams(settings.server)
        self._open = open_stream or partial(connect, timeout=STALL + 5, guard=partial(fetch.resolved, rules=rules))
        self._new_scanner = new_scanner or partial(Scanner, library.store)
        self._running: dict[str, Follower] = {}
        self._upkeep_due = 0.0

    def run(self, stop: threading.Event) -> None:
        """Follow stations until `stop` is set; then release them to other workers."""
        beat = claim = 0.0
        try:
            while not stop.is_set():
                now = time.monotonic()
                try:
                    if now >= beat:
                        self.keep()
                        beat = now + HEARTBEAT
                    if now >= claim:
                        self.claim()
                        claim = now + POLL_SECONDS + POLL_SECONDS_PER_STATION * len(self._running)
                    if now >= self._upkeep_due:
                        self._upkeep_due = now + UPKEEP_SECONDS
                        self.clean()
                except SongprintError as error:  # the database may recover before the leases expire
                    log.error("stations: %s", error)
                except Exception:
                    log.exception("stations")
                stop.wait(0.2)
        finally:
            self.close()

    def claim(self) -> Follower | None:
        """Follow one more station, if there is one without a worker."""
        station = self.stations.claim(self.name, self._lease)
        if station is None:
            return None
        log.info("station %s (%s) is followed", station.id, station.name)
        follower = Follower(station, self.stations, self.history, self._library, self._open, self._new_scanner)
        self._running[station.id] = follower
        follower.thread.start()
        return follower

    def keep(self) -> None:
        """Extend the leases of all followers, and stop those whose station was changed or lost."""
        for station_id, follower in list(self._running.items()):
            # After a bug or an error of the database the station is followed again, but not at once.
            if not follower.thread.is_alive() and time.monotonic() - follower.ended > RESTART_SECONDS:
                del self._running[station_id]
                self.stations.release(follower.station, follower.heard)
        kept = self.stations.heartbeat({each.station.id: (each.station, each.heard) for each in self._running.values()})
        for station_id in self._running.keys() - kept:
            log.info("station %s was changed, or another worker follows it", station_id)
            self._running.pop(station_id).stop.set()

    def clean(self) -> None:
        """Delete plays and audio that are older than their stations keep them."""
        found = self.stations.find()
        for station in found:
            self.history.forget(station)
            folder = buffer.folder_of(self._library.path, station.id)
            buffer.prune(folder, round(1000 * (time.time() - 60 * station.buffer_minutes)))
        buffer.remove_others(self._library.path, {station.id for station in found})

    def close(self) -> None:
        """Stop all followers and release their stations."""
        followers = list(self._running.values())
        self._running.clear()
        for follower in followers:
            follower.stop.set()
        for follower in followers:
            follower.thread.join(timeout=2 * STALL)
            try:
                self.stations.release(follower.station, follower.heard)
            except SongprintError as error:  # its lease expires
                log.error("station %s: %s", follower.station.id, error)


class Follower:
    """Follows one claimed station in a thread."""

    def __init__(
        self,
        station: Station,
        stations: Stations,
        history: History,
        library: Library,
        open_stream: Open,
        new_scanner: Callable[[], StreamScanner],
    ) -> None:
        self.station = station
        self.heard: int | None = None  # end of the audio that was processed, in milliseconds since 1970
        self.stop = threading.Event()
        self.ended = 0.0  # monotonic time at which the thread ended
        self.thread = threading.Thread(target=self._run, name=f"songprint-station-{station.id}", daemon=True)
        self._stations, self._history, self._library = stations, history, library
        self._open_stream, self._new_scanner = open_stream, new_scanner
        self._songs: list[tuple[Segment, Play]] = []  # that are playing
        self._announced = ""
        self._state = station.state, station.reason
        self._connected = False
        self._silent_seconds = 0.0
        self._buffer: Buffer | None = None

    def _run(self) -> None:
        try:
            if self.station.buffer_minutes:
                folder = buffer.folder_of(self._library.path, self.station.id)
                self._buffer = Buffer(folder, self.station.buffer_minutes)
            while not self.stop.is_set():
                self._follow()
                self.stop.wait(RESTART_SECONDS)
        except LeaseLost as error:
            log.info("%s", error)
        except Exception as error:
            log.exception("station %s", self.station.id)
            with suppress(SongprintError):
                self._change_state(UNREACHABLE, f"internal error ({type(error).__name__}); see the log of the worker")
        finally:
            self.ended = time.monotonic()
            if self._buffer is not None:
                self._buffer.close()

    def _follow(self) -> None:
        """Follow the stream until it ends or the follower is stopped."""
        store = self._library.store
        listener = _Listener(self, self._new_scanner, store.sample_rate, partial(parts.same_song, store=store))
        events = follow(
            partial(self._open_stream, self.station.url),
            listener,
            store.sample_rate,
            name=shown(self.station.url),
            stop=self.stop,
            retry_first=True,
            on_failure=self._failed,
            on_frame=self._buffer.add if self._buffer else None,
        )
        try:
            for event in events:
                if not self.stop.is_set():
                    self._take(event)
        except Exception:
            self.stop.set()
            for _ in events:  # which ends the threads of the scanner
                pass
            raise
        if not self.stop.is_set():
            self._history.begin_outage(
                self.station, _milliseconds(listener.when(listener.position)), "the stream ended"
            )
            self._change_state(UNREACHABLE, "the stream ended")

    def _take(self, event: Event) -> None:
        """Record an event."""
        if event.type == EventType.ANNOUNCED:
            self._announced = event.text
            self._stations.announce(self.station, event.text)
        elif event.type in (EventType.CONNECTED, EventType.RECONNECTED):
            self._connected, self._silent_seconds = True, 0.0
            self._history.end_outage(self.station, _milliseconds(event.at))
            self._change_state(CONNECTED)
        elif event.type == EventType.GAP:
            self._history.begin_outage(self.station, _milliseconds(event.at), event.text)
        elif event.segment is not None:
            self._take_song(event, event.segment)

    def _take_song(self, event: Event, segment: Segment) -> None:
        started, ended = (_milliseconds(event.when(each)) for each in (segment.interval.start, segment.interval.end))
        if event.type == EventType.STARTED:
            self._songs.append((segment, self._history.begin(self.station, segment, started, self._announced)))
            return
        mine = [each for each in self._songs if _is_same(each[0], segment)]
        reported = min(mine, key=lambda each: abs(each[0].interval.start - segment.interval.start), default=None)
        if reported is not None:
            self._songs.remove(reported)
        if event.type == EventType.ENDED:
            play = reported[1] if reported else None
            self._history.end(self.station, play, segment, started, ended, self._announced)
        elif reported is not None:
            self._history.withdraw(self.station, reported[1])

    def _failed(self, error: Exception) -> None:
        """An attempt to read the stream failed: a broken connection stalls, further failures make it unreachable."""
        self._change_state(STALLED if self._connected else UNREACHABLE, str(error))
        self._connected = False

    def heard_block(self, block: Block, listener: Listener) -> None:
        """Called after each block of samples was processed."""
        if self.stop.is_set():
            return
        end = _milliseconds(listener.when(listener.position))
        self.heard = end
        if self._buffer is not None:
            self._buffer.write(end)
        loud = float(np.mean(np.square(block.mix))) > SILENCE_LEVEL if len(block) else False
        self._silent_seconds = 0.0 if loud else self._silent_seconds + len(block) / self._library.store.sample_rate
        if self._silent_seconds >= SILENCE_SECONDS:
            self._change_state(SILENT)
        elif loud and self._state[0] == SILENT:
            self._change_state(CONNECTED)
        self.fill_gaps(listener)

    def fill_gaps(self, listener: Listener) -> None:
        """Record what was played between the songs."""
        if gaps := listener.take_gaps():
            times = [
                (
                    gap.sound,
                    _milliseconds(listener.when(gap.interval.start)),
                    _milliseconds(listener.when(gap.interval.end)),
                )
                for gap in gaps
            ]
            self._history.fill(self.station, times, self._announced)

    def _change_state(self, state: str, reason: str = "") -> None:
        if self._state != (state, reason):
            self._stations.set_state(self.station, state, reason)
        self._state = state, reason


class _Listener(Listener):
    """A listener that passes on the audio and the gaps to a follower."""

    def __init__(
        self,
        follower: Follower,
        new_scanner: Callable[[], StreamScanner],
        sample_rate: int,
        same_song: Callable[[Segment, Segment], bool],
    ) -> None:
        super().__init__(new_scanner, sample_rate, same_song=same_song)
        self._follower = follower

    def feed(self, block: Block, arrived: float | None = None) -> Iterator[Event]:
        yield from super().feed(block, arrived)
        self._follower.heard_block(block, self)

    def pause(self) -> Iterator[Event]:
        yield from super().pause()
        if not self._follower.stop.is_set():
            self._follower.fill_gaps(self)


def _is_same(one: Segment, other: Segment) -> bool:
    return one.recording.id == other.recording.id and one.kind == other.kind


def _milliseconds(moment: datetime) -> int:
    return round(1000 * moment.timestamp())


def run(library: Library, settings: Settings, stop: threading.Event) -> None:
    """Follow stations until `stop` is set. One thread of a worker process calls this."""
    Followers(library, settings).run(stop)
