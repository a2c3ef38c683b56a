"""How well other renditions of a song are found, on any collection of which the works are known.

    python -m lab.measure.covers --music DIR --works FILE [--excerpts 20,30,60] [--draws 5] [--report docs/covers.md]

FILE has a line for every recording: its path below DIR, a tab, and the work that it is a rendition of.
Every recording, as a whole and as an excerpt of each length, is compared with all others: window by window in
the space of the encoder, by alignment of the tonal frames, and by both as Songprint does. Printed are the mean
average precision, the share of queries whose first answer is right, the mean rank of the first right answer, and
the recall at the threshold at which 1 % of the queries get a wrong name when no rendition of their work is held.
Of 150 queries that is one, which decides the threshold by itself: --draws takes several excerpts of each length.

--report puts the figures into a page, between its lines `<!-- measured -->` and `<!-- /measured -->`.
"""

from __future__ import annotations

import argparse
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

import numpy as np

from lab.measure import ranking, report
from lab.measure.ranking import Figures
from lab.measure.recordings import machine
from lab.models import chroma
from songprint.audio import files as audio
from songprint.confidence import Calibration
from songprint.covers import search as versions
from songprint.covers import tempo_search
from songprint.covers.cohort import Cohort
from songprint.covers.encoder import CoverEncoder
from songprint.covers.search import CoverCandidate
from songprint.covers.tempo_search import ScoredCandidate
from songprint.errors import SongprintError
from songprint.kinds import load_encoder
from songprint.processes.threads import one_thread
from songprint.store.index.exact import ExactIndex
from songprint.store.level import heard_segments
from songprint.types import Embeddings

WHOLE = 0  # the "length" of a query that is a whole song
RATE = 0.01  # of false accepts
TIMED = 40  # queries of each length of which the search is timed
SYSTEMS: dict[str, Callable[[CoverCandidate], float]] = {
    "embedding alone": lambda version: version.features["embedding"],
    "alignment alone": lambda version: version.features["alignment"] if version.alignment else -np.inf,
    "both": lambda version: version.score,
}
JUDGED = "both, by confidence"
NEVER = -1000.0  # log-odds of what is not answered


@dataclass(frozen=True)
class Rendition:
    """A recording, encoded: as a whole and in excerpts."""

    name: str
    work: str
    duration: float  # seconds
    queries: dict[int, list[Embeddings]]  # by length in seconds; WHOLE is always there, once
    elapsed: float = 0.0  # seconds that encoding the whole took

    @property
    def whole(self) -> Embeddings:
        return self.queries[WHOLE][0]


@dataclass(frozen=True)
class Measured:
    """What was measured with queries of one length."""

    length: int
    figures: dict[str, Figures]  # by system
    search: list[float]  # seconds for each timed search of the library
    queries: int


def read_works(music: Path, works: Path) -> list[tuple[Path, str]]:
    """The files and their works. ValueError names the line that is wrong."""
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
        raise ValueError(f"{works} names {len(found)} files and no work twice: there is nothing to be found")
    return found


def listen(
    files: Sequence[tuple[Path, str]],
    lengths: Sequence[int],
    seed: int,
    workers: int,
    plain: bool = False,
    draws: int = 1,
) -> list[Rendition]:
    """Encode every file and `draws` excerpts of each length, from anywhere in it. `plain`: as plain chroma."""
    jobs = [(path, work, [*lengths] * draws, [seed, number], plain) for number, (path, work) in enumerate(files)]
    with _pool(workers) as each:
        return list(_told("encoded", each(_listen_to_one, jobs), len(jobs)))


@one_thread()
def _listen_to_one(job: tuple[Path, str, Sequence[int], list[int], bool]) -> Rendition:
    path, work, lengths, seed, plain = job
    encoder = _encoder(plain)
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
def _encoder(plain: bool) -> CoverEncoder:
    """One for each process."""
    return chroma.load_chroma_encoder() if plain else load_encoder("cover")


