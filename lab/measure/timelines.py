"""How well the songs of long recordings are found: programmes made of any music, with exact truth.

    python -m lab.measure.timelines --music DIR [--unknown DIR] [--covers DIR] [--speech DIR] [--noise DIR]
        [--hours 1] [--programmes 4] [--keep DIR] [--report docs/accuracy.md]

The music is added to a library, and programmes of it are scanned (`lab.data.programmes` says what is in them): plain ones,
faster and slower by 4 %, and as MP3 at 48 kbit/s, one after the other. Without --unknown every fifth file stays out of
the library and is played as unknown music. --covers is a folder of renditions with `works.tsv`, as
`lab.data.render_covers --files` writes it: the library gets one rendition of each song, the programmes play others; of every
sixth song it gets none. Each scan has a process of its own, whose memory is told.

--keep keeps the library, the programmes, their truth and their timelines, and uses what is there already.
--report puts the figures into a page, between its lines `<!-- timelines -->` and `<!-- /timelines -->`.
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

from lab.data import mixing, programmes
from lab.data.programmes import Collection, Piece, Programme
from lab.measure import report, spans
from lab.measure.covers import read_works
from lab.measure.recordings import machine, music_in
from lab.measure.spans import Agreement, Claim
from songprint.audio import files as audio
from songprint.config import Settings
from songprint.errors import SongprintError
from songprint.formats import objects
from songprint.library import Library
from songprint.types import Gap, Interval, Kind, Sound, Timeline

CONDITIONS = tuple(programmes.SPEEDS)
SILENT_WORKS = 6  # of every so many works the library holds no rendition
SPEECH_LINES = 600  # that may be heard


@dataclass(frozen=True)
class Scanned:
    """A timeline, and what it took."""

    timeline: Timeline
    memory: float  # MB at most, of the whole process
    computing: float  # seconds of all cores together, from opening the library on


@dataclass(frozen=True)
class Outcome:
    """What was said of one programme."""

    programme: Programme
    scanned: Scanned

    @property
    def claims(self) -> list[Claim]:
        """By the file itself: the library names it as it was given, which may be by a link."""
        return [
            Claim(str(Path(segment.recording.source).resolve()), segment.kind, segment.interval)
            for segment in self.scanned.timeline.segments
        ]


Scan = Callable[[Path], Scanned]


def scan_apart(library: Path, kinds: Sequence[str], path: Path) -> Scanned:
    """Scan in a process of its own, so that nothing but the scan takes its memory."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(_scan, library, kinds, path).result()


def _scan(library: Path, kinds: Sequence[str], path: Path) -> Scanned:
    import resource

    began = time.process_time()
    with Library(library, settings=Settings(kinds=tuple(kinds))) as opened:
        timeline = opened.scan(path, resume=None)
    return Scanned(timeline, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, time.process_time() - began)


def gather(options: argparse.Namespace) -> tuple[Collection, list[Path]]:
    """What the programmes are made of, and the files that the library holds."""
    files = music_in(options.music)
    apart = [] if options.unknown else files[4::5]
    held = [path for path in files if path not in apart]
    unknown = apart + music_in(options.unknown)
    covers, strange, references = cover_pieces(options.covers) if options.covers else ([], [], [])
    if not held or not unknown:
        raise ValueError(
            f"{len(held)} files of 30 s and more to add and {len(unknown)} to play as unknown music:"
            " both are needed. Are --music and --unknown the right folders?"
        )
    collection = Collection(
        [Piece(str(path.resolve()), str(path.resolve())) for path in held],
        [*(Piece(str(path.resolve())) for path in unknown), *strange],
        covers,
        _sounds_in(options.speech)[:SPEECH_LINES],
        _sounds_in(options.noise),
    )
    return collection, [*held, *references]


