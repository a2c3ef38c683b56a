"""Decode an open container into frames and blocks of mono float32 samples, with FFmpeg (PyAV).

Nothing is opened here: the caller opens the container and limits what FFmpeg may read.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from songprint.errors import AudioError

if TYPE_CHECKING:
    import av

_MOST_CHANNELS = 24  # the maximum that FFmpeg mixes to mono
_GATHERED_SAMPLES = 1 << 14  # resampled together, 20% faster than frame by frame

logger = logging.getLogger(__name__)


def audio_stream(container: av.container.InputContainer, name: str) -> av.AudioStream:
    """The audio stream to decode. AudioError, with the `name` of the source, if there is none."""
    import av

    stream = container.streams.best("audio")
    if not isinstance(stream, av.AudioStream):
        kinds = " and ".join(sorted({other.type for other in container.streams} - {"audio"}))
        only = f" (only {kinds})" if kinds else ""
        raise AudioError(f"cannot read {name}: no audio stream{only}. Is the file complete?")
    if stream.codec_context is None:
        raise AudioError(f"cannot read {name}: FFmpeg cannot decode its audio. Convert it to another format")
    channels = stream.codec_context.channels
    if channels > _MOST_CHANNELS:
        raise AudioError(f"cannot read {name}: {channels} channels cannot be mixed. Convert it to stereo")
    stream.codec_context.thread_count = 1  # there is one process per core
    for other in container.streams:
        if other is not stream:
            other.discard = av.stream.Discard.all  # skips the video of a film
    return stream


def frames(
    container: av.container.InputContainer, stream: av.AudioStream, failed: Callable[[Exception], None]
) -> Iterator[av.AudioFrame]:
    """All frames that can be decoded; `failed` is called with each error."""
    import av

    went_on = True
    while went_on:  # Ogg continues after a damaged page; most formats end there
        went_on = False
        try:
            for packet in container.demux(stream):
                went_on = went_on or packet.size > 0
                try:
                    decoded = packet.decode()
                except av.FFmpegError as error:
                    failed(error)
                    continue
                yield from decoded
            return
        except (av.FFmpegError, OSError) as error:
            failed(error)


def blocks(frames: Iterable[av.AudioFrame], sample_rate: int, block_samples: int) -> Iterator[np.ndarray]:
    """Frames of any format as mono float32 blocks, (block_samples,); the last one is shorter."""
    held, held_samples, heard = [], 0, False
    for samples in _resampled(frames, sample_rate):
        held.append(samples)
        held_samples += len(samples)
        heard = True
        if held_samples >= block_samples:
            joined = _finite(np.concatenate(held))
            whole = held_samples - held_samples % block_samples
            yield from joined[:whole].reshape(-1, block_samples)
            held, held_samples = [joined[whole:]], held_samples - whole
    if held_samples:
        yield _finite(np.concatenate(held))
    if not heard:
        yield np.zeros(1, np.float32)  # one sample, or a few of a much higher rate


def _resampled(frames: Iterable[av.AudioFrame], sample_rate: int) -> Iterator[np.ndarray]:
    """Frames of any format as pieces of mono float32 samples. Time stamps are ignored."""
    import av

    gathered, resampler = av.AudioFifo(), _resampler(sample_rate)
    form: tuple[str, str, int] | None = None
    for frame in frames:
        # A stream may change in the middle. The fifo must not see it: it checks the sample rate,
        # but would read a stereo frame's missing second plane.
        previous, form = form, (frame.format.name, frame.layout.name, frame.sample_rate)
        if previous not in (None, form):
            yield from _mono(resampler, gathered.read(), last=True)
            gathered, resampler = av.AudioFifo(), _resampler(sample_rate)
        frame.pts = None
        gathered.write(frame)
        if gathered.samples >= _GATHERED_SAMPLES:
            yield from _mono(resampler, gathered.read())
    yield from _mono(resampler, gathered.read(), last=True)


def _resampler(sample_rate: int) -> av.AudioResampler:
    """To mono. `rematrix_maxval` makes the gains of the channels add up to 1: stereo gives the mean.

    Without it FFmpeg adds stereo up with 0.71 each, and loud music exceeds 1.
    """
    import av

    return av.AudioResampler(
        format="flt",
        layout="mono",
        rate=sample_rate,
        frame_size=sample_rate,  # one second at a time, not a piece per call
        options={"rematrix_maxval": "1"},
    )


def _mono(resampler: av.AudioResampler, frame: av.AudioFrame | None, *, last: bool = False) -> list[np.ndarray]:
    """The resampled samples of a frame; after the `last` one, also those that the resampler buffers."""
    import av

    try:
        resampled = resampler.resample(frame) if frame is not None else []
        resampled += resampler.resample(None) if last else []
    except av.FFmpegError as error:  # a damaged frame may have 55 channels, which cannot be mixed
        logger.debug("a piece of %s left out: %s", frame, error)
        return []
    return [frame.to_ndarray()[0] for frame in resampled]  # (1, n) each


def _finite(samples: np.ndarray) -> np.ndarray:
    """Replace NaN and infinity, which float files may contain, by 0. Samples beyond +-1 stay."""
    finite: np.ndarray = np.nan_to_num(samples, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
    return finite


def said(error: Exception) -> str:
    """The message of FFmpeg or the operating system, without the path."""
    return f'ffmpeg: "{getattr(error, "strerror", None) or error}"'
