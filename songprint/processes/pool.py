"""Pool: child processes that run functions for this process and are replaced when they die.

Every member of a pool is a thread that owns one child process and the pipe to it, so it is certain which call a child
was running when it died, and no lock is shared that a dying child could hold. Children never outlive this process.
"""

from __future__ import annotations

import logging
import multiprocessing
import pickle
import queue
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from songprint.errors import SongprintError
from songprint.processes import child, memory

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

LACK = "there is not enough memory for it (see the setting memory_limit)"
OPEN_SECONDS = 300.0  # added to the time limit of the first call of a child, which imports modules and opens the state
CALLS_PER_CHILD = 2  # calls that `as_completed` submits ahead: one that runs and one that waits
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds before `keep_running` starts a function again
_POLL_SECONDS = 0.1  # between two checks whether the pool is closing
_EXIT_SECONDS = 1.0  # from the end of a pipe to the exit status of its process
_KILLED = ("SIGKILL", "SIGTERM")  # signals of other programs, and of a system without memory

# In a child: set when the pool is closing or the parent process is gone. Functions that run for long check it.
stop_requested = threading.Event()


class Busy(SongprintError):
    """The queue of the pool is full, or the pool is closing."""


class LimitExceeded(SongprintError):
    """The call exceeded its time limit or the available memory."""


class Crashed(SongprintError):
    """The child process died during the call."""


class NotStarted(Crashed):
    """The child process died before it ran the call."""


class Failed(Exception):
    """The call raised an exception that is a bug; the text is the traceback in the child."""


class _Started:
    """What a child sends when it has opened its state and begins its first call."""


@dataclass(frozen=True)
class _Call:
    function: Callable[..., Any]
    arguments: tuple[object, ...] = ()
    keywords: dict[str, object] = field(default_factory=dict)
    time_limit: float | None = None  # seconds
    attempts: int = 1
    forever: bool = False  # called again whenever it ends
    future: Future[Any] = field(default_factory=Future)

    @property
    def name(self) -> str:
        """Of the function, for logs."""
        function = self.function.func if isinstance(self.function, partial) else self.function
        return function.__name__


