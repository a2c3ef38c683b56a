"""Add audio files to the store. Files that cannot be added are reported with the reason; the others are added."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from songprint.audio import files as audio
from songprint.config import usable_cores
from songprint.errors import AudioError, LibraryError
from songprint.ingest import read as reading
from songprint.ingest.read import Read, Task
from songprint.processes.pool import can_pickle
from songprint.types import AddReport, KnownFile, Progress, RebuildReport, Recording, SkippedFile

if TYPE_CHECKING:
    from songprint.store.store import Store

TIDY_INTERVAL = 250  # recordings added between two checks whether vectors should move from memory to disk
MIN_FILES_FOR_POOL = 3  # starting child processes takes half a second, too long for fewer files
DURATION_TOLERANCE = 0.1  # seconds by which the duration of a file may differ after only its tags changed

OnProgress = Callable[[Progress], None]


def add(
    store: Store,
    paths: Iterable[str | Path],
    *,
    recursive: bool = True,
    workers: int | None = None,
    tags: Mapping[str, Any] | None = None,
    on_progress: OnProgress | None = None,
) -> AddReport:
    """Add audio files, and the audio files in folders, to the store.

    A file in `paths` is tried whatever its name. In folders, hidden files and files without the suffix of an audio
    format are ignored. When a `Progress` reports "added", the recording is safely on disk: no later interruption, not
    even `kill -9`, loses it, and adding again continues with the rest.

    Args:
        workers: child processes to use; by default those of the settings, or one per core.
        tags: values for fields of `Tags` that replace those of the files.
    """
    store.check_encoders()
    files, unusable = find(paths, recursive=recursive)
    batch = _Batch(files, unusable, on_progress)
    hashes: dict[str, str] = {}
    for read in _read(store, _unknown(store, files, hashes, batch), len(files), workers):
        if isinstance(read, SkippedFile):
            batch.done(read.path, skipped=read)
            continue
        outcome = store.catalog.add(
            tags=replace(read.tags, **tags or {}),
            duration=read.duration,
            source=read.path,
            content_hash=hashes.pop(read.path),
            embeddings=read.embeddings,
        )
        if isinstance(outcome, KnownFile):  # added by another process, or a copy in this batch
            batch.done(read.path, known=outcome)
            continue
        batch.done(read.path, added=outcome, warnings=read.warnings)
        if len(batch.added) % TIDY_INTERVAL == 0:
            store.tidy()
    if batch.added:
        store.tidy()
    return AddReport(batch.added, batch.known, batch.skipped, batch.audio_seconds, batch.elapsed, tuple(batch.warnings))


def reencode(store: Store, *, workers: int | None = None, on_progress: OnProgress | None = None) -> RebuildReport:
    """Encode again, from their files, the recordings without embeddings of the current encoders.

    Each file is decoded once, for all kinds that it lacks. The library is searched with the old encoders until the
    end, so this may be interrupted and repeated for the rest. A recording whose file is missing stays in the library
    with its old embeddings, and is not found until its file has been read.
    """
    with store.exclusive() as mine:
        if not mine:
            raise LibraryError(
                f"cannot rebuild the library at {store.path}: it is read-only, or another process is rebuilding it now"
            )
        lacking = {
            kind: {recording.id: recording for recording in store.catalog.lacking(kind, level.spec.id)}
            for kind, level in store.levels.items()
        }
        wanted: dict[str, dict[int, Recording]] = defaultdict(dict)
        for recordings in lacking.values():
            for recording in recordings.values():
                wanted[recording.source][recording.id] = recording
        files, unusable = find(wanted, recursive=False)
        batch = _Batch(files, unusable, on_progress)
        tasks = (
            Task(path, frozenset(kind for kind in lacking if lacking[kind].keys() & wanted[path].keys()))
            for path in files
        )
        for read in _read(store, tasks, len(files), workers):
            if isinstance(read, SkippedFile):
                batch.done(read.path, skipped=read)
                continue
            for recording in wanted[read.path].values():
                if abs(recording.duration - read.duration) > DURATION_TOLERANCE:
                    batch.done(
                        read.path,
                        skipped=SkippedFile(
                            read.path,
                            f"it is not the file that was added as {recording.id}:"
                            f" remove {recording.id} and add it again",
                        ),
                    )
                else:
                    store.catalog.add_embeddings(
                        recording.id,
                        {kind: made for kind, made in read.embeddings.items() if recording.id in lacking[kind]},
                    )
                    batch.done(read.path, added=recording, warnings=read.warnings)
        present = store.catalog.state().encoders
        changed = any(present.get(kind, level.spec.id) != level.spec.id for kind, level in store.levels.items())
        if wanted and not batch.added and changed:
            raise LibraryError(
                f"none of the {len(wanted)} files of the library could be read again"
                f" ({batch.skipped[0].path}: {batch.skipped[0].reason}). Is their disk connected?"
            )
        for kind, level in store.levels.items():
            store.catalog.adopt(kind, level.spec.id)
    return RebuildReport(len(batch.added), batch.skipped)


def find(paths: Iterable[str | Path], *, recursive: bool = True) -> tuple[dict[str, int], list[SkippedFile]]:
    """The files to try, as absolute paths with their size in bytes, and the paths that cannot be used."""
    files: dict[str, int] = {}
    unusable: list[SkippedFile] = []
    for given in paths:
        path = os.path.abspath(given)
        unusable_before = len(unusable)
        named = [path]
        if os.path.isdir(path):
            named = list(_in_folder(path, recursive, unusable, seen=set()))
            if not named and len(unusable) == unusable_before:
                unusable.append(
                    SkippedFile(
                        path,
                        "no music found in it. Files without the suffix of an audio format must be named themselves",
                    )
                )
        for file in named:
            try:
                if os.path.isfile(file):
                    files[file] = os.path.getsize(file)
                elif os.path.exists(file):
                    unusable.append(SkippedFile(file, "not a file"))
                else:
                    unusable.append(SkippedFile(file, "no such file or folder"))
            except (OSError, ValueError) as error:
                unusable.append(SkippedFile(file, f"cannot read it: {error}"))
    return files, unusable


def _in_folder(folder: str, recursive: bool, unusable: list[SkippedFile], seen: set[tuple[int, int]]) -> Iterator[str]:
    """Audio files in order of their names, those of a folder before those of its subfolders. Visits a folder once."""
    try:
        at = os.stat(folder)
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        unusable.append(SkippedFile(folder, f"cannot read the folder: {error.strerror}"))
        return
    if (at.st_dev, at.st_ino) in seen:  # a link to a parent folder
        return
    seen.add((at.st_dev, at.st_ino))
    visible = [entry for entry in entries if not entry.name.startswith(".")]
    yield from (entry.path for entry in visible if audio.is_probably_audio(entry.path) and not _is_folder(entry))
    if recursive:
        for entry in filter(_is_folder, visible):
            yield from _in_folder(entry.path, recursive, unusable, seen)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _unknown(store: Store, files: Iterable[str], hashes: dict[str, str], batch: _Batch) -> Iterator[Task]:
    """Tasks for the files whose content is not in the library. Hashing takes 1% of the time of encoding."""
    for path in files:
        try:
            content_hash = audio.content_hash(path)
        except AudioError as error:
            batch.done(path, skipped=SkippedFile(path, str(error)))
            continue
        known = store.catalog.known(content_hash)
        if known is None:
            hashes[path] = content_hash
            yield Task(path, frozenset(store.levels))
        else:
            batch.done(path, known=KnownFile(path, known))


def _read(store: Store, tasks: Iterator[Task], count: int, wanted: int | None) -> Iterator[Read | SkippedFile]:
    """Read files in child processes if that was requested or is faster, else in this process."""
    size = min(count, wanted or store.settings.workers or (usable_cores() if count >= MIN_FILES_FOR_POOL else 1))
    given = {kind: level.given or level.matcher for kind, level in store.levels.items()}
    if size > 1 and can_pickle(given):
        return reading.read_all(tasks, size, given, store.settings.memory_limit)
    return (reading.read(task, store.encoders) for task in tasks)


class _Batch:
    """The results of the files so far."""

    def __init__(self, files: dict[str, int], unusable: list[SkippedFile], on_progress: OnProgress | None) -> None:
        self.added: list[Recording] = []
        self.known: list[KnownFile] = []
        self.skipped: list[SkippedFile] = []
        self.warnings: list[str] = []
        self.audio_seconds = 0.0
        self._started = time.monotonic()
        self._sizes = files
        self._total = len(files) + len(unusable)
        self._bytes_total = sum(files.values())
        self._finished: set[str] = set()
        self._bytes_done = 0
        self._on_progress = on_progress
        for skipped in unusable:
            self.done(skipped.path, skipped=skipped)

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self._started

    def done(
        self,
        path: str,
        *,
        added: Recording | None = None,
        known: KnownFile | None = None,
        skipped: SkippedFile | None = None,
        warnings: Iterable[str] = (),
    ) -> None:
        """Record the result of a file and report the progress."""
        if added:
            self.added.append(added)
            self.audio_seconds += added.duration
        if known:
            self.known.append(known)
        if skipped:
            self.skipped.append(skipped)
        self.warnings.extend(warnings)
        if path not in self._finished:
            self._finished.add(path)
            self._bytes_done += self._sizes.get(path, 0)
        if self._on_progress:
            outcome = "added" if added else "known" if known else "skipped"
            self._on_progress(
                Progress(
                    path,
                    outcome,
                    len(self._finished),
                    self._total,
                    self._bytes_done,
                    self._bytes_total,
                    self.audio_seconds,
                    self.elapsed,
                )
            )
