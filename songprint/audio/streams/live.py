"""Decode bytes as they arrive to blocks of samples, each as soon as it is complete."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from songprint.audio import channels, decode
from songprint.audio.channels import Block
from songprint.audio.ogg import LinkReader, Readable
from songprint.audio.reading import Reading
from songprint.errors import StreamError

if TYPE_CHECKING:
    import av

READ_BYTES = 4096  # per read of FFmpeg: a quarter of a second at 128 kbit/s
OPTIONS = {
    "protocol_whitelist": "none",  # FFmpeg may not open anything itself; see songprint.audio.files
    "probesize": "65536",  # bytes from which FFmpeg detects the format
    "analyzeduration": "2000000",  # microseconds from which FFmpeg detects the format
}
RAW_FORMATS = (
    "u8",
    "s8",
    *(f"{kind}{order}" for kind in ("s16", "s24", "s32", "f32", "f64", "u16") for order in ("le", "be")),
    "alaw",
    "mulaw",
)
MAX_CHANNELS = 24


@dataclass(frozen=True)
class Raw:
    """The format of samples without a header."""

    sample_rate: int  # Hz
    channels: int
    form: str  # of a sample: one of RAW_FORMATS, the names of FFmpeg

    @classmethod
    def parsed(cls, text: str) -> Raw:
        """Parse RATE:CHANNELS:FORMAT. Raises StreamError if it is not valid.

        >>> Raw.parsed("44100:2:s16le")
        Raw(sample_rate=44100, channels=2, form='s16le')
        """
        found = re.fullmatch(r"(\d{1,7}):(\d{1,3}):(\w+)", text, re.ASCII)
        if not found or not (decode.is_rate(int(found[1])) and 1 <= int(found[2]) <= MAX_CHANNELS):
            raise StreamError(f"--raw {text} is not RATE:CHANNELS:FORMAT, such as 44100:2:s16le")
        if found[3] not in RAW_FORMATS:
            raise StreamError(f"--raw {text}: {found[3]} is not a sample format. Use one of {', '.join(RAW_FORMATS)}")
        return cls(int(found[1]), int(found[2]), found[3])


def blocks(
    file: Readable,
    sample_rate: int,
    block_samples: int,
    *,
    name: str,
    raw: Raw | None = None,
    on_frame: Callable[[av.AudioFrame], None] | None = None,
) -> Iterator[Block]:
    """Yield blocks of `block_samples` samples, or fewer at the end and where the channels change.

    Damaged parts are skipped. Raises StreamError, which contains the `name` of the source, if it is not audio.
    `on_frame` gets every decoded frame before it is converted.
    """
    reader = LinkReader(_Checked(file, name, sniff=raw is None))
    frames = _frames(reader, name, raw)
    first = next(frames, None)
    if first is None:
        raise StreamError(
            f"cannot listen to {name}: it contains no audio that can be decoded. An MP4 file with"
            " its index at the end can be scanned as a file, but not as a stream"
        )
    decoded: Iterable[av.AudioFrame] = chain([first], frames)
    yield from channels.blocks(_passed(decoded, on_frame) if on_frame else decoded, sample_rate, block_samples)


def _passed(frames: Iterable[av.AudioFrame], on_frame: Callable[[av.AudioFrame], None]) -> Iterator[av.AudioFrame]:
    for frame in frames:
        on_frame(frame)
        yield frame


def _frames(reader: LinkReader, name: str, raw: Raw | None) -> Iterator[av.AudioFrame]:
    """Yield the frames of all links of a stream."""
    import av

    linked = True
    while linked:
        try:
            container = av.open(
                reader,
                "r",
                buffer_size=READ_BYTES,
                metadata_errors="replace",
                container_options=OPTIONS | decode.probing_options(),
                format=raw.form if raw else None,
                options=_raw_options(raw),
            )
        except (av.FFmpegError, OSError, ValueError) as error:
            reason = f"FFmpeg does not recognise its format ({decode.ffmpeg_message(error)}). Is it audio?"
            raise StreamError(f"cannot listen to {name}: {reason}") from error
        with container:
            reading = Reading(container, decode.audio_stream(container, name), live=True)
            yield from reading.frames()
        if reading.broken and reader.read(1):
            raise StreamError(f"{name}: the data can no longer be decoded")
        linked = reader.advance()


class _Checked:
    """A file that cannot seek. Raises StreamError if its first bytes are text, such as a web page or a playlist."""

    def __init__(self, file: Readable, name: str, *, sniff: bool) -> None:
        self._file = file
        self._head = file.read(READ_BYTES) if sniff else b""
        if sniff and not self._head:
            raise StreamError(f"cannot listen to {name}: no data arrived")
        begins = self._head.removeprefix(b"\xef\xbb\xbf").lstrip()[:16].lower()
        if begins.startswith((b"#extm3u", b"[playlist]", b"ffconcat")):
            raise StreamError(f"cannot listen to {name}: it is a playlist. Pass the URL of the stream in it")
        if begins.startswith(b"<") or (self._head and self._head.isascii() and b"\0" not in self._head):
            raise StreamError(f"cannot listen to {name}: it is text, not audio. Is it the URL of a web page?")

    def read(self, size: int) -> bytes:
        piece, self._head = self._head[:size], self._head[size:]
        return piece or self._file.read(size)


def _raw_options(raw: Raw | None) -> dict[str, str]:
    return {"sample_rate": str(raw.sample_rate), "ch_layout": f"{raw.channels}c"} if raw else {}