def cover_pieces(folder: Path) -> tuple[list[Piece], list[Piece], list[Path]]:
    """Renditions to play, renditions of songs that nobody knows, and what the library holds of the others."""
    works: dict[str, list[Path]] = {}
    for path, work in read_works(folder, folder / "works.tsv"):
        works.setdefault(work, []).append(path.resolve())
    covers, strange, references = [], [], []
    for number, (_, paths) in enumerate(sorted(works.items())):
        if number % SILENT_WORKS == SILENT_WORKS - 1:
            strange.append(Piece(str(paths[0])))
            continue
        references.append(paths[0])
        covers += [Piece(str(path), str(paths[0]), Kind.COVER) for path in paths[1:]]
    return covers, strange, references


def _sounds_in(folders: Sequence[Path]) -> list[str]:
    return [str(path) for folder in folders for path in sorted(folder.rglob("*")) if audio.is_probably_audio(path)]


def measure(
    collection: Collection, conditions: Sequence[str], seconds: float, seed: int, folder: Path, scan: Scan
) -> list[Outcome]:
    """Make a programme in each of these conditions, and scan it."""
    outcomes = []
    for number, condition in enumerate(conditions):
        print(f"programme {number + 1} of {len(conditions)}: {condition}", file=sys.stderr)
        programme = programmes.plan(collection, seconds, condition, seed + number, mixing.sounding)
        path = mixing.write(programme, collection.speech, folder)
        outcome = Outcome(programme, scan(path))
        path.with_suffix(".timeline.json").write_text(
            objects.to_json(objects.timeline_object(outcome.scanned.timeline)), encoding="utf-8"
        )
        outcomes.append(outcome)
    return outcomes


def agreed(outcomes: Sequence[Outcome], kind: Kind | None) -> Agreement:
    return sum((spans.agreement(each.programme.songs, each.claims, kind) for each in outcomes), Agreement(0, 0, 0))


def text(command: str, recordings: int, outcomes: Sequence[Outcome]) -> str:
    """The figures as Markdown."""
    seconds = sum(each.programme.duration for each in outcomes)
    songs = [part for each in outcomes for part in each.programme.songs]
    foreign = sum(part.heard.duration for each in outcomes for part in each.programme.parts if not part.song)
    parts = [
        f"    {command}",
        "",
        f"{len(outcomes)} programmes, {seconds / 3600:.1f} h; library of {recordings} recordings; songs are heard"
        f" {len(songs)} times, unknown music for {foreign / 60:.0f} minutes. {machine()}.",
        "",
        found(outcomes),
        "",
        edges(outcomes),
        "",
        mistakes(outcomes, seconds / 3600),
        "",
        sounds(outcomes),
        "",
        unknown(outcomes),
        "",
        effort(outcomes),
    ]
    return "\n".join(parts)


def found(outcomes: Sequence[Outcome]) -> str:
    """Song seconds by condition and kind."""
    lines = ["| programmes | songs | heard, s | precision | recall | F1 |", "|---" * 6 + "|"]
    groups = {
        condition: [each for each in outcomes if each.programme.condition == condition]
        for condition in dict.fromkeys(each.programme.condition for each in outcomes)
    }
    for name, group in {**groups, "**all**": outcomes}.items():
        for kind, noun in ((Kind.RECORDING, "recordings"), (Kind.COVER, "covers"), (None, "both")):
            if kind and not any(part.kind == kind for each in group for part in each.programme.songs):
                continue
            said = agreed(group, kind)
            lines.append(
                f"| {name} | {noun} | {said.heard:.0f} | {said.precision:.3f} | {said.recall:.3f} | {said.f1:.3f} |"
            )
    return "\n".join(lines)


