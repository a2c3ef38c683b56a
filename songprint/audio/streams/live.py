"""Bytes as they come -> blocks of mono samples as soon as they are full."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Protocol

import numpy as np

from songprint.audio import decode
from songprint.errors import StreamError

READ_BYTES = 4096  # that FFmpeg waits for: a quarter of a second at 128 kbit/s
OPTIONS = {
    "protocol_whitelist": "none",  # FFmpeg may open nothing by itself; see songprint.audio.files
    "probesize": "65536",  # bytes, and microseconds, after which FFmpeg must know the format
    "analyzeduration": "2000000",
}
RAW_FORMATS = (
    "u8",
    "s8",
    *(f"{kind}{order}" for kind in ("s16", "s24", "s32", "f32", "f64", "u16") for order in ("le", "be")),
    "alaw",
    "mulaw",
)
MOST_CHANNELS = 24


class Readable(Protocol):
    def read(self, size: int) -> bytes: ...


@dataclass(frozen=True)
class Raw:
    """Samples without a header: how to read them."""

    sample_rate: int  # Hz
    channels: int
    form: str  # of a sample, as FFmpeg calls it

    @classmethod
    def parsed(cls, text: str) -> Raw:
        """
        >>> Raw.parsed("44100:2:s16le")
        Raw(sample_rate=44100, channels=2, form='s16le')
        """
        found = re.fullmatch(r"(\d{1,7}):(\d{1,3}):(\w+)", text, re.ASCII)
        if not found or not (1000 <= int(found[1]) <= 1_536_000 and 1 <= int(found[2]) <= MOST_CHANNELS):
            raise StreamError(f"--raw {text} is not RATE:CHANNELS:FORMAT, as 44100:2:s16le")
        if found[3] not in RAW_FORMATS:
            raise StreamError(f"--raw {text}: {found[3]} is no format of samples; known are {', '.join(RAW_FORMATS)}")
        return cls(int(found[1]), int(found[2]), found[3])


def blocks(
    file: Readable, sample_rate: int, block_samples: int, *, name: str, raw: Raw | None = None
) -> Iterator[np.ndarray]:
    """Blocks of mono float32 samples, (block_samples,); the last one is shorter. Damaged parts are left out.

    `name` is what the source is called in a StreamError, which is raised if it is no sound.
    """
    import av

    looked_at = _LookedAt(file, name, sniff=raw is None)
    try:
        container = av.open(
            looked_at,
            "r",
            buffer_size=READ_BYTES,
            metadata_errors="replace",
            container_options=OPTIONS,
            format=raw.form if raw else None,
            options=_raw_options(raw),
        )
    except (av.FFmpegError, OSError, ValueError) as error:
        raise StreamError(
            f"cannot listen to {name}: FFmpeg does not know its format ({decode.said(error)}). Is it sound?"
        ) from error
    with container:
        frames = decode.frames(container, decode.audio_stream(container, name), failed=lambda error: None)
        first = next(frames, None)
        if first is None:
            raise StreamError(
                f"cannot listen to {name}: nothing in it can be decoded. MP4 whose index is at its end"
                " can be scanned as a file, but not listened to"
            )
        yield from decode.blocks(chain([first], frames), sample_rate, block_samples)


class _LookedAt:
    """A file that cannot seek, whose first bytes are no text: a web page, a playlist."""

    def __init__(self, file: Readable, name: str, *, sniff: bool) -> None:
        self._file = file
        self._head = file.read(READ_BYTES) if sniff else b""
        if sniff and not self._head:
            raise StreamError(f"cannot listen to {name}: nothing came")
        begins = self._head.removeprefix(b"\xef\xbb\xbf").lstrip()[:16].lower()
        if begins.startswith((b"#extm3u", b"[playlist]", b"ffconcat")):
            raise StreamError(f"cannot listen to {name}: it is a playlist. Give the stream that it names")
        if begins.startswith(b"<") or (self._head and self._head.isascii() and b"\0" not in self._head):
            raise StreamError(f"cannot listen to {name}: it is text, not sound. Is it a web page about the stream?")

    def read(self, size: int) -> bytes:
        piece, self._head = self._head[:size], self._head[size:]
        return piece or self._file.read(size)


def _raw_options(raw: Raw | None) -> dict[str, str]:
    return {"sample_rate": str(raw.sample_rate), "ch_layout": f"{raw.channels}c"} if raw else {}
