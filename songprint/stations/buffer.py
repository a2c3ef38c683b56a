"""The recording buffer of a station: its last minutes on disk, so that people can check detections.

Audio is stored as Ogg Opus in files of ten seconds, named by the start and the end of their content in milliseconds
since 1970. Files are complete when they have their name: a killed worker loses the last file only. Other machines
reach the audio if they share the folder of the library.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from songprint.audio import files
from songprint.errors import AudioError

if TYPE_CHECKING:
    import av

FOLDER = "stations"  # in the folder of the library
FILE_SECONDS = 10.0
SAMPLE_RATE = 48000  # Hz, that of Opus
BIT_RATE = 64000  # bit/s: 29 MB an hour
COMPLEXITY = "3"  # of 10: takes half the time of the default, and is inaudible at this bit rate
SUFFIX = ".opus"
PART = ".part"  # suffix of the file that is being written


class Buffer:
    """Writes the decoded frames of a station. One thread uses it."""

    def __init__(self, folder: Path, keep_minutes: float) -> None:
        """`folder` is that of the station; audio older than `keep_minutes` is deleted."""
        self.folder, self._keep = folder, round(60_000 * keep_minutes)
        folder.mkdir(parents=True, exist_ok=True)
        for part in folder.glob(f"*{PART}"):
            part.unlink()  # of a worker that was killed
        self._frames: list[av.AudioFrame] = []  # that have no time yet
        self._file: _File | None = None

    def add(self, frame: av.AudioFrame) -> None:
        """Keep a frame until `write` gives its time."""
        self._frames.append(frame)

    def write(self, end: int) -> None:
        """Write the frames since the last call. The last one ends at `end`, in milliseconds since 1970."""
        frames, self._frames = self._frames, []
        milliseconds = sum(1000 * frame.samples / frame.sample_rate for frame in frames)
        start = round(end - milliseconds)
        if self._file and (abs(start - self._file.end) > 1000 or any(not self._file.fits(frame) for frame in frames)):
            self._finish()
        for frame in frames:
            if self._file is not None and not self._file.fits(frame):
                self._finish()
            if self._file is None:
                self._file = _File(self.folder, start, frame)
            self._file.write(frame)
            start = self._file.end
        if self._file and self._file.end - self._file.start >= 1000 * FILE_SECONDS:
            self._finish()

    def close(self) -> None:
        """Complete the last file."""
        self._frames = []
        self._finish()

    def _finish(self) -> None:
        if self._file is not None:
            done, self._file = self._file, None
            done.close()
            prune(self.folder, done.end - self._keep)


class _File:
    """One file, while it is written. Times are milliseconds since 1970."""

    def __init__(self, folder: Path, start: int, first: av.AudioFrame) -> None:
        import av

        self.folder, self.start, self._milliseconds = folder, start, 0.0
        self._format = first.format.name, first.layout.name, first.sample_rate
        self._path = folder / f"{start}{PART}"
        self._container = av.open(str(self._path), "w", format="ogg")
        layout = "mono" if first.layout.nb_channels == 1 else "stereo"
        self._stream = self._container.add_stream(
            "libopus", rate=SAMPLE_RATE, layout=layout, bit_rate=BIT_RATE, options={"compression_level": COMPLEXITY}
        )
        self._resampler = av.AudioResampler(format="s16", layout=layout, rate=SAMPLE_RATE)

    @property
    def end(self) -> int:
        return round(self.start + self._milliseconds)

    def fits(self, frame: av.AudioFrame) -> bool:
        """Whether a frame has the format of the first one."""
        return self._format == (frame.format.name, frame.layout.name, frame.sample_rate)

    def write(self, frame: av.AudioFrame) -> None:
        self._milliseconds += 1000 * frame.samples / frame.sample_rate
        frame.pts = None  # that of the stream may jump
        for converted in self._resampler.resample(frame):
            self._container.mux(self._stream.encode(converted))

    def close(self) -> None:
        for converted in self._resampler.resample(None):
            self._container.mux(self._stream.encode(converted))
        self._container.mux(self._stream.encode(None))
        self._container.close()
        self._path.rename(self.folder / f"{self.start}-{self.end}{SUFFIX}")


def folder_of(library: Path, station_id: str) -> Path:
    """The folder with the audio of a station."""
    return Path(library) / FOLDER / station_id


def prune(folder: Path, oldest: int) -> None:
    """Delete the audio of a station that ended before `oldest`, in milliseconds since 1970."""
    for path, (_, end) in _stored(folder):
        if end < oldest:
            path.unlink(missing_ok=True)


def remove_others(library: Path, station_ids: Collection[str]) -> None:
    """Delete the audio of all stations but these."""
    for folder in (Path(library) / FOLDER).glob("*"):
        if folder.name not in station_ids:
            shutil.rmtree(folder, ignore_errors=True)


def covered(folder: Path, start: int, end: int) -> bool:
    """Whether the buffer contains any audio between two times, in milliseconds since 1970."""
    return any(first < end and last > start for _, (first, last) in _stored(folder))


def read(folder: Path, start: int, end: int, sample_rate: int) -> np.ndarray:
    """The audio between two times in milliseconds since 1970, (n,) float32 mono; silence where there is none.

    Raises AudioError if there is none at all.
    """
    found = [each for each in _stored(folder) if each[1][0] < end and each[1][1] > start]
    if not found:
        raise AudioError("the buffer of the station contains no audio of this time")
    samples = np.zeros(round((end - start) / 1000 * sample_rate), np.float32)
    for path, (first, _) in found:
        try:
            loaded = files.load(path, sample_rate)
        except (AudioError, FileNotFoundError):  # deleted meanwhile
            continue
        offset = round((first - start) / 1000 * sample_rate)
        loaded = loaded[max(0, -offset) :]
        place = max(0, offset)
        part = loaded[: max(0, len(samples) - place)]
        samples[place : place + len(part)] = part
    return samples


def _stored(folder: Path) -> list[tuple[Path, tuple[int, int]]]:
    """The complete files of a station with the start and the end of their content, in order of time."""
    found = []
    for path in folder.glob(f"*{SUFFIX}"):
        start, dash, end = path.stem.partition("-")
        if dash and start.isdecimal() and end.isdecimal():
            found.append((path, (int(start), int(end))))
    return sorted(found, key=lambda each: each[1])
