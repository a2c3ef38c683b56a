"""Functions for children of a process pool: a child imports them from here."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from songprint.errors import AudioError
from songprint.processes import pool


class State:
    """Writes its process id to a file when it is closed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def close(self) -> None:
        (self.folder / "closed").write_text(str(os.getpid()))


def cannot_open() -> State:
    raise AudioError("the state cannot be opened")


def open_or_die(number: int | None) -> None:
    """End the process with this signal, if there is one."""
    if number:
        os.kill(os.getpid(), number)


def die_by(state: object, number: int) -> None:
    os.kill(os.getpid(), number)


def process_id(state: State) -> int:
    return os.getpid()


def square(state: State, number: int) -> int:
    return number * number


def die_at_odd(state: State, number: int) -> int:
    """Return the number, or end the process if it is odd."""
    if number % 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def die_once(state: State, name: str) -> str:
    """End the process at the first call with this name, return the name at the next."""
    mark = state.folder / name
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return name


def die_at_first_warm_up(state: State) -> None:
    die_once(state, "warm")


def sleep(state: State, seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def refuse(state: State) -> None:
    raise AudioError("no audio")


def divide_by_zero(state: State) -> float:
    return 1 / 0


def exhaust_memory(state: State) -> int:
    return len(bytes(1 << 60))


def allocate(state: State, megabytes: int) -> int:
    """Allocate memory and use it."""
    return len(b"x" * (megabytes << 20)) >> 20


def write_until_stopped(state: State, name: str) -> None:
    """Append the process id to a file, then wait for the request to stop and append "stopped"."""
    with (state.folder / name).open("a") as file:
        file.write(f"{os.getpid()}\n")
        file.flush()
        pool.stop_requested.wait(60)
        file.write("stopped\n")
