"""Speed search: a query that is not identified is searched again at other speeds and pitches.

The encoder is robust to changes of speed by a tenth and of pitch by two semitones. Larger changes come within its
reach when the query is changed back approximately. Speed and pitch are then measured, and measured again more
precisely after the query is changed back by the first result. Only the query is changed, not the library.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from songprint.audio.samples import stretch
from songprint.confidence import EVEN_ODDS
from songprint.fingerprint import identify
from songprint.fingerprint.encoder import encoder_of
from songprint.fingerprint.parameters import DEFAULT
from songprint.fingerprint.query import Query
from songprint.types import Interval, Match

if TYPE_CHECKING:
    from songprint.store.level import Level

PARAMETERS = DEFAULT.speed_search


def find_matches(query: Query, level: Level) -> list[Match]:
    """Like `identify.find_matches`, with the speed search for queries that are not identified."""
    matches = identify.find_matches(query, level)
    if not PARAMETERS.min_duration <= query.duration <= PARAMETERS.max_duration:
        return matches
    if not _identified(matches):
        matches = _best_of_each([*matches, *_at_other_speeds(query, level)])
    return _with_precise_speed(matches, query, level) if _identified(matches) else matches


def _identified(matches: list[Match]) -> bool:
    return bool(matches) and matches[0].confidence >= EVEN_ODDS


def _at_other_speeds(query: Query, level: Level) -> list[Match]:
    """The probable matches of the query at each of the changes, until one is certain."""
    found: list[Match] = []
    for tempo, pitch in PARAMETERS.changes:
        matches = _at(tempo, pitch, query, level, min_likeness=PARAMETERS.min_likeness, penalty=PARAMETERS.penalty)
        found += [match for match in matches if match.confidence >= EVEN_ODDS]
        if any(match.confidence >= PARAMETERS.certain for match in found):
            break
    return found


def _with_precise_speed(matches: list[Match], query: Query, level: Level) -> list[Match]:
    """Measure position, speed and key of the best match again after a large change is undone.

    The pitch of a large change is uncertain: it may also be unchanged, or change with the speed. All three are tried.
    The result with the highest prominence of its landmarks is taken. A wrong pitch can have a slightly higher
    prominence, but its embeddings do not agree: results that are more probably wrong than correct are ignored.
    """
    best = matches[0]
    is_large = abs(best.speed - 1) >= PARAMETERS.large_speed or abs(best.alignment.key_shift) >= PARAMETERS.large_key
    if not is_large:
        return matches
    measured = 2 ** (-best.alignment.key_shift / 12)
    again = [
        match
        for pitch in dict.fromkeys((measured, 1.0, 1 / best.speed))
        for match in _at(1 / best.speed, pitch, query, level)
        if match.recording.id == best.recording.id and match.confidence >= EVEN_ODDS
    ]
    closest = max([best, *again], key=lambda match: match.alignment.features["prominence"])
    return [replace(best, alignment=closest.alignment), *matches[1:]]


def _at(
    tempo: float, pitch: float, query: Query, level: Level, *, min_likeness: float = 0.0, penalty: float = 0.0
) -> list[Match]:
    """The matches of the query changed by these ratios, with times, speed and key of the query as it is.

    None if the likeness of a quick first pass is below `min_likeness`. For `penalty` see `identify.find_matches`.
    """
    rate, encoder = level.spec.sample_rate, encoder_of(level)
    samples = stretch(query.between(0, query.duration, rate), rate, tempo, pitch)
    if min_likeness:
        quick = Query.from_blocks([samples], encoder, PARAMETERS.quick_hop)
        if identify.likeness(quick, level) < min_likeness:
            return []
    found = []
    for match in identify.find_matches(Query.from_blocks([samples], encoder), level, use_peaks=False, penalty=penalty):
        changed = match.alignment
        alignment = replace(
            changed,
            query=Interval(changed.query.start * tempo, min(changed.query.end * tempo, query.duration)),
            speed=changed.speed / tempo,
            key_shift=changed.key_shift - 12 * float(np.log2(pitch)),
        )
        found.append(replace(match, alignment=alignment))
    return found


def _best_of_each(matches: list[Match]) -> list[Match]:
    """The most probable match of each recording, most probable first."""
    found: dict[int, Match] = {}
    for match in sorted(matches, key=lambda match: -match.confidence):
        found.setdefault(match.recording.id, match)
    return list(found.values())