def edges(outcomes: Sequence[Outcome]) -> str:
    """How far starts and ends lie from the true ones."""
    lines = ["| starts and ends | count | median error, s | 90th percentile, s |", "|---" * 4 + "|"]
    all_edges = [edge for each in outcomes for edge in spans.edges(each.programme.songs, each.claims)]
    for kind, noun in ((Kind.RECORDING, "recordings"), (Kind.COVER, "covers")):
        for hard, how in ((None, ""), (True, ", cut"), (False, ", faded")):
            errors = [edge.error for edge in all_edges if edge.kind == kind and hard in (None, edge.hard)]
            if errors:
                lines.append(
                    f"| {noun}{how} | {len(errors)} | {np.median(errors):.2f} | {np.quantile(errors, 0.9):.2f} |"
                )
    return "\n".join(lines)


def mistakes(outcomes: Sequence[Outcome], hours: float) -> str:
    """What is not found at all, and what is named where nothing of it is."""
    lines = ["| | recordings | covers |", "|---|---|---|"]
    songs = {kind: sum(part.kind == kind for each in outcomes for part in each.programme.songs) for kind in Kind}
    missed = {
        kind: sum(part.kind == kind for each in outcomes for part in spans.missed(each.programme.songs, each.claims))
        for kind in Kind
    }
    invented = {
        kind: [
            claim
            for each in outcomes
            for claim in spans.invented(each.programme.songs, each.claims)
            if claim.kind == kind
        ]
        for kind in Kind
    }
    lines.append("| songs missed | " + " | ".join(f"{missed[kind]} of {songs[kind]}" for kind in Kind) + " |")
    lines.append(
        "| songs invented per hour | " + " | ".join(f"{len(invented[kind]) / hours:.2f}" for kind in Kind) + " |"
    )
    lines.append(
        "| seconds of them | "
        + " | ".join(f"{sum(claim.heard.duration for claim in invented[kind]):.0f}" for kind in Kind)
        + " |"
    )
    other = sum(spans.other_kind(each.programme.songs, each.claims) for each in outcomes)
    return "\n".join(lines) + f"\n\nNamed rightly, but with the other kind: {other:.0f} s."


def sounds(outcomes: Sequence[Outcome]) -> str:
    """What is heard where no song of the library is, and what the gaps say of it, in seconds."""
    lines = ["| heard (s) \\ called | " + " | ".join(Sound) + " | a song |", "|---" * (len(Sound) + 2) + "|"]
    for true in Sound:
        cells = dict.fromkeys((*Sound, None), 0.0)
        for each in outcomes:
            truth = _truly(each.programme, true)
            for called in Sound:
                gaps = spans.joined(gap.interval for gap in each.scanned.timeline.gaps if gap.sound == called)
                cells[called] += spans.total(spans.overlap(truth, gaps))
            cells[None] += spans.total(spans.overlap(truth, spans.joined(claim.heard for claim in each.claims)))
        if sum(cells.values()):
            lines.append(
                f"| {true if true != Sound.MUSIC else 'unknown music'} | "
                + " | ".join(f"{value:.0f}" for value in cells.values())
                + " |"
            )
    return "\n".join(lines)


def _truly(programme: Programme, sound: Sound) -> list[Interval]:
    if sound != Sound.MUSIC:
        return [interval for interval, heard in programme.sounds if heard == sound]
    foreign = spans.joined(part.heard for part in programme.parts if not part.song)
    return spans.without(foreign, [part.audible for part in programme.songs])


def unknown(outcomes: Sequence[Outcome]) -> str:
    """Whether the same unknown music gets the same number, within a programme, and other music another one."""
    again = recognised = pairs = confused = 0
    for each in outcomes:
        parts = [part for part in each.programme.parts if not part.song]
        numbers = [_numbers(part.heard, each.scanned.timeline.gaps) for part in parts]
        for place, (part, mine) in enumerate(zip(parts, numbers, strict=True)):
            for other, theirs in zip(parts[:place], numbers[:place], strict=True):
                if part.path == other.path and spans.total(spans.overlap([part.reference], [other.reference])) > 10:
                    again += 1
                    recognised += bool(mine & theirs)
                elif part.path != other.path:
                    pairs += 1
                    confused += bool(mine & theirs)
    return (
        f"Unknown music that was heard before in the same programme: {recognised} of {again} times recognised."
        f" Two different pieces with one number: {confused} of {pairs} pairs."
    )


