"""A clip -> a Report: every level of the library is asked in turn."""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from songprint.config import Settings
from songprint.covers import identify as covers
from songprint.covers.identify import covers_of, tonal_embeddings
from songprint.fingerprint import identify as recordings
from songprint.fingerprint import speed_search
from songprint.fingerprint.query import Query
from songprint.processes.threads import one_thread
from songprint.store.level import threshold_of
from songprint.store.store import Store, incomplete
from songprint.store.works import in_order
from songprint.types import Kind, Report


@one_thread()
def identify(
    blocks: Iterable[np.ndarray], store: Store, *, top: int = 0, source: str = "", settings: Settings | None = None
) -> Report:
    """Name what a clip is, given as blocks of float32 mono samples at the store's sample rate.

    The very same recordings come first, then the covers. A film may be asked for as a whole: what is kept of an
    hour takes 60 MB. Matches below the threshold are left out; `top` of them are listed as candidates.
    """
    began = time.perf_counter()
    settings = settings or store.settings
    store.refresh()
    exact = store.levels[Kind.RECORDING]
    query = Query.from_blocks(blocks, exact.encoder)
    thresholds = {kind: threshold_of(level, settings) for kind, level in store.levels.items()}
    if recordings.uses_peak_search(query, exact):
        thresholds[Kind.RECORDING] = threshold_of(exact, settings, everywhere=True)
    with ThreadPoolExecutor(1) as aside:
        tonal = aside.submit(tonal_embeddings, query, store)  # takes about as long as the search for recordings
        judged = speed_search.judge(query, exact)
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
    matches = in_order(matches, store.catalog)
    named = {match.recording.id for match in matches}
    candidates = sorted(
        (match for match in candidates if match.recording.id not in named), key=lambda match: -match.confidence
    )
    return Report(
        matches=matches,
        candidates=candidates[:top],
        duration=query.duration,
        thresholds=thresholds,
        searched=exact.searched,
        elapsed=time.perf_counter() - began,
        source=source,
        reason="" if matches else recordings.reason(query, exact),
        warnings=tuple(incomplete(store)),
    )
