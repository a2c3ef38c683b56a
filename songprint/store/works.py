"""Works: recordings of the same song, linked by their tags or by the user, and the original of each work."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from songprint.errors import LibraryConflict
from songprint.store import merging
from songprint.types import Kind, Match, Recording, songs_of

if TYPE_CHECKING:
    from songprint.store.catalog import Catalog


def link(catalog: Catalog, recording_ids: Iterable[int], work: str | None = None, original: int | None = None) -> str:
    """Link recordings as renditions of one song, and return the name of the work.

    Without `work`, they join the work that some of them already belong to, or else a new work named after the
    original. `original` marks one of them as the original. Linked recordings are versions: they are no longer listed as
    duplicates.

    Raises LibraryConflict if they belong to different works, are too few, or do not include `original`.
    """
    linked = [catalog.recording(recording_id) for recording_id in dict.fromkeys(recording_ids)]
    if work is None:
        present = list(dict.fromkeys(recording.tags.work for recording in linked if recording.tags.work))
        if len(present) > 1:
            of_each = "; ".join(
                f"{recording.id} belongs to {recording.tags.work!r}" for recording in linked if recording.tags.work
            )
            raise LibraryConflict(
                f"these recordings belong to different works: {of_each}."
                f" Specify the work, for instance {present[0]!r} (--work on the command line)"
            )
        if len(linked) < 2 and not (present and original):
            raise LibraryConflict(
                "linking needs at least two recordings, or the name of a work (--work on the command line)"
            )
        work = present[0] if present else _new_name(catalog, original_of(linked))
    if not work.strip():
        raise LibraryConflict("the name of a work must not be empty")
    if original is not None and original not in {recording.id for recording in linked}:
        raise LibraryConflict(f"the original, {original}, must be one of the linked recordings")
    ids = [recording.id for recording in linked]
    if 2 <= len(ids) <= merging.MAX_DECIDED:
        merging.keep_apart(catalog, ids)
    return catalog.assign(ids, work.strip(), original)


def unlink(catalog: Catalog, recording_id: int) -> None:
    """Remove a recording from its work, including one that its tags named."""
    catalog.recording(recording_id)
    catalog.assign([recording_id], "")


def originals(catalog: Catalog, works: Iterable[str]) -> dict[str, Recording]:
    """Return the original of each of these works, by the name of the work."""
    of_work: dict[str, list[Recording]] = {}
    for recording in catalog.recordings_of(works):
        of_work.setdefault(recording.tags.work, []).append(recording)
    return {work: original_of(recordings) for work, recordings in of_work.items()}


def original_of(recordings: Sequence[Recording]) -> Recording:
    """Choose the recording that the user marked; else the one with the earliest year; else the one added first.

    The mark comes first because reissues often carry the year of the reissue.
    """
    return min(
        recordings,
        key=lambda recording: (
            not recording.original,
            recording.tags.year is None,
            recording.tags.year or 0,
            recording.id,
        ),
    )


def _new_name(catalog: Catalog, original: Recording) -> str:
    """Return the title of the original, with a number if another work already has that name."""
    title = original.title or f"song {original.id}"
    name, number = title, 1
    while catalog.recordings_of([name]):
        number += 1
        name = f"{title} ({number})"
    return name


def in_order(matches: list[Match], catalog: Catalog) -> list[Match]:
    """Sort matches: recordings before covers, best first, songs kept together. Adds the original of each work."""
    of_work = originals(catalog, {match.work for match in matches})
    matches = [replace(match, original=of_work.get(match.work)) for match in matches]
    return [
        match
        for kind in Kind
        for song in songs_of(match for match in matches if match.kind is kind)
        for match in song.matches
    ]
