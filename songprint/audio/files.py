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
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO, cast

import numpy as np

from songprint.audio import channels, decode, ogg
from songprint.audio.channels import ChannelMeter, Part
from songprint.audio.reading import Reading, begins, tag_size
from songprint.errors import AudioError

if TYPE_CHECKING:
    import av

Source = str | Path | BinaryIO
Links = Sequence[tuple[int, int]]  # first and last offset of each link of chained Ogg
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
_ESTIMATED_DURATION = frozenset({"mp3", "aac", "ac3", "eac3", "dts", "amr"})
# FFmpeg skips bytes between the packets of these formats without a trace, if it parses them. Whole packets are enough.
_RAW_PACKETS = frozenset({"aac"})
# FFmpeg computes the duration of these formats from the first and the last time stamp, which may have other bases.
_DURATION_OF_TIME_STAMPS = frozenset({"mpegts", "mpeg"})
# Formats that contain the duration of each stream; others contain that of the longest one.
_DURATION_PER_STREAM = frozenset({"mov", "mp4", "avi"})
_MATROSKA_DURATION = re.compile(r"(\d{1,4}):(\d\d):(\d\d(?:\.\d{1,9})?)", re.ASCII)  # hours, minutes, seconds
_EBML, _EBML_SEGMENT = b"\x1aE\xdf\xa3", b"\x18S\x80g"  # elements at the beginning of Matroska
_MIN_REPORTED_HOLE = 0.5  # seconds
_MIN_DAMAGE, _MIN_DAMAGE_BYTES = 0.5, 2048  # seconds and bytes; fewer after the last frame are not audio
# Header of an mp3 file: flags, and the number of frames (flag 1) and bytes (flag 2) if the flags are set
_XING = re.compile(rb"(?:Xing|Info)(.{4})(.{4})(.{4})", re.DOTALL)
_TAGS = re.compile(rb".{0,64}?(APETAGEX|ID3|TAG|LYRICS)", re.DOTALL)  # after the audio
# FFmpeg seeks exactly in these formats, because their time stamps count samples.
_EXACT_SEEKING = frozenset({"mov", "mp4", "matroska", "webm", "ogg", "flac", "wav"})
_MIN_SEEK = 30.0  # seconds; earlier positions are reached by decoding
_PREROLL = 0.5  # seconds decoded before the position, because codecs need some frames to converge
_CHECKED_RATE = 8000  # Hz, to find out whether a track contains audio
_MAX_PIXELS = 1 << 26  # of a video: twice those of 8K
_TEXT_BYTES = frozenset(range(32, 256)) | frozenset(b"\t\n\v\f\r\x1b")
_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)

# Bytes of a path that are not UTF-8 are stored as characters of this private area: databases reject the surrogates by
# which Python represents them.
_PRIVATE, _SURROGATE = 0xF700, 0xDC00
_TO_STORED = {_SURROGATE + byte: _PRIVATE + byte for byte in range(0x80, 0x100)}
_TO_PATH = {stored: surrogate for surrogate, stored in _TO_STORED.items()}
_PRIVATE_CHARACTERS = re.compile(f"[{chr(_PRIVATE + 0x80)}-{chr(_PRIVATE + 0xFF)}]")

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

    `start` and `duration` are in seconds. Positions are those that a player shows: silence takes the place of missing
    audio (`songprint.audio.reading`). Everything before `start` is decoded too, because seeking is inexact in many
    formats.

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
        raise AudioError(f"cannot read {name_of(source)} from start={start:g} s: it ends at {ends:.2f} s")
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
    frames = _positioned(opened)
    exact = not set(opened.container.format.name.split(",")).isdisjoint(_EXACT_SEEKING)
    if exact and start > _MIN_SEEK and len(opened.links) == 1:
        reading = Reading(opened.container, opened.stream)
        reading.seek(start - _PREROLL)
        frames = ((reading.seconds, frame) for frame in reading.frames())
    for ends, frame in frames:
        before = start - ends + frame.samples / frame.sample_rate  # seconds of the frame before the start
        if ends > start:
            yield frame if before <= 0 else _without(frame, round(before * frame.sample_rate))


