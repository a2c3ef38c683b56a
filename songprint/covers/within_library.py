"""Covers and duplicates within a library, found from what is stored, without the audio files."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from songprint.confidence import MAX_PROBABILITY
from songprint.covers import identify
from songprint.covers.encoder import cover_level, stored
from songprint.covers.parameters import DEFAULT
from songprint.store.duplicates import SAME, same_recording
from songprint.store.index import NOTHING, split_ids
from songprint.store.level import threshold_of
from songprint.store.works import in_order
from songprint.types import Kind, Match

if TYPE_CHECKING:
    from songprint.store.store import Store

PARAMETERS = DEFAULT.duplicates
# Confidence of a duplicate: several passages of it agree, second by second, at the expected positions.
DUPLICATE = 100 * MAX_PROBABILITY


def renditions(store: Store, recording_id: int) -> list[Match]:
    """The other renditions of a recording, best first, after its duplicates, which have kind "recording".

    `query` refers to the given recording, `reference` to the one that was found. Raises LibraryError if the recording
    cannot be searched for covers.
    """
    store.refresh()
    level = cover_level(store)
    query = stored(level, recording_id)
    found = identify.find_matches(query, level, leave_out={recording_id})
    copies = store.copies([match.recording.id for match in found], of=[recording_id])
    threshold = threshold_of(level, store.settings, level.matcher.tracking_case)
    matches = []
    for match in found:
        if match.recording.id in copies:
            matches.append(replace(match, kind=Kind.RECORDING, confidence=DUPLICATE))
        elif match.confidence >= threshold:
            matches.append(match)
    return in_order(matches, store.catalog)


def duplicates(store: Store, recording_id: int) -> list[int]:
    """The ids of the duplicates of a recording: the same audio or a part of it, also in another encoding.

    As of the last `refresh`. Uses the embeddings of recordings alone, so it works without the kind "cover".
    """
    level = store.identity
    query = level.embeddings_of([recording_id]).get(recording_id)
    if query is None:
        return []
    rows = np.flatnonzero(query.has_content)
    if len(rows):
        rows = rows[np.unique(np.linspace(0, len(rows) - 1, PARAMETERS.probes).round().astype(int))]
    ids, scores = level.index.search(query.vectors[rows], PARAMETERS.neighbours)
    found = {int(each) for each in split_ids(ids[(scores >= SAME) & (ids != NOTHING)])[0]} - {recording_id}
    return sorted(other for other, made in level.embeddings_of(found).items() if same_recording(query, made))
