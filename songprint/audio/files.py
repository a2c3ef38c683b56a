"""Read audio files of any format as mono float32 samples, whole or in blocks.

FFmpeg decodes them, through PyAV. It gets an open file and may not open anything itself, so an untrusted file cannot
make it read another file or connect to a server.
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

_FILE_READ_BYTES = 1 << 17  # per read of FFmpeg
_SNIFFED_BYTES = 4096  # at the beginning, checked for text and playlists
_OGG_PAGE_BYTES = 65_307  # maximum of the format
_SPOOLED_BYTES = 64 << 20  # of a pipe, kept in memory; longer ones are kept in a temporary file
# FFmpeg estimates the duration of these formats from the bit rate of the first frames.
_ESTIMATED_DURATION = ("mp3", "aac", "ac3", "eac3", "dts", "amr")
# FFmpeg seeks exactly in these formats, because their time stamps count samples.
_EXACT_SEEKING = frozenset({"mov", "mp4", "matroska", "webm", "ogg", "flac", "wav"})
_MIN_SEEK = 30.0  # seconds; earlier positions are reached by decoding
_PREROLL = 0.5  # seconds decoded before the position, because codecs need some frames to converge
_MAX_PIXELS = 1 << 26  # of a video: twice those of 8K
_TEXT_BYTES = frozenset(range(32, 256)) | frozenset(b"\t\n\v\f\r\x1b")
_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class AudioInfo:
    """What the header of an audio file contains."""

    duration: float | None  # seconds; an estimate in some formats, None if unknown
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

    `start` and `duration` are in seconds and count decoded samples; time stamps are ignored. Everything before `start`
    is decoded too, because seeking is inexact in many formats.

    A truncated or damaged file returns what could be decoded, with a warning (see `blocks`). Raises AudioError if the
    file cannot be read, contains no audio, or ends before `start`.
    """
    if start < 0 or (duration is not None and duration <= 0):
        raise ValueError(f"start={start} must not be negative, and duration={duration} must be positive (seconds)")
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


def excerpt(source: Source, sample_rate: int, start: float, duration: float) -> np.ndarray:
    """Read `duration` seconds from `start` as mono float32 samples, (n,). Fewer, or none, if the file ends before.

    In formats that allow exact seeking, this seeks, so it is fast in files of hours; in others, it decodes everything
    before `start`. The position may be off by some milliseconds: use `load` where it must be exact.
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
    """Yield the frames from `start` seconds on; the first one is cut."""
    stream, time_base = opened.stream, opened.stream.time_base
    assert time_base is not None  # FFmpeg sets it for every stream of a container
    begins = float((stream.start_time or 0) * time_base)
    exact = not set(opened.container.format.name.split(",")).isdisjoint(_EXACT_SEEKING)
    if exact and start > _MIN_SEEK:
        opened.container.seek(round((start + begins - _PREROLL) / time_base), stream=stream)
    position = None if exact else 0.0
    for frame in decode.frames(opened.container, stream, failed=lambda error: None):
        if position is None:  # take the position from the time stamp of the first frame, which differs after a seek
            position = float((frame.pts or 0) * time_base) - begins
        ends = position + frame.samples / frame.sample_rate
        if ends > start:
            yield frame if position >= start else _without(frame, round((start - position) * frame.sample_rate))
        position = ends


def _without(frame: av.AudioFrame, count: int) -> av.AudioFrame:
    """Return a frame without its first `count` samples."""
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
    """Read any audio as `load` does, in blocks of `block_seconds`; the last one may be shorter.

    Memory use does not depend on the duration. `on_warning` is called with at most one line, at the end, if the file is
    damaged or truncated; by default, the warning is logged.
    """
    block_samples = round(block_seconds * sample_rate)
    if block_samples < 1:
        raise ValueError(f"block_seconds={block_seconds} must be at least one sample (seconds)")
    with _opened(source) as opened:
        frames = _decoded(opened, on_warning or logger.warning)
        yield from decode.blocks(frames, sample_rate, block_samples)


def probe(source: Source) -> AudioInfo:
    """Read the header of an audio file, without decoding."""
    with _opened(source) as opened:
        codec = opened.stream.codec_context
        return AudioInfo(opened.duration, codec.sample_rate, codec.channels, codec.codec.canonical_name)


def metadata(source: Source) -> dict[str, str]:
    """Return the tags that FFmpeg reads, by the names that the format uses."""
    with _opened(source) as opened:
        return {**opened.stream.metadata, **opened.container.metadata}


def content_hash(path: str | Path) -> str:
    """Return the BLAKE2b hash of a file, as 32 hexadecimal digits. Raises AudioError if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except OSError as error:
        raise AudioError(f"cannot read {path}: {_reason(error)}") from error


def is_probably_audio(path: str | Path) -> bool:
    """Whether the suffix of the file name is one of audio or video. The file is not opened."""
    path = Path(path)
    return path.suffix.lower() in SUFFIXES and not path.name.startswith("._")  # "._" is for the metadata files of macOS


@dataclass(frozen=True)
class _Opened:
    """An open source, and the audio stream in it to decode."""

    name: str  # for messages
    container: av.container.InputContainer
    stream: av.AudioStream
    cut_off: bool  # according to its last bytes

    @property
    def duration(self) -> float | None:
        """Seconds of the audio stream according to the file, or of the whole file; None if it contains neither."""
        if self.stream.duration is not None and self.stream.time_base is not None:
            return float(self.stream.duration * self.stream.time_base)
        whole = self.container.duration
        return whole / 1e6 if whole is not None else None  # microseconds

    @property
    def declared_duration(self) -> float:
        """The duration in seconds if the file contains it, 0 if FFmpeg estimates it."""
        # MP3 files with a header that contains the duration start later than 0, by the delay of the encoder.
        estimated = self.container.format.name in _ESTIMATED_DURATION and not self.stream.start_time
        return 0.0 if estimated else self.duration or 0.0


