"""Convert samples in memory: to mono float32 at another sample rate, or to another tempo and pitch."""

from __future__ import annotations

import io
import struct
from fractions import Fraction
from itertools import pairwise

import numpy as np

from songprint.audio import decode, files
from songprint.errors import AudioError


def at_rate(samples: np.ndarray, sample_rate: int | None, wanted: int) -> np.ndarray:
    """Convert samples, (n,) or (n, channels), at `sample_rate` to mono float32 samples, (n,), at the rate `wanted`.

    Integers are scaled to -1 .. 1, and channels are averaged. The resampler is the one of `files.load`, so a file and
    its samples give the same result. Raises AudioError for other shapes, NaN, infinity, or a missing sample rate.
    """
    samples = np.asarray(samples)
    if sample_rate is None or not decode.is_rate(sample_rate):
        raise AudioError(
            f"sample_rate={sample_rate} must be given with samples, from {decode.MIN_RATE} to {decode.MAX_RATE} Hz:"
            " sample_rate=44100"
        )
    if samples.ndim not in (1, 2) or samples.size == 0:
        raise AudioError(f"samples of shape {samples.shape} are not audio: expected (n,) or (n, channels)")
    if samples.ndim == 2 and samples.shape[1] > 32:
        raise AudioError(
            f"samples of shape {samples.shape} have {samples.shape[1]} channels."
            " Are the axes swapped? Expected (n, channels): pass samples.T"
        )
    if np.issubdtype(samples.dtype, np.integer):
        samples = samples / np.float32(np.iinfo(samples.dtype).max)
    mono = (samples if samples.ndim == 1 else samples.mean(axis=1)).astype("<f4")
    if not np.isfinite(mono).all():
        raise AudioError("samples contain NaN or infinity")
    return mono if sample_rate == wanted else files.load(_wave(mono, sample_rate), wanted)


def stretch(samples: np.ndarray, sample_rate: int, tempo: float = 1.0, pitch: float = 1.0) -> np.ndarray:
    """Change tempo and pitch of float32 samples, (n,); returns about (n / tempo,) samples.

    Both are ratios; `pitch` is a ratio of frequencies. The method is WSOLA, as FFmpeg's `atempo` implements it. With
    `tempo == pitch`, which is a change of speed, the samples are only resampled.
    """
    import av

    frame = av.AudioFrame.from_ndarray(samples[None].astype(np.float32), format="fltp", layout="mono")
    frame.sample_rate = sample_rate
    graph = av.filter.Graph()
    nodes = [
        graph.add_abuffer(
            format="fltp", sample_rate=sample_rate, layout="mono", time_base=frame.time_base or Fraction(1, sample_rate)
        )
    ]
    if pitch != 1:
        nodes += [graph.add("asetrate", str(round(sample_rate * pitch))), graph.add("aresample", str(sample_rate))]
    if abs(tempo / pitch - 1) > 1e-6:
        nodes.append(graph.add("atempo", f"{tempo / pitch:.6f}"))
    nodes.append(graph.add("abuffersink"))
    for first, second in pairwise(nodes):
        first.link_to(second)
    graph.configure()
    graph.push(frame)
    graph.push(None)
    parts = []
    while True:
        try:
            parts.append(graph.pull().to_ndarray()[0])
        except (av.EOFError, av.BlockingIOError):
            break
    return np.concatenate(parts).astype(np.float32)


def _wave(mono: np.ndarray, sample_rate: int) -> io.BytesIO:
    """Return float32 samples, (n,), as a WAV file in memory."""
    ieee_float, channels, width = 3, 1, 4
    form = struct.pack(
        "<4sIHHIIHH", b"fmt ", 16, ieee_float, channels, sample_rate, sample_rate * width, width, 8 * width
    )
    data = struct.pack("<4sI", b"data", mono.nbytes) + mono.tobytes()
    return io.BytesIO(struct.pack("<4sI4s", b"RIFF", 4 + len(form) + len(data), b"WAVE") + form + data)
