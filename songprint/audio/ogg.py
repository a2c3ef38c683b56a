"""Split chained Ogg streams into links: complete streams, one after the other, that may differ in codec and format.

FFmpeg continues in the next link only if its codec and its format are the same, and ends without an error otherwise.
"""

from __future__ import annotations

import os
from typing import IO, Protocol

_PAGE = b"OggS\x00"  # a page begins with the capture pattern and the version, and flags follow
_FIRST = 2  # flag of the first page of a logical stream
_MAX_FLAGS = 7
_PAGE_BYTES = 6  # of a page that are read here
_SCANNED_BYTES = 1 << 20  # per read


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Boundaries:
    """Finds where links begin in consecutive bytes."""

    def __init__(self) -> None:
        self._in_headers = True  # the last page was the first one of a logical stream; a link may begin with several

    def next(self, data: bytes, start: int) -> tuple[int | None, int]:
        """Return the offset in `data` of the next link from `start` on, or None, and where the search ended."""
        # `find` is about three times as fast as a regular expression.
        while (page := data.find(_PAGE, start, len(data) - 1)) >= 0:
            flags = data[page + _PAGE_BYTES - 1]
            start = page + _PAGE_BYTES
            if flags > _MAX_FLAGS:
                start = page + 1
                continue
            first = bool(flags & _FIRST)
            begins, self._in_headers = first and not self._in_headers, first
            if begins:
                return page, start
        return None, start


def links(file: IO[bytes]) -> list[tuple[int, int]]:
    """The first and last offset of each link of an open file, which is rewound; one if it is not chained.

    Ogg files are read as a whole.
    """
    boundaries, starts = _Boundaries(), [0]
    position, data = 0, file.read(_SCANNED_BYTES)  # offset of the data in the file
    more = data.startswith(b"OggS")
    while more:
        at = 0
        while True:
            begin, at = boundaries.next(data, at)
            if begin is None:
                break
            starts.append(position + begin)
        kept = max(at, len(data) - _PAGE_BYTES + 1)
        piece = file.read(_SCANNED_BYTES)
        position, data, more = position + kept, data[kept:] + piece, bool(piece)
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    return list(zip(starts, [*starts[1:], size], strict=True))


class Part:
    """A part of an open file, as a file."""

    def __init__(self, file: IO[bytes], begin: int, end: int) -> None:
        self._file, self._begin, self._end = file, begin, end
        self.name = getattr(file, "name", "")
        file.seek(begin)

    def read(self, size: int) -> bytes:
        return self._file.read(max(0, min(size, self._end - self._file.tell())))

    def seek(self, offset: int, whence: int = 0) -> int:
        start = (self._begin, self._file.tell(), self._end)[whence]
        return self._file.seek(max(self._begin, start + offset)) - self._begin

    def tell(self) -> int:
        return self._file.tell() - self._begin

    def seekable(self) -> bool:
        return True


class LinkReader:
    """A stream that may be chained Ogg: `read` ends at the end of each link, and `advance` goes on to the next one."""

    def __init__(self, file: Readable) -> None:
        self._file = file
        self._boundaries = _Boundaries()
        self._buffer = b""
        self._ready = 0  # bytes of the buffer that belong to this link
        self._searched = 0  # offset in the buffer up to which pages were read
        self._link_ends = False  # whether the next link begins after the ready bytes
        self._ended = False
        self._is_ogg: bool | None = None  # None before the first bytes

    def read(self, size: int) -> bytes:
        """Return at most `size` bytes, as soon as there are any; b"" at the end of the link."""
        while not (self._ready or self._link_ends or self._ended):
            piece = self._file.read(size)
            self._ended = not piece
            self._buffer += piece
            self._search()
        data = self._buffer[: min(size, self._ready)]
        self._buffer = self._buffer[len(data) :]
        self._ready -= len(data)
        self._searched = max(0, self._searched - len(data))
        return data

    def advance(self) -> bool:
        """Go on to the next link, skipping the rest of this one. Return False if there is none."""
        while self._is_ogg and self.read(_SCANNED_BYTES):
            pass
        if not self._link_ends:
            return False
        self._link_ends = False
        self._search()
        return True

    def _search(self) -> None:
        """Find the next link in the buffer."""
        if self._is_ogg is None and (len(self._buffer) >= 4 or self._ended):
            self._is_ogg = self._buffer.startswith(b"OggS")
        begin = None
        if self._is_ogg:
            begin, self._searched = self._boundaries.next(self._buffer, self._searched)
        if begin is not None:
            self._ready, self._link_ends = begin, True
        else:
            # The end of the buffer may be the beginning of a page.
            tail = -1 if self._ended or self._is_ogg is False else self._buffer.rfind(b"O", -_PAGE_BYTES + 1)
            unclear = tail >= 0 and b"OggS\0".startswith(self._buffer[tail:])
            self._ready = tail if unclear else len(self._buffer)
