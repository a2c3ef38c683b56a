"""A clip that nothing is found for is heard again, as it would be at another speed or pitch.

The encoder knows music that is a tenth faster or slower, or two semitones higher or lower. What is changed by more
comes within its reach when the change is undone roughly, and is told exactly when it is undone as it was told roughly.
The library needs nothing for it: only the clip is changed.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from songprint.audio.samples import stretch
from songprint.confidence import EVEN_ODDS
from songprint.fingerprint import identify
from songprint.fingerprint.query import Query
from songprint.store.level import Level
from songprint.types import Interval, Match

CHANGE = 1.16  # 16 %, or 2.6 semitones
CHANGES = ((1 / CHANGE, 1 / CHANGE), (CHANGE, CHANGE), (1.0, 1 / CHANGE), (1.0, CHANGE))
#                                 tempo and pitch that the clip is given; a change of tempo alone may be 20 %
SHORTEST, LONGEST = 3.0, 30.0  # seconds of a clip that is heard again
COST = 4.0  # log-odds: music is seldom changed that much, and these are further looks
CERTAIN = 98.0  # a confidence with which no other change need be tried
FIRST_HOP = 0.5  # seconds between vectors in the first look at a change:
ALIKE = 0.7  # mean cosine with which it is looked at closely; of what is really there 0.77 and more
FAR_SPEED, FAR_KEY = 0.1, 2.2  # changes from which they are told roughly at first; semitones


def judge(query: Query, level: Level) -> list[Match]:
    """As `recordings.judge`; and if that would name nothing, what comes up when the clip is changed."""
    matches = identify.judge(query, level)
    if not SHORTEST <= query.duration <= LONGEST:
        return matches
    if not _named(matches):
        matches = _best_of_each([*matches, *_changed(query, level)])
    return _told_exactly(matches, query, level) if _named(matches) else matches


def _named(matches: list[Match]) -> bool:
    return bool(matches) and matches[0].confidence >= EVEN_ODDS


def _changed(query: Query, level: Level) -> list[Match]:
    """What is named when the clip is changed, each way by itself."""
    found: list[Match] = []
    for tempo, pitch in CHANGES:
        found += [
            match
            for match in _heard_at(tempo, pitch, query, level, alike=ALIKE, cost=COST)
            if match.confidence >= EVEN_ODDS
        ]
        if any(match.confidence >= CERTAIN for match in found):
            break
    return found


def _told_exactly(matches: list[Match], query: Query, level: Level) -> list[Match]:
    """The same with place, speed and key of the best one as they are when its change is undone, if its peaks lie
    better then.

    Where the change is great nobody is sure of the key: it may as well be unchanged, or go with the speed.
    """
    best = matches[0]
    if abs(best.speed - 1) < FAR_SPEED and abs(best.alignment.key_shift) < FAR_KEY:
        return matches
    told = 2 ** (-best.alignment.key_shift / 12)
    again = [
        match
        for pitch in dict.fromkeys((told, 1.0, 1 / best.speed))
        for match in _heard_at(1 / best.speed, pitch, query, level)
        if match.recording.id == best.recording.id
    ]
    closest = max([best, *again], key=lambda match: match.alignment.features["prominence"])
    return [replace(best, alignment=closest.alignment), *matches[1:]]


def _heard_at(
    tempo: float, pitch: float, query: Query, level: Level, *, alike: float = 0.0, cost: float = 0.0
) -> list[Match]:
    """The matches of the clip that is given this tempo and pitch, as matches of the clip as it is.

    None if a first look finds nothing that is so much `alike`. For `cost` see `recordings.judge`.
    """
    rate = level.spec.sample_rate
    samples = stretch(query.between(0, query.duration, rate), rate, tempo, pitch)
    if alike and identify.likeness(Query.from_blocks([samples], level.encoder, FIRST_HOP), level) < alike:
        return []
    found = []
    for match in identify.judge(Query.from_blocks([samples], level.encoder), level, quickly=True, cost=cost):
        line = match.alignment
        heard = Interval(line.query.start * tempo, min(line.query.end * tempo, query.duration))
        found.append(
            replace(
                match,
                alignment=replace(
                    line, query=heard, speed=line.speed / tempo, key_shift=line.key_shift - 12 * float(np.log2(pitch))
                ),
            )
        )
    return found


def _best_of_each(matches: list[Match]) -> list[Match]:
    """The most probable match of each recording, most probable first."""
    found: dict[int, Match] = {}
    for match in sorted(matches, key=lambda match: -match.confidence):
        found.setdefault(match.recording.id, match)
    return list(found.values())
