"""Add audio files to the store. Files that cannot be added are reported with the reason; the others are added."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from songprint.audio import files as audio
from songprint.audio.files import file_path
from songprint.errors import LibraryError
from songprint.ingest.claims import Claims
from songprint.ingest.read import ChangedFile, Read, Task, state_of
from songprint.ingest.update import Outcome, Update, open_reader, tag_rules
from songprint.store import places
from songprint.store.fields import changed
from songprint.types import (
    NO_FIELDS,
    AddReport,
    Change,
    FileChange,
    FileState,
    Kind,
    KnownFile,
    Progress,
    RebuildReport,
    Recording,
    SkippedFile,
)

if TYPE_CHECKING:
    from songprint.store.store import Store

DURATION_TOLERANCE = 0.1  # seconds by which the duration of a file may differ after only its tags changed

OnProgress = Callable[[Progress], None]


def add(
    store: Store,
    paths: Iterable[str | Path],
    *,
    recursive: bool = True,
    workers: int | None = None,
    tags: Mapping[str, Any] | None = None,
    fields: Mapping[str, object] | None = None,
    follow: bool = True,
    pattern: str | None = None,
    share: bool = False,
    on_progress: OnProgress | None = None,
) -> AddReport:
    """Add audio files, and the audio files in folders, to the store.

    A file in `paths` is tried whatever its name. In folders, hidden files and files without the suffix of an audio
    format are ignored. A file whose sound is in the library is not added: its path and tags are brought up to date.
    When a `Progress` reports "added", the recording is safely on disk: no later interruption, not even `kill -9`,
    loses it, and adding again continues with the rest.

    Args:
        workers: child processes to use; by default those of the settings, or one per core.
        tags: values for fields of `Tags` that replace those of the files.
        fields: user fields of the new recordings.
        pattern: gives what tags lack from the names of files, see `songprint.audio.naming`; by default that of the
            settings.
        share: whether other machines add the same files to the library at the same time. Each file is then read by one
            of them, whichever is free first; files that others have added are reported as known. The paths must be
            the same on all machines.
        follow: whether the library remembers the folders for `sync`, and files whose sound it already contains.
    """
    store.check_encoders()
    rules = tag_rules(store, pattern)
    user_fields = changed(NO_FIELDS, fields or {})
    paths = list(paths)
    files, unusable = find(paths, recursive=recursive)
    batch = Batch({path: state.size for path, state in files.items()}, unusable, on_progress)
    if follow:
        for path in map(os.path.abspath, paths):
            if os.path.isdir(path):
                places.remember_folder(store.catalog, path, recursive=recursive)
    with Claims(store.catalog) if share else nullcontext() as claims:
        Update(
            store,
            files,
            batch.take,
            workers=workers,
            tags=tags or {},
            fields=user_fields,
            follow=follow,
            rules=rules,
            claims=claims,
        ).run()
    return AddReport(
        batch.added,
        batch.known,
        batch.skipped,
        batch.audio_seconds,
        batch.elapsed,
        tuple(batch.warnings),
        tuple(batch.changes),
    )


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
                wanted[file_path(recording.source)][recording.id] = recording
        files, unusable = find(wanted, recursive=False)
        batch = Batch({path: state.size for path, state in files.items()}, unusable, on_progress)
        tasks = (
            Task(path, frozenset(kind for kind in lacking if lacking[kind].keys() & wanted[path].keys()))
            for path in files
        )
        with open_reader(store, len(files), workers) as reader:
            for read in reader.read(tasks):
                _store_again(store, read, wanted, lacking, batch)
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


def _store_again(
    store: Store,
    read: Read | SkippedFile | ChangedFile,
    wanted: Mapping[str, Mapping[int, Recording]],
    lacking: Mapping[Kind, Mapping[int, Recording]],
    batch: Batch,
) -> None:
    """Store the new embeddings of the recordings that were added from one file."""
    if not isinstance(read, Read):
        reason = read.reason if isinstance(read, SkippedFile) else "it changed while it was read"
        batch.done(read.path, skipped=SkippedFile(read.path, reason))
        return
    for recording in wanted[read.path].values():
        if abs(recording.duration - read.duration) > DURATION_TOLERANCE:
            batch.done(
                read.path,
                skipped=SkippedFile(
                    read.path,
                    f"it is not the file that was added as {recording.id}: remove {recording.id} and add it again",
                ),
            )
        else:
            store.catalog.add_embeddings(
                recording.id,
                {kind: made for kind, made in read.embeddings.items() if recording.id in lacking[kind]},
            )
            batch.done(read.path, added=recording, warnings=read.warnings)


def find(paths: Iterable[str | Path], *, recursive: bool = True) -> tuple[dict[str, FileState], list[SkippedFile]]:
    """The files to try, by their absolute paths, and the paths that cannot be used."""
    files: dict[str, FileState] = {}
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
            if state := state_of(file):
                files[file] = state
            else:
                reason = "not a file" if os.path.exists(file) else "no such file or folder"
                unusable.append(SkippedFile(file, reason))
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


class Batch:
    """The results of the files so far."""

    def __init__(self, files: dict[str, int], unusable: list[SkippedFile], on_progress: OnProgress | None) -> None:
        self.added: list[Recording] = []
        self.known: list[KnownFile] = []
        self.skipped: list[SkippedFile] = []
        self.changes: list[FileChange] = []
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

    def take(self, outcome: Outcome) -> None:
        """Record the outcome of a file that is added."""
        if outcome.change is Change.SKIPPED:
            self.done(outcome.path, skipped=SkippedFile(outcome.path, outcome.reason))
        elif outcome.added:
            self.done(outcome.path, added=outcome.added, warnings=outcome.warnings)
        else:  # in a dry run, new files have no recording
            known = KnownFile(outcome.path, outcome.recording_id) if outcome.recording_id else None
            self.done(outcome.path, known=known)
        if outcome.change not in (None, Change.ADDED, Change.SKIPPED):
            self.changes.append(outcome.file_change)

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
            outcome = "added" if added else "skipped" if skipped else "known"
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
