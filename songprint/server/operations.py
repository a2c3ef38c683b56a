"""Operations that the processes of the server run: each gets the open library and returns values that JSON can contain.

They run in a process of `songprint.processes.pool`, so arguments and results must be picklable.
"""

from __future__ import annotations

import base64
import io
import os
import secrets
import shutil
import time
import wave
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from typing_extensions import TypedDict

from songprint import identify
from songprint.audio import files, media
from songprint.covers import within_library
from songprint.covers.encoder import cover_level, stored
from songprint.covers.explain import Explanation
from songprint.covers.rows import STEP
from songprint.errors import AudioError, AudioTooLong
from songprint.formats.objects import interval_object, match_object, recording_object, report_object
from songprint.stations import buffer
from songprint.store.fields import changed
from songprint.types import Interval

if TYPE_CHECKING:
    from songprint.covers.encoder import CoverEncoder
    from songprint.formats import schema
    from songprint.library import Library
    from songprint.server.rest import models

PEAKS_RATE = 8000  # Hz; enough to show loudness
PEAK_SECONDS = 0.02  # resolution of a waveform
EXCERPT_RATE = 44100  # Hz
MOST_PIXELS = 320  # of a similarity picture, on its longer side
LONGEST_PICTURE = 1200.0  # seconds of the segment that a similarity picture covers


class Similarity(TypedDict):
    """A cross-similarity picture; see `similarity`."""

    query: schema.Interval
    reference: schema.Interval
    width: int
    height: int
    pixels: str
    path: list[list[list[float]]]
    key_shift: float | None
    speed: float | None


def warm_up(library: Library) -> None:
    """Load encoders and indexes, so that the first query does not wait for them."""
    library.store.refresh()
    for level in library.store.levels.values():
        _ = level.encoder, level.index


def identify_query(
    library: Library, path: str, name: str, top: int, longest: float, track: int | None = None
) -> schema.Report:
    """The report for a file of at most `longest` seconds, which the client calls `name`."""
    too_long = AudioTooLong(f"The audio is longer than {longest:g} s. POST /v1/jobs finds all songs in it")
    limited = partial(identify.at_most, rate=library.store.sample_rate, seconds=longest, too_long=too_long)
    try:
        report = identify.identify_file(path, library.store, top=top, name=name, track=track, limited=limited)
    except AudioError as error:
        raise type(error)(str(error).replace(path, name)) from error
    return report_object(replace(report, warnings=tuple(warning.replace(path, name) for warning in report.warnings)))


def add_recording(
    library: Library,
    path: str,
    keep: str,
    longest: float,
    tags: Mapping[str, object],
    replaces: int | None,
    original: bool,
) -> models.Added:
    """Move an uploaded file into the folder `keep` and add it; with `replaces`, remove that recording afterwards.

    Raises AudioTooLong for more than `longest` seconds of audio. This decodes the file once more, which takes a small
    part of the time that encoding takes: a file of 2 MB can contain a week of silence.

    A tag that is missing in `tags` is taken from the replaced recording, then from the file. The key `fields` of `tags`
    contains user fields.
    """
    if files.lasts_longer(path, longest):
        raise AudioTooLong(
            f"The audio is longer than {longest / 3600:g} h, the longest recording that this server adds"
            " (see the setting max_recording_duration). Send it in parts, or POST /v1/jobs to find the songs in it"
        )
    store = library.store
    replaced = library.recording(replaces) if replaces is not None else None
    fields = tags.get("fields", {})
    tags = {name: value for name, value in tags.items() if name != "fields"}
    if replaced is not None:
        fields = changed(replaced.fields, cast("Mapping[str, object] | None", fields))
        inherited = {name: value for name, value in vars(replaced.tags).items() if value}
        tags, original = inherited | tags, original or replaced.original
    kept = Path(keep) / Path(path).parent.name / Path(path).name
    kept.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(path, kept)
    report = None
    try:
        report = library.add(
            kept, workers=1, tags=tags, fields=cast("Mapping[str, object] | None", fields), follow=False
        )
    finally:
        if report is None or not report.added:
            shutil.rmtree(kept.parent, ignore_errors=True)
    if report.skipped:
        raise AudioError(report.skipped[0].reason.replace(str(kept), kept.name))
    if report.known:
        return {"outcome": "known", "recording": recording_object(library.recording(report.known[0].recording_id))}
    added = report.added[0]
    if original and added.tags.work:
        library.link([added.id], added.tags.work, original=added.id)
    if replaced is not None:
        remove_recording(library, replaced.id, keep)
    warnings = [warning.replace(str(kept), kept.name) for warning in report.warnings]
    return {"outcome": "added", "recording": recording_object(store.catalog.recording(added.id)), "warnings": warnings}


