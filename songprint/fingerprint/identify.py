"""Identification of recordings: search the index, vote, align, verify and classify; search peaks if uncertain."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from songprint import confidence
from songprint.fingerprint import align, extents
from songprint.fingerprint.candidates import Neighbours, VerifiedAlignment, WindowAlignments, continuation
from songprint.fingerprint.parameters import DEFAULT
from songprint.fingerprint.peak_search import LibraryPeaks
from songprint.fingerprint.tracks import Hit, Track
from songprint.intervals import share
from songprint.store.index import NOTHING, split_ids
from songprint.types import Alignment, Interval, Kind, Match

if TYPE_CHECKING:
    from songprint.fingerprint.query import Query
    from songprint.store.level import Level
    from songprint.types import Embeddings, Recording

PARAMETERS = DEFAULT.search


@dataclass(frozen=True)
class _Scored:
    """An alignment, and the log-odds that its name is correct."""

    alignment: VerifiedAlignment
    logit: float

    @property
    def recording_id(self) -> int:
        return self.alignment.line.recording_id


def find_matches(query: Query, level: Level, *, use_peaks: bool = True, penalty: float = 0.0) -> list[Match]:
    """Match the query with the library, window by window; alignments that continue each other become one match.

    Returns all matches, also improbable ones, most confident first. Uncertain queries are compared with all landmarks
    of the library if that is possible (`uses_peak_search`) and `use_peaks` is set. `penalty` is subtracted from the
    log-odds of each match.
    """
    calibration = level.calibration
    windows = list(windows_of(query))
    alignments: WindowAlignments | None = None
    found: list[_Scored] = []
    previous: list[_Scored] = []  # of the window before
    unsearched = 0
    for window in windows:
        continued = _continuation(previous, query, level, window) if unsearched < PARAMETERS.max_unsearched else None
        if continued:
            previous, unsearched = continued, unsearched + 1
        else:
            near = neighbours(query, level, window)
            alignments = WindowAlignments(query, level, window, near, level.references)
            previous = [_Scored(each, calibration.logit(each.features)) for each in alignments.verified()]
            unsearched = 0
        found += previous
    certain = _highest(found) >= PARAMETERS.certain
    with_peaks = calibration.peak_search
    if alignments and with_peaks and use_peaks and not certain and uses_peak_search(query, level):
        found = [
            _Scored(each, with_peaks.logit(each.features))
            for each in alignments.with_peak_search([scored.alignment for scored in found])
        ]
    groups = confidence.group_windows(
        sorted(found, key=lambda scored: -scored.logit),
        lambda group, scored: _continues(group[0].alignment, scored.alignment),
    )
    recordings = level.catalog.recordings_with({group[0].recording_id for group in groups})
    references = level.references({group[0].recording_id for group in groups if group[0].logit > 0})
    matches = [
        _match(group, recordings[group[0].recording_id], query, len(windows), level, penalty, references)
        for group in groups
        if group[0].recording_id in recordings
    ]
    return _one_at_a_time(sorted(matches, key=lambda match: -match.confidence))


def _highest(found: list[_Scored]) -> float:
    return max((scored.logit for scored in found), default=-PARAMETERS.certain)


def _continuation(previous: list[_Scored], query: Query, level: Level, window: np.ndarray) -> list[_Scored] | None:
    """The recordings of the previous window, if all of them continue in this one and one is certain; else None."""
    likely = [scored for scored in previous if scored.logit > 0]
    if _highest(likely) < PARAMETERS.certain:
        return None
    layout = align.Layout(query.times(window), level.spec.hop, level.spec.window)
    vectors = query.embeddings.vectors[window]
    references = level.references({scored.recording_id for scored in likely})
    found = []
    for scored in likely:
        reference, place = references.get(scored.recording_id), scored.alignment.line.at(layout.middle)
        line = continuation(scored.recording_id, place, vectors, layout, reference) if reference else None
        if line is None:
            return None
        found.append(_Scored(replace(scored.alignment, line=line, times=layout.times), scored.logit))
    return found


def likeness(query: Query, level: Level) -> float:
    """The highest mean cosine of an alignment in any window. Takes an eighth of the time of `find_matches`."""
    return max(
        (
            float(line.cosines.mean())
            for window in windows_of(query)
            for line in WindowAlignments(
                query,
                level,
                window,
                neighbours(query, level, window),
                level.references,
                max_candidates=PARAMETERS.quick_candidates,
                max_refined=1,
            ).lines
        ),
        default=0.0,
    )


def uses_peak_search(query: Query, level: Level) -> bool:
    """Whether the query is compared with all landmarks of the library if it is uncertain.

    Only queries of one window are, in libraries whose peaks fit into memory.
    """
    return (
        query.duration <= PARAMETERS.max_window
        and level.companion(LibraryPeaks).usable
        and level.calibration.peak_search is not None
    )


def windows_of(query: Query) -> Iterator[np.ndarray]:
    """For each window, (m,) row numbers of the segments with content: one window unless the query is long."""
    rows = np.flatnonzero(query.embeddings.has_content)
    is_short = query.duration <= PARAMETERS.max_window
    count = 1 if is_short else max(2, round(query.duration / PARAMETERS.window))
    edges = np.linspace(0, len(query.embeddings), count + 1).round().astype(int)
    for start, end in pairwise(edges):
        window = rows[(rows >= start) & (rows < end)]
        if len(window) >= PARAMETERS.min_segments:
            yield window


def neighbours(query: Query, level: Level, window: np.ndarray, leave_out: Collection[int] = ()) -> Neighbours:
    """Ids and cosines (m, k) of the vectors nearest to each segment of the window.

    Recordings in `leave_out` are ignored.
    """
    count = PARAMETERS.neighbours_with_exclusions if leave_out else PARAMETERS.neighbours
    ids, cosines = level.index.search(query.embeddings.vectors[window], count)
    return _without(leave_out, ids, cosines) if leave_out else (ids, cosines)


def _without(recording_ids: Collection[int], ids: np.ndarray, cosines: np.ndarray) -> Neighbours:
    """The nearest vectors that do not belong to some recordings: `neighbours` of those found (m, k)."""
    excluded = np.isin(split_ids(ids)[0], list(recording_ids))
    order = np.argsort(excluded, axis=1, kind="stable")[:, : PARAMETERS.neighbours]  # those that remain, best first
    rows = np.arange(len(ids))[:, None]
    return np.where(excluded, NOTHING, ids)[rows, order], np.where(excluded, -1, cosines)[rows, order]


def _continues(one: VerifiedAlignment, other: VerifiedAlignment) -> bool:
    """Whether two alignments in different windows belong to one: the same recording at the expected position."""
    if one.line.recording_id != other.line.recording_id:
        return False
    apart = abs(float(one.times.mean() - other.times.mean()))
    middle = float(one.times.mean() + other.times.mean()) / 2
    return abs(one.line.at(middle) - other.line.at(middle)) < 1.0 + 0.02 * apart


def _one_at_a_time(matches: list[Match]) -> list[Match]:
    """Leave out matches, most confident first, that lie within a better one of the same recording.

    A chorus that occurs twice in a recording matches at both places.
    """
    found: list[Match] = []
    for match in matches:
        better = [other.query for other in found if other.recording.id == match.recording.id]
        if share(match.query, better) < PARAMETERS.max_overlap:
            found.append(match)
    return found


def _match(
    group: list[_Scored],
    recording: Recording,
    query: Query,
    windows: int,
    level: Level,
    penalty: float,
    references: Mapping[int, Embeddings],
) -> Match:
    """The alignments of one recording, best first, as one match. Improbable ones do not extend its interval.

    The interval is refined if the recording is among the `references`.
    """
    best = group[0].alignment
    probable = [scored for scored in group if scored.logit > 0 or scored is group[0]]
    spans = [
        align.intervals(
            each.alignment.line, each.alignment.times, level.spec.window, query.duration, recording.duration
        )
        for each in probable
    ]
    heard = Interval(min(part.start for part, _ in spans), max(part.end for part, _ in spans))
    played = Interval(min(part.start for _, part in spans), max(part.end for _, part in spans))
    reference = references.get(recording.id)
    steady, speed = best, best.line.speed
    if reference is not None and group[0].logit > 0:
        hits = [_hit(each, part) for each, (part, _) in zip(probable, spans, strict=True)]
        track = Track(tuple(sorted(hits, key=lambda hit: hit.middle)))
        steady, speed = _steady(probable, track)
        refined = extents.audible(track, query, reference, level.spec.window, recording.duration)
        if refined != heard:
            first, last = track.places(np.array([refined.start, refined.end])).clip(0, recording.duration)
            heard, played = refined, Interval(float(first), float(last))
    logit = confidence.combine([scored.logit for scored in group], windows) - penalty
    verification = steady.verification
    alignment = Alignment(
        recording_id=recording.id,
        query=heard,
        reference=played,
        speed=speed,
        score=best.line.score,
        # Without reliable landmarks, assume that the pitch changes with the speed, the most frequent case.
        key_shift=12 * float(np.log2(verification.pitch if verification.reliable else speed)),
        agreeing=sum(scored.alignment.line.last - scored.alignment.line.first for scored in group),
        features=best.features,
    )
    return Match(recording, Kind.RECORDING, confidence.to_confidence(logit), alignment)


def _steady(probable: list[_Scored], track: Track) -> tuple[VerifiedAlignment, float]:
    """The most probable alignment whose speed fits the positions of all windows, and the speed of the match.

    Repetitive music may fit better a beat later at another speed. Where no alignment fits, the speed is that of the
    line through all positions.
    """
    seconds = track.hits[-1].middle - track.hits[0].middle
    for scored in probable:
        if abs(scored.alignment.line.speed - track.speed) * seconds <= PARAMETERS.max_drift:
            return scored.alignment, scored.alignment.line.speed
    return probable[0].alignment, track.speed


def _hit(scored: _Scored, heard: Interval) -> Hit:
    """An alignment as a point of a track; `heard` is the part of the query that agrees."""
    line = scored.alignment.line
    middle = (heard.start + heard.end) / 2
    return Hit(line.recording_id, heard.start, heard.end, line.at(middle), line.speed, 0.0, line.score, scored.logit)


def reason(query: Query, level: Level) -> str:
    """Why there is no match, for a person."""
    if len(query.embeddings) < PARAMETERS.min_segments:
        return f"The query is too short: {query.duration:.1f} s, and at least {level.spec.window / 2:.1f} s are needed"
    if query.embeddings.has_content.sum() < PARAMETERS.min_segments:
        return "The query contains nothing to identify: it is silent or a steady sound"
    if not len(level.index):
        return "The library is empty"
    return "No recording in the library is similar enough"