def _numbers(heard: Interval, gaps: Sequence[Gap]) -> set[int]:
    """The numbers of the unknown music that is mostly in this stretch."""
    return {
        gap.unknown
        for gap in gaps
        if gap.unknown is not None and spans.total(spans.overlap([gap.interval], [heard])) > 0.5 * gap.interval.duration
    }


def effort(outcomes: Sequence[Outcome]) -> str:
    lines = [
        "| programme | length, min | times real time | the same for one core's work | memory at most, MB |",
        "|---" * 5 + "|",
    ]
    for each in outcomes:
        scanned = each.scanned
        lines.append(
            f"| {each.programme.condition} | {each.programme.duration / 60:.0f} |"
            f" {scanned.timeline.duration / max(scanned.timeline.elapsed, 1e-9):.0f} |"
            f" {scanned.timeline.duration / max(scanned.computing, 1e-9):.0f} | {scanned.memory:.0f} |"
        )
    return "\n".join(lines)


def shown_command(options: argparse.Namespace) -> str:
    """The command line as others can use it: folders by what they hold, not by where they are here."""
    words = ["python -m lab.measure.timelines"]
    for name in ("music", "unknown", "covers", "speech", "noise"):
        words += [f"--{name} {name.upper()}"] if getattr(options, name) else []
    words += [f"--hours {options.hours:g} --programmes {options.programmes} --seed {options.seed}"]
    words += [f"--kinds {options.kinds}"] if options.kinds != ",".join(Kind) else []
    words += [f"--conditions {options.conditions!r}"] if options.conditions != ",".join(CONDITIONS) else []
    return " ".join([*words, "--report docs/accuracy.md"])


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, words in (
        ("music", "what the library holds"),
        ("unknown", "music that it does not hold"),
        ("speech", "speech; nobody talks without it"),
        ("noise", "noise; none without it"),
    ):
        parser.add_argument(f"--{name}", type=Path, nargs="+", default=[], help=words, required=name == "music")
    parser.add_argument("--covers", type=Path, help="folder of renditions with works.tsv")
    parser.add_argument("--hours", type=float, default=1.0, help="of each programme")
    parser.add_argument("--programmes", type=int, default=4)
    parser.add_argument("--conditions", default=",".join(CONDITIONS), help="of the programmes, in turn: %(default)s")
    parser.add_argument("--kinds", default=",".join(Kind), help="of match that are looked for: %(default)s")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep what is made in this folder, and use it again")
    parser.add_argument("--report", type=Path, metavar="PAGE", help="put the figures into this page")
    return parser


def evaluate(options: argparse.Namespace, folder: Path) -> str:
    collection, held = gather(options)
    kinds = tuple(options.kinds.split(","))
    chosen = options.conditions.split(",")
    with Library(folder / "library", create=True, settings=Settings(kinds=kinds)) as library:
        library.add(
            held, on_progress=lambda p: print(f"\radded {p.files_done}/{p.files_total}", end="", file=sys.stderr)
        )
        print(file=sys.stderr)
        recordings = len(library)
    outcomes = measure(
        collection,
        [chosen[number % len(chosen)] for number in range(options.programmes)],
        3600 * options.hours,
        options.seed,
        folder / "programmes",
        lambda path: scan_apart(folder / "library", kinds, path),
    )
    return text(shown_command(options), recordings, outcomes)


def main() -> None:
    options = parser().parse_args()
    try:
        if options.report:
            report.check_page(options.report, report.TIMELINES)  # before the hours, not after them
        with nullcontext(options.keep) if options.keep else tempfile.TemporaryDirectory() as folder:
            words = evaluate(options, Path(folder))
        print(words)
        if options.report:
            report.put(options.report, words, title="How good it is", mark=report.TIMELINES)
    except (report.PageError, SongprintError, OSError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
