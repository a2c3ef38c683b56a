"""Add unknown music to the library under a name given by the user."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from songprint.audio import files
from songprint.errors import LibraryError
from songprint.ingest import add as ingest
from songprint.unknown import memory

if TYPE_CHECKING:
    from songprint.store.store import Store
    from songprint.types import Occurrence, Recording

FOLDER = "unknown"  # in the library folder: audio of the added recordings
MAX_SAMPLE_RATE = 48_000  # Hz


def add(store: Store, number: int, *, title: str, artists: tuple[str, ...] = ()) -> Recording:
    """Cut unknown music out of its longest occurrence whose file still exists, and add it to the library.

    The audio is stored as a FLAC file in the library folder, which is the source of the new recording. The occurrences
    are forgotten. Raises UnknownMusicNotFound, and LibraryError if the audio cannot be added.
    """
    occurrence = memory.source_of(memory.find(store, number))
    path = store.path / FOLDER / f"{number}.flac"
    _write(occurrence, path, title, artists)
    report = ingest.add(store, [path], workers=1, follow=False)
    if report.skipped:
        raise LibraryError(f"cannot add unknown music {number}: {report.skipped[0].reason}")
    memory.forget(store, [number])
    return report.added[0] if report.added else store.catalog.recording(report.known[0].recording_id)


def _write(occurrence: Occurrence, path: Path, title: str, artists: tuple[str, ...]) -> None:
    import av

    sample_rate = min(MAX_SAMPLE_RATE, files.probe(occurrence.source).sample_rate)
    samples = files.excerpt(occurrence.source, sample_rate, occurrence.interval.start, occurrence.interval.duration)
    path.parent.mkdir(exist_ok=True)
    with av.open(str(path), "w", format="flac") as container:
        container.metadata.update({"title": title, "artist": "; ".join(artists)})
        stream = container.add_stream("flac", rate=sample_rate, layout="mono")
        resampler = av.AudioResampler(format="s16", layout="mono", rate=sample_rate, frame_size=4096)
        frame = av.AudioFrame.from_ndarray(np.clip(samples, -1, 1)[None], format="flt", layout="mono")
        frame.sample_rate = sample_rate
        for piece in [*resampler.resample(frame), *resampler.resample(None), None]:
            container.mux(stream.encode(piece))
