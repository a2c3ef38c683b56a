"""The folder of a library: clear errors for its disk, and locks between the processes of one machine."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from songprint.errors import LibraryError, LibraryFull

# Bytes. SQLite reports a full disk as "I/O error" when less than this is free.
NEARLY_FULL = 256 * 1024
LOCK_INTERVAL = 0.05  # seconds between two attempts to take a lock


@contextmanager
def translated_errors(folder: Path) -> Iterator[None]:
    """Turn errors of the file system into a LibraryError that explains what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise full(folder) from error
        raise LibraryError(f"cannot use the library at {folder}: {error.strerror or error}") from error


def full(folder: Path) -> LibraryFull:
    """Return the error for a full disk."""
    return LibraryFull(
        f"the disk of {folder} is full. Everything added before is safe: free some space and run the command again"
    )


def durably_rename(unfinished: Path, target: Path) -> None:
    """Rename a file once its content is on the disk, or a folder once its entries are."""
    _synchronise(unfinished)
    os.replace(unfinished, target)
    _synchronise(target.parent)


def _synchronise(path: Path) -> None:
    """Wait until the content of a file, or the entries of a folder, are on the disk."""
    if path.is_dir() and os.name != "posix":
        return
    opened = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def nearly_full(folder: Path) -> bool:
    """Whether so little space is left that SQLite reports misleading errors."""
    try:
        return shutil.disk_usage(folder).free < NEARLY_FULL
    except OSError:
        return False


@contextmanager
def lock(folder: Path, name: str = "lock", wait: float = 0.0) -> Iterator[bool]:
    """Take the lock `name`, which one process of this machine can have, and yield whether it was free.

    Waits at most `wait` seconds. Yields False on a read-only disk. The operating system releases the lock when the
    process ends.
    """
    if not os.access(folder if folder.exists() else folder.parent, os.W_OK):
        yield False
        return
    with translated_errors(folder):
        folder.mkdir(exist_ok=True)
        file = (folder / name).open("ab")
    give_up = time.monotonic() + wait
    with file:  # closing the file releases the lock
        while not (locked := _try_lock(file.fileno())) and time.monotonic() < give_up:
            time.sleep(LOCK_INTERVAL)
        yield locked


def _try_lock(file: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
