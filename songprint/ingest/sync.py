"""Bring a library into step with its folders: added, retagged, moved, replaced and missing files."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from songprint.audio.files import file_path
from songprint.errors import LibraryError
from songprint.ingest.add import Batch, OnProgress, find
from songprint.ingest.read import state_of
from songprint.ingest.update import Outcome, Update, tag_rules
from songprint.store import places
from songprint.store.places import Place
from songprint.types import Change, FileChange, SyncReport

if TYPE_CHECKING:
    from songprint.store.store import Store


def sync(
    store: Store,
    folders: Iterable[str | Path] = (),
    *,
    dry_run: bool = False,
    remove_missing: bool = False,
    workers: int | None = None,
    pattern: str | None = None,
    reread: bool = False,
    on_progress: OnProgress | None = None,
) -> SyncReport:
    """Bring the library into step with these folders; without any, with all folders that it follows.

    Files whose size and time are unchanged are not read. A recording is known by its sound: it keeps its id when its
    file is retagged, renamed or moved. When its last file is gone it is marked as missing, and with `remove_missing`
    removed. `dry_run` reads what changed, and writes nothing. `pattern` is that of `add`.
    `reread` reads the tags of unchanged files as well, after settings about tags have changed.

    Raises LibraryError if there is no folder to follow, or if `remove_missing` would remove all recordings of a folder
    that is empty or does not exist, as when its drive is not connected.
    """
    started = time.monotonic()
    store.check_encoders()
    rules = tag_rules(store, pattern)
    roots = {os.path.abspath(folder): True for folder in folders} or places.remembered_folders(store.catalog)
    if not roots:
        raise LibraryError("the library follows no folder yet. Name one: `songprint sync FOLDER`")
    changes: list[FileChange] = []
    present = {root: recursive for root, recursive in roots.items() if os.path.isdir(root)}
    for root in roots.keys() - present.keys():
        changes.append(FileChange(Change.SKIPPED, root, reason="there is no such folder. Is its drive connected?"))
    if remove_missing:
        _check_not_empty(present)
    known = _known(store, present)
    files, unusable = {}, []
    for root, recursive in present.items():
        found, failed = find([root], recursive=recursive)
        files.update(found)
        unusable += [each for each in failed if each.path not in roots]  # a folder without music is no problem here
    for path in known:  # files that were named themselves, whatever their names
        if path not in files and (state := state_of(path)):
            files[path] = state
    unchanged = 0
    batch = Batch({path: state.size for path, state in files.items()}, unusable, on_progress)

    def report(outcome: Outcome) -> None:
        nonlocal unchanged
        batch.take(outcome)
        unchanged += outcome.change is None
        if outcome.change is not None:
            changes.append(outcome.file_change)

    update = Update(store, files, report, known=known, workers=workers, dry_run=dry_run, rules=rules, reread=reread)
    update.run()
    # A file that changed and cannot be read any more no longer contains the recording.
    unreadable = {each.path for each in changes if each.change is Change.SKIPPED and os.access(each.path, os.R_OK)}
    gone = [
        place
        for path, place in known.items()
        if not place.missing_since and path not in update.moved and (path not in files or path in unreadable)
    ]
    changes += [FileChange(Change.MISSING, place.path, place.recording_id) for place in gone]
    changes += [FileChange(Change.SKIPPED, each.path, reason=each.reason) for each in unusable]
    if not dry_run:
        places.mark_missing(store.catalog, [place.path for place in gone])
        for root, recursive in present.items():
            places.remember_folder(store.catalog, root, recursive=recursive)
    if remove_missing:
        changes += _remove_missing(store, present, _lost(store, known, gone, changes) if dry_run else set(), dry_run)
    return SyncReport(changes, unchanged, dry_run, time.monotonic() - started, tuple(batch.warnings))


def mark_gone(store: Store, folder: str, *, recursive: bool = True) -> list[FileChange]:
    """Mark the files of a folder that no longer exist as missing, without reading any file."""
    gone = [
        place
        for path, place in _known(store, {folder: recursive}).items()
        if not place.missing_since and not os.path.isfile(path)
    ]
    places.mark_missing(store.catalog, [place.path for place in gone])
    return [FileChange(Change.MISSING, place.path, place.recording_id) for place in gone]


def _known(store: Store, roots: dict[str, bool]) -> dict[str, Place]:
    """The places in these folders, by path; only those directly in them where a folder is not recursive."""
    return {
        path: place
        for root, recursive in roots.items()
        for path, place in places.under(store.catalog, [root]).items()
        if recursive or os.path.dirname(path) == root
    }


def _check_not_empty(roots: Iterable[str]) -> None:
    for root in roots:
        if not os.listdir(root):
            raise LibraryError(
                f"{root} is empty, so --remove-missing would remove all its recordings. Is its drive connected?"
                " Remove recordings with `songprint remove` if they should really go"
            )


def _lost(store: Store, known: dict[str, Place], gone: list[Place], changes: list[FileChange]) -> set[int]:
    """The recordings that would have no file after these changes, which a dry run has not written."""
    kept = {each.recording_id for each in changes if each.change in (Change.MOVED, Change.COPIED, Change.RETURNED)}
    others = [
        known[each.path]
        for each in changes
        if each.path in known
        and each.change is not Change.SKIPPED
        and each.recording_id != known[each.path].recording_id
    ]
    paths = {place.path for place in (*gone, *others)}
    return {
        place.recording_id
        for place in (*gone, *others)
        if place.recording_id not in kept
        and all(other.path in paths or other.missing_since for other in places.of(store.catalog, place.recording_id))
    }


def _remove_missing(store: Store, roots: Iterable[str], lost: set[int], dry_run: bool) -> list[FileChange]:
    """Remove the recordings in these folders of which no file exists any more; `lost` counts as missing as well."""
    catalog = store.catalog
    removed = []
    for recording in catalog.recordings_with({*places.missing(catalog), *lost}).values():
        path = file_path(recording.source)
        if any(path.startswith(root.rstrip(os.sep) + os.sep) for root in roots):
            removed.append(FileChange(Change.REMOVED, path, recording.id))
    if removed and not dry_run:
        catalog.remove(change.recording_id for change in removed if change.recording_id is not None)
    return removed
