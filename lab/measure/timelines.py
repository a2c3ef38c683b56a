"""Evaluation of timelines: radio-like programmes with exact ground truth, made of any music.

    python -m lab.measure.timelines --music DIR [--unknown DIR] [--covers DIR] [--speech DIR ...] [--noise DIR]
        [--surroundings] [--hours 1] [--programmes 4] [--keep DIR] [--report docs/accuracy.md]

The music is added to a library, and programmes of it are scanned (`lab.data.programmes` describes them): plain, 4%
faster, 4% slower, and as MP3 at 48 kbit/s, in turn. Without --unknown, every fifth file stays out of the library and
is played as unknown music. --covers is a folder of renditions with `works.tsv`, as written by
`lab.data.render_covers --files`: the library contains one rendition of each song and the programmes play the others;
of every sixth song the library contains none. Each --speech folder is one language. Each scan runs in its own process,
whose memory is measured.

--surroundings plans other programmes (`lab.data.surroundings`): every song lies between silence, noise, speech or
other music, at levels from -50 to -10 dBFS. The report then lists the errors of starts and ends by surrounding, and the
ten worst with their positions. Without --speech, eSpeak NG synthesises speech in three languages if it is installed.

--keep keeps the library, the programmes, their ground truth and their timelines, and reuses existing files.
--report writes the figures into a page, between its lines `<!-- timelines -->` and `<!-- /timelines -->`
(`<!-- surroundings -->` with --surroundings).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from lab import program
from lab.data import mixing, programmes, surroundings
from lab.data.programmes import Collection, Measure, Piece, Programme
from lab.measure import ends, report, spans
from lab.measure.covers import read_works
from lab.measure.recordings import add, machine, music_in
from lab.measure.spans import Agreement, Detection
from lab.program import table
from songprint.audio import files as audio
from songprint.config import Settings
from songprint.formats import objects
from songprint.library import Library
from songprint.types import Gap, Interval, Kind, Sound, Timeline, covered

CONDITIONS = tuple(programmes.SPEEDS)
UNKNOWN_WORKS = 6  # of every so many works the library contains no rendition
SPEECH_FILES = 600  # at most, of each language
NOUNS = {Kind.RECORDING: "recordings", Kind.COVER: "covers"}


@dataclass(frozen=True)
class Scanned:
    """A timeline and the cost of computing it."""

    timeline: Timeline
    memory: float  # MB, peak of the whole process
    computing: float  # seconds of processor time of all cores, including opening the library


@dataclass(frozen=True)
class Outcome:
    """A programme and its timeline."""

    programme: Programme
    scanned: Scanned
    path: Path = Path()  # of the audio

    @property
    def detections(self) -> list[Detection]:
        """The segments, by resolved path: the library may have been given a link."""
        return [
            Detection(str(Path(segment.recording.source).resolve()), segment.kind, segment.interval)
            for segment in self.scanned.timeline.segments
        ]


Plan = Callable[[Collection, float, str, int, Measure], Programme]
Scan = Callable[[Path], Scanned]


def scan_apart(library: Path, kinds: Sequence[str], path: Path) -> Scanned:
    """Scan in a new process, so that its memory is that of the scan alone."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(_scan, library, kinds, path).result()


def _scan(library: Path, kinds: Sequence[str], path: Path) -> Scanned:
    import resource

    began = time.process_time()
    with Library(library, settings=Settings(kinds=tuple(kinds))) as opened:
        timeline = opened.scan(path, resume=None)
    return Scanned(timeline, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, time.process_time() - began)


def gather(options: argparse.Namespace, folder: Path) -> tuple[Collection, list[Path]]:
    """Return the material of the programmes and the files for the library."""
    files = music_in(options.music)
    held_out = [] if options.unknown else files[4::5]
    known = [path for path in files if path not in held_out]
    unknown = held_out + music_in(options.unknown)
    covers, unknown_covers, references = cover_pieces(options.covers) if options.covers else ([], [], [])
    if not known or not unknown:
        raise ValueError(
            f"{len(known)} files of 30 s and more to add and {len(unknown)} to play as unknown music:"
            " both are needed. Are --music and --unknown the right folders?"
        )
    speech = {path.name: audio_in([path])[:SPEECH_FILES] for path in options.speech}
    if options.surroundings and not speech:
        speech = surroundings.synthesise_speech(folder / "speech")
    collection = Collection(
        [Piece(str(path.resolve()), str(path.resolve())) for path in known],
        [*(Piece(str(path.resolve())) for path in unknown), *unknown_covers],
        covers,
        {language: paths for language, paths in speech.items() if paths},
        audio_in(options.noise),
    )
    return collection, [*known, *references]