def measure(
    renditions: Sequence[Rendition], length: int, cohort: Cohort, workers: int = 1, judge: Calibration | None = None
) -> Measured:
    """Every rendition's queries of one length against all other renditions, leaving itself out.

    With a `judge` its log-odds are a system too: of the few that it is asked about, the others come after them. What it
    says depends on what else is there, so it is also asked of every query with all renditions of its work left out.
    """
    works = np.array([rendition.work for rendition in renditions])
    queries = [
        (number, draw) for number, rendition in enumerate(renditions) for draw in range(len(rendition.queries[length]))
    ]
    own = np.array([number for number, _ in queries])
    with _pool(workers, _hold, renditions, length, cohort, judge) as each:
        rows = list(_told(name_of(length), each(_ask, queries), len(queries)))
        search = list(each(_time, range(min(TIMED, len(renditions)))))
    scores = {system: np.array([row.scores[system] for row in rows]) for system in rows[0].scores}
    unknown = {JUDGED: np.array([row.unknown for row in rows])}
    relevant, others = works[own][:, None] == works, own[:, None] != np.arange(len(works))
    return Measured(
        length,
        {
            system: ranking.evaluate(score, relevant, others, RATE, unknown.get(system))
            for system, score in scores.items()
        },
        search,
        len(queries),
    )


class _Held:
    """What each process holds while it answers."""

    renditions: Sequence[Rendition]
    length: int
    cohort: Cohort
    judge: Calibration | None
    index: ExactIndex
    unverified: versions.Networks  # as `_networks`, for what does not ask the verifier; made once


def _hold(renditions: Sequence[Rendition], length: int, cohort: Cohort, judge: Calibration | None) -> None:
    _Held.renditions, _Held.length, _Held.cohort, _Held.judge = renditions, length, cohort, judge
    _Held.unverified = replace(_networks(), verify=None)
    _Held.index = ExactIndex(renditions[0].whole.vectors.shape[1])
    for number, rendition in enumerate(renditions):
        _Held.index.add(*heard_segments(number, rendition.whole))


@dataclass(frozen=True)
class _Asked:
    """What was said of a query."""

    scores: dict[str, np.ndarray]  # (renditions,) by each system; -inf where it says nothing
    unknown: float = NEVER  # the judge's log-odds of the best answer where its work is not held


@one_thread()  # there are as many processes as cores
def _ask(query: tuple[int, int]) -> _Asked:
    number, draw = query
    clip = _Held.renditions[number].queries[_Held.length][draw]
    wholes = {other: rendition.whole for other, rendition in enumerate(_Held.renditions) if other != number}
    scores = {system: np.full(len(_Held.renditions), -np.inf) for system in SYSTEMS}
    order = []
    for version in versions.compare(clip, wholes, _Held.cohort, _Held.unverified):
        order.append(version.recording_id)
        for system, score in SYSTEMS.items():
            scores[system][version.recording_id] = score(version)
    if not _Held.judge:
        return _Asked(scores)
    work = _Held.renditions[number].work
    judged = np.full(len(_Held.renditions), -np.inf)
    judged[order] = NEVER - np.arange(len(order))
    for answer in _answers(clip, {number}):
        judged[answer.candidate.recording_id] = answer.logit
    strangers = _answers(clip, {other for other, rendition in enumerate(_Held.renditions) if rendition.work == work})
    return _Asked(scores | {JUDGED: judged}, max((answer.logit for answer in strangers), default=NEVER))


def _find(leave_out: Collection[int]) -> Callable[..., Iterator[CoverCandidate]]:
    """`versions.find`, in all renditions but for some."""
    return partial(
        versions.find,
        index=_Held.index,
        cohort=_Held.cohort,
        networks=_networks(),
        leave_out=leave_out,
        embeddings_of=lambda ids: {id: _Held.renditions[id].whole for id in ids},
    )


def _answers(clip: Embeddings, leave_out: Collection[int]) -> list[ScoredCandidate]:
    """As the product answers, if the library lacks some."""
    return tempo_search.scored_candidates(clip, _find(leave_out), _Held.judge, _encoder(False).embed)


def _networks() -> versions.Networks:
    """What looks closer, where there is a judge that asks for it. Each process has its own."""
    return _encoder(False).networks if _Held.judge else versions.NONE


