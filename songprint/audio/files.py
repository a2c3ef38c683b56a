"""Any audio as mono float32 samples, whole or as a stream of blocks.

FFmpeg's decoders do the reading, through PyAV. FFmpeg gets an open file and may open nothing by
itself, so a file from a stranger cannot make it read another file or call a server.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO

import numpy as np

from songprint.audio import decode
from songprint.errors import AudioError

if TYPE_CHECKING:
    import av

Source = str | Path | BinaryIO
Warn = Callable[[str], None]

SUFFIXES = frozenset(
    {
        ".mp3",
        ".mp2",
        ".mp1",
        ".flac",
        ".ogg",
        ".oga",
        ".opus",
        ".spx",
        ".m4a",
        ".m4b",
        ".m4r",
        ".aac",
        ".ac3",
        ".eac3",
        ".dts",
        ".wav",
        ".wave",
        ".bwf",
        ".w64",
        ".rf64",
        ".aif",
        ".aiff",
        ".aifc",
        ".caf",
        ".au",
        ".snd",
        ".voc",
        ".wma",
        ".asf",
        ".ape",
        ".wv",
        ".tta",
        ".tak",
        ".mpc",
        ".dsf",
        ".dff",
        ".amr",
        ".ra",
        ".rm",
        ".mp4",
        ".m4v",
        ".mov",
        ".mkv",
        ".mka",
        ".webm",
        ".avi",
        ".wmv",
        ".flv",
        ".ts",
        ".m2ts",
        ".mts",
        ".mpg",
        ".mpeg",
        ".vob",
        ".ogv",
        ".3gp",
        ".3g2",
    }
)

_FILE_READ_BYTES = 1 << 17  # FFmpeg asks Python for this much at a time
_SNIFFED_BYTES = 4096
_OGG_PAGE_BYTES = 65_307  # the longest page that the format allows
_SPOOLED_BYTES = 64 << 20  # a pipe is kept in memory up to here, then in a temporary file
_LENGTH_IS_A_GUESS = ("mp3", "aac", "ac3", "eac3", "dts", "amr")  # FFmpeg's, from the first bit rate
_SEEKS_EXACTLY = frozenset({"mov", "mp4", "matroska", "webm", "ogg", "flac", "wav"})  # by time stamps of samples
_WORTH_SEEKING, _BEFORE = 30.0, 0.5  # seconds: from which on, and how much earlier, for codecs that have to settle
_TEXT_BYTES = frozenset(range(32, 256)) | frozenset(b"\t\n\v\f\r\x1b")
_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class AudioInfo:
    """What a file says about its sound."""

    duration: float | None  # seconds; an estimate in some formats, None where nothing is said
    sample_rate: int
    channels: int
    codec: str


def load(
    source: Source,
    sample_rate: int,
    *,
    start: float = 0.0,
    duration: float | None = None,
    on_warning: Warn | None = None,
) -> np.ndarray:
    """Read any audio as mono float32 samples, (n,), at `sample_rate`.

    `start` and `duration` are seconds of what is heard, counted in samples; time stamps do not matter.
    The way to `start` is decoded too: seeking would be a little off in many formats.
    A file that ends early gives what could be read and a warning; one without audio raises AudioError.
    """
    if start < 0 or (duration is not None and duration <= 0):
        raise ValueError(f"start={start} must not be negative and duration={duration} be positive (seconds)")
    first = round(start * sample_rate)
    end = None if duration is None else first + max(1, round(duration * sample_rate))
    kept, position = [], 0
    with closing(blocks(source, sample_rate, on_warning=on_warning)) as stream:
        for block in stream:
            kept.append(block[max(0, first - position) : None if end is None else end - position])
            position += len(block)
            if end is not None and position >= end:
                break
    if position <= first:
        ends = position / sample_rate
        raise AudioError(f"cannot read {_name(source)} from start={start:g} s: it ends at {ends:.2f} s")
    return np.concatenate(kept)


def stretch(source: Source, sample_rate: int, start: float, duration: float) -> np.ndarray:
    """A stretch of any file for people to hear, as mono float32 samples, (n,); none behind the end.

    Where a format says exactly which sample lies where, it goes there at once; else all before it is decoded too. So
    it may be off by some milliseconds, which nobody hears, but is there soon in a file of hours.
    """
    with _opened(source) as opened:
        frames = _from(start, opened)
        wanted = round(duration * sample_rate)
        kept, count = [], 0
        for block in decode.blocks(frames, sample_rate, sample_rate):
            kept.append(block[: wanted - count])
            count += len(kept[-1])
            if count >= wanted:
                break
    return np.concatenate(kept) if kept else np.zeros(0, np.float32)


def _from(start: float, opened: _Opened) -> Iterator[av.AudioFrame]:
    """The frames of a file from `start` seconds on; the first one is cut."""
    stream, time_base = opened.stream, opened.stream.time_base
    assert time_base is not None  # FFmpeg sets it for every stream of a container
    begins = float((stream.start_time or 0) * time_base)
    exact = not set(opened.container.format.name.split(",")).isdisjoint(_SEEKS_EXACTLY)
    if exact and start > _WORTH_SEEKING:
        opened.container.seek(round((start + begins - _BEFORE) / time_base), stream=stream)
    position = None if exact else 0.0
    for frame in decode.frames(opened.container, stream, failed=lambda error: None):
        if position is None:  # behind a seek: the frame says where it is
            position = float((frame.pts or 0) * time_base) - begins
        ends = position + frame.samples / frame.sample_rate
        if ends > start:
            yield frame if position >= start else _without(frame, round((start - position) * frame.sample_rate))
        position = ends


def _without(frame: av.AudioFrame, count: int) -> av.AudioFrame:
    """A frame without its first samples."""
    import av

    fifo = av.AudioFifo()
    frame.pts = None
    fifo.write(frame)
    fifo.read(min(count, frame.samples - 1))
    rest = fifo.read()
    assert rest is not None  # at least one sample is left
    return rest


def blocks(
    source: Source, sample_rate: int, *, block_seconds: float = 10.0, on_warning: Warn | None = None
) -> Generator[np.ndarray, None, None]:
    """Read any audio as `load` does, in blocks of `block_seconds`; the last one is shorter.

    Ten hours take no more memory than ten minutes. `on_warning` gets one line about a file that is
    damaged or breaks off; the default is to log it.
    """
    block_samples = round(block_seconds * sample_rate)
    if block_samples < 1:
        raise ValueError(f"block_seconds={block_seconds} must be at least one sample (seconds)")
    with _opened(source) as opened:
        frames = _decoded(opened, on_warning or logger.warning)
        yield from decode.blocks(frames, sample_rate, block_samples)


def probe(source: Source) -> AudioInfo:
    """Read the header: how long, how many channels. Nothing is decoded beyond it."""
    with _opened(source) as opened:
        codec = opened.stream.codec_context
        return AudioInfo(opened.duration, codec.sample_rate, codec.channels, codec.codec.canonical_name)


def metadata(source: Source) -> dict[str, str]:
    """What FFmpeg finds of tags, under the names that the format gives them."""
    with _opened(source) as opened:
        return {**opened.stream.metadata, **opened.container.metadata}


def content_hash(path: str | Path) -> str:
    """BLAKE2b of the file's bytes, 32 hexadecimal digits."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except OSError as error:
        raise AudioError(f"cannot read {path}: {_reason(error)}") from error