def cover_pieces(folder: Path) -> tuple[list[Piece], list[Piece], list[Path]]:
    """Return the renditions to play, the renditions of unknown songs, and the files for the library."""
    works: dict[str, list[Path]] = {}
    for path, work in read_works(folder, folder / "works.tsv"):
        works.setdefault(work, []).append(path.resolve())
    covers, unknown, references = [], [], []
    for number, (_, paths) in enumerate(sorted(works.items())):
        if number % UNKNOWN_WORKS == UNKNOWN_WORKS - 1:
            unknown.append(Piece(str(paths[0])))
            continue
        references.append(paths[0])
        covers += [Piece(str(path), str(paths[0]), Kind.COVER) for path in paths[1:]]
    return covers, unknown, references


def audio_in(folders: Sequence[Path]) -> list[str]:
    return [str(path) for folder in folders for path in sorted(folder.rglob("*")) if audio.is_probably_audio(path)]


def measure(
    collection: Collection,
    conditions: Sequence[str],
    seconds: float,
    seed: int,
    folder: Path,
    scan: Scan,
    plan: Plan = programmes.plan,
) -> list[Outcome]:
    """Make one programme in each of the conditions and scan it."""
    outcomes = []
    for number, condition in enumerate(conditions):
        print(f"programme {number + 1} of {len(conditions)}: {condition}", file=sys.stderr)
        programme = plan(collection, seconds, condition, seed + number, mixing.sounding)
        path = mixing.write(programme, collection.speech, folder)
        outcome = Outcome(programme, scan(path), path)
        path.with_suffix(".timeline.json").write_text(
            objects.to_json(objects.timeline_object(outcome.scanned.timeline)), encoding="utf-8"
        )
        outcomes.append(outcome)
    return outcomes


def agreed(outcomes: Sequence[Outcome], kind: Kind | None) -> Agreement:
    return sum((spans.agreement(each.programme.songs, each.detections, kind) for each in outcomes), Agreement(0, 0, 0))


def text(command: str, recordings: int, outcomes: Sequence[Outcome], *, by_surrounding: bool = False) -> str:
    """Return the figures as Markdown."""
    seconds = sum(each.programme.duration for each in outcomes)
    songs = [part for each in outcomes for part in each.programme.songs]
    unknown = sum(part.interval.duration for each in outcomes for part in each.programme.parts if not part.song)
    middle = ends.tables(outcomes) if by_surrounding else [edges(outcomes)]
    sections = [
        f"    {command}",
        f"{len(outcomes)} programmes, {seconds / 3600:.1f} h; library of {recordings} recordings;"
        f" {len(songs)} song segments, {unknown / 60:.0f} minutes of unknown music. {machine()}.",
        found(outcomes),
        *middle,
        mistakes(outcomes, seconds / 3600),
        sounds(outcomes),
        *([] if by_surrounding else [recurrence(outcomes), effort(outcomes)]),
    ]
    return "\n\n".join(sections)


def found(outcomes: Sequence[Outcome]) -> str:
    """Precision and recall of song seconds, by condition and kind."""
    rows = []
    groups = {
        condition: [each for each in outcomes if each.programme.condition == condition]
        for condition in dict.fromkeys(each.programme.condition for each in outcomes)
    }
    for name, group in {**groups, "**all**": outcomes}.items():
        for kind, noun in (*NOUNS.items(), (None, "both")):
            if kind and not any(part.kind == kind for each in group for part in each.programme.songs):
                continue
            seconds = agreed(group, kind)
            shares = (seconds.precision, seconds.recall, seconds.f1)
            rows.append([name, noun, f"{seconds.played:.0f}", *(f"{share:.3f}" for share in shares)])
    return table(["programmes", "songs", "played, s", "precision", "recall", "F1"], rows)


