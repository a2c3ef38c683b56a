"""Unknown music that somebody has named becomes a recording of the library."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from songprint.audio import files
from songprint.errors import LibraryError
from songprint.ingest import add as ingest
from songprint.store.store import Store
from songprint.types import Occurrence, Recording
from songprint.unknown import memory

FOLDER = "unknown"  # in the library: the sound of what was added
MOST_HERTZ = 48_000


def add(store: Store, number: int, *, title: str, artists: tuple[str, ...] = ()) -> Recording:
    """Cut unknown music out of the longest occurrence whose file is still there, and add it under its name.

    What was cut is kept in the library's folder as a FLAC file, for it is the source of the recording from then on. The
    music is not unknown any more: its occurrences are forgotten.
    """
    occurrence = memory.source_of(memory.find(store, number))
    path = store.path / FOLDER / f"{number}.flac"
    _write(occurrence, path, title, artists)
    report = ingest.add(store, [path], workers=1)
    if report.skipped:
        raise LibraryError(f"cannot add unknown music {number}: {report.skipped[0].reason}")
    memory.forget(store, [number])
    found = report.added[0] if report.added else store.catalog.recording(report.known[0].recording_id)
    return found


def _write(occurrence: Occurrence, path: Path, title: str, artists: tuple[str, ...]) -> None:
    import av

    hertz = min(MOST_HERTZ, files.probe(occurrence.source).sample_rate)
    samples = files.stretch(occurrence.source, hertz, occurrence.interval.start, occurrence.interval.duration)
    path.parent.mkdir(exist_ok=True)
    with av.open(str(path), "w", format="flac") as container:
        container.metadata.update({"title": title, "artist": "; ".join(artists)})
        stream = container.add_stream("flac", rate=hertz, layout="mono")
        resampler = av.AudioResampler(format="s16", layout="mono", rate=hertz, frame_size=4096)
        frame = av.AudioFrame.from_ndarray(np.clip(samples, -1, 1)[None], format="flt", layout="mono")
        frame.sample_rate = hertz
        for piece in [*resampler.resample(frame), *resampler.resample(None), None]:
            container.mux(stream.encode(piece))