class Pool:
    """`size` child processes; each starts when there is a call for it.

    A child runs `open_state()` once and passes the result to every call as the first argument; a child that ends in
    time closes it, if it can be closed. `open_state` and all calls are pickled. With `warm_up`, children start at once
    and run `warm_up(state)` before the first call.
    """

    def __init__(
        self,
        open_state: Callable[[], object],
        *,
        size: int,
        name: str,
        room: int | None = None,
        warm_up: Callable[..., object] | None = None,
        grace: float = 0.0,
        needs_main: bool = False,
        memory_limit: int = 0,
    ) -> None:
        """Args:
        size: number of child processes.
        name: of the threads, for debuggers and logs.
        room: calls that may wait before `submit` raises Busy; None for any number.
        grace: seconds that a running call gets after `stop_requested` is set; after them its process is killed.
        needs_main: whether the children must import the user's script; see `child.start`.
        memory_limit: bytes that one call may allocate in addition to those that its process has; 0 for any number.
        """
        self.size = size
        self._room, self._closing, self._lock = room, threading.Event(), threading.Lock()
        self._calls: queue.Queue[_Call | None] = queue.Queue()
        self._members = [
            _Member(
                f"songprint-{name}-{number}",
                self._calls,
                self._closing,
                partial(_serve, open_state=open_state, memory_limit=memory_limit),
                warm_up,
                grace,
                needs_main,
            )
            for number in range(size)
        ]

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def waiting(self) -> int:
        """Number of calls that have not begun."""
        return self._calls.qsize()

    @property
    def ready(self) -> bool:
        """Whether at least one child has opened its state."""
        return any(member.ready for member in self._members)

    def submit(
        self,
        function: Callable[..., Result],
        *arguments: object,
        time_limit: float | None = None,
        attempts: int = 1,
        **keywords: object,
    ) -> Future[Result]:
        """Call `function(state, *arguments, **keywords)` in one of the children, in order of submission.

        A call whose child dies is repeated until there were so many `attempts`. The future fails with the
        SongprintError that the function raises, or with LimitExceeded, Crashed, NotStarted, Failed, or Busy when the
        pool closes. A future that is cancelled before its call begins is skipped. Busy when the queue is full.
        """
        call = _Call(function, arguments, keywords, time_limit, attempts)
        self._put(call)
        return call.future

    def as_completed(
        self,
        function: Callable[..., Result],
        items: Iterable[Item],
        *,
        time_limit: float | None = None,
        attempts: int = 1,
    ) -> Iterator[tuple[Item, Future[Result]]]:
        """Call `function(state, item)` for all items; yield each with its finished future, in order of completion.

        `items` is consumed only as far as the children need it.
        """
        coming, pending = iter(items), dict[Future[Result], Item]()

        def submit_ahead() -> None:
            while len(pending) < CALLS_PER_CHILD * self.size:
                try:
                    item = next(coming)
                except StopIteration:
                    return
                pending[self.submit(function, item, time_limit=time_limit, attempts=attempts)] = item

        submit_ahead()
        while pending:
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                yield pending.pop(future), future
                submit_ahead()

    def keep_running(self, function: Callable[..., object], **keywords: object) -> None:
        """Run `function(state, **keywords)` in every child until the pool closes.

        Whenever it ends, however it ends, it is logged and started again in a new process, after a pause that doubles
        from FIRST_PAUSE to LONGEST_PAUSE and begins anew after a run of more than LONGEST_PAUSE.
        """
        for _ in range(self.size):
            self._put(_Call(function, keywords=keywords, forever=True))

    def close(self) -> None:
        """End the children: running calls get the grace period, waiting ones fail with Busy."""
        with self._lock:
            self._closing.set()
            with suppress(queue.Empty):
                while True:
                    call = self._calls.get_nowait()
                    if call is not None and call.future.set_running_or_notify_cancel():
                        call.future.set_exception(_closing())
            for _ in self._members:
                self._calls.put(None)
        for member in self._members:
            member.join()

    def _put(self, call: _Call) -> None:
        with self._lock:
            if self._closing.is_set():
                raise _closing()
            if self._room is not None and self.waiting >= self._room:
                raise Busy(f"{self.waiting} requests are waiting already. Try again in a moment")
            self._calls.put(call)


def can_pickle(value: object) -> bool:
    """Whether a value can be passed to children, and this process may have any: children of pools may not."""
    try:
        pickle.dumps(value)
    except (TypeError, AttributeError, pickle.PicklingError) as error:
        log.info("computing in one process: %s", error)
        return False
    return not multiprocessing.current_process().daemon


