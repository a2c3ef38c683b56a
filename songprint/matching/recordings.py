"""The very same recording: encode, search, vote, verify, hear the second witness, judge; where that is not sure,
look everywhere."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, pairwise

import numpy as np

from songprint import align, confidence
from songprint.align import Candidate, Line, Passage
from songprint.confidence import Calibration
from songprint.encoders import Encoder
from songprint.encoders.landmarks import Scene, Testimony
from songprint.index import NOTHING, split_ids
from songprint.level import Level
from songprint.matching.everywhere import HIGHEST_LEAD, Everywhere
from songprint.types import Alignment, Embeddings, Interval, Kind, Match, Recording

Features = dict[str, float]
Neighbours = tuple[np.ndarray, np.ndarray]     # ids and cosines (m, k), see `neighbours`

NEIGHBOURS = 50             # nearest vectors looked at for each segment of the clip
MANY = 400                  # looked at when some recordings are to be left out of them
VERIFIED = 30               # candidates whose line is fitted
REFINED = 8                 # of these, the lines that are looked at closely,
PLACES = 2                  # and of one recording at most so many
SHORT = 2.0                 # seconds: of a shorter clip more is taken,
SHORT_HOP = 1 / 16          # a vector every so many seconds,
SHORT_SEGMENTS = 5          # at least so many: it is laid in the middle of as much silence as they need
LONGEST_WINDOW = 15.0       # seconds searched as one; longer ones in windows of about WINDOW
WINDOW = 10.0
FEWEST_SEGMENTS = 2         # one segment alone is no evidence
SHORTEST_STRETCH = 2.5      # seconds that a line must hold, or
MUCH_WORSE = 0.85           # of the agreement of a line beyond doubt: with less another need not be looked at
SHARE = 0.6                 # of a clip that is shorter than that needs
SURE = 6.0                  # log-odds from which a clip is not laid everywhere in the library


@dataclass(frozen=True)
class Query:
    """A clip that was heard: its embeddings, and its samples for the second witness."""

    embeddings: Embeddings
    samples: np.ndarray         # (n,) int16 at the rate of the encoder
    start: float                # seconds: where the first segment begins; below 0 where silence was put before
    duration: float             # seconds

    @classmethod
    def listen(cls, blocks: Iterable[np.ndarray], encoder: Encoder) -> Query:
        """Blocks of float32 samples -> what is asked. Memory: 1 kB of vectors and 16 kB of samples a second."""
        spec, heard = encoder.spec, []

        def remembered() -> Iterator[np.ndarray]:
            for block in blocks:
                heard.append((np.clip(block, -1, 1) * 32767).astype(np.int16))
                yield block

        stream = remembered()
        first, count = [], 0
        for block in stream:
            first.append(block)
            count += len(block)
            if count >= SHORT * spec.sample_rate:
                break
        if spec.window / 2 <= count / spec.sample_rate < SHORT:
            wanted = round((spec.window + (SHORT_SEGMENTS - 1) * SHORT_HOP) * spec.sample_rate)
            before = max(0, wanted - count) // 2
            padded = np.pad(np.concatenate(first), (before, max(0, wanted - count - before)))
            embeddings, _ = encoder.encode_stream([padded], hop=SHORT_HOP)
            return cls(embeddings, np.concatenate(heard), -before / spec.sample_rate, count / spec.sample_rate)
        embeddings, duration = encoder.encode_stream(chain(first, stream), hop=spec.query_hop)
        return cls(embeddings, np.concatenate([np.zeros(0, np.int16), *heard]), 0.0, duration)

    def times(self, window: np.ndarray) -> np.ndarray:
        """(m,) seconds in the clip at which segments begin."""
        return self.start + window * self.embeddings.hop

    def blocks(self, sample_rate: int) -> Iterator[np.ndarray]:
        """The samples again, as blocks of ten seconds of float32."""
        for start in range(0, len(self.samples), 10 * sample_rate):
            yield self.samples[start:start + 10 * sample_rate].astype(np.float32) / 32767

    def between(self, first: float, last: float, sample_rate: int) -> np.ndarray:
        """The samples from `first` to `last` seconds, float32."""
        return self.samples[max(0, int(first * sample_rate)):int(last * sample_rate)].astype(np.float32) / 32767


@dataclass(frozen=True)
class Hypothesis:
    """A line in one window of the clip, and what speaks for it. The laboratory calibrates on these."""

    line: Line
    times: np.ndarray           # (m,) seconds in the clip of the segments that the line was fitted to
    testimony: Testimony
    features: Features


def judge(query: Query, level: Level) -> list[Match]:
    """Every line of every window, lines that continue each other joined, most probable first."""
    calibration = Calibration.from_spec(level.spec.calibration)
    windows = list(windows_of(query))
    near = [neighbours(query, level, window) for window in windows]
    found = [(hypothesis, calibration.logit(hypothesis.features))
             for window, those in zip(windows, near, strict=True)
             for hypothesis in hypotheses(query, level, window, those)]
    if windows and looks_everywhere(query, level) and max((logit for _, logit in found), default=-SURE) < SURE:
        calibration = calibration.everywhere
        found = [(hypothesis, calibration.logit(hypothesis.features)) for hypothesis
                 in everywhere(query, level, windows[0], near[0], [hypothesis for hypothesis, _ in found])]
    found.sort(key=lambda pair: -pair[1])
    groups: list[list[tuple[Hypothesis, float]]] = []
    for hypothesis, logit in found:
        home = next((group for group in groups if _continues(group[0][0], hypothesis)), None)
        if home is None:
            groups.append([(hypothesis, logit)])
        else:
            home.append((hypothesis, logit))
    recordings = level.catalog.recordings_with({group[0][0].line.recording_id for group in groups})
    matches = [_match(group, recordings[group[0][0].line.recording_id], query.duration, len(windows), level)
               for group in groups if group[0][0].line.recording_id in recordings]
    matches.sort(key=lambda match: -match.confidence)
    return matches


def looks_everywhere(query: Query, level: Level) -> bool:
    """Whether the clip is laid everywhere in the library when it is not surely recognised otherwise: one that is not
    long, and a library that is not too large for it."""
    return (query.duration <= LONGEST_WINDOW and level.has_peaks
            and Calibration.from_spec(level.spec.calibration).everywhere is not None)


def windows_of(query: Query) -> Iterator[np.ndarray]:
    """Row numbers of the heard segments, in windows: one for a clip, several for something long."""
    heard = np.flatnonzero(query.embeddings.heard)
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


def hypotheses(query: Query, level: Level, window: np.ndarray, near: Neighbours) -> list[Hypothesis]:
    """The lines that segments `window (m,)` of the query suggest by their neighbours, one per recording, best first."""
    return from_neighbours(query, level, window, *near, level.embeddings_of)


def everywhere(query: Query, level: Level, window: np.ndarray, near: Neighbours, found: Sequence[Hypothesis],
               leave_out: Collection[int] = ()) -> list[Hypothesis]:
    """The same hypotheses after the clip was laid everywhere in the library, and what was found by that, best first.

    Their features are those of `confidence.EVERYWHERE`.
    """
    times = query.times(window)
    begin = max(0.0, float(times[0]))
    changes = [(hypothesis.testimony.speed, hypothesis.testimony.pitch) for hypothesis in found
               if hypothesis.testimony.plain]
    view = Everywhere(query.between(begin, float(times[-1]) + level.spec.window, level.spec.sample_rate), begin,
                      level.peaks, changes, leave_out)
    also = view.candidates([hypothesis.line for hypothesis in found], float(times[0] + times[-1]) / 2)
    if also:
        found = from_neighbours(query, level, window, *near, level.embeddings_of, also=also)
    stored = level.embeddings_of({hypothesis.line.recording_id for hypothesis in found})
    found = [hypothesis for hypothesis in found if hypothesis.line.recording_id in stored]      # not removed meanwhile
    lines = {hypothesis.line.recording_id: hypothesis.line for hypothesis in found}
    passages = {recording_id: Passage(line, stored[recording_id].vectors) for recording_id, line in lines.items()}

    def same(line: Line) -> set[int]:
        return {number for number, other in lines.items() if number != line.recording_id and align.same_sound(
            line, other, passages[line.recording_id], passages[number])}

    told = [replace(hypothesis, features=hypothesis.features | view.features(hypothesis.line, same(hypothesis.line)))
            for hypothesis in found]
    return sorted(told, key=lambda hypothesis: -_agreement(hypothesis.line, hypothesis.testimony)
                  - hypothesis.features["clearly"] / HIGHEST_LEAD)


def from_neighbours(query: Query, level: Level, window: np.ndarray, ids: np.ndarray, cosines: np.ndarray,
                    embeddings_of: Callable[[Collection[int]], Mapping[int, Embeddings]], *, verified: int = VERIFIED,
                    refined: int = REFINED, alike: float = 0.0, hopeful: Callable[[Features], bool] | None = None,
                    also: Sequence[Candidate] = ()) -> list[Hypothesis]:
    """The same from the nearest segments `ids, cosines (m, k)` of each segment of the window.

    `embeddings_of` gives what is stored of recordings. `verified` is the number of candidates that are looked at, and
    `refined` that of lines that are looked at closely; a line of which the mean cosine is not `alike` is left out.
    With `hopeful` the second witness is heard only of lines whose features without it are. What is `also` a candidate
    is looked at closely whatever its neighbours say.
    """
    spec, hop = level.spec, query.embeddings.hop
    times, vectors = query.times(window), query.embeddings.vectors[window]
    candidates = align.vote(ids, cosines, times, spec.hop, most=verified)
    references = embeddings_of({candidate.recording_id for candidate in [*candidates, *also]})
    layout = align.Layout(times, spec.hop, spec.window)

    def verified_lines(those: Sequence[Candidate]) -> list[Line]:
        lines = [align.verify(vectors, layout, references[candidate.recording_id], candidate)
                 for candidate in those if candidate.recording_id in references]     # not removed since the search
        return [line for line in lines if line]

    lines = [align.refine(line, vectors, layout, references[line.recording_id])
             for line in [*_closest(verified_lines(candidates), refined), *verified_lines(also)]]
    passages = [Passage(line, references[line.recording_id].vectors) for line in lines]
    # a recording that the search did not bring up is no more like a segment than the last one it did
    others = np.where(ids[:, -1] == NOTHING, 0, cosines[:, -1]).clip(0)
    begin = max(0.0, float(times[0]))
    scene: Scene | None = None          # made when a line is worth it
    fewest = max(FEWEST_SEGMENTS, min(SHORTEST_STRETCH / hop, SHARE * len(window)))
    found: dict[int, Hypothesis] = {}
    needed = 0.0                    # summed cosines with which a line is still of interest
    for line, passage in zip(lines, passages, strict=True):
        if line.last - line.first < fewest or line.cosines.sum() < needed or line.score < alike:
            continue
        rivals = _rivals(line, passage, lines, passages) or [others]
        hits = align.hits(line, ids, times, spec.hop)
        features = partial(confidence.features, rivals=rivals, vectors=vectors, hits=hits, hop=hop,
                           library_segments=len(level.index))
        if hopeful and not hopeful(features(line, Testimony())):
            continue
        scene = scene or Scene(query.between(begin, float(times[-1]) + spec.window, spec.sample_rate))
        testimony = scene.testimony(references[line.recording_id].evidence, line.speed,
                                    line.speed * begin + line.offset).later(begin)
        said = features(line, testimony)
        if testimony.beyond_doubt:
            needed = max(needed, MUCH_WORSE * float(line.cosines.sum()))
        if testimony.sure:          # of the two it knows better
            line = replace(line, speed=testimony.speed, offset=testimony.offset)
        known = found.get(line.recording_id)
        if known is None or _agreement(line, testimony) > _agreement(known.line, known.testimony):
            found[line.recording_id] = Hypothesis(line, times, testimony, said)
    return sorted(found.values(), key=lambda hypothesis: -_agreement(hypothesis.line, hypothesis.testimony))


def _closest(lines: list[Line], most: int) -> list[Line]:
    """The `most` lines with most agreement: PLACES of one recording, none twice."""
    chosen: list[Line] = []
    for line in sorted(lines, key=lambda line: -line.cosines.sum()):
        same = [other for other in chosen if other.recording_id == line.recording_id]
        if len(same) < PLACES and all(abs(other.offset - line.offset) > align.BIN for other in same):
            chosen.append(line)
        if len(chosen) == most:
            break
    return chosen


def _agreement(line: Line, testimony: Testimony) -> float:
    """Both witnesses on one scale, to choose among lines before they are judged."""
    return float(line.cosines.mean()) + testimony.prominence


def _without(recording_ids: Collection[int], ids: np.ndarray, cosines: np.ndarray
             ) -> tuple[np.ndarray, np.ndarray]:
    """What the search would have brought up without some recordings: NEIGHBOURS of (m, MANY) found."""
    gone = np.isin(split_ids(ids)[0], list(recording_ids))
    order = np.argsort(gone, axis=1, kind="stable")[:, :NEIGHBOURS]         # those that stay, best first
    rows = np.arange(len(ids))[:, None]
    return np.where(gone, NOTHING, ids)[rows, order], np.where(gone, -1, cosines)[rows, order]


def _rivals(line: Line, passage: Passage, lines: list[Line], passages: list[Passage]) -> list[np.ndarray]:
    """The cosines of other recordings. One that is the same sound, twice in the library, is no rival."""
    return [other.cosines for other, rows in zip(lines, passages, strict=True)
            if other.recording_id != line.recording_id and not align.same_sound(line, other, passage, rows)]


def _continues(one: Hypothesis, other: Hypothesis) -> bool:
    """Whether two lines, in different windows, are one: the same recording, going on where it should."""
    if one.line.recording_id != other.line.recording_id:
        return False
    middle = (one.times.mean() + other.times.mean()) / 2
    ends = [line.speed * middle + line.offset for line in (one.line, other.line)]
    return abs(ends[0] - ends[1]) < 1.0 + 0.02 * abs(one.times.mean() - other.times.mean())


def _match(group: list[tuple[Hypothesis, float]], recording: Recording, duration: float, windows: int,
           level: Level) -> Match:
    """One recording's lines, best first, as one match. Lines that spoke against it do not widen it."""
    window = level.spec.window
    best = group[0][0]
    spans = [align.intervals(hypothesis.line, hypothesis.times, window, duration, recording.duration)
             for hypothesis, logit in group if logit > 0 or hypothesis is best]
    start, end = min(query.start for query, _ in spans), max(query.end for query, _ in spans)
    logit = confidence.combine([logit for _, logit in group], windows)
    testimony = best.testimony
    alignment = Alignment(
        recording_id=recording.id,
        query=Interval(start, end),
        reference=Interval(min(part.start for _, part in spans), max(part.end for _, part in spans)),
        speed=best.line.speed, score=best.line.score,
        # what is not known is taken for a change of speed, the commonest
        key_shift=12 * float(np.log2(testimony.pitch if testimony.sure else best.line.speed)),
        agreeing=sum(hypothesis.line.last - hypothesis.line.first for hypothesis, _ in group),
        features=best.features,
    )
    return Match(recording, Kind.RECORDING, confidence.to_confidence(logit), alignment)


def reason(query: Query, level: Level) -> str:
    """Why there is no match, for a person."""
    if len(query.embeddings) < FEWEST_SEGMENTS:
        return (f"the clip is too short: {query.duration:.1f} s, and at least {level.spec.window / 2:.1f} s "
                "are needed")
    if query.embeddings.heard.sum() < FEWEST_SEGMENTS:
        return "there is nothing to recognise in the clip: it is silent, or one steady sound"
    if not len(level.index):
        return "the library is empty"
    return "nothing in the library is like it with enough certainty"
