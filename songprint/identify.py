"""A clip -> a Report: encode, search, vote, verify, judge."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from songprint import align, confidence
from songprint.align import Line
from songprint.confidence import Calibration
from songprint.config import Settings
from songprint.index import NOTHING, split_ids
from songprint.store import Store
from songprint.types import Alignment, Embeddings, Interval, Kind, Match, Recording, Report

NEIGHBOURS = 50             # nearest vectors looked at for each segment of the clip
MANY = 400                  # looked at when some recordings are to be left out of them
VERIFIED = 30               # candidates whose line is fitted
REFINED = 6                 # of these, recordings that are looked at closely
LONGEST_WINDOW = 15.0       # seconds searched as one; longer ones in windows of about WINDOW
WINDOW = 10.0
FEWEST_SEGMENTS = 2         # one segment alone is no evidence
SHORTEST_STRETCH = 2.5      # seconds that a line must hold, or
SHARE = 0.6                 # of a clip that is shorter than that needs


@dataclass(frozen=True)
class Hypothesis:
    """A line in one window of the clip, and what speaks for it. The laboratory calibrates on these."""

    line: Line
    times: np.ndarray           # (m,) seconds in the clip of the segments that the line was fitted to
    features: dict[str, float]


def identify(blocks: Iterable[np.ndarray], store: Store, *, top: int = 0, source: str = "",
             settings: Settings | None = None) -> Report:
    """Name what a clip is, given as blocks of float32 mono samples at the rate of the store's encoder.

    Memory does not grow with the blocks, but for the embeddings: a film may be asked for as a whole.
    Matches below the threshold are left out; `top` of them are listed as candidates.
    """
    began = time.perf_counter()
    settings = settings or store.settings
    store.refresh()
    calibration = Calibration.from_spec(store.encoder.spec.calibration)
    threshold = calibration.threshold if settings.threshold is None else settings.threshold
    query, duration = store.encoder.encode_stream(blocks, hop=store.encoder.spec.query_hop)
    judged = _judge(query, duration, store, calibration)
    matches = [match for match in judged if match.confidence >= threshold]
    return Report(
        matches=matches, candidates=[match for match in judged if match.confidence < threshold][:top],
        duration=duration, threshold=threshold, searched=store.searched,
        elapsed=time.perf_counter() - began, source=source,
        reason="" if matches else _reason(query, duration, store),
    )


def hypotheses(query: Embeddings, store: Store, window: np.ndarray, leave_out: Collection[int] = ()
               ) -> list[Hypothesis]:
    """The lines that segments `window (m,)` of the query suggest, one per recording, best first.

    `leave_out` pretends that the library lacks some recordings.
    """
    spec = store.encoder.spec
    times, vectors = window * query.hop, query.vectors[window]
    ids, cosines = store.index.search(vectors, MANY if leave_out else NEIGHBOURS)
    if leave_out:
        ids, cosines = _without(leave_out, ids, cosines)
    candidates = align.vote(ids, cosines, times, spec.hop, most=VERIFIED)
    references = store.catalog.embeddings_of({candidate.recording_id for candidate in candidates})
    lines: dict[int, Line] = {}
    for candidate in candidates:
        if candidate.recording_id not in references:        # removed since the search
            continue
        line = align.verify(vectors, times, references[candidate.recording_id], candidate, spec.window)
        known = lines.get(candidate.recording_id)
        if line and (known is None or line.cosines.sum() > known.cosines.sum()):
            lines[candidate.recording_id] = line
    fewest = max(FEWEST_SEGMENTS, min(SHORTEST_STRETCH / query.hop, SHARE * len(window)))
    # a recording that the search did not bring up is no more like a segment than the last one it did
    others = np.where(ids[:, -1] == NOTHING, 0, cosines[:, -1]).clip(0)
    ranked = sorted(lines.values(), key=lambda line: -line.cosines.sum())[:REFINED]
    ranked = [align.refine(line, vectors, times, references[line.recording_id], spec.window) for line in ranked]
    return [Hypothesis(line, times, _weigh(line, ranked, others, references, ids, vectors, times, store))
            for line in ranked if line.last - line.first >= fewest]


def _without(recording_ids: Collection[int], ids: np.ndarray, cosines: np.ndarray
             ) -> tuple[np.ndarray, np.ndarray]:
    """What the search would have brought up without some recordings: NEIGHBOURS of (m, MANY) found."""
    gone = np.isin(split_ids(ids)[0], list(recording_ids))
    order = np.argsort(gone, axis=1, kind="stable")[:, :NEIGHBOURS]         # those that stay, best first
    rows = np.arange(len(ids))[:, None]
    return np.where(gone, NOTHING, ids)[rows, order], np.where(gone, -1, cosines)[rows, order]


def _weigh(line: Line, lines: list[Line], others: np.ndarray, references: dict[int, Embeddings], ids: np.ndarray,
           vectors: np.ndarray, times: np.ndarray, store: Store) -> dict[str, float]:
    """What speaks for a line. One that is the same sound, twice in the library, is no rival."""
    spec, rows = store.encoder.spec, references[line.recording_id].vectors
    rivals = [other.cosines for other in lines if other.recording_id != line.recording_id
              and not align.same_sound(line, other, rows, references[other.recording_id].vectors)]
    hits = align.hits(line, ids, times, spec.hop)
    rivals = rivals or [others]
    return confidence.features(line, rivals, vectors, hits, spec.query_hop, len(store.index))


def windows_of(query: Embeddings) -> Iterator[np.ndarray]:
    """Row numbers of the heard segments, in windows: one for a clip, several for something long."""
    heard = np.flatnonzero(query.heard)
    duration = len(query) * query.hop
    count = 1 if duration <= LONGEST_WINDOW else max(2, round(duration / WINDOW))
    edges = np.linspace(0, len(query), count + 1).round().astype(int)
    for start, end in pairwise(edges):
        window = heard[(heard >= start) & (heard < end)]
        if len(window) >= FEWEST_SEGMENTS:
            yield window


def _judge(query: Embeddings, duration: float, store: Store, calibration: Calibration) -> list[Match]:
    """Every line of every window, lines that continue each other joined, most probable first."""
    windows = list(windows_of(query))
    found = [(hypothesis, calibration.logit(hypothesis.features))
             for window in windows for hypothesis in hypotheses(query, store, window)]
    found.sort(key=lambda pair: -pair[1])
    groups: list[list[tuple[Hypothesis, float]]] = []
    for hypothesis, logit in found:
        home = next((group for group in groups if _continues(group[0][0], hypothesis)), None)
        if home is None:
            groups.append([(hypothesis, logit)])
        else:
            home.append((hypothesis, logit))
    recordings = store.catalog.recordings_with({group[0][0].line.recording_id for group in groups})
    matches = [_match(group, recordings[group[0][0].line.recording_id], duration, len(windows), store)
               for group in groups if group[0][0].line.recording_id in recordings]
    matches.sort(key=lambda match: -match.confidence)
    return matches


def _continues(one: Hypothesis, other: Hypothesis) -> bool:
    """Whether two lines, in different windows, are one: the same recording, going on where it should."""
    if one.line.recording_id != other.line.recording_id:
        return False
    middle = (one.times.mean() + other.times.mean()) / 2
    ends = [line.speed * middle + line.offset for line in (one.line, other.line)]
    return abs(ends[0] - ends[1]) < 1.0 + 0.02 * abs(one.times.mean() - other.times.mean())


def _match(group: list[tuple[Hypothesis, float]], recording: Recording, duration: float, windows: int,
           store: Store) -> Match:
    """One recording's lines, best first, as one match. Lines that spoke against it do not widen it."""
    window = store.encoder.spec.window
    best = group[0][0]
    spans = [align.intervals(hypothesis.line, hypothesis.times, window, duration, recording.duration)
             for hypothesis, logit in group if logit > 0 or hypothesis is best]
    start, end = min(query.start for query, _ in spans), max(query.end for query, _ in spans)
    logit = confidence.combine([logit for _, logit in group], windows)
    alignment = Alignment(
        recording_id=recording.id,
        query=Interval(start, end),
        reference=Interval(min(part.start for _, part in spans), max(part.end for _, part in spans)),
        speed=best.line.speed, score=best.line.score,
        agreeing=sum(hypothesis.line.last - hypothesis.line.first for hypothesis, _ in group),
        features=best.features,
    )
    return Match(recording, Kind.RECORDING, confidence.to_confidence(logit), alignment)


def _reason(query: Embeddings, duration: float, store: Store) -> str:
    """Why there is no match, for a person."""
    if len(query) < FEWEST_SEGMENTS:
        return f"the clip is too short: {duration:.1f} s, and at least {2 * store.encoder.spec.window:.0f} s are needed"
    if query.heard.sum() < FEWEST_SEGMENTS:
        return "there is nothing to recognise in the clip: it is silent, or one steady sound"
    if not len(store.index):
        return "the library is empty"
    return "nothing in the library is like it with enough certainty"
