"""Processes that work for this one: they share nothing with it but a pipe, and never outlive it."""

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

THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")  # read when NumPy is imported
WATCH = 1.0  # seconds between two looks at whether the parent is alive


def start(work: Callable[..., None], *arguments: object, needs_main: bool = False) -> tuple[BaseProcess, Connection]:
    """Start a process that runs `work(pipe, *arguments)`, and the other end of its pipe.

    On Linux it also dies with the thread that started it: start it from one that stays. It does not run the user's
    script again, unless it `needs_main`: what is defined there.
    """
    context = multiprocessing.get_context("spawn")  # a fork would inherit locks held by other threads
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(work, theirs, arguments, os.getpid()), daemon=True)
    with _hidden_main(needs_main), _without_interrupts(), _one_thread():
        process.start()
    theirs.close()
    return process, ours


def defined_in_main(values: Iterable[object]) -> bool:
    """Whether a process needs the user's script to understand one of these."""
    return any(type(value).__module__ == "__main__" for value in values)


@contextmanager
def _hidden_main(needs_main: bool) -> Iterator[None]:
    """Keep a new process from running the user's script again.

    A script without `if __name__ == "__main__":` would add its music once more in every worker.
    """
    main = sys.modules["__main__"]
    if needs_main:
        yield
        return
    kept = {name: main.__dict__[name] for name in ("__file__", "__spec__") if name in main.__dict__}
    main.__dict__.update(dict.fromkeys(kept))
    try:
        yield
    finally:
        main.__dict__.update(kept)


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Ctrl-C reaches every process of a terminal. A worker inherits that it does not hear it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # its start would end the blocking
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _one_thread() -> Iterator[None]:
    """There is a worker for every core: one that computes with several threads only waits for the others."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


# What follows runs in the new process.


def _run(work: Callable[..., None], pipe: Connection, arguments: tuple, parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where it could not be blocked from the start
    _die_with(parent)
    work(pipe, *arguments)


def _die_with(parent: int) -> None:
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(WATCH)
    os._exit(1)
