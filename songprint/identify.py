"""A clip -> a Report: every level of the library is asked in turn."""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from songprint.config import Settings
from songprint.level import Level
from songprint.matching import covers, recordings, speeds
from songprint.matching.duplicates import same_recording
from songprint.matching.query import Query
from songprint.store import Store
from songprint.threads import one_thread
from songprint.types import Embeddings, Kind, Match, Report, songs_of
from songprint.works import originals


@one_thread()
def identify(blocks: Iterable[np.ndarray], store: Store, *, top: int = 0, source: str = "",
             settings: Settings | None = None) -> Report:
    """Name what a clip is, given as blocks of float32 mono samples at the store's sample rate.

    The very same recordings come first, then the covers. A film may be asked for as a whole: what is kept of an
    hour takes 60 MB. Matches below the threshold are left out; `top` of them are listed as candidates.
    """
    began = time.perf_counter()
    settings = settings or store.settings
    store.refresh()
    exact = store.levels[Kind.RECORDING]
    query = Query.listen(blocks, exact.encoder)
    thresholds = {kind: threshold_of(level, settings) for kind, level in store.levels.items()}
    if recordings.looks_everywhere(query, exact):
        thresholds[Kind.RECORDING] = threshold_of(exact, settings, everywhere=True)
    with ThreadPoolExecutor(1) as aside:
        tonal = aside.submit(tonal_embeddings, query, store)        # takes about as long as the search for recordings
        judged = speeds.judge(query, exact)
        matches = [match for match in judged if match.confidence >= thresholds[Kind.RECORDING]]
        candidates = [match for match in judged if match.confidence < thresholds[Kind.RECORDING]]
        embeddings = tonal.result()
    if embeddings:
        named = {match.recording.id for match in matches}
        judged = covers_of(embeddings, store, named)
        if not covers.at_any_tempo(embeddings, named):
            thresholds[Kind.COVER] = threshold_of(store.levels[Kind.COVER], settings, own_tempo=True)
        matches += [match for match in judged if match.confidence >= thresholds[Kind.COVER]]
        candidates += [match for match in judged if match.confidence < thresholds[Kind.COVER]]
    matches = in_order(matches, store)
    named = {match.recording.id for match in matches}
    candidates = sorted((match for match in candidates if match.recording.id not in named),
                        key=lambda match: -match.confidence)
    return Report(
        matches=matches, candidates=candidates[:top], duration=query.duration, thresholds=thresholds,
        searched=exact.searched, elapsed=time.perf_counter() - began, source=source,
        reason="" if matches else recordings.reason(query, exact), warnings=tuple(incomplete(store)),
    )


def in_order(matches: list[Match], store: Store) -> list[Match]:
    """Recordings first, then covers, best first, those of one song together; each with the original of its work."""
    of_work = originals(store.catalog, {match.work for match in matches})
    matches = [replace(match, original=of_work.get(match.work)) for match in matches]
    return [match for kind in Kind for song in songs_of(match for match in matches if match.kind is kind)
            for match in song.matches]


def tonal_embeddings(query: Query, store: Store) -> Embeddings | None:
    """The clip as covers are found by; None where they are not looked for, or too little is heard."""
    if Kind.COVER not in store.levels or query.duration < covers.SHORTEST:
        return None
    return store.levels[Kind.COVER].encoder.encode_stream(query.blocks(store.sample_rate))[0]


def covers_of(embeddings: Embeddings, store: Store, named: set[int]) -> list[Match]:
    """The recordings of which the clip is another rendition, but for those that were recognised in it exactly.

    What is the very same recording as one of those, twice in the library, is no cover of it either.
    """
    level, recording_level = store.levels[Kind.COVER], store.levels[Kind.RECORDING]
    judged = covers.judge(embeddings, level, leave_out=named)
    stored = recording_level.embeddings_of(named | {match.recording.id for match in judged}) if named else {}
    originals = [stored[recording_id] for recording_id in named if recording_id in stored]
    return [match for match in judged if match.recording.id not in stored or not any(
        same_recording(original, stored[match.recording.id]) for original in originals)]


def threshold_of(level: Level, settings: Settings, *, everywhere: bool = False, own_tempo: bool = False) -> float:
    """The confidence from which a match of this kind is an answer, of a clip that may be laid `everywhere` or not, and
    that is looked for at its `own_tempo` alone or at others too."""
    if settings.threshold is not None:
        return settings.threshold
    calibration = level.calibration
    if everywhere:
        calibration = calibration.everywhere
    elif own_tempo:
        calibration = calibration.own_tempo or calibration
    return calibration.threshold(settings.false_accepts)


def incomplete(store: Store) -> Iterable[str]:
    """What of the library cannot be found, in words, as of the last `refresh`."""
    for kind in store.levels:
        if lacking := store.lacking(kind):
            yield (f"{lacking:,} recordings of the library cannot be found as {kind}s: they were added without."
                   " `songprint rebuild --reencode` reads their files again")