def discard_kept(library: Library, path: str, keep: str) -> None:
    """Delete what `add_recording` has moved to the folder `keep` if its process ended before the file was added."""
    kept = Path(keep) / Path(path).parent.name / Path(path).name
    if not library.store.catalog.has_source(str(kept)):
        shutil.rmtree(kept.parent, ignore_errors=True)


def remove_recording(library: Library, recording_id: int, keep: str) -> None:
    """Remove a recording. Its files are deleted if they lie in the folder `keep` of uploads; other files stay."""
    paths = {files.file_path(library.recording(recording_id).source)}
    paths |= {place.path for place in library.files(recording_id)}  # several after a merge
    library.remove(recording_id)
    for path in map(Path, paths):
        if Path(keep) in path.parents:
            shutil.rmtree(path.parent, ignore_errors=True)


def covers_of(library: Library, recording_id: int) -> list[schema.Match]:
    """The other renditions and the duplicates of a recording in the library."""
    return [match_object(match) for match in library.covers(recording_id)]


def duplicates(library: Library, after: int, limit: int, seconds: float) -> tuple[list[models.Duplicates], int | None]:
    """Groups of recordings with the same audio, found from recordings with an id above `after`.

    Stops after `limit` groups or this many `seconds`. The second value is where to continue, None at the end.
    """
    store = library.store
    store.refresh()
    began = time.monotonic()
    groups: list[models.Duplicates] = []
    for recording_id, group in within_library.duplicate_groups(store, after):
        found = store.catalog.recordings_with(group) if group else {}
        if len(found) > 1:  # the others were not removed in the meantime
            groups.append({"recordings": [recording_object(found[each]) for each in group if each in found]})
        if len(groups) >= limit or time.monotonic() - began > seconds:
            return groups, recording_id
    return groups, None


def describe(library: Library, path: str) -> dict[str, object]:
    """`media.describe` in a process, because a hostile file can crash the decoder."""
    return media.describe(path)


def peaks(library: Library, path: str, points: int, start: float, end: float | None, keep: bool) -> models.Peaks:
    """The waveform of part of a file: the maximum of the samples in each of `points` equal parts, 0 to 1.

    With `keep`, the waveform of the whole file is cached beside it.
    """
    cache = Path(path).with_name("peaks.npy")
    if keep and cache.exists():
        loudest = np.load(cache)
    else:
        loudest = _loudest(path)
        if keep:
            part = cache.with_name(f".{secrets.token_hex(4)}.npy")
            np.save(part, loudest)
            os.replace(part, cache)
    first = min(len(loudest), round(start / PEAK_SECONDS))
    last = len(loudest) if end is None else max(first, min(len(loudest), round(end / PEAK_SECONDS)))
    chosen = loudest[first:last]  # (n,) uint8
    edges = np.linspace(0, len(chosen), min(points, len(chosen)) + 1).astype(int)
    drawn = [round(int(chosen[a:b].max()) / 255, 3) for a, b in pairwise(edges) if b > a]
    return {"start": round(first * PEAK_SECONDS, 3), "end": round(last * PEAK_SECONDS, 3), "peaks": drawn}


