"""Describe a media file from the headers of its container and streams, without decoding."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from songprint.audio import files

if TYPE_CHECKING:
    import av

_MICROSECONDS = 1e6  # FFmpeg's unit of a container's times


def describe(path: str | Path) -> dict[str, object]:
    """Return `bytes`, `format`, `bit_rate`, `duration`, and lists of `video` and `audio` streams, for JSON.

    Bit rates are in bits per second and times in seconds; missing values are 0. Raises AudioError if the file is not a
    media file.
    """
    import av
    from av.stream import Disposition

    with files.container(path, video=True) as opened:
        # Cover pictures are not video.
        streams = [stream for stream in opened.streams if not stream.disposition & Disposition.attached_pic]
        # Streams without a decoder have no codec context.
        decodable = [stream for stream in streams if stream.codec_context is not None]
        video = [_video(stream) for stream in decodable if isinstance(stream, av.VideoStream)]
        audio = [_audio(stream) for stream in decodable if isinstance(stream, av.AudioStream)]
        longest = max((_seconds(stream) for stream in decodable if stream.type in ("video", "audio")), default=0.0)
        return {
            "bytes": Path(path).stat().st_size,
            "format": opened.format.name,
            "bit_rate": int(opened.bit_rate or 0),
            "duration": round(opened.duration / _MICROSECONDS, 3) if opened.duration else longest,
            "video": video,
            "audio": audio,
        }


def _video(stream: av.VideoStream) -> dict[str, object]:
    codec = stream.codec_context
    return {
        **_common(stream),
        "width": codec.width,
        "height": codec.height,
        "frames_per_second": round(float(stream.average_rate or 0), 3),
    }


def _audio(stream: av.AudioStream) -> dict[str, object]:
    codec = stream.codec_context
    return {**_common(stream), "sample_rate": codec.sample_rate, "channels": codec.channels}


def _common(stream: av.VideoStream | av.AudioStream) -> dict[str, object]:
    return {
        "codec": stream.codec_context.codec.canonical_name,
        "bit_rate": int(stream.codec_context.bit_rate or 0),
        "duration": _seconds(stream),
    }


def _seconds(stream: av.stream.Stream) -> float:
    """The duration of a stream, rounded to milliseconds; 0 if the file does not contain it."""
    return round(float(stream.duration * stream.time_base), 3) if stream.duration and stream.time_base else 0.0
