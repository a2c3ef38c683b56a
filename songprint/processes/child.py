"""Child processes: they share nothing with this process but a pipe, and never outlive it."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

_THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")  # read when NumPy is imported
_PARENT_SECONDS = 1.0  # between two checks whether the parent is alive

_starting = threading.Lock()  # a start changes the environment and the main module for a moment


def start(
    function: Callable[..., None], *arguments: object, needs_main: bool = False
) -> tuple[BaseProcess, Connection[object, object]]:
    """Start a process that runs `function(pipe, *arguments)`; return it and the other end of the pipe.

    The process does not import the user's script, unless it `needs_main` for values of types defined there.
    On Linux it also dies with the thread that started it.
    """
    context = multiprocessing.get_context("spawn")  # a fork would inherit locks held by other threads
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(function, theirs, arguments, os.getpid()), daemon=True)
    with _starting, _hidden_main(needs_main), _blocked_interrupts(), _one_thread():
        process.start()
    theirs.close()
    return process, ours


def defined_in_main(values: Iterable[object]) -> bool:
    """Whether the type of one of these values is defined in the user's script."""
    return any(type(value).__module__ == "__main__" for value in values)


@contextmanager
def _hidden_main(needs_main: bool) -> Iterator[None]:
    """Keep a new process from importing the user's script.

    A script without `if __name__ == "__main__":` would add its music once more in every child.
    """
    main = sys.modules["__main__"]
    if needs_main:
        yield
        return
    kept: dict[str, object] = {name: main.__dict__[name] for name in ("__file__", "__spec__") if name in main.__dict__}
    main.__dict__.update(dict.fromkeys(kept))
    try:
        yield
    finally:
        main.__dict__.update(kept)


@contextmanager
def _blocked_interrupts() -> Iterator[None]:
    """Block SIGINT, and so in the child: Ctrl-C reaches every process of a terminal, and only the parent handles it."""
    if sys.platform == "win32":
        yield
        return
    resource_tracker.ensure_running()  # starting it later would unblock the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Limit BLAS in the child to one thread: there is a child per core, and more threads would only wait."""
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


# The rest runs in the child.


def _run(
    function: Callable[..., None], pipe: Connection[object, object], arguments: tuple[object, ...], parent: int
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # on systems where it could not be blocked before the start
    _die_with(parent)
    function(pipe, *arguments)


def _die_with(parent: int) -> None:
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    threading.Thread(target=_exit_after, args=(parent,), daemon=True).start()


def _exit_after(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_PARENT_SECONDS)
    os._exit(1)
