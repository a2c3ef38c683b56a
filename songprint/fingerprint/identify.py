"""The very same recording: encode, search, vote, verify, hear the second witness, judge; where that is not sure,
look everywhere."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np

from songprint import confidence
from songprint.fingerprint import align
from songprint.fingerprint.candidates import (
    FEWEST_SEGMENTS,
    Neighbours,
    VerifiedAlignment,
    WindowAlignments,
    continuation,
)
from songprint.fingerprint.peak_search import LibraryPeaks
from songprint.fingerprint.query import Query
from songprint.store.index import NOTHING, split_ids
from songprint.store.level import Level
from songprint.types import Alignment, Interval, Kind, Match, Recording

NEIGHBOURS = 50  # nearest vectors looked at for each segment of the clip
MANY = 400  # looked at when some recordings are to be left out of them
LONGEST_WINDOW = 15.0  # seconds searched as one; longer ones in windows of about WINDOW
WINDOW = 10.0
SURE = 4.0  # log-odds, which not one unknown clip in 10,000 has: such a clip is not laid everywhere,
SEARCHED_EVERY = 3  # and where it simply goes on, so many windows at most are not searched
FEW = 10  # candidates of a first look


def judge(query: Query, level: Level, *, quickly: bool = False, cost: float = 0.0) -> list[Match]:
    """Every line of every window, lines that continue each other joined, most probable first.

    The clip is laid everywhere in the library where that may help (`uses_peak_search`), unless it is to be done
    `quickly`. `cost` is taken from the log-odds of each name.
    """
    calibration = level.calibration
    windows = list(windows_of(query))
    lines: WindowAlignments | None = None
    found: list[tuple[VerifiedAlignment, float]] = []
    last: list[tuple[VerifiedAlignment, float]] = []  # of the window before
    unsearched = 0
    for window in windows:
        known = _continuation(last, query, level, window) if unsearched < SEARCHED_EVERY else None
        if known:
            last, unsearched = known, unsearched + 1
        else:
            lines = WindowAlignments(query, level, window, neighbours(query, level, window), level.embeddings_of)
            last, unsearched = (
                [(verified, calibration.logit(verified.features)) for verified in lines.verified()],
                0,
            )
        found += last
    sure = max((logit for _, logit in found), default=-SURE) >= SURE
    if lines and not sure and not quickly and uses_peak_search(query, level):
        calibration = calibration.peak_search
        found = [
            (verified, calibration.logit(verified.features))
            for verified in lines.with_peak_search([verified for verified, _ in found])
        ]
    found.sort(key=lambda pair: -pair[1])
    groups: list[list[tuple[VerifiedAlignment, float]]] = []
    for verified, logit in found:
        home = next((group for group in groups if _continues(group[0][0], verified)), None)
        if home is None:
            groups.append([(verified, logit)])
        else:
            home.append((verified, logit))
    recordings = level.catalog.recordings_with({group[0][0].line.recording_id for group in groups})
    matches = [
        _match(group, recordings[group[0][0].line.recording_id], query.duration, len(windows), level, cost)
        for group in groups
        if group[0][0].line.recording_id in recordings
    ]
    matches.sort(key=lambda match: -match.confidence)
    return matches


def _continuation(
    last: list[tuple[VerifiedAlignment, float]], query: Query, level: Level, window: np.ndarray
) -> list[tuple[VerifiedAlignment, float]] | None:
    """What the window before surely held, if all of it simply goes on in this one: nothing else need be looked for."""
    likely = [pair for pair in last if pair[1] > 0]
    if max((logit for _, logit in likely), default=-SURE) < SURE:
        return None
    layout = align.Layout(query.times(window), level.spec.hop, level.spec.window)
    vectors = query.embeddings.vectors[window]
    references = level.embeddings_of({verified.line.recording_id for verified, _ in likely})
    found = []
    for verified, logit in likely:
        reference, place = references.get(verified.line.recording_id), verified.line.at(layout.middle)
        line = continuation(verified.line.recording_id, place, vectors, layout, reference) if reference else None
        if line is None:
            return None
        found.append((replace(verified, line=line, times=layout.times), logit))
    return found


def likeness(query: Query, level: Level) -> float:
    """The highest mean cosine of a line in any window: a first look, an eighth of the time of `judge`."""
    return max(
        (
            float(line.cosines.mean())
            for window in windows_of(query)
            for line in WindowAlignments(
                query,
                level,
                window,
                neighbours(query, level, window),
                level.embeddings_of,
                max_candidates=FEW,
                max_refined=1,
            ).lines
        ),
        default=0.0,
    )


def uses_peak_search(query: Query, level: Level) -> bool:
    """Whether the clip is laid everywhere in the library when it is not surely recognised otherwise: one that is not
    long, and so one window, and a library that is not too large for it."""
    return (
        query.duration <= LONGEST_WINDOW
        and level.companion(LibraryPeaks).usable
        and level.calibration.peak_search is not None
    )


def windows_of(query: Query) -> Iterator[np.ndarray]:
    """Row numbers of the heard segments, in windows: one for a clip, several for something long."""
    heard = np.flatnonzero(query.embeddings.has_content)
    count = 1 if query.duration <= LONGEST_WINDOW else max(2, round(query.duration / WINDOW))
    edges = np.linspace(0, len(query.embeddings), count + 1).round().astype(int)
    for start, end in pairwise(edges):
        window = heard[(heard >= start) & (heard < end)]
        if len(window) >= FEWEST_SEGMENTS:
            yield window


def neighbours(query: Query, level: Level, window: np.ndarray, leave_out: Collection[int] = ()) -> Neighbours:
    """Ids and cosines (m, k) of the nearest segments of each segment of the window.

    `leave_out` pretends that the library lacks some recordings.
    """
    ids, cosines = level.index.search(query.embeddings.vectors[window], MANY if leave_out else NEIGHBOURS)
    return _without(leave_out, ids, cosines) if leave_out else (ids, cosines)


def _without(recording_ids: Collection[int], ids: np.ndarray, cosines: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the search would have brought up without some recordings: NEIGHBOURS of (m, MANY) found."""
    gone = np.isin(split_ids(ids)[0], list(recording_ids))
    order = np.argsort(gone, axis=1, kind="stable")[:, :NEIGHBOURS]  # those that stay, best first
    rows = np.arange(len(ids))[:, None]
    return np.where(gone, NOTHING, ids)[rows, order], np.where(gone, -1, cosines)[rows, order]


