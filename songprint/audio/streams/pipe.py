"""Sound from standard input or any open file that cannot seek."""

from __future__ import annotations

from typing import BinaryIO


class Pipe:
    """As it comes: `read` gives what is there, and waits only if that is nothing."""

    name = title = ""

    def __init__(self, file: BinaryIO) -> None:
        # The file beneath the buffer: a read of the buffer waits until it is full, and holds a lock when Python ends.
        self._file = getattr(file, "raw", file)

    def read(self, size: int) -> bytes:
        return self._file.read(size)

    def close(self) -> None:
        """Whoever opened the file closes it."""
