"""Evaluation of the identification of covers, on any collection of recordings whose works are known.

    python -m lab.measure.covers --music DIR --works FILE [--excerpts 20,30,60] [--draws 5] [--report docs/covers.md]

FILE contains one line per recording: its path below DIR, a tab, and the work of which it is a rendition.
Every recording, whole and as an excerpt of each length, is compared with all others: by embeddings, by alignment of
the tonal frames, and by both, as in Songprint. The report contains the mean average precision, the share of queries
whose first result is correct, the mean rank of the first correct result, and the recall at the threshold at which 1%
of the queries get a false match when the library contains no rendition of their work. With 150 queries, one of them
decides that threshold: --draws takes several excerpts of each length.

--report writes the figures into a page, between its lines `<!-- measured -->` and `<!-- /measured -->`.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np

from lab import program
from lab.measure import ranking, report
from lab.measure.ranking import Figures
from lab.measure.recordings import machine
from lab.models import chroma
from songprint.audio import files as audio
from songprint.confidence import Calibration
from songprint.covers import search, tempo_search
from songprint.covers.cohort import Cohort
from songprint.covers.encoder import CoverEncoder
from songprint.covers.matcher import CoverMatcher
from songprint.covers.search import CoverCandidate
from songprint.covers.tempo_search import ScoredCandidate
from songprint.processes.threads import one_thread
from songprint.store.index import Index
from songprint.store.index.exact import ExactIndex
from songprint.store.level import segments_to_index
from songprint.types import Embeddings

WHOLE = 0  # length of a query that is a whole song
RATE = 0.01  # of false accepts
TIMED = 40  # queries of each length for which the search is timed
SYSTEMS: dict[str, Callable[[CoverCandidate], float]] = {
    "embedding alone": lambda candidate: candidate.features["embedding"],
    "alignment alone": lambda candidate: candidate.features["alignment"] if candidate.alignment else -np.inf,
    "both": lambda candidate: candidate.score,
}
BY_CONFIDENCE = "both, then confidence"
NEVER = -1000.0  # log-odds of recordings for which no confidence is computed


@dataclass(frozen=True)
class Rendition:
    """The embeddings of a recording: of the whole and of excerpts."""

    name: str
    work: str
    duration: float  # seconds
    queries: dict[int, list[Embeddings]]  # by length in seconds; WHOLE has one entry
    elapsed: float = 0.0  # seconds to decode and encode the whole

    @property
    def whole(self) -> Embeddings:
        return self.queries[WHOLE][0]


@dataclass(frozen=True)
class Measured:
    """The results for queries of one length."""

    length: int
    figures: dict[str, Figures]  # by system
    search_times: list[float]  # seconds of each timed search of the library
    queries: int


def read_works(music: Path, works: Path) -> list[tuple[Path, str]]:
    """Read the files and their works; ValueError with the line number if a line is invalid."""
    found = []
    for number, line in enumerate(works.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, tab, work = line.partition("\t")
        if not tab or not work.strip():
            raise ValueError(f"{works}:{number}: {line!r} must be a file, a tab and its work")
        if not (music / name).is_file():
            raise ValueError(f"{works}:{number}: there is no file {music / name}. Is --music the right folder?")
        found.append((music / name, work.strip()))
    if len(found) == len({work for _, work in found}):
        raise ValueError(f"{works} names {len(found)} files and no work twice: there is nothing to find")
    return found


def encode(
    files: Sequence[tuple[Path, str]],
    lengths: Sequence[int],
    seed: int,
    workers: int,
    chroma_only: bool = False,
    draws: int = 1,
) -> list[Rendition]:
    """Encode every file and `draws` excerpts of each length at random places. `chroma_only`: without tonal network."""
    jobs = [(path, work, [*lengths] * draws, [seed, number], chroma_only) for number, (path, work) in enumerate(files)]
    with _pool(workers) as each:
        return list(_with_progress("encoded", each(_encode_one, jobs), len(jobs)))


@one_thread()
def _encode_one(job: tuple[Path, str, Sequence[int], list[int], bool]) -> Rendition:
    path, work, lengths, seed, chroma_only = job
    encoder = _encoder(chroma_only)
    rate = encoder.spec.sample_rate
    began = time.perf_counter()
    samples = audio.load(path, rate)
    queries = {WHOLE: [encoder.encode_stream([samples])[0]]}
    elapsed = time.perf_counter() - began
    random = np.random.default_rng(seed)
    for length in lengths:
        start = int(random.uniform(0, max(0, len(samples) - length * rate)))
        excerpt = encoder.encode_stream([samples[start : start + length * rate]])[0]
        queries.setdefault(length, []).append(excerpt)
    return Rendition(path.name, work, len(samples) / rate, queries, elapsed)


@cache
def _encoder(chroma_only: bool) -> CoverEncoder:
    """Load the encoder once per process."""
    return chroma.load_chroma_encoder() if chroma_only else CoverMatcher().open_encoder()


def measure(
    renditions: Sequence[Rendition],
    length: int,
    cohort: Cohort,
    workers: int = 1,
    calibration: Calibration | None = None,
) -> Measured:
    """Compare the queries of one length from every rendition with all other renditions.

    With a `calibration`, its log-odds are another system; they exist for the best candidates only, and the others
    follow. They depend on the other candidates, so every query is also searched without the renditions of its work.
    """
    works = np.array([rendition.work for rendition in renditions])
    queries = [
        (number, draw) for number, rendition in enumerate(renditions) for draw in range(len(rendition.queries[length]))
    ]
    own = np.array([number for number, _ in queries])
    with _pool(workers, _prepare, renditions, length, cohort, calibration) as each:
        rows = list(_with_progress(name_of(length), each(_search, queries), len(queries)))
        search_times = list(each(_time, range(min(TIMED, len(renditions)))))
    scores = {system: np.array([row.scores[system] for row in rows]) for system in rows[0].scores}
    unknown = {BY_CONFIDENCE: np.array([row.unknown for row in rows])}
    relevant, others = works[own][:, None] == works, own[:, None] != np.arange(len(works))
    return Measured(
        length,
        {
            system: ranking.evaluate(score, relevant, others, RATE, unknown.get(system))
            for system, score in scores.items()
        },
        search_times,
        len(queries),
    )


class _Library:
    """What each process needs to search."""

    renditions: Sequence[Rendition]
    length: int
    cohort: Cohort
    calibration: Calibration | None
    index: ExactIndex
    unverified: search.Networks  # as `_networks`, without the verifier


def _prepare(renditions: Sequence[Rendition], length: int, cohort: Cohort, calibration: Calibration | None) -> None:
    _Library.renditions, _Library.length, _Library.cohort = renditions, length, cohort
    _Library.calibration = calibration
    _Library.unverified = replace(_networks(), verify=None)
    _Library.index = ExactIndex(renditions[0].whole.vectors.shape[1])
    for number, rendition in enumerate(renditions):
        _Library.index.add(*segments_to_index(number, rendition.whole))


@dataclass(frozen=True)
class _Result:
    """The scores of one query."""

    scores: dict[str, np.ndarray]  # (renditions,) by system; -inf without a score
    unknown: float = NEVER  # log-odds of the best match without the renditions of the query's work


@one_thread()  # one process per core
def _search(query: tuple[int, int]) -> _Result:
    number, draw = query
    embeddings = _Library.renditions[number].queries[_Library.length][draw]
    wholes = {other: rendition.whole for other, rendition in enumerate(_Library.renditions) if other != number}
    scores = {system: np.full(len(_Library.renditions), -np.inf) for system in SYSTEMS}
    order = []
    for candidate in search.compare(embeddings, wholes, _Library.cohort, _Library.unverified):
        order.append(candidate.recording_id)
        for system, score in SYSTEMS.items():
            scores[system][candidate.recording_id] = score(candidate)
    if not _Library.calibration:
        return _Result(scores)
    work = _Library.renditions[number].work
    logits = np.full(len(_Library.renditions), -np.inf)
    logits[order] = NEVER - np.arange(len(order))
    for found in _scored(embeddings, {number}):
        logits[found.candidate.recording_id] = found.logit
    unrelated = _scored(
        embeddings, {other for other, rendition in enumerate(_Library.renditions) if rendition.work == work}
    )
    return _Result(scores | {BY_CONFIDENCE: logits}, max((found.logit for found in unrelated), default=NEVER))


def _find(leave_out: Collection[int]) -> Callable[..., Iterator[CoverCandidate]]:
    """Return `search.find` over all renditions except some."""
    return partial(
        search.find,
        index=cast(Index, _Library.index),  # an index in memory lacks what only shared ones need
        cohort=_Library.cohort,
        networks=_networks(),
        leave_out=leave_out,
        embeddings_of=lambda ids: {id: _Library.renditions[id].whole for id in ids},
    )


def _scored(query: Embeddings, leave_out: Collection[int]) -> list[ScoredCandidate]:
    """Search as the product does, without some renditions."""
    assert _Library.calibration
    return tempo_search.scored_candidates(query, _find(leave_out), _Library.calibration, _encoder(False).embed)


def _networks() -> search.Networks:
    """Return the networks whose output the calibration needs, or none without a calibration."""
    return _encoder(False).networks if _Library.calibration else search.NONE


@one_thread()
def _time(number: int) -> float:
    """Return the seconds that a search takes, as the product does it."""
    query = _Library.renditions[number].queries[_Library.length][0]
    began = time.perf_counter()
    if _Library.calibration:
        _scored(query, ())
    else:
        list(islice(_find(())(query), search.PARAMETERS.max_verified))
    return time.perf_counter() - began


def _nothing() -> None:
    pass


@contextmanager
def _pool(
    workers: int, prepare: Callable[..., None] = _nothing, *arguments: object
) -> Iterator[Callable[..., Iterable[Any]]]:
    """Give a `map` over that many processes, each prepared; with one worker, over this process."""
    if workers == 1:
        prepare(*arguments)
        yield map
        return
    with ProcessPoolExecutor(workers, initializer=prepare, initargs=arguments) as pool:
        yield pool.map


def _with_progress(what: str, results: Iterable[Any], total: int) -> Iterator[Any]:
    """Yield the results and print progress on stderr."""
    for number, result in enumerate(results, 1):
        print(f"\r{what}: {number}/{total}", end="", file=sys.stderr, flush=True)
        yield result
    print(file=sys.stderr)


def name_of(length: int) -> str:
    return f"{length} s" if length else "whole songs"


def text(command: str, renditions: Sequence[Rendition], measured: Sequence[Measured]) -> str:
    """Return the figures as Markdown."""
    hours = sum(rendition.duration for rendition in renditions) / 3600
    lines = [
        f"    {command}",
        "",
        f"{len(renditions)} recordings of {len({rendition.work for rendition in renditions})} works,"
        f" {hours:.1f} h, {machine()}. Each recording, or excerpts of it, is compared with all others.",
        "",
        program.table(
            ["query", "queries", "ranked by", "MAP", "P@1", "MR1", "recall at 1% false accepts"],
            [
                [
                    name_of(one.length),
                    one.queries,
                    system,
                    f"{figures.mean_average_precision:.3f}",
                    f"{figures.precision_at_1:.3f}",
                    f"{figures.mean_rank:.1f}",
                    f"{figures.recall:.3f}",
                ]
                for one in measured
                for system, figures in one.figures.items()
            ],
        ),
    ]
    encoding = sum(rendition.elapsed for rendition in renditions)
    if encoding:
        lines += ["", f"Decoding and encoding: {hours * 3600 / encoding:.0f} times real time on one core."]
    times = [
        [name_of(one.length), *(f"{1000 * np.quantile(one.search_times, share):.0f}" for share in (0.5, 0.95))]
        for one in measured
    ]
    return "\n".join([*lines, "", program.table(["query", "search, median ms", "95th percentile"], times)])


def main() -> None:
    parser = program.parser(__doc__, seed=1, report=None)
    parser.add_argument("--music", type=Path, required=True, help="folder of the recordings")
    parser.add_argument("--works", type=Path, required=True, help="list of files and their works")
    parser.add_argument("--excerpts", default="20,30,60", help="seconds, separated by commas")
    parser.add_argument("--draws", type=int, default=1, help="excerpts of each length from each recording")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes")
    parser.add_argument(
        "--chroma",
        action="store_true",
        help="use plain chroma instead of the tonal network; only the alignment is meaningful then",
    )
    options = parser.parse_args()
    with report.written(options.report, "Accuracy of covers") as write:
        lengths = [int(length) for length in options.excerpts.split(",") if length]
        files = read_works(options.music, options.works)
        renditions = encode(files, lengths, options.seed, options.workers, options.chroma, options.draws)
        cohort = _encoder(options.chroma).cohort  # not before encoding: forked processes must not inherit a session
        fitted = _encoder(options.chroma).spec.calibration
        calibration = Calibration.from_spec(fitted) if fitted and not options.chroma else None
        measured = [measure(renditions, length, cohort, options.workers, calibration) for length in (WHOLE, *lengths)]
        command = (
            f"python -m lab.measure.covers --music MUSIC --works WORKS --excerpts {options.excerpts}"
            + (f" --draws {options.draws}" if options.draws > 1 else "")
            + (" --chroma" if options.chroma else "")
        )
        write(text(command, renditions, measured))


if __name__ == "__main__":
    main()