def _continues(one: VerifiedAlignment, other: VerifiedAlignment) -> bool:
    """Whether two lines, in different windows, are one: the same recording, going on where it should."""
    if one.line.recording_id != other.line.recording_id:
        return False
    middle = (one.times.mean() + other.times.mean()) / 2
    ends = [line.at(middle) for line in (one.line, other.line)]
    return abs(ends[0] - ends[1]) < 1.0 + 0.02 * abs(one.times.mean() - other.times.mean())


def _match(
    group: list[tuple[VerifiedAlignment, float]],
    recording: Recording,
    duration: float,
    windows: int,
    level: Level,
    cost: float,
) -> Match:
    """One recording's lines, best first, as one match. Lines that spoke against it do not widen it."""
    window = level.spec.window
    best = group[0][0]
    spans = [
        align.intervals(verified.line, verified.times, window, duration, recording.duration)
        for verified, logit in group
        if logit > 0 or verified is best
    ]
    start, end = min(query.start for query, _ in spans), max(query.end for query, _ in spans)
    logit = confidence.combine([logit for _, logit in group], windows) - cost
    verification = best.verification
    alignment = Alignment(
        recording_id=recording.id,
        query=Interval(start, end),
        reference=Interval(min(part.start for _, part in spans), max(part.end for _, part in spans)),
        speed=best.line.speed,
        score=best.line.score,
        # what is not known is taken for a change of speed, the commonest
        key_shift=12 * float(np.log2(verification.pitch if verification.reliable else best.line.speed)),
        agreeing=sum(verified.line.last - verified.line.first for verified, _ in group),
        features=best.features,
    )
    return Match(recording, Kind.RECORDING, confidence.to_confidence(logit), alignment)


def reason(query: Query, level: Level) -> str:
    """Why there is no match, for a person."""
    if len(query.embeddings) < FEWEST_SEGMENTS:
        return f"the clip is too short: {query.duration:.1f} s, and at least {level.spec.window / 2:.1f} s are needed"
    if query.embeddings.has_content.sum() < FEWEST_SEGMENTS:
        return "there is nothing to recognise in the clip: it is silent, or one steady sound"
    if not len(level.index):
        return "the library is empty"
    return "nothing in the library is like it with enough certainty"