def _positioned(opened: _Opened) -> Generator[tuple[float, av.AudioFrame], None, None]:
    """Yield all frames, each with the position of its end."""
    position = 0.0
    for each in opened.readings():
        for frame in each.frames():
            yield position + each.seconds, frame
        position += each.seconds


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
    source: Source,
    sample_rate: int,
    *,
    block_seconds: float = 10.0,
    on_warning: Warn | None = None,
    part: Part = Part(),  # noqa: B008 - it is immutable
    meter: ChannelMeter | None = None,
    mix: Mapping[int, tuple[float, ...]] | None = None,
    links: Links | None = None,
) -> Generator[np.ndarray, None, None]:
    """Read any audio as `load` does, in blocks of `block_seconds`; the last one may be shorter.

    `part` selects a track and channels. `meter` measures what the mono mix does not contain, and `mix` contains
    weights of the channels that replace it (`ChannelMeter.uncancelled`). With `links`, those that `ogg_links` returned
    for the same file, it is not searched for them again.
    Memory use does not depend on the duration. `on_warning` is called with at most one line, at the end, if the file is
    damaged or truncated; by default, the warning is logged.
    """
    block_samples = round(block_seconds * sample_rate)
    if block_samples < 1:
        raise ValueError(f"block_seconds={block_seconds} must be at least one sample (seconds)")
    with _opened(source, part.track, links) as opened:
        frames: Iterator[av.AudioFrame] = _decoded(opened, on_warning or logger.warning)
        if meter is not None:
            frames = meter.watch(frames)
        if mix or part.weights:
            frames = channels.mixed(frames, mix or part.weights)
        yield from decode.blocks(frames, sample_rate, block_samples)


def lasts_longer(source: Source, seconds: float) -> bool:
    """Whether more than `seconds` of audio can be decoded: decodes up to there, and ignores the declared duration.

    Raises AudioError as `blocks` does.
    """
    with _opened(source) as opened, closing(_decoded(opened, lambda warning: None)) as frames:
        decoded = 0.0
        for frame in frames:
            decoded += frame.samples / frame.sample_rate
            if decoded > seconds:
                return True
    return False


def readable_tracks(source: Source, track: int | None = None) -> tuple[list[int | None], list[str]]:
    """Return the numbers of the audio tracks with audio, from 1, and warnings about the others.

    The only track of a file has the number None, and `track` selects one. Raises AudioError if there is none.
    """
    if track is not None:
        return [track], []
    if (count := track_count(source)) == 1:
        return [None], []
    found: list[int | None] = []
    warnings: list[str] = []
    for number in range(1, count + 1):
        try:
            with closing(blocks(source, _CHECKED_RATE, block_seconds=1, part=Part(number))) as stream:
                next(stream)
        except AudioError as error:
            reason = str(error).removeprefix(f"cannot read {name_of(source)}: ").removesuffix(" Is the file complete?")
            warnings.append(f"audio track {number}: {reason}")
        else:
            found.append(number)
    if not found:
        raise AudioError(f"cannot read {name_of(source)}: {warnings[0]}")
    return found, warnings


def track_count(source: Source) -> int:
    """The number of audio tracks. Raises AudioError if there is none, or none can be decoded."""
    with container(source) as opened:
        decode.audio_stream(opened, name_of(source))  # reports what is wrong with the file
        return len(opened.streams.audio)


@contextmanager
def rereadable(source: Source) -> Iterator[Source]:
    """Yield the source, or a temporary copy of a pipe, which can be read several times."""
    if isinstance(source, str | Path):
        yield source
    else:
        with _seekable(source, name_of(source)) as file:
            yield cast("BinaryIO", file)


def probe(source: Source) -> AudioInfo:
    """Read the header of an audio file, without decoding."""
    with _opened(source) as opened:
        codec = opened.stream.codec_context
        return AudioInfo(opened.duration, codec.sample_rate, codec.channels, codec.codec.canonical_name)


