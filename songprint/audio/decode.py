"""Decode an open container into frames and blocks of mono float32 samples, with FFmpeg (PyAV).

The caller opens the container and restricts what FFmpeg may read.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from songprint.errors import AudioError

if TYPE_CHECKING:
    import av

MAX_CHANNELS = 24  # FFmpeg mixes at most this many to mono
_LISTS_STREAMS = ("mpegts", "flv")  # formats that name their streams before the first packets
# Hz. Other rates occur in hostile and damaged files only; at 1 Hz, a file of 10 kB would become hours of samples.
MIN_RATE, MAX_RATE = 4_000, 768_000
# Samples resampled per call: 20% faster than one call per frame. Longer frames are cut, which limits memory.
_RESAMPLED_SAMPLES = 1 << 14

logger = logging.getLogger(__name__)


@cache
def probing_options() -> dict[str, str]:
    """Options of a container that restrict FFmpeg to decoders of audio.

    To find the format of a stream, FFmpeg decodes its first frame when it opens a file. Without this, a cover picture
    of 1 MB could take gigabytes.
    """
    import av

    names = set()
    for name in av.codecs_available:
        with suppress(av.codec.codec.UnknownCodecError):  # it only encodes
            codec = av.Codec(name, "r")
            if codec.type == "audio":
                names.add(codec.name)
    return {"codec_whitelist": ",".join(sorted(names))}


def audio_stream(container: av.container.InputContainer, name: str, track: int | None = None) -> av.AudioStream:
    """Return the audio stream to decode: the default one, or the one with number `track`, from 1.

    Raises AudioError, which names the source `name`, if there is none.
    """
    import av

    if track is not None and len(container.streams.audio) < track:
        raise AudioError(f"cannot read {name}: no audio track {track}: it has {len(container.streams.audio)}")
    stream = container.streams.best("audio") if track is None else container.streams.audio[track - 1]
    if stream is None and container.format.name in _LISTS_STREAMS:
        stream = next(iter(container.streams.audio), None)  # FFmpeg has read no audio, because it starts late
    if not isinstance(stream, av.AudioStream):
        kinds = " and ".join(sorted({other.type for other in container.streams} - {"audio"}))
        only = f" (only {kinds})" if kinds else ""
        raise AudioError(f"cannot read {name}: no audio stream{only}. Is the file complete?")
    if stream.codec_context is None:
        raise AudioError(f"cannot read {name}: FFmpeg cannot decode its audio. Convert it to another format")
    channels = stream.codec_context.channels
    if channels > MAX_CHANNELS:
        raise AudioError(f"cannot read {name}: {channels} channels cannot be mixed. Convert it to stereo")
    rate = stream.codec_context.sample_rate
    if rate and not is_rate(rate):  # 0 is unknown until the first frame
        raise AudioError(f"cannot read {name}: {refusal(rate)}. Is the file damaged?")
    stream.codec_context.thread_count = 1  # songprint runs one process per core
    for other in container.streams:
        if other is not stream:
            other.discard = av.stream.Discard.all  # do not read video
    return stream


def is_rate(sample_rate: int) -> bool:
    """Whether audio of this sample rate is accepted (Hz)."""
    return MIN_RATE <= sample_rate <= MAX_RATE


def refusal(sample_rate: int) -> str:
    """The reason why audio of a sample rate is not accepted."""
    return f"its sample rate is {sample_rate} Hz, and {MIN_RATE} to {MAX_RATE} Hz are supported"


def check_memory(error: Exception) -> None:
    """Raise MemoryError if FFmpeg reports that it could not allocate memory."""
    if getattr(error, "errno", None) == errno.ENOMEM:
        raise MemoryError from error


def blocks(frames: Iterable[av.AudioFrame], sample_rate: int, block_samples: int) -> Iterator[np.ndarray]:
    """Convert frames of any format to blocks of mono float32 samples, (block_samples,); the last one may be shorter."""
    buffered, buffered_samples, received = [], 0, False
    for frame in resampled(frames, sample_rate):
        samples = frame.to_ndarray()[0]  # (1, n)
        buffered.append(samples)
        buffered_samples += len(samples)
        received = True
        if buffered_samples >= block_samples:
            joined = finite(np.concatenate(buffered))
            whole = buffered_samples - buffered_samples % block_samples
            yield from joined[:whole].reshape(-1, block_samples)
            buffered, buffered_samples = [joined[whole:]], buffered_samples - whole
    if buffered_samples:
        yield finite(np.concatenate(buffered))
    if not received:  # the resampler returns nothing for a few samples at a much higher rate
        yield np.zeros(1, np.float32)


def resampled(frames: Iterable[av.AudioFrame], sample_rate: int, *, mono: bool = True) -> Iterator[av.AudioFrame]:
    """Convert frames of any format to packed float32, mixed to mono unless `mono` is false. Time stamps are ignored."""
    import av

    gathered, resampler = av.AudioFifo(), _resampler(sample_rate)
    form: tuple[str, str, int] | None = None
    for frame in frames:
        # The format may change within a stream. Each format gets its own fifo: a fifo checks the sample rate only,
        # and would read a second plane that a mono frame does not have.
        previous, form = form, (frame.format.name, frame.layout.name, frame.sample_rate)
        if previous != form:
            if previous is not None:
                yield from _converted(resampler, gathered.read(), last=True)
            gathered, resampler = av.AudioFifo(), _resampler(sample_rate, "mono" if mono else frame.layout)
        frame.pts = None
        gathered.write(frame)
        while gathered.samples >= _RESAMPLED_SAMPLES:
            yield from _converted(resampler, gathered.read(_RESAMPLED_SAMPLES))
    yield from _converted(resampler, gathered.read(), last=True)


def _resampler(sample_rate: int, layout: str | av.AudioLayout = "mono") -> av.AudioResampler:
    """Return a resampler to packed float32 samples.

    `rematrix_maxval` makes the gains of the channels sum to 1, so stereo becomes the mean of both channels. By default,
    FFmpeg adds both channels with a gain of 0.71, and loud music exceeds 1.
    """
    import av

    return av.AudioResampler(
        format="flt",
        layout=layout,
        rate=sample_rate,
        frame_size=sample_rate,  # one second per output frame
        options={"rematrix_maxval": "1"},
    )


@cache
def mono_gains(layout: str, count: int) -> tuple[float, ...]:
    """The gains with which FFmpeg's mono mix contains the channels of a layout; they sum to 1.

    They are measured with a constant in one channel at a time. Layouts that FFmpeg cannot mix have equal gains.
    """
    import av

    gains = []
    for channel in range(count):
        samples = np.zeros((MIN_RATE, count), np.float32)
        samples[:, channel] = 1
        try:
            frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="flt", layout=layout)
            frame.sample_rate = MIN_RATE
        except (av.FFmpegError, ValueError):  # not a layout that FFmpeg can mix
            return (1 / count,) * count
        mono = [each.to_ndarray()[0] for each in _converted(_resampler(MIN_RATE), frame, last=True)]
        if not mono:
            return (1 / count,) * count
        middle = mono[0][len(mono[0]) // 2]  # at the edges, the resampler fades
        gains.append(float(middle))
    return tuple(gains)


def _converted(resampler: av.AudioResampler, frame: av.AudioFrame | None, *, last: bool = False) -> list[av.AudioFrame]:
    """Return what the resampler makes of a frame; with `last`, also what it still buffers."""
    import av

    try:
        made = resampler.resample(frame) if frame is not None else []
        return made + resampler.resample(None) if last else made
    except av.FFmpegError as error:  # for example, a damaged frame with 55 channels
        logger.debug("skipped %s: %s", frame, error)
        return []


def finite(samples: np.ndarray) -> np.ndarray:
    """Replace NaN and infinity, which float files may contain, by 0. Samples outside -1 .. 1 are not clipped."""
    if np.isfinite(samples).all():  # usual, and many times as fast
        return samples
    replaced: np.ndarray = np.nan_to_num(samples, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
    return replaced


def ffmpeg_message(error: Exception) -> str:
    """Format the message of FFmpeg or the operating system, without the path."""
    return f'ffmpeg: "{getattr(error, "strerror", None) or error}"'
