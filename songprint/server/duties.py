"""What the processes of the service do: each function gets the open library and gives what JSON can hold.

They run in a crew's process (see `crew`), so arguments and results are plain values.
"""

from __future__ import annotations

import io
import os
import secrets
import shutil
import time
import wave
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from songprint import identify
from songprint.audio import files
from songprint.covers import within_library
from songprint.errors import AudioError
from songprint.formats.objects import Object, match_object, recording_object, report_object
from songprint.library import Library
from songprint.types import Kind

PEAKS_RATE = 8000  # Hz: what is loud is heard there too
PIECE = 0.02  # seconds: a waveform is not told more closely
EXCERPT_RATE = 44100


class ClipTooLong(AudioError):
    """It takes a job."""


def warm(library: Library) -> None:
    """Load what the first clip would have to wait for."""
    library.store.refresh()
    for level in library.store.levels.values():
        _ = level.encoder, level.index


def name_clip(library: Library, path: str, name: str, top: int, longest: float) -> Object:
    """The report of a clip of at most `longest` seconds, which the client calls `name`."""
    warnings: list[str] = []
    rate = library.store.sample_rate
    try:
        with closing(files.blocks(path, rate, on_warning=warnings.append)) as blocks:
            report = identify.identify(_at_most(blocks, rate, longest), library.store, top=top, source=name)
    except AudioError as error:
        raise type(error)(str(error).replace(path, name)) from error
    warnings = [warning.replace(path, name) for warning in warnings]
    return report_object(replace(report, warnings=(*warnings, *report.warnings)))


def _at_most(blocks: Iterator[np.ndarray], rate: int, longest: float) -> Iterator[np.ndarray]:
    heard = 0
    for block in blocks:
        heard += len(block)
        if heard > longest * rate:
            raise ClipTooLong(f"it is longer than {longest:g} s. Send POST /v1/jobs, which finds all songs in it")
        yield block


def add_recording(
    library: Library, path: str, keep: str, tags: Mapping[str, object], replaces: int | None, original: bool
) -> Object:
    """Move an uploaded file into the folder `keep` and add it, in the place of another recording if it `replaces` one.

    What is said of neither in `tags` is taken from the recording that is replaced, or from the file.
    """
    store = library.store
    replaced = library.recording(replaces) if replaces is not None else None
    if replaced is not None:
        known = {name: value for name, value in vars(replaced.tags).items() if value}
        tags, original = known | dict(tags), original or replaced.original
    kept = Path(keep) / Path(path).parent.name / Path(path).name
    kept.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(path, kept)
    report = None
    try:
        report = library.add(kept, workers=1, tags=dict(tags))
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


def remove_recording(library: Library, recording_id: int, keep: str) -> None:
    """Forget a recording, and delete its file if it was uploaded; files that were added from elsewhere stay."""
    source = Path(library.recording(recording_id).source)
    library.remove(recording_id)
    if Path(keep) in source.parents:
        shutil.rmtree(source.parent, ignore_errors=True)


def covers_of(library: Library, recording_id: int) -> list[Object]:
    """The other renditions of a recording, and its duplicates."""
    return [match_object(match) for match in library.covers(recording_id)]


def duplicates(library: Library, after: int, limit: int, seconds: float) -> tuple[list[Object], int | None]:
    """Pairs of recordings that sound like the very same one; the first of each has an id beyond `after`.

    Looks until there are `limit` pairs or so many `seconds` went by; the second value is where to go on, None at the
    end.
    """
    store = library.store
    store.refresh()
    began, pairs = time.monotonic(), []
    for recording_id in sorted(each for each in store.catalog.searched(Kind.RECORDING) if each > after):
        for other in within_library.duplicates(store, recording_id):
            if other > recording_id or recording_id not in within_library.duplicates(store, other):
                both = store.catalog.recordings_with([recording_id, other])
                if len(both) == 2:  # not removed meanwhile
                    pairs.append({"recordings": [recording_object(both[each]) for each in (recording_id, other)]})
        if len(pairs) >= limit or time.monotonic() - began > seconds:
            return pairs, recording_id
    return pairs, None


def peaks(library: Library, path: str, points: int, start: float, end: float | None, keep: bool) -> Object:
    """How loud a stretch of a file is, in `points` equal parts: the largest sample of each, 0 to 1, as a waveform.

    With `keep` what was found of the whole file lies beside it from then on.
    """
    kept = Path(path).with_name("peaks.npy")
    if keep and kept.exists():
        loudest = np.load(kept)
    else:
        loudest = _loudest(path)
        if keep:
            part = kept.with_name(f".{secrets.token_hex(4)}.npy")
            np.save(part, loudest)
            os.replace(part, kept)
    first = min(len(loudest), round(start / PIECE))
    last = len(loudest) if end is None else max(first, min(len(loudest), round(end / PIECE)))
    chosen = loudest[first:last]  # (n,) uint8
    edges = np.linspace(0, len(chosen), min(points, len(chosen)) + 1).astype(int)
    drawn = [round(int(chosen[a:b].max()) / 255, 3) for a, b in pairwise(edges) if b > a]
    return {"start": round(first * PIECE, 3), "end": round(last * PIECE, 3), "peaks": drawn}


def _loudest(path: str) -> np.ndarray:
    """(n,) uint8: the largest sample of every PIECE of a file."""
    size, found, rest = round(PIECE * PEAKS_RATE), [], np.zeros(0, np.float32)
    for block in files.blocks(path, PEAKS_RATE, on_warning=_ignored):
        rest = np.concatenate([rest, block])
        whole = len(rest) // size * size
        found.append(np.abs(rest[:whole].reshape(-1, size)).max(axis=1, initial=0))
        rest = rest[whole:]
    if len(rest):
        found.append(np.abs(rest).max(keepdims=True))
    return np.round(255 * np.minimum(np.concatenate(found), 1)).astype(np.uint8)


def excerpt(library: Library, path: str, start: float, duration: float) -> bytes:
    """A stretch of any file as WAV, mono at 44.1 kHz: what every browser plays."""
    return _wave(files.stretch(path, EXCERPT_RATE, start, duration))


def cut(library: Library, path: str, start: float, end: float, target: str) -> None:
    """Write a stretch of any file as a WAV file of its own."""
    Path(target).write_bytes(excerpt(library, path, start, end - start))


def _wave(samples: np.ndarray) -> bytes:
    written = io.BytesIO()
    with wave.open(written, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(EXCERPT_RATE)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return written.getvalue()


def _ignored(warning: str) -> None:
    """Who wants to hear or to see it was told by the job."""