def edges(outcomes: Sequence[Outcome]) -> str:
    """Errors of starts and ends, for cut and faded ones."""
    rows = []
    all_edges = [edge for each in outcomes for edge in spans.edges(each.programme.songs, each.detections)]
    for kind, noun in NOUNS.items():
        for hard, how in ((None, ""), (True, ", cut"), (False, ", faded")):
            errors = [edge.error for edge in all_edges if edge.part.kind == kind and hard in (None, edge.hard)]
            if errors:
                rows.append([noun + how, len(errors), *(f"{np.quantile(errors, share):.2f}" for share in (0.5, 0.9))])
    return table(["starts and ends", "count", "median error, s", "90th percentile, s"], rows)


def mistakes(outcomes: Sequence[Outcome], hours: float) -> str:
    """Songs of which nothing is reported, and songs that are reported where they do not play."""
    songs = [part for each in outcomes for part in each.programme.songs]
    missed = [part for each in outcomes for part in spans.missed(each.programme.songs, each.detections)]
    false = [song for each in outcomes for song in spans.false_songs(each.programme.songs, each.detections)]

    by_kind = [[song for song in false if song.kind == kind] for kind in Kind]
    counts = [[sum(part.kind == kind for part in parts) for parts in (missed, songs)] for kind in Kind]
    rows = [
        ["songs missed", *(f"{count} of {played}" for count, played in counts)],
        ["false songs per hour", *(f"{len(group) / hours:.2f}" for group in by_kind)],
        ["seconds of false songs", *(f"{sum(song.interval.duration for song in group):.0f}" for group in by_kind)],
    ]
    other = sum(spans.wrong_kind(each.programme.songs, each.detections) for each in outcomes)
    return table(["", "recordings", "covers"], rows) + f"\n\nCorrect song, but wrong kind: {other:.0f} s."


def sounds(outcomes: Sequence[Outcome]) -> str:
    """Seconds without a song of the library: actual sound by reported sound."""
    rows = []
    for actual in Sound:
        cells: dict[Sound | None, float] = dict.fromkeys((*Sound, None), 0.0)
        for each in outcomes:
            truth = _actual(each.programme, actual)
            for reported in Sound:
                gaps = spans.joined(gap.interval for gap in each.scanned.timeline.gaps if gap.sound == reported)
                cells[reported] += covered(spans.overlap(truth, gaps))
            cells[None] += covered(spans.overlap(truth, spans.joined(song.interval for song in each.detections)))
        if sum(cells.values()):
            name = actual if actual != Sound.MUSIC else "unknown music"
            rows.append([name, *(f"{value:.0f}" for value in cells.values())])
    return table(["actual (s) \\ reported", *Sound, "song"], rows)


def _actual(programme: Programme, sound: Sound) -> list[Interval]:
    if sound != Sound.MUSIC:
        return [interval for interval, each in programme.sounds if each == sound]
    unknown = spans.joined(part.interval for part in programme.parts if not part.song)
    return spans.without(unknown, [part.audible for part in programme.songs])


def recurrence(outcomes: Sequence[Outcome]) -> str:
    """Whether unknown music that is played again gets the same number, and other unknown music another one."""
    again = recognised = pairs = confused = 0
    for each in outcomes:
        parts = [part for part in each.programme.parts if not part.song]
        numbers = [_numbers(part.interval, each.scanned.timeline.gaps) for part in parts]
        for place, (part, mine) in enumerate(zip(parts, numbers, strict=True)):
            for other, theirs in zip(parts[:place], numbers[:place], strict=True):
                if part.path == other.path and covered(spans.overlap([part.reference], [other.reference])) > 10:
                    again += 1
                    recognised += bool(mine & theirs)
                elif part.path != other.path:
                    pairs += 1
                    confused += bool(mine & theirs)
    return (
        f"Unknown music that occurs again in the same programme: recognised {recognised} of {again} times."
        f" Different pieces with the same number: {confused} of {pairs} pairs."
    )