def metadata(source: Source) -> dict[str, str]:
    """Return the tags that FFmpeg reads, by the names that the format uses."""
    with container(source) as opened:
        return {**decode.audio_stream(opened, name_of(source)).metadata, **opened.metadata}


def content_hash(path: str | Path) -> str:
    """Return the BLAKE2b hash of a file, as 32 hexadecimal digits. Raises AudioError if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except OSError as error:
        raise AudioError(f"cannot read {path}: {_reason(error)}") from error


def stored_path(path: str) -> str:
    """Convert a path of the file system to text that every database stores; `file_path` reverses it."""
    return path.translate(_TO_STORED)


def file_path(stored: str) -> str:
    """Convert a stored path to the path of the file system."""
    if not _PRIVATE_CHARACTERS.search(stored) or os.path.lexists(
        stored
    ):  # rare paths have such characters of their own
        return stored
    return stored.translate(_TO_PATH)


def is_probably_audio(path: str | Path) -> bool:
    """Whether the suffix of the file name is one of audio or video. The file is not opened."""
    name = os.path.basename(path)
    # "._" is for the metadata files of macOS.
    return os.path.splitext(name)[1].lower() in SUFFIXES and not name.startswith("._")


@dataclass(frozen=True)
class _Opened:
    """An open source, and the audio stream in it to decode."""

    name: str  # for messages
    file: IO[bytes]
    container: av.container.InputContainer
    stream: av.AudioStream
    cut_off: bool  # according to its first and last bytes
    links: list[tuple[int, int]]  # first and last offset of each link, if it is chained Ogg; otherwise of the file
    unreadable: list[str] = field(default_factory=list)  # reasons why links could not be read

    @property
    def duration(self) -> float | None:
        """Position of the end of the audio in seconds, or else of the whole file; None if it contains neither."""
        if len(self.links) > 1:
            return None
        if tagged := _MATROSKA_DURATION.fullmatch(self.stream.metadata.get("DURATION", "")):
            hours, minutes, seconds = map(float, tagged.groups())
            return 3600 * hours + 60 * minutes + seconds
        if self.stream.duration is not None and self.stream.time_base is not None:
            start = begins(self.container, self.stream)
            return start + float(self.stream.duration * self.stream.time_base)
        whole = self.container.duration
        return whole / 1e6 if whole is not None else None  # microseconds

    @property
    def declared_duration(self) -> float:
        """The duration in seconds if the file contains that of its audio, 0 if FFmpeg derives it from other data."""
        formats = set(self.container.format.name.split(","))
        if formats & _DURATION_OF_TIME_STAMPS:
            return 0.0
        # MP3 files with a header that contains the duration start later than 0, by the delay of the encoder.
        if formats & _ESTIMATED_DURATION and (not self.stream.start_time or _is_joined_mp3(self.file)):
            return 0.0
        alone = len([stream for stream in self.container.streams if stream.type in ("audio", "video")]) == 1
        own = alone or formats & _DURATION_PER_STREAM or "DURATION" in self.stream.metadata
        return self.duration or 0.0 if own or self.cut_off else 0.0

    def readings(self) -> Iterator[Reading]:
        """Yield a reading of each link in turn, and of a file that is not chained one."""
        (_, end), *others = self.links
        if self.container.format.name in _RAW_PACKETS:
            with _open(self.file, self.name, whole_packets=True) as raw:
                yield Reading(raw, decode.audio_stream(raw, self.name), file=self.file, size=end)
            return
        yield Reading(self.container, self.stream, size=end)
        for begin, end in others:
            try:
                with _open(ogg.Part(self.file, begin, end), self.name) as link:
                    yield Reading(link, decode.audio_stream(link, self.name), begin=begin, size=end - begin)
            except AudioError as error:
                self.unreadable.append(str(error).removeprefix(f"cannot read {self.name}: "))


@contextmanager
def _opened(source: Source, track: int | None = None, links: Links | None = None) -> Iterator[_Opened]:
    name = name_of(source)
    with _binary(source, name) as file:
        with _errors_of(name):
            cut_off = _check_content(file, name)
            links = links or ogg.links(file)
        with _open(file if len(links) == 1 else ogg.Part(file, *links[0]), name) as opened:
            yield _Opened(name, file, opened, decode.audio_stream(opened, name, track), cut_off, list(links))


def ogg_links(source: Source) -> Links:
    """Return the first and last offset of each link of chained Ogg; of another file, of the file.

    Raises AudioError if the file cannot be read.
    """
    name = name_of(source)
    with _binary(source, name) as file, _errors_of(name):
        return tuple(ogg.links(file))


def containers(source: Source, links: Links | None = None) -> Generator[av.container.InputContainer, None, None]:
    """Yield each link of chained Ogg, opened; of another file, the file. `links` are those of `ogg_links`."""
    name = name_of(source)
    with _binary(source, name) as file:
        with _errors_of(name):
            _check_content(file, name)
            links = links or ogg.links(file)
        for begin, end in links:
            with _open(file if len(links) == 1 else ogg.Part(file, begin, end), name) as opened:
                yield opened


@contextmanager
def container(source: Source, *, video: bool = False) -> Iterator[av.container.InputContainer]:
    """Open a media file, with or without audio.

    With `video`, FFmpeg may decode pictures of up to _MAX_PIXELS to find the size of a video.
    """
    name = name_of(source)
    with _binary(source, name) as file:
        with _errors_of(name):
            _check_content(file, name)
        with _open(file, name, video=video) as opened:
            yield opened


@contextmanager
def _errors_of(name: str) -> Iterator[None]:
    """Turn errors of the operating system into an AudioError."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise AudioError(f"cannot read {name}: {_reason(error)}") from error


