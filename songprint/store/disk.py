"""The folder of a library: its disk's errors in plain words, and locks between the processes of one machine."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from songprint.errors import LibraryError, LibraryFull

NEARLY_NOTHING = 256 * 1024  # bytes left on a disk on which SQLite calls a full disk an "I/O error"
LOOK_AGAIN = 0.05  # seconds between two tries to get a lock


@contextmanager
def translated_errors(folder: Path) -> Iterator[None]:
    """Turn the errors of the file system into a LibraryError that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise full(folder) from error
        raise LibraryError(f"cannot use the library at {folder}: {error.strerror or error}") from error


def full(folder: Path) -> LibraryFull:
    return LibraryFull(
        f"the disk that holds {folder} is full. What was added before is safe: make room and run the command again"
    )


def nearly_full(folder: Path) -> bool:
    try:
        return shutil.disk_usage(folder).free < NEARLY_NOTHING
    except OSError:
        return False


@contextmanager
def lock(folder: Path, name: str = "lock", wait: float = 0.0) -> Iterator[bool]:
    """True inside for one process of this machine at a time; False after `wait` seconds, or on a read-only disk."""
    if not os.access(folder if folder.exists() else folder.parent, os.W_OK):
        yield False
        return
    with translated_errors(folder):
        folder.mkdir(exist_ok=True)
        file = (folder / name).open("ab")
    give_up = time.monotonic() + wait
    with file:  # closing the file, or dying, unlocks it
        while not (mine := _locked(file.fileno())) and time.monotonic() < give_up:
            time.sleep(LOOK_AGAIN)
        yield mine


def _locked(file: int) -> bool:
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