class _Member(threading.Thread):
    """Owns one child: starts it for the first call, and a new one after it died."""

    def __init__(
        self,
        name: str,
        calls: queue.Queue[_Call | None],
        closing: threading.Event,
        serve: Callable[..., None],
        warm_up: Callable[..., object] | None,
        grace: float,
        needs_main: bool,
    ) -> None:
        super().__init__(name=name, daemon=True)
        self.ready = False
        self._opened = False  # whether the child has opened its state
        self._calls, self._closing = calls, closing
        self._serve, self._warm_up, self._needs_main = serve, warm_up, needs_main
        self._grace = grace
        self._child: tuple[BaseProcess, Connection] | None = None
        self.start()

    def run(self) -> None:
        if self._warm_up:
            try:
                self._attempt(_Call(self._warm_up, time_limit=0.0))
            except Exception as error:
                if not self._closing.is_set():
                    log.error("%s: its process cannot start: %s", self.name, error)
        while call := self._calls.get():
            if not call.future.set_running_or_notify_cancel():
                continue
            if call.forever:
                self._keep_running(call)
                continue
            try:
                call.future.set_result(self._result(call))
            except Exception as error:  # raised where the future is waited for
                call.future.set_exception(error)
        self._end()

    def _result(self, call: _Call) -> object:
        for _ in range(call.attempts - 1):
            with suppress(Crashed):
                return self._attempt(call)
        return self._attempt(call)

    def _keep_running(self, call: _Call) -> None:
        pause = FIRST_PAUSE
        while not self._closing.is_set():
            began, ended = time.monotonic(), "its function returned"
            try:
                self._attempt(call)
            except Exception as error:
                ended = "its process died" if isinstance(error, Crashed) else str(error)
            if self._closing.is_set():
                return
            self._end()
            if time.monotonic() - began > LONGEST_PAUSE:
                pause = FIRST_PAUSE
            log.error("%s restarts in %.0f s: %s", self.name, pause, ended)
            self._closing.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _attempt(self, call: _Call) -> object:
        """Run a call once; whatever it raises in the child is raised here."""
        if self._closing.is_set():
            raise _closing()
        limit = call.time_limit
        if self._child is not None and not self._child[0].is_alive():
            log.warning("%s: its process died between two calls (%s)", self.name, _cause(self._child[0]))
            self._end()
        if self._child is None:
            self._child = child.start(self._serve, needs_main=self._needs_main)
            limit = None if limit is None else limit + OPEN_SECONDS
        process, pipe = self._child
        began = time.monotonic()  # the limit covers the opening and the call
        try:
            pipe.send((call.function, call.arguments, call.keywords))
            self._wait_for(pipe, began, limit)
            outcome = pipe.recv()
            if isinstance(outcome, _Started):
                self._opened = True
                self._wait_for(pipe, began, limit)
                outcome = pipe.recv()
        except (EOFError, OSError) as error:
            process.join(_EXIT_SECONDS)
            cause = _cause(process)
            log.warning("%s: its process died in %s (%s)", self.name, call.name, cause)
            starting = not self._opened or call.function is self._warm_up
            self._end()
            if starting:
                raise NotStarted(f"its process died while it started ({cause}). Try again") from error
            if cause in _KILLED:
                raise Crashed(
                    f"its process was killed ({cause}), perhaps because the system ran out of memory. Try again later"
                ) from error
            # Python code raises exceptions; in practice only the decoders, written in C, end a process otherwise.
            raise Crashed("its decoder crashed. Convert the file to another format") from error
        self.ready = True
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _wait_for(self, pipe: Connection, began: float, limit: float | None) -> None:
        """Return when the pipe has a message, or its other end is closed."""
        while not pipe.poll(_POLL_SECONDS):
            if self._closing.is_set():
                self._end()
                raise _closing()
            if limit is not None and time.monotonic() - began > limit:
                self._end()
                raise LimitExceeded(
                    f"it took more than {limit:.0f} s and was stopped. Try a shorter file, or try again later"
                )

    def _end(self) -> None:
        """End the child; while the pool closes, after the grace period."""
        self.ready = self._opened = False
        if self._child is None:
            return
        (process, pipe), self._child = self._child, None
        if self._closing.is_set() and self._grace:
            pipe.close()  # sets `stop_requested` in the child
            process.join(self._grace)
        process.kill()
        process.join()
        process.close()
        pipe.close()


def _closing() -> Busy:
    return Busy("the process pool is closing. Try again in a moment")


def _cause(process: BaseProcess) -> str:
    """How a process ended: the name of a signal, or its exit status."""
    status = process.exitcode
    if status is None or status >= 0:
        return f"status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:  # signals for real-time applications have no names
        return f"signal {-status}"


# The rest runs in the child.


def _serve(pipe: Connection, open_state: Callable[[], object], memory_limit: int) -> None:
    """Answer calls until the pipe is closed. A thread reads the pipe, to detect this during a call."""
    received: queue.Queue[bytes | None] = queue.Queue()
    threading.Thread(target=_receive, args=(pipe, received), daemon=True).start()
    opened: list[object] = []
    while (message := received.get()) is not None:
        outcome: object
        try:
            function, arguments, keywords = pickle.loads(message)
            if not opened:
                opened.append(open_state())
                pipe.send(_Started())
            with memory.limited(memory_limit):
                outcome = function(opened[0], *arguments, **keywords)
        except SongprintError as error:
            outcome = error
        except Exception as error:
            if memory.is_lack(error):
                outcome = LimitExceeded(f"{LACK}. Try a shorter file")
            else:
                outcome = Failed(traceback.format_exc())
        with suppress(OSError):  # the pool closed during the call
            pipe.send(outcome)
    if opened and hasattr(opened[0], "close"):
        opened[0].close()


def _receive(pipe: Connection, received: queue.Queue[bytes | None]) -> None:
    with suppress(EOFError, OSError):
        while True:
            received.put(pipe.recv_bytes())
    stop_requested.set()
    received.put(None)