@contextmanager
def _opened(source: Source) -> Iterator[_Opened]:
    with container(source) as (opened, cut_off):
        name = _name(source)
        yield _Opened(name, opened, decode.audio_stream(opened, name), cut_off)


@contextmanager
def container(source: Source, *, video: bool = False) -> Iterator[tuple[av.container.InputContainer, bool]]:
    """Open a media file, with or without audio. Also yields whether its last bytes show that it is truncated.

    With `video`, FFmpeg may decode pictures of up to _MAX_PIXELS to find the size of a video.
    """
    import av

    name = _name(source)
    with _binary(source, name) as file:
        try:
            cut_off = _check_content(file, name)
            # FFmpeg reads from the file object, but its demuxers of playlists (hls, concat) also open the paths and
            # URLs in a playlist. Without any allowed protocol, it can open neither.
            opened = av.open(
                file,
                "r",  # PyAV would open a writable temporary file for writing
                options={"max_pixels": str(_MAX_PIXELS)} if video else {},
                container_options={"protocol_whitelist": "none"} | ({} if video else decode.probing_options()),
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
    """Open the source as a seekable binary file. A file object of the caller stays open."""
    if not isinstance(source, str | Path):
        with _seekable(source, name) as file:
            yield file
        return
    if isinstance(source, str) and _URL.match(source):
        raise AudioError(f"cannot read {source}: URLs are not supported. Download the file first")
    try:
        opened = open(source, "rb")  # noqa: SIM115 - the `with` below closes it
    except (OSError, ValueError) as error:
        raise AudioError(f"cannot read {name}: {_reason(error)}") from error
    with opened, _seekable(opened, name) as file:
        yield file


@contextmanager
def _seekable(file: IO[bytes], name: str) -> Iterator[IO[bytes]]:
    """Yield the file, rewound, or a temporary copy of a pipe: MP4 needs a seekable file."""
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


def _check_content(file: IO[bytes], name: str) -> bool:
    """Raise AudioError if the file is certainly not audio. Return whether its last bytes show that it is truncated."""
    head = file.read(_SNIFFED_BYTES)
    if not head:
        raise AudioError(f"cannot read {name}: it is empty (0 bytes). Is the download complete?")
    if head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith((b"#EXTM3U", b"ffconcat", b"[playlist]")):
        raise AudioError(f"cannot read {name}: it is a playlist. Pass the files that it names")
    if _TEXT_BYTES.issuperset(head):
        raise AudioError(f"cannot read {name}: it is text, not audio. Is it the right file?")
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _OGG_PAGE_BYTES))
    last_page = file.read().rpartition(b"OggS")[2]
    file.seek(0)
    if head.startswith(b"OggS"):
        return not last_page[1:2] > b"\x03"  # flag 4 marks the last page of the stream
    declared_bytes = int.from_bytes(head[4:8], "little") + 8
    return head.startswith(b"RIFF") and size < declared_bytes < 0xFFFFFF00  # writers of streams declare about 4 GiB


def _decoded(opened: _Opened, warn: Warn) -> Iterator[av.AudioFrame]:
    """Yield all frames that can be decoded. Other frames are skipped, with one warning per file."""
    seconds, name = 0.0, opened.name
    failures: list[tuple[float, str]] = []

    def failed(error: Exception) -> None:
        if not failures:
            failures.append((seconds, decode.ffmpeg_message(error)))

    for frame in decode.frames(opened.container, opened.stream, failed):
        seconds += frame.samples / frame.sample_rate
        yield frame
    damaged_at, cause = failures[0] if failures else (math.inf, "")
    if not seconds:
        why = f"none of its audio could be decoded ({cause})" if cause else "its audio stream has no samples"
        raise AudioError(f"cannot read {name}: {why}. Is the file complete?")
    declared = opened.declared_duration
    if declared - seconds > max(1.0, 0.02 * declared):
        warn(f"{name}: only {seconds:.1f} s of {declared:.1f} s could be read. Is the file complete?")
    elif damaged_at < max(seconds, declared) - 0.1:  # bytes after the end of the audio are not damage
        warn(f"{name}: damaged at {damaged_at:.1f} s ({cause}): skipped the damaged parts")
    elif opened.cut_off:
        warn(f"{name}: cut off after {seconds:.1f} s. Is the file complete?")


def _name(source: Source) -> str:
    """The name of the source in messages."""
    if isinstance(source, str | Path):
        return str(source)
    name = getattr(source, "name", None)
    return name if isinstance(name, str) else "the stream"


def _reason(error: OSError | ValueError) -> str:
    """The reason why a file cannot be opened, and what to do."""
    if isinstance(error, FileNotFoundError):
        return "there is no such file. Is the path correct?"
    if isinstance(error, IsADirectoryError):
        return "it is a folder. Pass the files in it"
    if isinstance(error, PermissionError):
        return "permission denied. Check the permissions of the file"
    return f"{getattr(error, 'strerror', None) or error}"


def _unknown(file: IO[bytes], error: Exception) -> str:
    """The reason why FFmpeg cannot open a file that is not empty."""
    file.seek(4)
    if file.read(4) == b"ftyp":  # MP4, whose index is often at the end of the file
        return 'no audio stream (ffmpeg: "moov atom not found"). Is the download complete?'
    return f"FFmpeg does not recognise its format ({decode.ffmpeg_message(error)}). Is it audio, and is it complete?"
