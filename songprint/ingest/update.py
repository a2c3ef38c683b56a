"""Bring the library into step with files: which sound is new, and which file of a recording was retagged or moved."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from songprint.audio import files as audio
from songprint.audio.files import stored_path
from songprint.audio.naming import Pattern
from songprint.audio.tags import Rules
from songprint.config import usable_cores
from songprint.ingest.claims import Claims
from songprint.ingest.read import ChangedFile, Examined, OwnReader, Read, Reader, Task, children
from songprint.processes.pool import can_pickle
from songprint.store import places
from songprint.store.places import Place
from songprint.types import NO_FIELDS, Change, Fields, FileChange, FileState, KnownFile, Recording, SkippedFile

if TYPE_CHECKING:
    from songprint.store.store import Store

TIDY_INTERVAL = 250  # recordings added between two checks whether vectors should move from memory to disk
MIN_FILES_FOR_POOL = 3  # starting child processes takes half a second, too long for fewer files
CLAIMED_AT_ONCE = 8  # files; few, so that several machines finish at about the same time
POLL_SECONDS = 2.0  # between two looks whether the files that other machines are adding are done
ROUNDS = 3  # readings of a file that changes after it was examined


@dataclass(frozen=True)
class Outcome:
    """What became of one file."""

    path: str
    change: Change | None = None  # None: the file is unchanged
    recording_id: int | None = None
    added: Recording | None = None
    before: str = ""  # the former path of a file that moved
    reason: str = ""  # why a file was skipped
    warnings: tuple[str, ...] = ()

    @property
    def file_change(self) -> FileChange:
        assert self.change is not None
        return FileChange(self.change, self.path, self.recording_id, self.before, self.reason)


class Update:
    """Reads the files that changed since the library last read them, and writes what changed.

    Every file is examined: the library contains it if it contains the hash of its sound. Only new sound is decoded and
    encoded. With `dry_run`, nothing is decoded and nothing is written. Without `follow`, a file whose sound is known
    does not become a place of its recording. With `reread`, unchanged files are examined as well. `report` is called
    once for each file. `known` are the places in the library at these paths, if the caller has read them.

    With `claims`, only files that no other process is adding are read; the others are reported when they are done.
    """

    def __init__(
        self,
        store: Store,
        files: Mapping[str, FileState],
        report: Callable[[Outcome], None],
        *,
        known: Mapping[str, Place] | None = None,
        workers: int | None = None,
        tags: Mapping[str, Any] | None = None,
        fields: Fields = NO_FIELDS,
        follow: bool = True,
        dry_run: bool = False,
        rules: Rules | None = None,
        reread: bool = False,
        claims: Claims | None = None,
    ) -> None:
        self._store, self._catalog, self._files = store, store.catalog, files
        self._report, self._claims = report if claims is None else self._dropping(report), claims
        self._workers, self._tags, self._follow, self._dry_run = workers, tags or {}, follow, dry_run
        self._fields = fields
        self._rules, self._reread = rules or tag_rules(store), reread
        self._places = places.at(self._catalog, files) if known is None else dict(known)
        self._legacy = self._catalog.has_file_hashes()
        self._examined: dict[str, Examined] = {}  # files of new sound, by path
        self._copies: dict[str, list[Examined]] = {}  # further files of a sound that is being added
        self._again: list[str] = []  # files that changed while they were read
        self._elsewhere: list[str] = []  # files that another process is adding
        self._added = 0
        self.moved: set[str] = set()  # former paths of files that moved

    def run(self) -> None:
        """Process all files."""
        changed = [path for path in self._files if not self._unchanged(path)]
        if not changed:
            return
        with open_reader(self._store, len(changed), self._workers) as reader:
            self._rounds(reader, changed)
            while self._elsewhere:
                time.sleep(POLL_SECONDS)
                waiting, self._elsewhere = self._elsewhere, []
                self._rounds(reader, waiting)
        if self._added:
            self._store.tidy()

    def _rounds(self, reader: Reader, changed: list[str]) -> None:
        """Read files, and those that change meanwhile again."""
        for _ in range(ROUNDS):
            for read in reader.read(self._tasks(reader.examine(self._claimed(changed), self._rules))):
                self._take(read)
            changed, self._again = self._again, []
        for path in changed:
            self._skip(path, "it changes all the time. Add it again when it is complete")

    def _claimed(self, paths: list[str]) -> Iterator[str]:
        """Yield the files that this process is to read, claimed a few at a time."""
        if self._claims is None:
            yield from paths
            return
        for start in range(0, len(paths), CLAIMED_AT_ONCE):
            batch = paths[start : start + CLAIMED_AT_ONCE]
            taken = self._claims.take(batch)
            # Another process may have added a file between two looks at the library.
            self._places |= places.at(self._catalog, batch)
            for path in batch:
                if self._unchanged(path):
                    continue
                if path in taken:
                    yield path
                else:
                    self._elsewhere.append(path)

    def _dropping(self, report: Callable[[Outcome], None]) -> Callable[[Outcome], None]:
        """Report outcomes, and give up the claims of their files."""

        def reported(outcome: Outcome) -> None:
            report(outcome)
            if self._claims:
                self._claims.drop([outcome.path])

        return reported

    def _unchanged(self, path: str) -> bool:
        place = self._places.get(path)
        if place is None or place.state != self._files[path] or (self._reread and not place.missing_since):
            return False
        if place.missing_since:
            if not self._dry_run:
                places.assign(self._catalog, place.recording_id, path, place.state, place.tags)
            self._report(Outcome(path, Change.RETURNED, place.recording_id))
        else:
            self._report(Outcome(path, None, place.recording_id))
        return True

    def _tasks(self, examined: Iterable[Examined | SkippedFile]) -> Iterator[Task]:
        """Process the files of known sound; yield tasks for the others."""
        for each in examined:
            if isinstance(each, SkippedFile):
                self._skip(each.path, each.reason)
            elif (known := self._known(each)) is not None:
                self._assign(each, known)
            elif each.sound in self._copies:
                self._copies[each.sound].append(each)
            else:
                self._copies[each.sound] = []
                if self._dry_run:
                    self._report(Outcome(each.path, self._change_of_new(each.path)))
                else:
                    self._examined[each.path] = each
                    yield Task(each.path, frozenset(self._store.levels), each.state, each.links)
        if self._dry_run:
            for copies in self._copies.values():
                for each in copies:
                    self._report(Outcome(each.path, Change.COPIED))

    def _known(self, examined: Examined) -> int | None:
        known = self._catalog.known(examined.sound)
        if known is None and self._legacy:
            file_hash = audio.content_hash(examined.path)
            known = self._catalog.known(file_hash)
            if known is not None and not self._dry_run:
                self._catalog.identify_by_sound(file_hash, examined.sound)
        return known

    def _take(self, read: Read | SkippedFile | ChangedFile) -> None:
        examined = self._examined.pop(read.path)
        copies = self._copies.pop(examined.sound)
        if isinstance(read, Read):
            self._add(examined, read)
            known = self._catalog.known(examined.sound)
            assert known is not None
            for each in copies:
                self._assign(each, known)
        elif isinstance(read, SkippedFile):
            for path in (read.path, *(each.path for each in copies)):
                self._skip(path, read.reason)
        else:
            self._again += [read.path, *(each.path for each in copies)]

    def _add(self, examined: Examined, read: Read) -> None:
        added = self._catalog.add(
            tags=replace(examined.tags, **self._tags),
            duration=read.duration,
            source=stored_path(examined.path),
            content_hash=examined.sound,
            embeddings=read.embeddings,
            fields=self._fields,
            attach=partial(places.attach, path=examined.path, state=examined.state, tags=examined.tags),
        )
        if isinstance(added, KnownFile):  # another process added it meanwhile
            self._assign(examined, added.recording_id)
            return
        self._report(
            Outcome(examined.path, self._change_of_new(examined.path), added.id, added, warnings=read.warnings)
        )
        self._added += 1
        if self._added % TIDY_INTERVAL == 0:
            self._store.tidy()

    def _change_of_new(self, path: str) -> Change:
        return Change.REPLACED if path in self._places else Change.ADDED

    def _assign(self, examined: Examined, recording_id: int) -> None:
        """Make a file of known sound a place of its recording."""
        if not self._follow:
            self._report(Outcome(examined.path, None, recording_id))
            return
        change, before = self._change_of_known(examined, recording_id)
        if change and not self._dry_run:
            places.assign(self._catalog, recording_id, examined.path, examined.state, examined.tags, moved_from=before)
        if before:
            self.moved.add(before)
        self._report(Outcome(examined.path, change, recording_id, before=before))

    def _change_of_known(self, examined: Examined, recording_id: int) -> tuple[Change | None, str]:
        """What happened to a file of known sound, None for nothing, and its former path if it moved."""
        place = self._places.get(examined.path)
        if place is not None and place.recording_id == recording_id:
            if place.missing_since:
                return Change.RETURNED, ""
            if place.tags != examined.tags:
                return Change.RETAGGED, ""
            return (Change.TOUCHED if place.state != examined.state else None), ""
        others = places.of(self._catalog, recording_id)
        gone = [other.path for other in others if other.path not in self.moved and not _is_at(other)]
        if gone:
            return Change.MOVED, gone[0]
        return (Change.COPIED if others else Change.RETURNED), ""

    def _skip(self, path: str, reason: str) -> None:
        self._report(Outcome(path, Change.SKIPPED, reason=reason))


def tag_rules(store: Store, pattern: str | None = None) -> Rules:
    """The rules for tags, with this pattern instead of that of the settings. Raises SettingsError."""
    pattern = store.settings.name_pattern if pattern is None else pattern
    return Rules(store.settings.tag_encoding, Pattern(pattern) if pattern else None)


def _is_at(place: Place) -> bool:
    return not place.missing_since and os.path.lexists(place.path)


def open_reader(store: Store, count: int, wanted: int | None) -> AbstractContextManager[Reader]:
    """Open a reader for `count` files: with child processes if that was requested or is faster."""
    size = min(count, wanted or store.settings.workers or (usable_cores() if count >= MIN_FILES_FOR_POOL else 1))
    given = {kind: level.given or level.matcher for kind, level in store.levels.items()}
    if size > 1 and can_pickle(given):
        return children(size, given, store.settings.memory_limit)
    return nullcontext(OwnReader(lambda: store.encoders))
