"""Small audio files in every format, written with PyAV. For tests only."""

from __future__ import annotations

import struct
import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

CODECS = {  # by suffix; videos get a few grey pictures as well
    ".mp3": "libmp3lame",
    ".flac": "flac",
    ".ogg": "vorbis",  # FFmpeg's own encoder: stereo only
    ".oga": "flac",
    ".opus": "libopus",  # 48, 24, 16, 12 or 8 kHz
    ".m4a": "aac",
    ".aac": "aac",
    ".wav": "pcm_s16le",
    ".aiff": "pcm_s16be",
    ".wma": "wmav2",  # mono or stereo
    ".ac3": "ac3",  # 48, 44.1 or 32 kHz
    ".wv": "wavpack",
    ".ts": "mp2",
    ".mp4": "aac",
    ".mkv": "ac3",
    ".webm": "libopus",
}
VIDEO_CODECS = {".mp4": "mpeg4", ".mkv": "mpeg4", ".webm": "libvpx"}
FORMATS = {".m4a": "ipod", ".aac": "adts", ".oga": "ogg", ".mkv": "matroska", ".wma": "asf", ".ts": "mpegts"}


def tone(frequency: float = 440.0, duration: float = 1.0, sample_rate: int = 44100, channels: int = 1) -> np.ndarray:
    """A sine of amplitude 0.5, the same in every channel: (channels, n) float32."""
    seconds = np.arange(round(duration * sample_rate)) / sample_rate
    samples = (0.5 * np.sin(2 * np.pi * frequency * seconds)).astype(np.float32)
    return np.tile(samples, (channels, 1))


def write(
    path: Path,
    samples: np.ndarray,
    sample_rate: int = 44100,
    *,
    codec: str | None = None,
    tags: dict[str, str] | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """Write samples, (channels, n) or (n,) of 1, 2 or 6 channels, in the format of the path's suffix."""
    samples = np.atleast_2d(samples).astype(np.float32)
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[len(samples)]
    with av.open(path, "w", format=FORMATS.get(path.suffix), options=options or {}) as container:
        container.metadata.update(tags or {})
        video = _add_video_stream(container, VIDEO_CODECS.get(path.suffix))
        stream = container.add_stream(codec or CODECS[path.suffix], rate=sample_rate, layout=layout)
        stream.bit_rate = 128_000
        if stream.codec_context.name == "vorbis":
            stream.codec_context.options = {"strict": "experimental"}
        _write_video(container, video, seconds=samples.shape[1] / sample_rate)
        _write_audio(container, stream, samples, sample_rate, layout)
    return path


def write_variable_mp3(path: Path, samples: np.ndarray, sample_rate: int = 44100, *, header: bool = False) -> Path:
    """Write a mono mp3 of variable bit rate, by default without the header that contains its duration."""
    with av.open(path, "w", options={"write_xing": str(int(header))}) as container:
        options = {"global_quality": str(118 * 2)}  # FFmpeg's unit for "-q:a 2"
        stream = container.add_stream("libmp3lame", rate=sample_rate, layout="mono", options=options)
        stream.codec_context.flags |= av.codec.context.Flags.qscale
        _write_audio(container, stream, np.atleast_2d(samples).astype(np.float32), sample_rate, "mono")
    return path


def write_silent_film(path: Path, seconds: float = 1.0) -> Path:
    """Write a video without any sound."""
    with av.open(path, "w") as container:
        _write_video(container, _add_video_stream(container, VIDEO_CODECS[path.suffix]), seconds)
    return path


def write_float_wav(path: Path, samples: np.ndarray, sample_rate: int = 44100) -> Path:
    """Write mono float32 samples, NaN and all; an encoder would stumble over them."""
    data = samples.astype("<f4").tobytes()
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 3, 1, sample_rate, 4 * sample_rate, 4, 32)
    header = struct.pack("<4sI4s", b"RIFF", 4 + len(form) + 8 + len(data), b"WAVE")
    path.write_bytes(header + form + struct.pack("<4sI", b"data", len(data)) + data)
    return path


def write_long_wav(path: Path, seconds: int, sample_rate: int = 8000) -> Path:
    """Write a long tone, one second at a time; ten hours need no memory here either."""
    second = (tone(sample_rate=sample_rate)[0] * 32767).astype("<i2").tobytes()
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        for _ in range(seconds):
            file.writeframes(second)
    return path


def _add_video_stream(container, codec: str | None):
    if codec is None:
        return None
    stream = container.add_stream(codec, rate=10)
    stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
    return stream


def _write_video(container, stream, seconds: float) -> None:
    if stream is None:
        return
    for number in range(max(1, round(seconds * 10))):
        frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 128, np.uint8), format="rgb24")
        frame.pts, frame.time_base = number, Fraction(1, 10)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def _write_audio(container, stream, samples: np.ndarray, sample_rate: int, layout: str) -> None:
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=layout)
    frame.sample_rate, frame.pts, frame.time_base = sample_rate, 0, Fraction(1, sample_rate)
    container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def write_parts(
    path: Path, parts: list[tuple[float, np.ndarray]], sample_rate: int = 44100, *, codec: str, film: float = 0.0
) -> Path:
    """Write parts of audio, (channels, n), each at its start in seconds, and a grey film of `film` seconds."""
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[len(parts[0][1])]
    packets = []
    with av.open(path, "w", format=FORMATS.get(path.suffix)) as container:
        if film:
            video = _add_video_stream(container, "mpeg4")
            for number in range(round(film * 10)):
                frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 128, np.uint8), format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, 10)
                packets += video.encode(frame)
            packets += video.encode(None)
        audio = container.add_stream(codec, rate=sample_rate, layout=layout)
        for start, samples in parts:
            size = audio.codec_context.frame_size or 1024
            for at in range(0, samples.shape[1] - size + 1, size):
                block = np.ascontiguousarray(samples[:, at : at + size], np.float32)
                frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
                frame.sample_rate, frame.pts = sample_rate, round(start * sample_rate) + at
                frame.time_base = Fraction(1, sample_rate)
                packets += audio.encode(frame)
        packets += audio.encode(None)
        container.mux(sorted(packets, key=lambda packet: packet.dts * packet.time_base))
    return path


def write_tracks(path: Path, tracks: list[np.ndarray | None], sample_rate: int = 44100) -> Path:
    """Write mono audio tracks, (n,) each, as PCM; None is a track without any packets."""
    with av.open(path, "w", format=FORMATS.get(path.suffix)) as container:
        streams = [container.add_stream("pcm_s16le", rate=sample_rate, layout="mono") for _ in tracks]
        container.start_encoding()
        for stream, samples in zip(streams, tracks, strict=True):
            if samples is not None:
                block = np.ascontiguousarray((samples[None] * 32767).astype(np.int16))
                frame = av.AudioFrame.from_ndarray(block, format="s16", layout="mono")
                frame.sample_rate, frame.pts, frame.time_base = sample_rate, 0, Fraction(1, sample_rate)
                container.mux(stream.encode(frame))
                container.mux(stream.encode(None))
    return path
