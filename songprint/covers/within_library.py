"""What in the library is another rendition of one of its recordings: from what is stored, without its file."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from songprint.confidence import MAX_PROBABILITY
from songprint.covers import identify
from songprint.errors import LibraryError
from songprint.store.duplicates import SAME, same_recording
from songprint.store.index import NOTHING, split_ids
from songprint.store.level import Level, threshold_of
from songprint.store.store import Store
from songprint.store.works import in_order
from songprint.types import Embeddings, Kind, Match

PROBES = 12  # rows of a recording whose neighbours may be its duplicates
NEIGHBOURS = 20
DUPLICATE = 100 * MAX_PROBABILITY  # confidence: several stretches agree, where they should, in every second


def renditions(store: Store, recording_id: int) -> list[Match]:
    """The other renditions of a recording, best first; before them those that are the very same, of kind "recording".

    `query` is a stretch of the recording that was asked for, `reference` of the one that was found.
    """
    store.refresh()
    level = cover_level(store)
    query = stored(level, recording_id)
    judged = identify.judge(query, level, leave_out={recording_id})
    copies = store.copies([match.recording.id for match in judged], of=[recording_id])
    threshold = threshold_of(level, store.settings, level.matcher.tracking_case)
    matches = []
    for match in judged:
        if match.recording.id in copies:
            matches.append(replace(match, kind=Kind.RECORDING, confidence=DUPLICATE))
        elif match.confidence >= threshold:
            matches.append(match)
    return in_order(matches, store.catalog)


def duplicates(store: Store, recording_id: int) -> list[int]:
    """The ids of recordings that are the very same as this one, or a part of it, in another encoding too.

    As of the last `refresh`. Told by what recordings are found by, so it works without covers.
    """
    level = store.identity
    query = level.embeddings_of([recording_id]).get(recording_id)
    if query is None:
        return []
    heard = np.flatnonzero(query.has_content)
    probes = heard[np.unique(np.linspace(0, len(heard) - 1, PROBES).round().astype(int))] if len(heard) else heard
    ids, scores = level.index.search(query.vectors[probes], NEIGHBOURS)
    found = {int(each) for each in split_ids(ids[(scores >= SAME) & (ids != NOTHING)])[0]} - {recording_id}
    return sorted(other for other, made in level.embeddings_of(found).items() if same_recording(query, made))


def cover_level(store: Store) -> Level:
    """The level of covers; LibraryError where the settings or the installation do without."""
    if Kind.COVER not in store.levels:
        raise LibraryError(
            "this needs the kind 'cover': it is left out of the setting `kinds`, or its encoder is not"
            " part of this installation (`songprint doctor` tells)"
        )
    return store.levels[Kind.COVER]


def stored(level: Level, recording_id: int) -> Embeddings:
    """What the level keeps of a recording; LibraryError where that is nothing."""
    recording = level.catalog.recording(recording_id)
    found = level.embeddings_of([recording_id])
    if recording_id not in found:
        raise LibraryError(
            f"{recording.name!r} ({recording_id}) was added without what covers are found by."
            " `songprint rebuild --reencode` reads its file again"
        )
    return found[recording_id]