def is_probably_audio(path: str | Path) -> bool:
    """Whether the file's name ends like that of audio or video. The file itself is not looked at."""
    path = Path(path)
    return path.suffix.lower() in SUFFIXES and not path.name.startswith("._")  # "._": macOS's side files


@dataclass(frozen=True)
class _Opened:
    """A source that FFmpeg has understood, and the stream in it to listen to."""

    name: str  # for messages
    container: av.container.InputContainer
    stream: av.AudioStream
    cut_off: bool  # as its last bytes tell

    @property
    def duration(self) -> float | None:
        """Seconds of the stream, as the file says; of the whole file where nothing is said of the stream."""
        if self.stream.duration is not None and self.stream.time_base is not None:
            return float(self.stream.duration * self.stream.time_base)
        whole = self.container.duration
        return whole / 1e6 if whole is not None else None  # microseconds

    @property
    def promised(self) -> float:
        """The duration if the file itself says it, else 0."""
        # An mp3 whose header says it starts later than 0, by the encoder's delay.
        guessed = self.container.format.name in _LENGTH_IS_A_GUESS and not self.stream.start_time
        return 0.0 if guessed else self.duration or 0.0


@contextmanager
def _opened(source: Source) -> Iterator[_Opened]:
    with container(source) as (opened, cut_off):
        name = _name(source)
        yield _Opened(name, opened, decode.audio_stream(opened, name), cut_off)


@contextmanager
def container(source: Source) -> Iterator[tuple[av.container.InputContainer, bool]]:
    """A file as FFmpeg understands it, sound or not, and whether its last bytes tell that the end is missing."""
    import av

    name = _name(source)
    with _binary(source, name) as file:
        try:
            cut_off = _looked_at(file, name)
            # FFmpeg reads through our file object, and still its demuxers of playlists would open by name
            # what a line in the file asks for: hls and concat did so when tried. With no protocol
            # allowed FFmpeg can open neither a path nor a URL.
            opened = av.open(
                file,
                "r",  # a temporary file could be written as well
                container_options={"protocol_whitelist": "none"},
                metadata_errors="replace",
                buffer_size=_FILE_READ_BYTES,
            )
        except av.FFmpegError as error:
            raise AudioError(f"cannot read {name}: {_unknown(file, error)}") from error
        except (OSError, ValueError) as error:
            raise AudioError(f"cannot read {name}: {_reason(error)}") from error
        with opened:
            yield opened, cut_off


