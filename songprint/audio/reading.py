"""Decode an audio stream to frames without holes, so that positions are the times that a player shows.

Silence takes the place of audio that is missing: before a track that starts later than the picture, where time stamps
jump forward, and where packets are damaged. A jump backward, or too far forward, is a new time base, as at an HLS
discontinuity: positions continue there.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Iterator
from typing import IO, TYPE_CHECKING

from songprint.audio import decode
from songprint.errors import AudioError

if TYPE_CHECKING:
    import av

MAX_HOLE, MAX_LIVE_HOLE = 3600.0, 60.0  # seconds; time stamps that jump farther have a new time base
_MIN_HOLE = 0.1  # seconds; time stamps of some containers are this inexact
_MAX_START = 24 * 3600.0  # seconds; tracks that start later start at 0
# Planes of a frame that PyAV counts reliably: it reads until an empty place in a list of 8 (AV_NUM_DATA_POINTERS).
_MAX_PLANES = 7
_MAX_SILENCE = 24 * 3600.0  # seconds inserted per stream, because a file of a few bytes may declare any time stamps
_CONFIRMED = 3  # frames that agree on a jump; a single wrong time stamp is ignored
_BIT_RATE_SECONDS = 5.0  # over which the bit rate is averaged, at most
# Formats whose time stamps are exact. In other formats, FFmpeg derives them from the number of frames or bytes.
_TIME_STAMPED = frozenset({"mov", "mp4", "matroska", "webm", "mpegts", "mpeg", "flv", "asf", "ogg", "flac", "wv"})
_XING = re.compile(rb"\xff.{3,63}(?:Xing|Info)", re.DOTALL)  # the first frame of an mp3 file, which is not audio
_COUNTED_FROM_ZERO = frozenset({"mov", "mp4", "matroska", "webm"})


class Reading:
    """The frames of one audio stream, and what happened while they were decoded."""

    def __init__(
        self,
        container: av.container.InputContainer,
        stream: av.AudioStream,
        *,
        file: IO[bytes] | None = None,
        begin: int = 0,
        size: int = 0,
        live: bool = False,
    ) -> None:
        """`begin` and `size` are those of the container in its file, in bytes.

        With `file`, which contains nothing but packets, bytes between two packets count as damage.
        With `live`, position 0 is the first frame; otherwise it is the start of the file, including its video.
        """
        self.begin, self.size = begin, size
        self.seconds = 0.0  # decoded, including silence
        self.missing = 0.0  # seconds of silence in place of missing audio, without those before the first frame
        self.missing_from = 0.0  # position of the first of them
        self.failure: Exception | None = None  # the first error
        self.failed_at = 0.0  # its position in seconds
        self.broken = False  # whether it ended with an error
        self._packet: av.Packet[av.AudioStream] | None = None  # the last one that could be decoded
        self._lost = 0  # bytes since then, without those of tags
        self._end = 0  # offset in the container of the end of the last packet, decoded or not
        self._tags_end = 0  # offset in the container of the end of the last tags that were read as packets
        self._file = file
        self._container, self._stream, self._live = container, stream, live
        self._silence = 0.0  # seconds inserted

    @property
    def byte(self) -> int:
        """Offset in the container of the end of the last packet that could be decoded; 0 if unknown."""
        return 0 if self._packet is None or self._packet.pos is None else self._packet.pos + self._packet.size

    def frames(self) -> Iterator[av.AudioFrame]:
        """Yield all frames that can be decoded, with silence between them where audio is missing."""
        return self._filled_by_time_stamps() if _formats(self._container) & _TIME_STAMPED else self._filled_by_bytes()

    def seek(self, position: float) -> None:
        """Start at `position`, in seconds, or shortly before: `seconds` is exact from the first frame on."""
        assert self._stream.time_base is not None  # FFmpeg sets it for every stream of a container
        self._container.seek(round((position + origin(self._container)) / self._stream.time_base), stream=self._stream)
        self.seconds = position

    def _packets(self) -> Iterator[list[av.AudioFrame]]:
        """Yield the frames of each packet. Of a packet that cannot be decoded, the size is added to `_lost`.

        Raises MemoryError if FFmpeg runs out of memory.
        """
        import av

        progressed, rate = True, 0
        while progressed:  # Ogg continues after a damaged page; most formats end there
            progressed = False
            try:
                for packet in self._container.demux(self._stream):
                    start = self._end if packet.pos is None else packet.pos
                    if self._file and 0 < self._end < start and self._skipped(self._between(start), self._end):
                        self._failed(AudioError("bytes between two packets are not audio"))
                    failure: av.FFmpegError | None = None
                    try:
                        decoded = packet.decode()
                    except av.FFmpegError as error:
                        decode.check_memory(error)
                        failure, decoded = error, []
                    if decoded and decoded[0].sample_rate != rate:
                        rate = decoded[0].sample_rate
                        if not decode.is_rate(rate):
                            self._failed(AudioError(decode.refusal(rate)))
                            decoded, rate = [], 0
                    if decoded and decoded[0].layout.nb_channels > decode.MAX_CHANNELS:
                        self._failed(AudioError(f"it changes to {decoded[0].layout.nb_channels} channels"))
                        decoded = []
                    if decoded:
                        progressed, self._packet = True, packet
                        yield decoded
                    elif packet.size > 0:
                        progressed = True
                        if not self._skipped(bytes(packet), start):
                            failure = None  # tags, as between two files that were joined
                    if failure:
                        self._failed(failure)
                    if packet.size > 0:
                        self._end = start + packet.size
                return
            except (av.FFmpegError, OSError) as error:
                decode.check_memory(error)
                self._failed(error)
        self.broken = True

    def _failed(self, error: Exception) -> None:
        if self.failure is None:
            self.failure, self.failed_at = error, self.seconds

    def _between(self, start: int) -> bytes:
        """The bytes between the last packet and the one at `start`. The position in the file does not change."""
        assert self._file is not None
        position = self._file.tell()
        self._file.seek(self.begin + self._end)
        data = self._file.read(start - self._end)
        self._file.seek(position)
        return data

    def _skipped(self, data: bytes, offset: int) -> int:
        """Count bytes at `offset` in the container that cannot be decoded. Return how many of them are not tags."""
        audio = max(0, self._tags_end - offset)
        while audio < len(data) and (size := tag_size(data, audio)):
            audio += size
        self._tags_end = max(self._tags_end, offset + audio)
        lost = max(0, len(data) - audio)
        if _XING.match(data, audio):  # the header of a joined file
            lost = 0
        self._lost += lost
        return lost

    def _filled_by_bytes(self) -> Iterator[av.AudioFrame]:
        """Yield frames; the size of damaged packets between them, at the bit rate before, gives their duration."""
        size = seconds = 0.0  # bytes and seconds of the packets before
        for decoded in self._packets():
            if self._lost and seconds:  # bytes before the first frame are not audio
                yield from self._silence_of(self._lost * seconds / size, decoded[0])
            self._lost = 0
            if seconds > _BIT_RATE_SECONDS:
                size, seconds = size / 2, seconds / 2
            assert self._packet is not None  # `_packets` has set it
            size += self._packet.size
            for frame in decoded:
                duration = frame.samples / frame.sample_rate
                seconds += duration
                self.seconds += duration
                yield frame

    def _filled_by_time_stamps(self) -> Iterator[av.AudioFrame]:
        """Yield frames; where time stamps jump forward, silence fills the hole."""
        time_base, zero, first = float(self._stream.time_base or 0), origin(self._container), True
        held: list[av.AudioFrame] = []  # frames after a jump that is not confirmed
        jump = 0.0  # seconds
        for decoded in self._packets():
            for frame in decoded:
                stamp = frame.pts
                if stamp is None:
                    yield from self._counted([*held, frame])
                    held = []
                    continue
                if first:
                    if self._live:
                        zero = stamp * time_base
                    elif self.seconds:  # after a seek
                        self.seconds = min(self.seconds, max(0.0, stamp * time_base - zero))
                    first = False
                ahead = stamp * time_base - zero - self.seconds
                if not held and -_MIN_HOLE < ahead < _MIN_HOLE:
                    self.seconds += frame.samples / frame.sample_rate
                    yield frame
                    continue
                ahead -= sum(each.samples for each in held) / frame.sample_rate
                if held and abs(ahead - jump) > _MIN_HOLE:  # the time stamps before were wrong
                    yield from self._counted(held)
                    held = []
                if abs(ahead) < _MIN_HOLE:
                    yield from self._counted([frame])
                    continue
                held.append(frame)
                jump = ahead if len(held) == 1 else jump
                if len(held) == _CONFIRMED:
                    zero += yield from self._jumped(jump, held)
                    held = []
        if held:
            yield from self._jumped(jump, held)

    def _jumped(self, jump: float, frames: list[av.AudioFrame]) -> Generator[av.AudioFrame, None, float]:
        """Yield the frames after a jump, and silence before them if it is a hole. Return the shift of the time base."""
        longest = MAX_LIVE_HOLE if self._live else MAX_HOLE if self.seconds else _MAX_START
        is_hole = 0 < jump <= min(longest, _MAX_SILENCE - self._silence)
        if is_hole:
            yield from self._silence_of(jump, frames[0])
        yield from self._counted(frames)
        return 0.0 if is_hole else jump

    def _counted(self, frames: Iterable[av.AudioFrame]) -> Iterator[av.AudioFrame]:
        for frame in frames:
            self.seconds += frame.samples / frame.sample_rate
            yield frame

    def _silence_of(self, seconds: float, like: av.AudioFrame) -> Iterator[av.AudioFrame]:
        """Yield silence in the format of a frame, a second per frame."""
        seconds = min(seconds, _MAX_SILENCE - self._silence)
        self._silence += seconds
        if self.seconds and not self.missing:
            self.missing_from = self.seconds
        self.missing += seconds if self.seconds else 0.0
        samples = round(seconds * like.sample_rate)
        while samples > 0:
            count = min(samples, like.sample_rate)
            yield from self._counted([_silent(like, count)])
            samples -= count


def tag_size(data: bytes, start: int) -> int:
    """The size of the tags that begin at `start`, 0 if none do."""
    head = data[start : start + 32]
    if head.startswith(b"ID3") and len(head) >= 10:
        footer = 10 if head[5] & 0x10 else 0
        return 10 + footer + sum((head[9 - digit] & 127) << 7 * digit for digit in range(4))
    if head.startswith(b"APETAGEX") and len(head) == 32:
        header = 32 if head[23] & 0x20 else 0  # of the two, the one that begins here
        return int.from_bytes(head[12:16], "little") + header if header else 32
    return 128 if head.startswith(b"TAG") else 0


def _silent(like: av.AudioFrame, samples: int) -> av.AudioFrame:
    """A frame of silence, in the format of another one; mono if that has many channels."""
    import av

    # With more planes, PyAV reads beyond their list and crashes.
    layout = like.layout if like.layout.nb_channels <= _MAX_PLANES else "mono"
    frame = av.AudioFrame(format=like.format, layout=layout, samples=samples)
    frame.sample_rate = like.sample_rate
    zero = b"\x80" if like.format.name.startswith("u8") else b"\0"  # unsigned samples are silent at half scale
    for plane in frame.planes:
        plane.update(zero * plane.buffer_size)
    return frame


def origin(container: av.container.InputContainer) -> float:
    """The time stamp of position 0, in seconds."""
    start = (container.start_time or 0) / 1e6  # microseconds
    # A later start is that of a piece of a broadcast.
    return 0.0 if _formats(container) & _COUNTED_FROM_ZERO and 0 <= start <= MAX_HOLE else start


def begins(container: av.container.InputContainer, stream: av.AudioStream) -> float:
    """The position at which a stream begins, in seconds; 0 in formats without time stamps."""
    if not _formats(container) & _TIME_STAMPED or stream.start_time is None or stream.time_base is None:
        return 0.0
    return float(stream.start_time * stream.time_base) - origin(container)


def _formats(container: av.container.InputContainer) -> set[str]:
    """FFmpeg's names of the format."""
    return set(container.format.name.split(","))
