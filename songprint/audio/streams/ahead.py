"""A thread that reads ahead, so that a slow station and a slow consumer do not block each other."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from songprint.errors import StreamError

PIECE_BYTES = 1 << 14
PIECES = 256  # read ahead at most (4 MB); then the station has to wait
LOOK_SECONDS = 0.1  # between two checks whether to stop


class Source(Protocol):
    """A stream that can be read."""

    name: str  # that the station announces
    title: str  # of the current song, as the station announces it

    def read(self, size: int) -> bytes: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class _Title:
    text: str


class ReadAhead:
    """A source that a thread opens and reads; for FFmpeg it is a file that cannot seek.

    FFmpeg would swallow an exception of `read`, so it raises none: after b"", `failure` is the reason, or None if the
    source ended or was stopped.
    """

    def __init__(self, open_source: Callable[[], Source], *, stop: threading.Event, patience: float | None) -> None:
        """`patience`: seconds without a byte after which it has failed; None to wait forever."""
        self.failure: Exception | None = None
        self.titles: list[str] = []  # that came since they were last taken
        self.arrived = time.monotonic()  # when what was read last came
        self.received = False  # whether any byte came
        self._open_source, self._stop, self._patience = open_source, stop, patience
        self._pieces: queue.Queue[tuple[float, Any]] = queue.Queue(PIECES)
        self._rest = b""
        self._ended = False
        self._abandoned = threading.Event()
        self._thread = threading.Thread(target=self._run, name="songprint-stream", daemon=True)
        self._thread.start()

    @property
    def ended(self) -> bool:
        """Whether there is nothing more to read."""
        return self._ended and not self._rest

    def opened(self) -> Source:
        """Wait until the source is open; StreamError if that fails or takes too long."""
        item = self._next()
        if self.failure:
            raise self.failure
        if self._ended:
            raise StreamError("stopped before the stream was open")
        opened: Source = item
        return opened

    def read(self, size: int) -> bytes:
        while not self._rest and not self._ended:
            item = self._next()
            if isinstance(item, _Title):
                self.titles.append(item.text)
            else:
                self._rest = item or b""
                self._ended = self._ended or not item
                self.received = self.received or bool(item)
        piece, self._rest = self._rest[:size], self._rest[size:]
        return piece

    def take_titles(self) -> list[str]:
        titles, self.titles = self.titles, []
        return titles

    def close(self) -> None:
        """Does not wait: the thread closes the source as soon as its last read comes back."""
        self._ended = True
        self._abandoned.set()

    def __enter__(self) -> ReadAhead:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _next(self) -> Any:
        """What the thread read next; None, and `_ended`, when nothing more is to come."""
        waited_since = time.monotonic()
        while not self._stop.is_set():
            try:
                came, item = self._pieces.get(timeout=LOOK_SECONDS)
            except queue.Empty:
                if self._patience is not None and time.monotonic() - waited_since > self._patience:
                    self._fail(StreamError(f"nothing came for {self._patience:g} s"))
                    return None
                continue
            if isinstance(item, Exception):
                self._fail(item)
                return None
            self.arrived = came
            return item
        self._ended = True
        return None

    def _fail(self, error: Exception) -> None:
        self.failure, self._ended = error, True

    def _run(self) -> None:
        try:
            source = self._open_source()
            try:
                self._put(source)
                self._read_all(source)
            finally:
                source.close()
        except Exception as error:  # told to whoever waits for bytes
            self._put(error)

    def _read_all(self, source: Source) -> None:
        title = ""
        while not self._abandoned.is_set():
            piece = source.read(PIECE_BYTES)
            if source.title != title:
                title = source.title
                self._put(_Title(title))
            self._put(piece)
            if not piece:
                return

    def _put(self, item: object) -> None:
        came = time.monotonic()
        while not self._abandoned.is_set():
            try:
                self._pieces.put((came, item), timeout=LOOK_SECONDS)
                return
            except queue.Full:
                continue
