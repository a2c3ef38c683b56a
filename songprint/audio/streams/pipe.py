"""Audio from standard input, or from another open file that cannot seek."""

from __future__ import annotations

from typing import BinaryIO


class Pipe:
    """A stream of bytes from a file: `read` returns what is available, and waits only if there is nothing."""

    name = title = ""

    def __init__(self, file: BinaryIO) -> None:
        # The unbuffered file, because the buffered one waits until its buffer is full, and holds a lock that blocks the
        # exit of Python.
        self._file = getattr(file, "raw", file)

    def read(self, size: int) -> bytes:
        return self._file.read(size)

    def close(self) -> None:
        """Does nothing: the file belongs to the caller."""