@one_thread()
def _time(number: int) -> float:
    """Seconds that the search takes as the product does it."""
    query = _Held.renditions[number].queries[_Held.length][0]
    began = time.perf_counter()
    if _Held.judge:
        _answers(query, ())
    else:
        list(islice(_find(())(query), versions.JUDGED))
    return time.perf_counter() - began


def _nothing() -> None:
    pass


@contextmanager
def _pool(workers: int, prepare: Callable[..., None] = _nothing, *arguments: object) -> Iterator[Callable]:
    """A `map` over that many processes, each prepared; over none but this one if it is one."""
    if workers == 1:
        prepare(*arguments)
        yield map
        return
    with ProcessPoolExecutor(workers, initializer=prepare, initargs=arguments) as pool:
        yield pool.map


def _told(what: str, results: Iterable, total: int) -> Iterable:
    """The results, while a line on stderr says how far it is."""
    for number, result in enumerate(results, 1):
        print(f"\r{what}: {number}/{total}", end="", file=sys.stderr, flush=True)
        yield result
    print(file=sys.stderr)


def name_of(length: int) -> str:
    return f"{length} s" if length else "whole songs"


def text(command: str, renditions: Sequence[Rendition], measured: Sequence[Measured]) -> str:
    """The figures as Markdown."""
    hours = sum(rendition.duration for rendition in renditions) / 3600
    lines = [
        f"    {command}",
        "",
        f"{len(renditions)} recordings of {len({rendition.work for rendition in renditions})} works,"
        f" {hours:.1f} h, {machine()}. Every recording, or excerpts of it, are compared with all others.",
        "",
        "| query | number | by | MAP | P@1 | MR1 | recall at 1 % false accepts |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in measured:
        lines += [
            f"| {name_of(one.length)} | {one.queries} | {system} | {figures.mean_average_precision:.3f} |"
            f" {figures.precision_at_1:.3f} | {figures.mean_rank:.1f} | {figures.recall:.3f} |"
            for system, figures in one.figures.items()
        ]
    encoding = sum(rendition.elapsed for rendition in renditions)
    if encoding:
        lines += ["", f"Decoding and encoding: {hours * 3600 / encoding:.0f} times real time on one core."]
    lines += ["", "| query | search, median ms | 95th percentile |", "|---|---|---|"]
    lines += [
        f"| {name_of(one.length)} | {1000 * np.median(one.search):.0f} | {1000 * np.quantile(one.search, 0.95):.0f} |"
        for one in measured
    ]
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--music", type=Path, required=True, help="folder of the recordings")
    parser.add_argument("--works", type=Path, required=True, help="which file is a rendition of which work")
    parser.add_argument("--excerpts", default="20,30,60", help="seconds, separated by commas")
    parser.add_argument("--draws", type=int, default=1, help="excerpts of each length from each recording")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes")
    parser.add_argument(
        "--chroma",
        action="store_true",
        help="hear plain chroma instead of the tonal network: look at the alignment alone",
    )
    parser.add_argument("--report", type=Path, metavar="PAGE", help="put the figures into this page")
    return parser


def main() -> None:
    options = parser().parse_args()
    try:
        if options.report:
            report.check_page(options.report)  # before the minutes, not after them
        lengths = [int(length) for length in options.excerpts.split(",") if length]
        files = read_works(options.music, options.works)
        renditions = listen(files, lengths, options.seed, options.workers, options.chroma, options.draws)
        cohort = _encoder(options.chroma).cohort  # here: processes that are forked shall not inherit a session
        calibration = _encoder(options.chroma).spec.calibration
        judge = Calibration.from_spec(calibration) if calibration and not options.chroma else None
        measured = [measure(renditions, length, cohort, options.workers, judge) for length in (WHOLE, *lengths)]
        command = (
            f"python -m lab.measure.covers --music MUSIC --works WORKS --excerpts {options.excerpts}"
            + (f" --draws {options.draws}" if options.draws > 1 else "")
            + (" --chroma" if options.chroma else "")
        )
        words = text(command, renditions, measured)
        print(words)
        if options.report:
            report.put(options.report, words, title="How well covers are found")
    except (report.PageError, SongprintError, OSError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
