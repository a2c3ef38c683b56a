"""Works: recordings of one song, known from their tags or linked by the user, and the original among them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from songprint.errors import LibraryError
from songprint.store.catalog import Catalog
from songprint.types import Kind, Match, Recording, songs_of


def link(catalog: Catalog, recording_ids: Iterable[int], work: str | None = None, original: int | None = None) -> str:
    """Say that these recordings are of one song; returns the name of the work.

    Without a `work` it is that which some of them have already, with all other recordings of it, or a new one named
    after the original. `original` marks one of them as such.
    """
    linked = [catalog.recording(recording_id) for recording_id in dict.fromkeys(recording_ids)]
    if work is None:
        present = list(dict.fromkeys(recording.tags.work for recording in linked if recording.tags.work))
        if len(present) > 1:
            of_each = "; ".join(
                f"{recording.id} is of {recording.tags.work!r}" for recording in linked if recording.tags.work
            )
            raise LibraryError(
                f"these recordings are of different works: {of_each}."
                f" Name the work, for instance {present[0]!r} (--work on the command line)"
            )
        if len(linked) < 2 and not (present and original):
            raise LibraryError(
                "two recordings or more are needed to link them, or the name of a work (--work on the command line)"
            )
        work = present[0] if present else _new_name(catalog, original_of(linked))
    if not work.strip():
        raise LibraryError("a work needs a name that is not empty")
    if original is not None and original not in {recording.id for recording in linked}:
        raise LibraryError(f"the original, {original}, must be one of the recordings that are linked")
    return catalog.assign([recording.id for recording in linked], work.strip(), original)


def unlink(catalog: Catalog, recording_id: int) -> None:
    """Say that nobody knows of which song a recording is, whatever its tags said."""
    catalog.recording(recording_id)
    catalog.assign([recording_id], "")


def originals(catalog: Catalog, works: Iterable[str]) -> dict[str, Recording]:
    """The original of each of these works."""
    of_work: dict[str, list[Recording]] = {}
    for recording in catalog.recordings_of(works):
        of_work.setdefault(recording.tags.work, []).append(recording)
    return {work: original_of(recordings) for work, recordings in of_work.items()}


def original_of(recordings: Sequence[Recording]) -> Recording:
    """The one that the user marked; else the earliest by its year; else that which was added first.

    A re-issue often bears the year of the re-issue: so the mark goes before the year.
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
    """Its title, with a number if that is the name of another work: two songs may have one title."""
    title = original.title or f"song {original.id}"
    name, number = title, 1
    while catalog.recordings_of([name]):
        number += 1
        name = f"{title} ({number})"
    return name


def in_order(matches: list[Match], catalog: Catalog) -> list[Match]:
    """Recordings first, then covers, best first, those of one song together; each with the original of its work."""
    of_work = originals(catalog, {match.work for match in matches})
    matches = [replace(match, original=of_work.get(match.work)) for match in matches]
    return [
        match
        for kind in Kind
        for song in songs_of(match for match in matches if match.kind is kind)
        for match in song.matches
    ]