def _loudest(path: str) -> np.ndarray:
    """(n,) uint8: the maximum of the samples in each PEAK_SECONDS of a file."""
    size, found, rest = round(PEAK_SECONDS * PEAKS_RATE), [], np.zeros(0, np.float32)
    for block in files.blocks(path, PEAKS_RATE, on_warning=_ignore):
        rest = np.concatenate([rest, block])
        whole = len(rest) // size * size
        found.append(np.abs(rest[:whole].reshape(-1, size)).max(axis=1, initial=0))
        rest = rest[whole:]
    if len(rest):
        found.append(np.abs(rest).max(keepdims=True))
    shares: np.ndarray = np.minimum(np.concatenate(found), 1)
    return np.round(255 * shares).astype(np.uint8)


def _ignore(warning: str) -> None:
    """The job or the import has reported the file's warnings."""


def excerpt(library: Library, path: str, start: float, duration: float) -> bytes:
    """Part of any file as WAV, mono at 44.1 kHz, which every browser plays."""
    return _wave(files.excerpt(path, EXCERPT_RATE, start, duration))


def cut(library: Library, path: str, start: float, end: float, target: str) -> None:
    """Write part of any file as a WAV file."""
    Path(target).write_bytes(excerpt(library, path, start, end - start))


def station_audio(library: Library, folder: str, start: int, end: int) -> bytes:
    """Part of a station's recording buffer as WAV. Times are milliseconds since 1970."""
    return _wave(buffer.read(Path(folder), start, end, EXCERPT_RATE))


def _wave(samples: np.ndarray) -> bytes:
    written = io.BytesIO()
    with wave.open(written, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(EXCERPT_RATE)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return written.getvalue()


def similarity(library: Library, path: str, start: float, end: float, recording_id: int) -> Similarity:
    """The cross-similarity of part of a file and a recording, with the paths along which they correspond.

    `pixels` is base64 of one byte per point, row by row: columns are the file, rows the recording, 255 is the highest
    similarity. `query` and `reference` are the intervals that the picture covers. `path` lists points [seconds in the
    file, seconds in the recording] for each section; it is empty if nothing corresponds.
    """
    level = cover_level(library.store)
    library.store.check_encoders()
    encoder = cast("CoverEncoder", level.encoder)
    reference = stored(level, recording_id).evidence
    length = min(end - start, LONGEST_PICTURE)
    samples = files.excerpt(path, library.store.sample_rate, start, length)
    query = encoder.encode_stream([samples])[0].evidence
    explanation = Explanation.of("this segment", query, "the recording", reference, encoder.networks.prepare)
    return _picture(explanation, start)


def similarity_of_recordings(library: Library, one: int, other: int) -> Similarity:
    """The cross-similarity of two recordings of the library, as `similarity`."""
    return _picture(library.explain(one, other), 0.0)


def _picture(explanation: Explanation, start: float) -> Similarity:
    """The picture of an explanation whose query begins `start` seconds into its file."""
    values, alignment = explanation.similarity(), explanation.alignment  # (n, m)
    picture = reduced(values.T)  # (rows, columns)
    seconds = np.array(values.shape) * STEP
    return {
        "query": interval_object(Interval(start, start + seconds[0])),
        "reference": interval_object(Interval(0.0, seconds[1])),
        "width": picture.shape[1],
        "height": picture.shape[0],
        "pixels": base64.b64encode(picture.tobytes()).decode(),
        "path": [[[round(start + x, 2), round(y, 2)] for x, y in part.tolist()] for part in explanation.paths()],
        "key_shift": alignment.key_shift if alignment else None,
        "speed": round(alignment.tempo, 4) if alignment else None,
    }


def reduced(values: np.ndarray) -> np.ndarray:
    """Similarities as bytes with at most MOST_PIXELS on a side: the maximum of each block, so that thin lines stay."""
    block = -(-max(values.shape) // MOST_PIXELS)
    height, width = (-(-side // block) for side in values.shape)
    padded = np.full((height * block, width * block), -np.inf, values.dtype)
    padded[: values.shape[0], : values.shape[1]] = values
    largest = padded.reshape(height, block, width, block).max(axis=(1, 3))
    # The range excludes similarities that occur by chance, and outliers.
    low, high = np.percentile(largest[np.isfinite(largest)], [25, 99.8])
    shares = np.clip((largest - low) / max(high - low, 1e-6), 0, 1)
    pixels: np.ndarray = 255 * shares
    return pixels.astype(np.uint8)