def _open(
    file: IO[bytes] | ogg.Part, name: str, *, video: bool = False, whole_packets: bool = False
) -> av.container.InputContainer:
    """Open a file with FFmpeg. Raises AudioError if it is not a media file.

    With `whole_packets`, packets have their positions in the file, but durations and time stamps are unknown.
    """
    import av

    try:
        # FFmpeg reads from the file object, but its demuxers of playlists (hls, concat) also open the paths and URLs in
        # a playlist. Without any allowed protocol, it can open neither.
        return av.open(
            file,
            "r",  # PyAV would open a writable temporary file for writing
            options={"max_pixels": str(_MAX_PIXELS)} if video else {},
            container_options={"protocol_whitelist": "none"}
            | ({} if video else decode.probing_options())
            | ({"fflags": "noparse+nofillin"} if whole_packets else {}),
            metadata_errors="surrogateescape",  # see songprint.audio.encodings
            buffer_size=_FILE_READ_BYTES,
        )
    except av.FFmpegError as error:  # some are OSError or ValueError too
        raise AudioError(f"cannot read {name}: {_unknown(file, error)}") from error
    except (OSError, ValueError) as error:
        raise AudioError(f"cannot read {name}: {_reason(error)}") from error


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
        opened = open(file_path(str(source)), "rb")  # noqa: SIM115 - the `with` below closes it
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
    """Raise AudioError if the file is certainly not audio. Return whether its bytes show that it is truncated."""
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
    return size < _declared_bytes(head)


def _declared_bytes(head: bytes) -> int:
    """The size that the head of a WAV or Matroska file declares, 0 for other formats and for recordings of streams."""
    if head.startswith(b"RIFF"):
        declared = int.from_bytes(head[4:8], "little") + 8
        return declared if declared < 0xFFFFFF00 else 0  # writers of streams declare about 4 GiB
    if head.startswith(_EBML):
        size, begin = _ebml_size(head, len(_EBML))
        segment = begin + size
        if head[segment : segment + 4] == _EBML_SEGMENT:
            size, begin = _ebml_size(head, segment + 4)
            return begin + size if size else 0
    return 0


