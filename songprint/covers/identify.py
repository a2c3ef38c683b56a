"""Identification of covers: search windows, align in key and tempo, classify, join windows of one song."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from songprint import confidence
from songprint.covers import extents, search, tempo_search
from songprint.covers.encoder import encoder_of
from songprint.covers.parameters import DEFAULT
from songprint.covers.tempo_search import Embed, Find, duration_of
from songprint.covers.tonal import FRAMES_PER_SECOND
from songprint.store.level import References
from songprint.types import Alignment, Embeddings, Interval, Kind, Match, Recording, Section

if TYPE_CHECKING:
    from songprint.encoders.contract import EncoderSpec
    from songprint.store.level import Level

PARAMETERS = DEFAULT.query
SEARCH = DEFAULT.search
SHORTEST = SEARCH.min_duration


@dataclass(frozen=True)
class _Found:
    """A recording found in one window of the query."""

    recording_id: int
    sections: tuple[Section, ...]  # in seconds of the whole query
    key_shift: int
    tempo: float
    score: float
    features: dict[str, float]
    logit: float

    @property
    def interval(self) -> Interval:
        return Interval(self.sections[0].query.start, self.sections[-1].query.end)


def find_matches(query: Embeddings, level: Level, leave_out: Collection[int] = ()) -> list[Match]:
    """The recordings that are other renditions of the query, most probable first.

    Recordings in `leave_out` are known to be in the query themselves, and are no covers.
    """
    if not len(level.index) or duration_of(query) < SHORTEST:
        return []
    windows = list(windows_of(query, level.spec))
    encoder = encoder_of(level)
    embed = encoder.embed if at_any_tempo(query, leave_out) else None
    find = partial(
        search.find,
        index=level.index,
        embeddings_of=References(level, PARAMETERS.cached_references),
        cohort=encoder.cohort,
        networks=encoder.networks,
        leave_out=leave_out,
        most=SEARCH.max_compared_identified if leave_out else SEARCH.max_compared,
        surveyed=SEARCH.surveyed_per_compared_identified if leave_out else SEARCH.surveyed_per_compared,
    )
    found = [each for start, window in windows for each in _found(window, start, level, find, embed)]
    groups = confidence.group_windows(
        sorted(found, key=lambda each: -each.logit),
        lambda group, each: any(_continues(other, each) for other in group),
    )
    recordings = level.catalog.recordings_with({group[0].recording_id for group in groups})
    matches = [
        _match(group, recordings[group[0].recording_id], len(windows), level.spec)
        for group in groups
        if group[0].recording_id in recordings
    ]  # it may have been removed since the search
    return sorted(
        (match for match in matches if _music(match.sections) >= SHORTEST), key=lambda match: -match.confidence
    )


def at_any_tempo(query: Embeddings, leave_out: Collection[int]) -> bool:
    """Whether the query is searched at other tempos, given the recordings `leave_out` that were identified in it.

    Identified and long queries are not: long queries are found without, and three passes take three times as long.
    """
    return not leave_out and tempo_search.is_short_enough(query)


def windows_of(query: Embeddings, spec: EncoderSpec) -> list[tuple[float, Embeddings]]:
    """The start of each window in seconds, and its embeddings: the whole query, or windows of about equal length."""
    duration = duration_of(query)
    if duration <= PARAMETERS.max_whole:
        return [(0.0, query)]
    edges = np.linspace(0, duration / query.hop, int(np.ceil(duration / PARAMETERS.window)) + 1).astype(int)
    frames = round(query.hop * FRAMES_PER_SECOND)
    windows = []
    for first, last in pairwise(edges):
        final = last == edges[-1]
        rows = slice(
            first, None if final else last - round(spec.window / spec.hop) + 1
        )  # vectors that end within the window
        part = slice(first * frames, None if final else last * frames)
        window = replace(query, vectors=query.vectors[rows], evidence=query.evidence[part])
        windows.append((float(first * query.hop), window))
    return windows


def _found(window: Embeddings, start: float, level: Level, find: Find, embed: Embed | None) -> Iterator[_Found]:
    if not window.has_content.any():
        return
    for scored in tempo_search.scored_candidates(window, find, level.calibration, embed):
        candidate, alignment = scored.candidate, scored.candidate.alignment
        assert alignment is not None  # claimable candidates have one
        found = extents.agreeing_sections(alignment) if scored.logit > 0 else alignment.sections
        sections = tuple(
            Section(Interval(start + section.query.start, start + section.query.end), section.reference)
            for section in found
        )
        yield _Found(
            candidate.recording_id,
            sections,
            alignment.key_shift,
            alignment.tempo,
            candidate.score,
            candidate.features,
            scored.logit,
        )


def _continues(one: _Found, other: _Found) -> bool:
    """Whether two windows contain the same rendition of the same recording."""
    first, second = sorted((one.interval, other.interval), key=lambda interval: interval.start)
    return (
        one.recording_id == other.recording_id
        and one.key_shift == other.key_shift
        and second.start - first.end < PARAMETERS.max_gap
    )


def _match(group: list[_Found], recording: Recording, windows: int, spec: EncoderSpec) -> Match:
    """One recording in neighbouring windows, best first, as one match. Improbable windows do not extend it."""
    best = group[0]
    sections = tuple(
        sorted(
            (section for found in group if found.logit > 0 or found is best for section in found.sections),
            key=lambda section: section.query.start,
        )
    )
    alignment = Alignment(
        recording_id=recording.id,
        query=Interval(sections[0].query.start, max(section.query.end for section in sections)),
        reference=Interval(
            min(section.reference.start for section in sections), max(section.reference.end for section in sections)
        ),
        speed=best.tempo,
        score=best.score,
        agreeing=max(1, round(_music(sections) / spec.hop)),
        features=best.features,
        key_shift=float(best.key_shift),
        sections=sections,
    )
    logit = confidence.combine([found.logit for found in group], windows)
    return Match(recording, Kind.COVER, confidence.to_confidence(logit), alignment)


def _music(sections: Iterable[Section]) -> float:
    """Seconds of the query that are aligned."""
    return sum(section.query.duration for section in sections)
