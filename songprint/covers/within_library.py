"""Covers and duplicates within a library, found from what is stored, without the audio files."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from songprint.confidence import MAX_PROBABILITY
from songprint.covers import identify
from songprint.covers.encoder import cover_level, stored
from songprint.covers.parameters import DEFAULT
from songprint.store import merging
from songprint.store.duplicates import SAME, same_recording
from songprint.store.index import NOTHING, split_ids
from songprint.store.level import threshold_of
from songprint.store.works import in_order
from songprint.types import Kind, Match, Recording

if TYPE_CHECKING:
    from songprint.store.store import Store

OnCompared = Callable[[int, int], None]  # recordings compared, recordings in total

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


def all_duplicates(store: Store, on_progress: OnCompared | None = None) -> list[list[Recording]]:
    """The recordings of all groups of duplicates, see `duplicate_groups`."""
    store.refresh()
    total = len(store.catalog.searched(store.identity.kind))
    groups = []
    for number, (_, group) in enumerate(duplicate_groups(store), start=1):
        recordings = store.catalog.recordings_with(group) if group else {}
        if len(recordings) > 1:  # the others were not removed in the meantime
            groups.append([recordings[each] for each in group if each in recordings])
        if on_progress:
            on_progress(number, total)
    return groups


def duplicate_groups(store: Store, after: int = 0) -> Iterator[tuple[int, list[int]]]:
    """Yield each searchable recording with an id above `after`, in the order of the ids, with a group of duplicates.

    The group contains the ids of recordings that are the same one in several files, without pairs that are kept apart.
    It is empty where the recording has no duplicates or was in a group before. As of the last `refresh`.
    """
    apart = merging.apart(store.catalog)
    grouped: set[int] = set()
    for recording_id in sorted(each for each in store.catalog.searched(store.identity.kind) if each > after):
        group = [] if recording_id in grouped else _group(store, recording_id, apart)
        # A pair may be found from one of its recordings alone: the first one then did not report it.
        if group and group[0] < recording_id and recording_id in _group(store, group[0], apart):
            group = []
        grouped.update(group)
        yield recording_id, group


def _group(store: Store, recording_id: int, apart: Container[merging.Pair]) -> list[int]:
    """The recording, its duplicates, and theirs; empty if there are none."""
    group, waiting = {recording_id}, [recording_id]
    while waiting:
        one = waiting.pop()
        for other in duplicates(store, one):
            if other not in group and (min(one, other), max(one, other)) not in apart:
                group.add(other)
                waiting.append(other)
    return sorted(group) if len(group) > 1 else []