def _numbers(interval: Interval, gaps: Sequence[Gap]) -> set[int]:
    """Return the numbers of the gaps of unknown music that lie mostly in this interval."""
    return {
        gap.unknown
        for gap in gaps
        if gap.unknown is not None and covered(spans.overlap([gap.interval], [interval])) > 0.5 * gap.interval.duration
    }


def effort(outcomes: Sequence[Outcome]) -> str:
    """Speed and memory of the scans."""
    rows = [
        [
            each.programme.condition,
            f"{each.programme.duration / 60:.0f}",
            f"{each.scanned.timeline.duration / max(each.scanned.timeline.elapsed, 1e-9):.0f}",
            f"{each.scanned.timeline.duration / max(each.scanned.computing, 1e-9):.0f}",
            f"{each.scanned.memory:.0f}",
        ]
        for each in outcomes
    ]
    return table(["programme", "length, min", "x real time", "x real time, one core", "peak memory, MB"], rows)


def shown_command(options: argparse.Namespace) -> str:
    """Return the command line with placeholders instead of local folders."""
    words = ["python -m lab.measure.timelines"]
    for name in ("music", "unknown", "covers", "speech", "noise"):
        words += [f"--{name} {name.upper()}"] if getattr(options, name) else []
    words += ["--surroundings"] if options.surroundings else []
    words += [f"--hours {options.hours:g} --programmes {options.programmes} --seed {options.seed}"]
    words += [f"--kinds {options.kinds}"] if options.kinds != ",".join(Kind) else []
    words += [f"--conditions {options.conditions!r}"] if options.conditions != ",".join(CONDITIONS) else []
    return " ".join([*words, "--report docs/accuracy.md"])


def parser() -> argparse.ArgumentParser:
    parser = program.parser(__doc__, seed=1, report=None)
    for name, words in (
        ("music", "folders of music for the library"),
        ("unknown", "folders of music that is played but not in the library"),
        ("speech", "folders of speech, one for each language; without them the programmes contain no speech"),
        ("noise", "folders of recorded noise; without them the programmes contain none"),
    ):
        parser.add_argument(f"--{name}", type=Path, nargs="+", default=[], help=words, required=name == "music")
    parser.add_argument("--covers", type=Path, help="folder of renditions with works.tsv")
    parser.add_argument(
        "--surroundings", action="store_true", help="every song between silence, noise, speech or music"
    )
    parser.add_argument("--hours", type=float, default=1.0, help="length of each programme (default: %(default)g)")
    parser.add_argument("--programmes", type=int, default=4, help="number of programmes (default: %(default)s)")
    parser.add_argument("--conditions", default=",".join(CONDITIONS), help="of the programmes, in turn: %(default)s")
    parser.add_argument("--kinds", default=",".join(Kind), help="kinds of match to search (default: %(default)s)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep all files in this folder, and reuse them")
    return parser


def evaluate(options: argparse.Namespace, folder: Path) -> str:
    collection, known = gather(options, folder)
    kinds = tuple(options.kinds.split(","))
    chosen = options.conditions.split(",")
    with Library(folder / "library", create=True, settings=Settings(kinds=kinds)) as library:
        add(library, known)
        recordings = len(library)
    outcomes = measure(
        collection,
        [chosen[number % len(chosen)] for number in range(options.programmes)],
        3600 * options.hours,
        options.seed,
        folder / ("surroundings" if options.surroundings else "programmes"),
        lambda path: scan_apart(folder / "library", kinds, path),
        surroundings.plan if options.surroundings else programmes.plan,
    )
    return text(shown_command(options), recordings, outcomes, by_surrounding=options.surroundings)


def main() -> None:
    options = parser().parse_args()
    mark = report.SURROUNDINGS if options.surroundings else report.TIMELINES
    with (
        report.written(options.report, "Accuracy", mark) as write,
        nullcontext(options.keep) if options.keep else tempfile.TemporaryDirectory() as folder,
    ):
        write(evaluate(options, Path(folder)))


if __name__ == "__main__":
    main()
