"""A thread that reads ahead, so that a slow station and a slow consumer do not block each other."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol

from songprint.errors import StreamError

PIECE_BYTES = 1 << 14  # per read of the source
MAX_PIECES = 256  # that are read ahead (4 MB); then reading pauses
POLL_SECONDS = 0.1  # between two checks whether to stop


class Source(Protocol):
    """A stream that can be read."""

    name: str  # of the station, as it announces it
    title: str  # of the current song, as the station announces it

    def read(self, size: int) -> bytes: ...

    def close(self) -> None: ...


class Pipe:
    """Standard input, or another open file that cannot seek, as a source.

    `read` returns what is available, and waits only if there is nothing.
    """

    name = title = ""

    def __init__(self, file: BinaryIO) -> None:
        # The unbuffered file, because the buffered one waits until its buffer is full, and holds a lock that blocks the
        # exit of Python.
        self._file = getattr(file, "raw", file)

    def read(self, size: int) -> bytes:
        return self._file.read(size)

    def close(self) -> None:
        """Does nothing: the file belongs to the caller."""


@dataclass(frozen=True)
class _Title:
    text: str


class ReadAhead:
    """A file-like object for FFmpeg, not seekable, whose source a thread opens and reads.

    `read` raises no exceptions, because FFmpeg would discard them. After it returned b"", `failure` is the error, or
    None if the source ended or was stopped.
    """

    def __init__(self, open_source: Callable[[], Source], *, stop: threading.Event, patience: float | None) -> None:
        """`patience`: seconds without data after which the source has failed; None to wait forever."""
        self.failure: Exception | None = None
        self.titles: list[str] = []  # received since the last `take_titles`
        self.arrived = time.monotonic()  # time at which the data of the last `read` arrived
        self.received = False  # whether any data arrived
        self._open_source, self._stop, self._patience = open_source, stop, patience
        self._pieces: queue.Queue[tuple[float, Any]] = queue.Queue(MAX_PIECES)
        self._rest = b""
        self._ended = False
        self._abandoned = threading.Event()
        self._thread = threading.Thread(target=self._run, name="songprint-stream", daemon=True)
        self._thread.start()

    @property
    def ended(self) -> bool:
        """Whether everything was read."""
        return self._ended and not self._rest

    def opened(self) -> Source:
        """Wait until the source is open. Raises its error, or StreamError if that takes longer than `patience`."""
        item = self._next()
        if self.failure:
            raise self.failure
        if self._ended:
            raise StreamError("stopped before the stream was opened")
        opened: Source = item
        return opened

    def read(self, size: int) -> bytes:
        """Return at most `size` bytes, as soon as there are any; b"" at the end."""
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
        """Return the titles that arrived since the last call."""
        titles, self.titles = self.titles, []
        return titles

    def close(self) -> None:
        """Stop reading, without waiting: the thread closes the source when its current read returns."""
        self._ended = True
        self._abandoned.set()

    def __enter__(self) -> ReadAhead:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _next(self) -> Any:
        """Wait for the next item of the thread; None, with `_ended` set, after an error or a stop."""
        waited_since = time.monotonic()
        while not self._stop.is_set():
            try:
                arrived, item = self._pieces.get(timeout=POLL_SECONDS)
            except queue.Empty:
                if self._patience is not None and time.monotonic() - waited_since > self._patience:
                    self._fail(StreamError(f"no data for {self._patience:g} s"))
                    return None
                continue
            if isinstance(item, Exception):
                self._fail(item)
                return None
            self.arrived = arrived
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
        except Exception as error:  # `_next` stores it in `failure`
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
        arrived = time.monotonic()
        while not self._abandoned.is_set():
            try:
                self._pieces.put((arrived, item), timeout=POLL_SECONDS)
                return
            except queue.Full:
                continue
