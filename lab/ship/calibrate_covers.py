"""Fit the confidence of covers on works, soundfonts and real music that no network was trained on.

    python -m lab.ship.calibrate_covers --data data --tonal data/tonal --noise NOISE_DIR

Renditions of the calibration works (whole, excerpts, and medleys with another song) are searched in libraries of three
sizes: one rendition of each work with the calibration music; the same with all real training music, and a second
rendition of every other work; and portions of a few songs. Each query is searched again without its work, so that
every match is wrong; so are real tracks, speech and noise. Synthesised tunes, many of which share their chords, are
searched as well but not used for training: the share of unknown ones that would be answered is printed. The cohort
is made here too. The calibration is written into the encoder's spec.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, compress
from pathlib import Path
from typing import cast

import numpy as np

from lab import program
from lab.data import corpus, degrade, synth
from lab.data.cover_features import frames
from lab.data.render_covers import SUNG, is_sung, split_of
from lab.data.takes import split_of_take
from lab.data.tunes import invent
from lab.ship import classifier
from lab.ship.classifier import QueryResult
from songprint.audio.samples import at_rate
from songprint.confidence import Calibration, to_confidence
from songprint.covers import search, tempo_search
from songprint.covers.cohort import Cohort
from songprint.covers.encoder import CoverEncoder
from songprint.covers.matcher import CoverMatcher
from songprint.covers.search import FEATURES
from songprint.covers.tonal import FRAMES_PER_SECOND
from songprint.encoders.contract import WEIGHTS
from songprint.processes.threads import one_thread
from songprint.store.index import Index
from songprint.store.index.exact import ExactIndex
from songprint.store.level import segments_to_index
from songprint.types import Embeddings

EXCERPTS = (8.0, 10.0, 14.0, 20.0, 30.0, 60.0)  # seconds
EXCERPTS_PER_RENDITION = 2  # in each library
WHOLE_EVERY = 3  # renditions of which one is searched whole, which takes long
MEDLEY = 60.0  # seconds of two songs, of which the library contains one
PART = (15.0, 45.0)  # seconds of that one
CANDIDATES = search.PARAMETERS.max_verified  # used for training: those at the query's own tempo
# log-odds that another tempo costs: further searches find more by chance, and covers seldom differ that much
GIVEN = {"changed": -1.0}
FEW = 6  # songs of a small library
SHORT = 15.0  # seconds; the false-accept rates also hold for shorter queries alone
COHORT = 300  # real tracks
COHORT_PASSAGES = 120  # renditions of scores
COHORT_EXCERPTS = 40  # songs whose tonal frames are kept, for the alignment
COHORT_SECONDS = 45.0  # of these
COHORT_WINDOWS = 8  # vectors kept of each song
NOTHINGS = 40  # queries of speech and of noise
FIRST_TUNE, TUNES = 3000, 30  # seed of the first synthesised tune, and their number
ABLATIONS = {
    "alignment": (
        "log_alignment",
        "aligned",
        "density",
        "agreement",
        "log_crookedness",
        "key_lead",
        *search.VERIFIED,
        "consistent",
    ),
    "the embedding": ("log_embedding", "log_embedding_lead", "consistent"),
    "the lead over rivals": tuple(f"log_{name}" for name in search.LEADS),
    "the lead of the key": ("key_lead",),
    "the melody and the lead of the place": ("tune", "place_lead"),
    "the verifier": ("verified",),
    "length, share, entropy, library": ("length", "share", "entropy", "library"),
}

Works = dict[str, list[list[Embeddings]]]  # the renditions of each work, played or sung or both


@dataclass(frozen=True)
class Song:
    """A rendition and its work; every real track is a work."""

    work: str
    embeddings: Embeddings


def embedded(found: np.ndarray, encoder: CoverEncoder) -> Embeddings:
    """The embeddings of tonal frames."""
    return Embeddings(encoder.embed(found), encoder.spec.hop, encoder.spec.id, found)


def load_rendered(folder: Path, split: str, encoder: CoverEncoder) -> Works:
    """The renditions of each work of a split, played and sung.

    The first one is the closest to the score. For every other work, sung takes come first.
    """
    works: dict[str, dict[int, Embeddings]] = {}
    for path in sorted(folder.glob("rendered-?????-??.npz")):
        _, work, number = path.stem.split("-")
        if split_of(int(work)) == split:
            with np.load(path) as file:
                works.setdefault(work, {})[int(number)] = embedded(file["frames"], encoder)
    found = {}
    for place, (work, takes) in enumerate(works.items()):
        renditions: dict[int, list[Embeddings]] = {}
        for take in sorted(takes, reverse=place % 2 == 1):
            renditions.setdefault(take % SUNG, []).append(takes[take])
        if len(renditions) > 1:
            found[work] = [renditions[rendition] for rendition in sorted(renditions)]
    return found


def load_real(data: Path, split: str, encoder: CoverEncoder, cache: Path) -> dict[str, Embeddings]:
    """The real tracks of a split by name; their frames are cached in `cache`."""
    found = {}
    for track in corpus.load_tracks(data, split):
        if not track.path:
            continue
        kept = cache / f"real-{track.id:05d}-00.npz"
        if not kept.exists():
            np.savez_compressed(
                kept,
                frames=frames(corpus.load_pcm(data, track)),
                seconds=[0, track.duration],
                beats=[0, track.duration],
            )
        with np.load(kept) as file:
            found[track.name] = embedded(file["frames"], encoder)
    return found


def load_tunes(encoder: CoverEncoder, count: int) -> Works:
    """`count` synthesised tunes in three renditions each; many share their chords."""
    found = {}
    for number in range(FIRST_TUNE, FIRST_TUNE + count):
        tune = invent(number)
        takes = [synth.render(tune, seed=0)] + [
            degrade.stretch(synth.render(tune, seed=seed), synth.SAMPLE_RATE, pitch=2 ** (key / 12))
            for seed, key in ((1, number % 5 - 2), (2, number % 7 - 3))
        ]
        found[tune.title] = [[encoder.encode(at_rate(take, synth.SAMPLE_RATE, corpus.SAMPLE_RATE))] for take in takes]
    return found


def load_passages(folder: Path, encoder: CoverEncoder, rng: np.random.Generator) -> list[Embeddings]:
    """One played rendition of each of COHORT_PASSAGES training works."""
    takes = {}
    for path in sorted(folder.glob("rendered-?????-??.npz")):
        if split_of_take(path) == "train" and not is_sung(path):
            takes[path.stem[: -len("-KK")]] = path
    found = []
    for path in (list(takes.values())[i] for i in rng.permutation(len(takes))[:COHORT_PASSAGES]):
        with np.load(path) as file:
            found.append(embedded(file["frames"], encoder))
    return found


def make_cohort(tracks: dict[str, Embeddings], passages: list[Embeddings], rng: np.random.Generator) -> Cohort:
    """The cohort of tracks and passages: windows of all, and longer excerpts of some, half of either kind.

    Many passages have common chords, so similarity to them is no evidence.
    """
    real = [list(tracks.values())[i] for i in rng.permutation(len(tracks))[:COHORT]]
    half = COHORT_EXCERPTS // 2
    thinned = [
        Embeddings(
            one.vectors[np.linspace(0, len(one) - 1, min(COHORT_WINDOWS, len(one))).astype(int)],
            one.hop,
            one.encoder_id,
            one.evidence,
        )
        for one in (*real[:half], *passages[:half], *real[half:], *passages[half:])
    ]
    return Cohort.of(thinned, excerpts=COHORT_EXCERPTS, seconds=COHORT_SECONDS)


class Songs:
    """A library in memory: its index, and the work of each recording."""

    def __init__(self, songs: list[Song]) -> None:
        self.songs = songs
        self.index = ExactIndex(songs[0].embeddings.vectors.shape[1])
        for number, song in enumerate(songs):
            self.index.add(*segments_to_index(number, song.embeddings))

    def of(self, work: str) -> set[int]:
        return {number for number, song in enumerate(self.songs) if song.work == work}

    def identify(
        self, query: Embeddings, work: str, encoder: CoverEncoder, cohort: Cohort, absent: Collection[str]
    ) -> QueryResult:
        """Search for a work at every tempo while some works are `absent`."""
        right = self.of(work)
        find = partial(
            search.find,
            index=cast(Index, self.index),  # it has what searches need
            cohort=cohort,
            networks=encoder.networks,
            embeddings_of=lambda ids: {each: self.songs[each].embeddings for each in ids},
            leave_out=set().union(*map(self.of, absent)),
        )
        found = list(chain.from_iterable(tempo_search.candidates_by_tempo(query, find, encoder.embed)))
        return QueryResult(
            [version.features for version in found],
            [version.recording_id in right for version in found],
            len(query.evidence) / FRAMES_PER_SECOND,
            work,
        )


def excerpt(whole: Embeddings, seconds: float, encoder: CoverEncoder, rng: np.random.Generator) -> Embeddings:
    """A random excerpt."""
    return embedded(_cut(whole, seconds, rng), encoder)


def medley(whole: Embeddings, other: Embeddings, encoder: CoverEncoder, rng: np.random.Generator) -> Embeddings:
    """A part of one song before or after a part of another."""
    seconds = rng.uniform(*PART)
    parts = [_cut(whole, seconds, rng), _cut(other, MEDLEY - seconds, rng)]
    return embedded(np.concatenate(parts if rng.random() < 0.5 else parts[::-1]), encoder)


def _cut(whole: Embeddings, seconds: float, rng: np.random.Generator) -> np.ndarray:
    count = round(seconds * FRAMES_PER_SECOND)
    start = int(rng.integers(max(1, len(whole.evidence) - count)))
    return whole.evidence[start : start + count]


def nothings(data: Path, noise: Path | None, encoder: CoverEncoder, rng: np.random.Generator) -> list[Embeddings]:
    """Queries of half a minute of speech or noise."""
    from songprint.audio import files

    lines, kinds = corpus.spoken_lines(data), corpus.ambience(noise)
    made = []
    for _ in range(NOTHINGS // 2):
        spoken = np.concatenate([files.load(lines[i], corpus.SAMPLE_RATE) for i in rng.integers(0, len(lines), 12)])
        made.append(spoken[: 30 * corpus.SAMPLE_RATE])
    for path in [kinds[i] for i in rng.permutation(len(kinds))[: NOTHINGS // 2]]:
        made.append(files.load(path, corpus.SAMPLE_RATE, duration=30))
    return [embedded(frames((samples * 32767).astype(np.int16)), encoder) for samples in made]


def work_of(name: str) -> str:
    """The work of a real track."""
    return corpus.SAME_MUSIC.get(name, name)


class Worker:
    """The state of a search process."""

    libraries: tuple[Songs, ...]
    cohort: Cohort
    encoder: CoverEncoder

    @classmethod
    def hold(cls, libraries: tuple[Songs, ...], cohort: Cohort) -> None:
        """Initialise the process with an encoder of its own."""
        cls.libraries, cls.cohort, cls.encoder = libraries, cohort, CoverMatcher().open_encoder()


@dataclass(frozen=True)
class Job:
    """A query and the library that it is searched in."""

    query: Embeddings
    work: str
    library: int
    absent: tuple[str, ...]  # works that are left out of the library

    @property
    def known(self) -> bool:
        return self.work not in self.absent


@one_thread()  # there are as many processes as cores
def identify(job: Job) -> QueryResult:
    return Worker.libraries[job.library].identify(job.query, job.work, Worker.encoder, Worker.cohort, job.absent)


def results(
    works: Works,
    tunes: Works,
    real: dict[str, Embeddings],
    others: dict[str, Embeddings],
    empty: list[Embeddings],
    encoder: CoverEncoder,
    cohort: Cohort,
    share: float = 1.0,
) -> tuple[list[QueryResult], list[QueryResult], list[QueryResult]]:
    """Results of known queries, of unknown queries, and of unknown tunes, in libraries of three sizes.

    A `share` below 1 draws some of the queries at random.
    """
    works = works | tunes
    rng = np.random.default_rng(5)
    some = [Song(work, renditions[0][0]) for work, renditions in works.items()]
    some += [Song(work_of(name), one) for name, one in real.items()]
    again = {work: renditions[1][0] for work, renditions in list(works.items())[::2] if len(renditions) > 2}
    many = (
        some
        + [Song(work, take) for work, take in again.items()]
        + [Song(work_of(name), one) for name, one in others.items()]
    )
    simple = [song.work in tunes for song in some]  # in the same libraries: apart they would be too easy
    order = [*rng.permutation(np.flatnonzero(simple)), *rng.permutation(np.flatnonzero(np.invert(simple)))]
    portions = [[some[place] for place in places] for places in np.array_split(order, int(np.ceil(len(some) / FEW)))]
    libraries = tuple(map(Songs, (some, many, *portions)))
    few = {song.work: number for number, portion in enumerate(portions, 2) for song in portion}
    jobs = []
    for work, renditions in works.items():
        for number, take in enumerate(chain.from_iterable(renditions[2 if work in again else 1 :])):
            other = str(rng.choice([name for name in works if name != work]))
            for library in (0, 1, few[work]):
                queries = [
                    excerpt(take, seconds, encoder, rng)
                    for seconds in rng.permutation(EXCERPTS)[:EXCERPTS_PER_RENDITION]
                ]
                queries += [take] if library == 1 and number % WHOLE_EVERY == 0 else []
                jobs += [Job(query, work, library, absent) for query in queries for absent in ((), (work,))]
            mixed = medley(take, works[other][-1][-1], encoder, rng)
            jobs += [Job(mixed, work, number % 2, (other, *absent)) for absent in ((), (work,))]
    for name, one in real.items():
        for seconds in (180.0, EXCERPTS[0], float(rng.choice(EXCERPTS))):
            query, work = excerpt(one, seconds, encoder, rng), work_of(name)
            jobs += [Job(query, work, library, (work,)) for library in (0, 1, few[work])]
    jobs += [Job(query, "", library, ("",)) for query in empty for library in (0, 1, 2)]
    jobs = [job for job in jobs if rng.random() < share]
    answers = program.in_processes(identify, jobs, "queries", initializer=Worker.hold, initargs=(libraries, cohort))
    pairs = list(zip(answers, jobs, strict=True))
    fitted = [(answer, job) for answer, job in pairs if job.work not in tunes]
    return (
        [answer for answer, job in fitted if job.known],
        [answer for answer, job in fitted if not job.known],
        [answer for answer, job in pairs if job.work in tunes and not job.known],
    )


def own_tempo_thresholds(known: list[QueryResult], unknown: list[QueryResult], fitted: Calibration) -> dict[str, float]:
    """The thresholds without a tempo search, which are lower: fewer searches make fewer errors."""

    def own(questions: list[QueryResult]) -> list[QueryResult]:
        kept = [[not values["changed"] for values in question.features] for question in questions]
        return [
            replace(
                question,
                features=list(compress(question.features, those)),
                correct=list(compress(question.correct, those)),
            )
            for question, those in zip(questions, kept, strict=True)
        ]

    levels = classifier.threshold_logits(own(unknown), fitted, short=SHORT)
    for rate, level in levels.items():
        print(
            f"without tempo search, false-accept rate {100 * rate:g}%: confidence {to_confidence(level)}, "
            f"recall {100 * classifier.recall(own(known), fitted, level):.1f}%"
        )
    return {str(rate): to_confidence(level) for rate, level in levels.items()}


def print_by_length(known: list[QueryResult], unknown: list[QueryResult]) -> None:
    """Print the cross-validated recall at a false-accept rate of 1% by length of the query."""
    answered = classifier.cross_validate(known, unknown, FEATURES, candidates=CANDIDATES, given=GIVEN)
    print(f"cross-validated recall: {100 * answered[0].mean():.1f}%")
    for seconds in EXCERPTS:
        of = [np.array([abs(question.length - seconds) < 0.5 for question in those]) for those in (known, unknown)]
        print(
            f"  {seconds:.0f} s, with medleys: {100 * answered[0][of[0]].mean():.1f}% of {of[0].sum()}; "
            f"{100 * answered[1][of[1]].mean():.1f}% of {of[1].sum()} unknown queries are answered"
        )


def main() -> None:
    parser = program.parser(__doc__, "tonal", data=program.DATA, noise=None)
    parser.add_argument("--share", type=float, default=1.0, help="share of the queries (default: 1, all)")
    parser.add_argument("--tunes", type=int, default=TUNES, help="number of synthesised tunes")
    options = parser.parse_args()
    encoder = CoverMatcher().open_encoder(threads=2)
    rng = np.random.default_rng(3)
    works = load_rendered(options.tonal, "calibration", encoder)
    real, others = (load_real(options.data, split, encoder, options.tonal) for split in ("calibration", "train"))
    cohort = make_cohort(others, load_passages(options.tonal, encoder, np.random.default_rng(4)), rng)
    cohort.save(WEIGHTS / "cover_cohort.npz")
    cohort = Cohort.load(WEIGHTS / "cover_cohort.npz")
    print(
        f"{len(works)} works, {len(real)} tracks, {len(others)} more; cohort of {cohort.songs.max() + 1}"
        f" ({(WEIGHTS / 'cover_cohort.npz').stat().st_size / 1e6:.1f} MB)",
        file=sys.stderr,
    )
    empty = nothings(options.data, options.noise, encoder, rng)
    known, unknown, simple = results(
        works, load_tunes(encoder, options.tunes), real, others, empty, encoder, cohort, options.share
    )
    calibration = classifier.calibrate(
        known, unknown, FEATURES, ABLATIONS, short=SHORT, candidates=CANDIDATES, given=GIVEN
    )
    calibration["own_tempo"] = {"thresholds": own_tempo_thresholds(known, unknown, Calibration.from_spec(calibration))}
    print_by_length(known, unknown)
    logits = classifier.best_logits(simple, Calibration.from_spec(calibration))
    answered = np.mean([to_confidence(logit) >= calibration["thresholds"]["0.01"] for logit in logits])
    print(f"{len(simple)} queries of unknown synthesised tunes: {100 * answered:.1f}% are answered at a rate of 1%")
    file = WEIGHTS / "cover.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "calibration": calibration}, indent=1) + "\n")


if __name__ == "__main__":
    main()