def _ebml_size(data: bytes, at: int) -> tuple[int, int]:
    """The size of an element of Matroska, 0 if it is unknown, and the offset after the size."""
    length = 9 - data[at].bit_length() if at < len(data) else 9  # the number of leading zeros gives the bytes
    if length > 8:
        return 0, at
    ones = (1 << 7 * length) - 1  # every bit set means unknown
    size = int.from_bytes(data[at : at + length], "big") & ones
    return size % ones, at + length


def _decoded(opened: _Opened, warn: Warn) -> Generator[av.AudioFrame, None, None]:
    """Yield all frames that can be decoded. Other frames are skipped, with one warning per file."""
    name, position = opened.name, 0.0
    damaged_at = missing_from = math.inf
    cause, missing = "", 0.0
    for each in opened.readings():
        yield from each.frames()
        if each.failure and not cause:
            cause = decode.ffmpeg_message(each.failure)
        # Bytes after the end of the audio are not damage.
        if each.failure and (each.failed_at < each.seconds - 0.1 or _ends_early(opened, each)):
            damaged_at = min(damaged_at, position + each.failed_at)
        if each.missing:
            missing_from = min(missing_from, position + each.missing_from)
            missing += each.missing
        position += each.seconds
    if not position:
        why = f"none of its audio could be decoded ({cause})" if cause else "its audio stream has no samples"
        raise AudioError(f"cannot read {name}: {why}. Is the file complete?")
    declared = opened.declared_duration
    if declared - position > max(1.0, 0.02 * declared) and not _tags_follow(opened, each):
        warn(f"{name}: only {position:.1f} s of {declared:.1f} s could be read. Is the file complete?")
    elif opened.unreadable:
        warn(f"{name}: {opened.unreadable[0]}")
    elif damaged_at < math.inf:
        warn(f"{name}: damaged at {damaged_at:.1f} s ({cause}): skipped the damaged parts")
    elif missing > _MIN_REPORTED_HOLE:
        warn(f"{name}: {missing:.1f} s of audio are missing from {missing_from:.1f} s on: silence takes their place")
    elif opened.cut_off:
        warn(f"{name}: cut off after {position:.1f} s. Is the file complete?")


def _ends_early(opened: _Opened, reading: Reading) -> bool:
    """Whether more than tags and a fraction of a second follows in the file after the last frame."""
    rest = reading.size - reading.byte
    enough = max(_MIN_DAMAGE_BYTES, _MIN_DAMAGE * reading.byte / max(reading.seconds, _MIN_DAMAGE))
    return rest > enough and not _tags_follow(opened, reading)


def _tags_follow(opened: _Opened, reading: Reading) -> bool:
    """Whether tags follow in the file after the last frame."""
    opened.file.seek(reading.begin + reading.byte)
    return _TAGS.match(opened.file.read(_SNIFFED_BYTES)) is not None


def _is_joined_mp3(file: IO[bytes]) -> bool:
    """Whether an mp3 file is much longer than its header states, as when files are joined. It is read at its start.

    FFmpeg then estimates the duration from the bit rate of the first frames.
    """
    size, at = file.seek(0, os.SEEK_END), 0
    while True:
        file.seek(at)
        head = file.read(_SNIFFED_BYTES)
        tags = tag_size(head, 0)
        if not tags:
            break
        at += tags
    found = _XING.search(head)
    if not found or not found[1][3] & 2:
        return False
    declared = int.from_bytes(found[3] if found[1][3] & 1 else found[2], "big")
    return size - at - declared > declared >> 4  # the tolerance of FFmpeg


def name_of(source: Source) -> str:
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


def _unknown(file: IO[bytes] | ogg.Part, error: Exception) -> str:
    """The reason why FFmpeg cannot open a file that is not empty."""
    file.seek(4)
    if file.read(4) == b"ftyp":  # MP4, whose index is often at the end of the file
        return 'no audio stream (ffmpeg: "moov atom not found"). Is the download complete?'
    return f"FFmpeg does not recognise its format ({decode.ffmpeg_message(error)}). Is it audio, and is it complete?"
