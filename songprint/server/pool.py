"""Processes that do what takes the computer: name clips, add recordings, draw waveforms.

Requests wait in a short line; when it is full, they are turned away at once. A process of their own for such work
keeps the server answering, and a decoder that crashes or never ends on a hostile file takes down that process alone.
"""

from __future__ import annotations

import logging
import queue
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TypeVar

from songprint.config import Settings
from songprint.errors import SongprintError
from songprint.fingerprint.encoder import Encoder
from songprint.processes import child

log = logging.getLogger(__name__)

Result = TypeVar("Result")
START = 300.0  # seconds that opening the library and loading the networks may take


class Busy(SongprintError):
    """As many wait as may."""


class TookTooLong(SongprintError):
    """The work was given up, and its process ended."""


class Crashed(SongprintError):
    """The process died at the work."""


class Failed(Exception):
    """The work met a bug of ours: the traceback."""


@dataclass(frozen=True)
class Opening:
    """How a process of the crew opens the library."""

    path: Path
    encoders: tuple[Encoder, ...]  # none: those that are shipped
    settings: Settings


@dataclass(frozen=True)
class _Errand:
    function: Callable[..., object]
    arguments: dict[str, object]
    seconds: float
    future: Future


class Crew:
    """`size` processes, each with the library open, and a line of at most `room` requests before them.

    Each process begins with `first(library)`, before it is asked anything; without it the process starts when there
    is something to do.
    """

    def __init__(
        self, opening: Opening, *, size: int, room: int, name: str, first: Callable[..., object] | None = None
    ) -> None:
        self._line: queue.Queue[_Errand | None] = queue.Queue()
        self._room, self._size = room, size
        self._members = [_Member(opening, self._line, first, f"{name}-{number}") for number in range(size)]

    @property
    def waiting(self) -> int:
        """Requests that nobody works at yet."""
        return self._line.qsize()

    @property
    def ready(self) -> bool:
        """Whether one of the processes at least has the library open."""
        return any(member.ready for member in self._members)

    def submit(self, function: Callable[..., Result], *, at_most: float, **arguments: object) -> Future[Result]:
        """Have `function(library, **arguments)` called in one of the processes, for `at_most` so many seconds.

        Busy when the line is full. The future may fail with whatever SongprintError the function raises, TookTooLong,
        Crashed, or Failed. One that is cancelled before its turn is left out.
        """
        if self.waiting >= self._room:
            raise Busy(f"{self.waiting} requests are waiting already. Try again in a moment")
        future: Future = Future()
        self._line.put(_Errand(function, arguments, at_most, future))
        return future

    def close(self) -> None:
        """End the processes, whatever they are at; who waits gets Busy."""
        for _ in self._members:
            self._line.put(None)
        for member in self._members:
            member.end()
        with suppress(queue.Empty):
            while True:
                errand = self._line.get_nowait()
                if errand is not None and errand.future.set_running_or_notify_cancel():
                    errand.future.set_exception(_stopping())
        for _ in self._members:
            self._line.put(None)
        for member in self._members:
            while member.is_alive():  # one that was just starting its process is told again
                member.end()
                member.join(0.2)


class _Member(threading.Thread):
    """A thread that owns one process, starts it when there is something to do, and again after it died."""

    def __init__(
        self, opening: Opening, line: queue.Queue[_Errand | None], first: Callable[..., object] | None, name: str
    ) -> None:
        super().__init__(name=f"songprint-{name}", daemon=True)
        self.ready = False
        self._opening, self._line, self._first = opening, line, first
        self._ended = False
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None
        self.start()

    def run(self) -> None:
        if self._first:
            self._do(_Errand(self._first, {}, START, Future()))
        while errand := self._line.get():
            self._do(errand)
        self._kill()

    def end(self) -> None:
        """From another thread: whatever the process is at, it stops."""
        self._ended = True
        process = self._process
        if process is not None:
            process.kill()

    def _do(self, errand: _Errand) -> None:
        if not errand.future.set_running_or_notify_cancel():
            return
        try:
            errand.future.set_result(self._asked(errand))
        except Exception as error:  # whatever it is, it belongs to who asked
            errand.future.set_exception(error)
            if errand.function is self._first and not self._ended:
                log.error("a process of the service cannot start: %s", error)

    def _asked(self, errand: _Errand) -> object:
        if self._ended:
            raise _stopping()
        seconds = errand.seconds
        if self._process is None:
            self._process, self._pipe = child.start(
                _work, self._opening, needs_main=child.defined_in_main(self._opening.encoders)
            )
            seconds += START
        try:
            self._pipe.send((errand.function, errand.arguments))
            if not self._pipe.poll(seconds):
                self._kill()
                raise TookTooLong(f"it was given up after {seconds:.0f} s. Try a shorter file, or at a quieter hour")
            outcome = self._pipe.recv()
        except (EOFError, OSError) as error:
            self._kill()
            if self._ended:
                raise _stopping() from error
            log.warning("a process of the service died at %s", errand.function.__name__)
            raise Crashed("its decoder crashed. Convert the file to another format") from error
        self.ready = True
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _kill(self) -> None:
        self.ready = False
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.join()
            self._pipe.close()


def _stopping() -> Busy:
    return Busy("the server is stopping. Try again in a moment")


# What follows runs in the process.


def _work(pipe: Connection, opening: Opening) -> None:
    from songprint.library import Library

    library: Library | None = None
    while True:
        try:
            function, arguments = pipe.recv()
        except EOFError:
            return
        try:
            library = library or Library(opening.path, encoder=opening.encoders or None, settings=opening.settings)
            outcome = function(library, **arguments)
        except SongprintError as error:
            outcome = error
        except MemoryError:
            outcome = TookTooLong("there is not enough memory for it. Try a shorter file")
        except Exception:
            outcome = Failed(traceback.format_exc())
        pipe.send(outcome)