@contextmanager
def _binary(source: Source, name: str) -> Iterator[IO[bytes]]:
    """The source as a binary file that can seek. A file object of the caller's stays open."""
    if not isinstance(source, str | Path):
        with _seekable(source, name) as file:
            yield file
        return
    if isinstance(source, str) and _URL.match(source):
        raise AudioError(f"cannot read {source}: a URL is not opened here. Download it and give the file")
    try:
        opened = open(source, "rb")  # noqa: SIM115 - closed by the `with` below; its errors are ours
    except (OSError, ValueError) as error:
        raise AudioError(f"cannot read {name}: {_reason(error)}") from error
    with opened, _seekable(opened, name) as file:
        yield file


@contextmanager
def _seekable(file: IO[bytes], name: str) -> Iterator[IO[bytes]]:
    """The file itself from its beginning, or, for a pipe, a temporary copy: mp4 cannot be read otherwise."""
    if file.seekable():
        file.seek(0)
        yield file
        return
    with tempfile.SpooledTemporaryFile(max_size=_SPOOLED_BYTES) as copy:
        try:
            shutil.copyfileobj(file, copy, _FILE_READ_BYTES)
        except OSError as error:
            raise AudioError(f"cannot read {name} into a temporary file: {_reason(error)}") from error
        copy.seek(0)
        yield copy


def _looked_at(file: IO[bytes], name: str) -> bool:
    """Refuse what is certainly no audio. Returns whether the last bytes tell that the end is missing."""
    head = file.read(_SNIFFED_BYTES)
    if not head:
        raise AudioError(f"cannot read {name}: it is empty (0 bytes). Is the download complete?")
    if head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith((b"#EXTM3U", b"ffconcat", b"[playlist]")):
        raise AudioError(f"cannot read {name}: it is a playlist. Give the files that it names")
    if _TEXT_BYTES.issuperset(head):
        raise AudioError(f"cannot read {name}: it is text, not audio. Is it the file that you meant?")
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _OGG_PAGE_BYTES))
    last_page = file.read().rpartition(b"OggS")[2]
    file.seek(0)
    if head.startswith(b"OggS"):
        return not last_page[1:2] > b"\x03"  # flag 4: the last page of the stream
    said_bytes = int.from_bytes(head[4:8], "little") + 8
    return head.startswith(b"RIFF") and size < said_bytes < 0xFFFFFF00  # near 4 GiB: unknown when written


def _decoded(opened: _Opened, warn: Warn) -> Iterator[av.AudioFrame]:
    """All frames that can be decoded. What cannot is left out, with one warning for the file."""
    seconds, name = 0.0, opened.name
    failures: list[tuple[float, str]] = []

    def failed(error: Exception) -> None:
        if not failures:
            failures.append((seconds, decode.said(error)))

    for frame in decode.frames(opened.container, opened.stream, failed):
        seconds += frame.samples / frame.sample_rate
        yield frame
    damaged_at, cause = failures[0] if failures else (math.inf, "")
    if not seconds:
        why = f"nothing in it could be decoded ({cause})" if cause else "its audio stream has no samples"
        raise AudioError(f"cannot read {name}: {why}. Is the file complete?")
    promised = opened.promised
    if promised - seconds > max(1.0, 0.02 * promised):
        warn(f"{name}: only {seconds:.1f} s of {promised:.1f} s could be read. Is the file complete?")
    elif damaged_at < max(seconds, promised) - 0.1:  # junk behind the end harms nobody
        warn(f"{name}: damaged at {damaged_at:.1f} s ({cause}): damaged parts are left out")
    elif opened.cut_off:
        warn(f"{name}: breaks off after {seconds:.1f} s. Is the file complete?")


def _name(source: Source) -> str:
    """What to call the source in a message."""
    if isinstance(source, str | Path):
        return str(source)
    name = getattr(source, "name", None)
    return name if isinstance(name, str) else "the stream"


def _reason(error: OSError | ValueError) -> str:
    """Why a file cannot be opened, and what to do."""
    if isinstance(error, FileNotFoundError):
        return "there is no such file. Is the path right?"
    if isinstance(error, IsADirectoryError):
        return "it is a folder. Give the files in it"
    if isinstance(error, PermissionError):
        return "permission denied. May this user read it?"
    return f"{getattr(error, 'strerror', None) or error}"


def _unknown(file: IO[bytes], error: Exception) -> str:
    """Why FFmpeg could not make anything of a file that is not empty."""
    file.seek(4)
    if file.read(4) == b"ftyp":  # mp4, whose index is often at the very end
        return 'no audio stream (ffmpeg: "moov atom not found"). Is the download complete?'
    return f"FFmpeg does not know its format ({decode.said(error)}). Is it audio, and complete?"
