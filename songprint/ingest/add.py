"""Files -> store. What a batch cannot use is reported with its reason; the rest of the batch goes on."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from songprint.audio import files as audio
from songprint.config import usable_cores
from songprint.errors import AudioError, LibraryError
from songprint.ingest import read as workers
from songprint.ingest.read import Read, Task
from songprint.processes.pool import can_pickle
from songprint.store.store import Store
from songprint.types import AddReport, KnownFile, Progress, RebuildReport, Recording, SkippedFile

TIDY_EVERY = 250  # recordings added between two looks at whether the index should go to the disk
WORTH_A_CREW = 3  # files from which starting worker processes (half a second) pays
SAME_LENGTH = 0.1  # seconds by which a file that only got new tags may seem to have changed its duration

OnProgress = Callable[[Progress], None]


def add(
    store: Store,
    paths: Iterable[str | Path],
    *,
    recursive: bool = True,
    workers: int | None = None,
    tags: Mapping[str, object] | None = None,
    on_progress: OnProgress | None = None,
) -> AddReport:
    """Add audio files, and those in folders, to the store.

    `tags` are what is known better than by the files themselves, by the names of the fields of `Tags`.

    A file that is named is tried whatever it is called; in folders only those that look like audio are, and
    hidden ones are left out. When a `Progress` says "added", the recording is safe on the disk: stopping at
    any moment, even by `kill -9`, loses none of those, and adding again goes on with the rest.
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
        if isinstance(outcome, KnownFile):  # another process, or a copy in this very batch
            batch.done(read.path, known=outcome)
            continue
        batch.done(read.path, added=outcome, warnings=read.warnings)
        if len(batch.added) % TIDY_EVERY == 0:
            store.tidy()
    if batch.added:
        store.tidy()
    return AddReport(batch.added, batch.known, batch.skipped, batch.audio_seconds, batch.elapsed, tuple(batch.warnings))


def reencode(store: Store, *, workers: int | None = None, on_progress: OnProgress | None = None) -> RebuildReport:
    """Read again, from their files, the recordings that one of the encoders at hand has not read.

    Each file is read once, for all that it lacks. Until the end the library is searched with the old encoders, so
    this may be stopped at any moment and done again for the rest. A recording whose file is gone keeps its place
    and its old embeddings; it is not found until it could be read.
    """
    with store.alone() as mine:
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
                if abs(recording.duration - read.duration) > SAME_LENGTH:
                    batch.done(
                        read.path,
                        skipped=SkippedFile(
                            read.path,
                            (
                                f"it is not the file that was added as {recording.id}:"
                                f" remove {recording.id} and add it anew"
                            ),
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
                f" ({batch.skipped[0].path}: {batch.skipped[0].reason}). Is their disk there?"
            )
        for kind, level in store.levels.items():
            store.catalog.adopt(kind, level.spec.id)
    return RebuildReport(len(batch.added), batch.skipped)


def find(paths: Iterable[str | Path], *, recursive: bool = True) -> tuple[dict[str, int], list[SkippedFile]]:
    """The files to try, as absolute paths with their size in bytes, and the paths that lead nowhere."""
    files: dict[str, int] = {}
    unusable: list[SkippedFile] = []
    for given in paths:
        path = os.path.abspath(given)
        troubles = len(unusable)
        named = [path]
        if os.path.isdir(path):
            named = list(_in_folder(path, recursive, unusable, seen=set()))
            if not named and len(unusable) == troubles:
                unusable.append(
                    SkippedFile(
                        path,
                        "no music found in it. A file whose name does not look like"
                        " music is tried when it is named itself",
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
    """Files in name order, each folder's own before those of the folders in it. A folder is visited once."""
    try:
        at = os.stat(folder)
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        unusable.append(SkippedFile(folder, f"cannot read the folder: {error.strerror}"))
        return
    if (at.st_dev, at.st_ino) in seen:  # a link that leads back up
        return
    seen.add((at.st_dev, at.st_ino))
    visible = [entry for entry in entries if not entry.name.startswith(".")]
    yield from (entry.path for entry in visible if audio.is_probably_audio(entry.path) and not _is_folder(entry))
    if recursive:
        for entry in filter(_is_folder, visible):
            yield from _in_folder(entry.path, recursive, unusable, seen)


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _unknown(store: Store, files: Iterable[str], hashes: dict[str, str], batch: _Batch) -> Iterator[Task]:
    """The files whose content the library lacks. Hashing takes a hundredth of the time of reading."""
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
    """Read files with as many processes as were wanted, or as are worth their start."""
    size = min(count, wanted or store.settings.workers or (usable_cores() if count >= WORTH_A_CREW else 1))
    given = {kind: level.given for kind, level in store.levels.items()}
    if size > 1 and can_pickle(given):
        return workers.read_all(tasks, size, given)
    return (workers.read(task, store.encoders) for task in tasks)


class _Batch:
    """What became of the files so far."""

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
        """Note what became of a file, and tell whoever is watching."""
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
