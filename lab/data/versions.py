"""Versions of songs that different people made: MIDI files, cleaned, aligned with each other, and split.

    python -m lab.data.versions read --real DIR --single DIR --out data/versions.pkl
    python -m lab.data.versions exam --data data --versions data/versions.pkl --out data/exam
    python -m lab.data.versions imagine --versions data/versions.pkl --tonal data/tonal --takes 2

The data sets contain `works.tsv` (path, work, kind, melody_track, ...) and MIDI files. `read` parses them, aligns the
versions of each work by their notes, and separates versions that do not agree with the others: the works were found by
a program, and about one pair in thirty is wrong. Versions of one work then share a time line, in beats of its anchor,
the version that agrees best with the others.

`exam` renders two versions of each work of the exam, with soundfonts that training does not use, as FLAC files with
`works.tsv` for `lab.measure.covers`. `imagine` writes tonal frames of the training works without audio
(`lab.data.imagine`), in the form of `lab.data.cover_features`: `version-WWWWW-KK.npz`.
"""

from __future__ import annotations

import hashlib
import pickle
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np

from lab import program
from lab.data import perform, renditions
from lab.data.renditions import Part, Rendition
from lab.data.scores import NOTE, stated
from songprint.covers.align import Comparison
from songprint.covers.matcher import CoverMatcher
from songprint.covers.rows import STEP
from songprint.covers.rows import Rendition as Prepared
from songprint.covers.tonal import FRAMES_PER_SECOND
from songprint.processes.threads import one_thread

LONGEST = 300.0  # seconds used of a version
SHORTEST = 15.0  # seconds; shorter versions are left out
MIN_NOTES = 40
MAX_PARTS = 15  # melodic channels of a synthesizer
BASSES = range(32, 40)  # General MIDI programs
SOUND_EFFECTS = 112  # the first General MIDI program that is a percussion or an effect
TUNE_WORDS = ("melody", "vocal", "voice", "lead", "sing", "canto", "melodia", "tune")
MIN_MELODY = 0.35  # a track with a lower score (`_melodiousness`) is not taken for the melody
# Alignment score from which two versions belong to one work. 99 of 100 pairs of unrelated works score less than 4.6;
# 90 of 100 pairs that the data set states score more than 4.3.
MIN_SCORE = 4.5
BEAT = 0.6  # seconds of the anchor
FOREIGN = 100_000.0  # beats between the time lines of parts that only one version contains
CHORD_SECONDS = 1.0  # length of a window in which a chord is estimated

EXAM, CALIBRATION = 100, 60  # works of each sort
SORTS = ("lead and arrangement", "two arrangements")

CHORDS = ((0, 4, 7), (0, 3, 7), (0, 4, 7, 10), (0, 3, 7, 10), (0, 4, 7, 11), (0, 3, 6), (0, 5, 7), (0, 4, 8))


@dataclass(frozen=True)
class Version:
    """One version of a work. Beat `beats[i]` of the time line of the work is played at `seconds[i]`."""

    path: str
    work: str
    kind: str  # lead, arrangement, tune or classical
    parts: tuple[Part, ...]  # notes in seconds
    duration: float  # seconds
    split: str = "train"  # or calibration, exam
    seconds: tuple[float, ...] = ()
    beats: tuple[float, ...] = ()

    @property
    def rendition(self) -> Rendition:
        """The version as it was written."""
        sounding = [part.notes for part in self.parts if part.role != "drums"]
        return Rendition(
            self.work,
            self.parts,
            self.duration,
            np.array(self.seconds),
            np.array(self.beats),
            chords_of(np.concatenate(sounding), self.duration),
            0,
            0.0,
        )


def load(path: Path) -> list[Version]:
    """Load versions that `read` saved. Only for trusted files: unpickling can run any code."""
    return [
        Version(**{**row, "parts": tuple(Part(**part) for part in row["parts"])})
        for row in pickle.loads(path.read_bytes())
    ]


def save(versions: Sequence[Version], path: Path) -> None:
    path.write_bytes(
        pickle.dumps([{**vars(version), "parts": [vars(part) for part in version.parts]} for version in versions])
    )


# --- reading


def read(job: tuple[Path, dict[str, str]]) -> Version | None:
    """Read a MIDI file; None if it is unreadable, too short or has too few notes."""
    import pretty_midi

    folder, row = job
    try:
        midi = pretty_midi.PrettyMIDI(str(folder / row["path"]))
    except Exception as error:  # the parser raises any exception for damaged files
        print(f"{row['path']} is skipped: {error}", file=sys.stderr)
        return None
    tracks = [
        (track.name.strip("\0 ").lower(), int(track.program), bool(track.is_drum), _notes(track.notes))
        for track in midi.instruments
        if track.notes
    ]
    tracks = [each for each in tracks if len(each[3])]
    tune = int(row["melody_track"]) if row["melody_track"].strip().isdigit() else None
    parts = _parts(tracks, tune)
    duration = max((float(part.notes["end"].max()) for part in parts), default=0.0)
    if duration < SHORTEST or sum(len(part.notes) for part in parts if part.role != "drums") < MIN_NOTES:
        return None
    return Version(row["path"], row["work"], row["kind"], parts, duration + 0.5)


def _notes(found: Iterable[Any]) -> np.ndarray:
    rows = [
        (note.start, min(note.end, note.start + 20.0), note.pitch, note.velocity)
        for note in found
        if note.start < LONGEST and note.end > note.start + 0.02
    ]
    return np.array(sorted(rows), NOTE)


def _parts(tracks: list[tuple[str, int, bool, np.ndarray]], tune: int | None) -> tuple[Part, ...]:
    """Give each track a role. Without a known tune, the most melodious track is the melody, or the highest notes."""
    melodic = [number for number, (_, program_, drum, _) in enumerate(tracks) if not drum and program_ < SOUND_EFFECTS]
    basses = {number for number in melodic if tracks[number][1] in BASSES or tracks[number][0].startswith("bass")}
    if tune is None or tune not in melodic or tune in basses:
        fits = {number: _melodiousness(*tracks[number]) for number in melodic if number not in basses}
        best = max(fits, key=lambda number: fits[number], default=None)
        tune = best if best is not None and fits[best] >= MIN_MELODY else None
    merged: dict[tuple[str, int], list[np.ndarray]] = defaultdict(list)
    for number, (_, program_, drum, notes) in enumerate(tracks):
        if drum:
            merged["drums", 0].append(notes)
        elif number in melodic:
            role = "melody" if number == tune else "bass" if number in basses else "chords"
            merged[role, program_].append(notes)
    joined = {key: np.sort(np.concatenate(found), order="start") for key, found in merged.items()}
    if tune is None and (others := [key for key in joined if key[0] == "chords"]):
        source = max(others, key=lambda key: float(np.median(joined[key]["pitch"])))
        high = highest(joined[source])
        joined["melody", source[1]], joined[source] = joined[source][high], joined[source][~high]
    drums = joined.pop(("drums", 0), None)
    kept = sorted(joined.items(), key=lambda each: -len(each[1]) - 10_000 * (each[0][0] == "melody"))[:MAX_PARTS]
    parts = [Part(role, program_, 0.0, notes) for (role, program_), notes in kept if len(notes)]
    return (*parts, Part("drums", 0, 0.0, drums)) if drums is not None else tuple(parts)


def _melodiousness(name: str, program_: int, drum: bool, notes: np.ndarray) -> float:
    """How much a track looks like a tune: one note at a time, in the range of voices, in much of the piece."""
    alone = float(np.mean(notes["start"][1:] >= notes["end"][:-1] - 0.05)) if len(notes) > 1 else 0.0
    in_range = float(np.mean((notes["pitch"] >= 52) & (notes["pitch"] <= 88)))
    sounding = min(1.0, float((notes["end"] - notes["start"]).sum()) / max(1.0, float(notes["end"].max())))
    named = any(word in name for word in TUNE_WORDS)
    return alone * in_range * sounding**0.5 + named


def highest(notes: np.ndarray) -> np.ndarray:
    """Return which notes (n,) of a part are the highest ones at their beginning."""
    chosen = np.ones(len(notes), bool)
    for i, note in enumerate(notes):
        first = np.searchsorted(notes["start"], note["start"] - 4.0)
        last = np.searchsorted(notes["start"], note["start"] + 0.03)
        others = notes[first:last]
        chosen[i] = not np.any((others["end"] > note["start"] + 0.05) & (others["pitch"] > note["pitch"]))
    return chosen


def chords_of(notes: np.ndarray, duration: float) -> np.ndarray:
    """Estimate a chord for every second from all notes: the pitch classes of the chords, as NOTE."""
    windows = int(np.ceil(duration / CHORD_SECONDS))
    held = np.zeros((windows, 12))
    for note in notes:
        first, last = int(note["start"] / CHORD_SECONDS), int(note["end"] / CHORD_SECONDS)
        for window in range(first, min(last, windows - 1) + 1):
            begin, end = window * CHORD_SECONDS, (window + 1) * CHORD_SECONDS
            length = min(note["end"], end) - max(note["start"], begin)
            held[window, note["pitch"] % 12] += max(0.0, length) * (1.5 if note["pitch"] < 52 else 1.0)
    fits = np.stack(
        [
            np.stack([_fit(held, [(root + interval) % 12 for interval in chord], root) for root in range(12)], axis=1)
            for chord in CHORDS
        ],
        axis=1,
    )  # (windows, chords, roots)
    rows = []
    for window, (fit, total) in enumerate(zip(fits, held.sum(axis=1), strict=True)):
        if total < 0.2:
            continue
        chord, root = np.unravel_index(int(fit.argmax()), fit.shape)
        rows += [
            (window * CHORD_SECONDS, (window + 1) * CHORD_SECONDS, (root + interval) % 12, 100)
            for interval in CHORDS[chord]
        ]
    return np.array(rows, NOTE)


def _fit(held: np.ndarray, members: list[int], root: int) -> np.ndarray:
    inside = held[:, members]
    return np.asarray(
        np.minimum(inside, 0.8).sum(axis=1)
        + 0.3 * held[:, root]
        - 0.5 * (held.sum(axis=1) - inside.sum(axis=1))
        - 0.15 * (len(members) - 3)
    )


# --- alignment and cleaning


def frames_of(version: Version) -> np.ndarray:
    """The tonal frames that a perfect front end would compute: (n, 48) uint8."""
    from lab.data.imagine import planes  # imports PyTorch

    labels = perform.labels(version.rendition, FRAMES_PER_SECOND)
    return (np.rint(planes(labels).clip(0, 1) * 15) * 17).astype(np.uint8)


@cache
def _prepare() -> Any:
    return CoverMatcher().open_encoder().networks.prepare


def matched(first: Prepared | None, second: Prepared | None) -> tuple[float, list[np.ndarray]]:
    """Align two versions: the score, and the pieces (k, 2) of the path, in seconds of both."""
    comparison = Comparison(first, [second])
    comparison.align([0], keys=3)
    found = comparison.alignment(0)
    if found is None:
        return 0.0, []
    breaks = np.flatnonzero(np.abs(np.diff(found.path, axis=0)).max(axis=1) > 3 * STEP) + 1
    return found.score, [piece for piece in np.split(found.path, breaks) if len(piece) > 5]


@one_thread()
def align_work(versions: list[Version]) -> list[Version]:
    """Align the versions of a work by their notes.

    Returns them with a common time line. A version that does not agree with any other becomes a work of its own.
    """
    if len(versions) == 1:
        seconds, beats = time_line(versions[0].duration, [], own=True, number=0)
        return [replace(versions[0], seconds=tuple(seconds), beats=tuple(beats))]
    prepared = [_prepare()(frames_of(version)) for version in versions]
    scores = np.zeros((len(versions), len(versions)))
    found = {(i, j): matched(prepared[i], prepared[j]) for i, j in permutations(range(len(versions)), 2)}
    for i, j in found:
        scores[i, j] = max(found[i, j][0], found[j, i][0])
    placed: list[Version] = []
    for group, members in enumerate(_groups(scores >= MIN_SCORE)):
        name = versions[0].work if group == 0 else f"{versions[0].work}.{group}"
        anchor = max(members, key=lambda i: float(scores[i, members].sum()))
        for i in members:
            pieces = [] if i == anchor else found[i, anchor][1]
            seconds, beats = time_line(versions[i].duration, pieces, own=i == anchor, number=i)
            placed.append(replace(versions[i], work=name, seconds=tuple(seconds), beats=tuple(beats)))
    return placed


def _groups(linked: np.ndarray) -> list[list[int]]:
    """The connected components, largest first."""
    left, groups = set(range(len(linked))), []
    while left:
        group, waiting = set(), [min(left)]
        while waiting:
            one = waiting.pop()
            group.add(one)
            waiting += [int(other) for other in np.flatnonzero(linked[one]) if other not in group]
        left -= group
        groups.append(sorted(group))
    return sorted(groups, key=len, reverse=True)


def time_line(duration: float, pieces: list[np.ndarray], *, own: bool, number: int) -> tuple[list[float], list[float]]:
    """Seconds of a version and the beats of the work that it plays then; what only it contains has beats of its own."""
    if own:
        return [0.0, duration], [0.0, duration / BEAT]
    seconds: list[float] = []
    beats: list[float] = []
    foreign = FOREIGN * (number + 1)
    last = 0.0
    for piece in pieces:
        start, end = float(piece[0, 0]), float(piece[-1, 0])
        if start > last:
            seconds += [last, start]
            beats += [foreign + last / BEAT, foreign + start / BEAT]
        # The path has steps of 0.4 s; a straight line through 8 s of it is more exact.
        knots = np.linspace(start, end, max(2, round((end - start) / 4.0) + 1))
        fitted = [_fitted(piece, float(knot)) for knot in knots]
        seconds += [float(knot) for knot in knots]
        beats += [float(each) / BEAT for each in np.maximum.accumulate(fitted)]
        last = end
    if duration > last:
        seconds += [last, duration]
        beats += [foreign + last / BEAT, foreign + duration / BEAT]
    return seconds, beats


def _fitted(piece: np.ndarray, second: float) -> float:
    """The second of the anchor that corresponds to this second, from the path within 4 s."""
    near = piece[np.abs(piece[:, 0] - second) <= 4.0]
    if len(near) < 4 or np.ptp(near[:, 0]) < 1.0:
        return float(np.interp(second, piece[:, 0], piece[:, 1]))
    slope, constant = np.polyfit(near[:, 0], near[:, 1], 1)
    return float(slope * second + constant)


# --- splits


def sort_of(versions: Sequence[Version]) -> str | None:
    """The sort of exam that a work is for; None if it is for training only."""
    kinds = [version.kind for version in versions]
    if not kinds or not versions[0].path.startswith("songs/"):
        return None
    if "lead" in kinds and "arrangement" in kinds:
        return SORTS[0]
    return SORTS[1] if kinds.count("arrangement") > 1 else None


def split(works: dict[str, list[Version]]) -> dict[str, str]:
    """Assign works to splits by the hash of their names: EXAM works of each sort, then CALIBRATION ones; the rest is
    for training."""
    found: dict[str, str] = {}
    for sort in SORTS:
        chosen = sorted((work for work, those in works.items() if sort_of(those) == sort), key=_hash)
        found |= {work: "exam" for work in chosen[:EXAM]}
        found |= {work: "calibration" for work in chosen[EXAM : EXAM + CALIBRATION]}
    return {work: found.get(work, "train") for work in works}


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def pair_of(versions: Sequence[Version]) -> tuple[Version, Version]:
    """The two versions of a work of the exam, chosen by the hash of their paths."""
    ordered = sorted(versions, key=lambda version: _hash(version.path))
    arrangements = [version for version in ordered if version.kind == "arrangement"]
    if sort_of(versions) == SORTS[0]:
        return next(version for version in ordered if version.kind == "lead"), arrangements[0]
    return arrangements[0], arrangements[1]


# --- commands


def read_works(folder: Path) -> list[tuple[Path, dict[str, str]]]:
    """Read the rows of `works.tsv`."""
    return [(folder, row) for row in stated(folder / "works.tsv")]


def _read_all(real: Path, single: Path | None, processes: int | None) -> list[Version]:
    jobs = read_works(real) + (read_works(single) if single else [])
    read_ = program.in_processes(read, jobs, "files", every=1000, max_workers=processes)
    works: dict[str, list[Version]] = defaultdict(list)
    for version in read_:
        if version is not None:
            works[version.work].append(version)
    aligned = list(program.in_processes(align_work, list(works.values()), "works", every=500, max_workers=processes))
    found: dict[str, list[Version]] = defaultdict(list)
    for version in (version for those in aligned for version in those):
        found[version.work].append(version)
    splits = split(found)
    # What a program found to be one work may still share passages with its other parts: they stay in one split.
    return [
        replace(version, split=splits.get(work.partition(".")[0], "train"))
        for work, those in found.items()
        for version in those
    ]


@one_thread()
def _render(job: tuple[Path, Version, str, list[Path], Path | None]) -> float:
    """Write one version as FLAC and return its seconds. Existing files are kept."""
    from lab.data import sing, synth

    target, version, name, fonts, voices = job
    if target.exists():
        return 0.0
    rng = np.random.default_rng(int(_hash(name)[:8], 16))
    rendition = replace(version.rendition, tuning=float(rng.uniform(-0.35, 0.35)) if rng.random() < 0.5 else 0.0)
    font = fonts[rng.integers(len(fonts))]
    if voices is not None and sing.tune_of(rendition) is not None and rng.random() < 0.5:
        singer = sing.hire(voices, "exam", rng)
        samples = sing.perform(sing.within_reach(rendition, singer, rng), font, singer, rng)
    else:
        samples = perform.play(rendition, font)
    synth.write(target, perform.record(samples, rng), perform.SAMPLE_RATE)
    return version.duration


def write_exam(
    versions: Sequence[Version], split_: str, packages: Path, voices: Path | None, out: Path, processes: int | None
) -> None:
    """Render two versions of each work of a split as FLAC files, with `works.tsv`."""
    from lab.data.render_covers import fonts_of

    works: dict[str, list[Version]] = defaultdict(list)
    for version in versions:
        if version.split == split_:
            works[version.work].append(version)
    out.mkdir(parents=True, exist_ok=True)
    fonts = fonts_of(packages, split_)
    jobs, lines = [], []
    for work, those in sorted(works.items()):
        if sort_of(those) is None:
            continue
        for number, version in enumerate(pair_of(those)):
            name = f"{work}-{number}.flac"
            jobs.append((out / name, version, name, fonts, voices))
            lines.append(f"{name}\t{work}\n")
    program.run_jobs(_render, jobs, processes)
    (out / "works.tsv").write_text("".join(lines))


def varied(rendition: Rendition, rng: np.random.Generator) -> Rendition:
    """Imitate another performance of the same notes: parts that are missing, a melody that pauses or moves an octave.

    The first of several takes is not varied.
    """
    parts = []
    for part in rendition.parts:
        if part.role == "chords" and rng.random() < 0.25:
            continue
        if part.role == "melody":
            if rng.random() < 0.3:
                start = rng.uniform(0, rendition.duration)
                pause = (part.notes["start"] > start) & (part.notes["start"] < start + rng.uniform(8, 30))
                part = replace(part, notes=part.notes[~pause])
            part = replace(part, notes=renditions.raised(part.notes, 12 * int(rng.choice([-1, 0, 0, 1]))))
        if len(part.notes):
            parts.append(part)
    return replace(rendition, parts=tuple(parts) or rendition.parts)


def _imagine(job: tuple[Path, int, Version, int, Path, int]) -> float:
    """Write one take of a version and return its seconds. Existing files are kept."""
    from lab.data import imagine

    out, work, version, number, model, take = job
    path = out / f"version-{work:05d}-{number:02d}.npz"
    if path.exists():
        return 0.0
    rng = np.random.default_rng([work, number])
    rendition = version.rendition if take == 0 else varied(version.rendition, rng)
    frames = imagine.imagined_by(model, imagine.planes(perform.labels(rendition, FRAMES_PER_SECOND)), rng)
    np.savez_compressed(path, frames=frames, seconds=rendition.seconds, beats=rendition.beats, arrangement=version.path)
    return version.duration


def main() -> None:
    parser = program.parser(__doc__, processes=program.CORES)
    parser.add_argument("command", choices=("read", "exam", "imagine"))
    parser.add_argument("--real", type=Path, help="folder of works in several versions, with works.tsv")
    parser.add_argument("--single", type=Path, help="folder of works in one version, with works.tsv")
    parser.add_argument("--versions", type=Path, help="output of `read`")
    parser.add_argument("--out", type=Path, help="file or folder to write")
    parser.add_argument("--data", type=Path, default=program.DATA, help="folder of lab.data.corpus")
    parser.add_argument("--split", default="exam", choices=("exam", "calibration"), help="of `exam`")
    parser.add_argument("--voices", type=Path, help="output of lab.data.sing: half of the tunes are sung")
    parser.add_argument("--tonal", type=Path, help="folder for `imagine`, with listener.pt of lab.data.imagine")
    parser.add_argument("--takes", type=int, default=2, help="takes of each version")
    options = parser.parse_args()
    if options.command == "read":
        versions = _read_all(options.real, options.single, options.processes)
        save(versions, options.out)
        print(_summary(versions), file=sys.stderr)
    elif options.command == "exam":
        write_exam(
            load(options.versions),
            options.split,
            options.data / "packages",
            options.voices,
            options.out,
            options.processes,
        )
    else:
        works: dict[str, list[Version]] = defaultdict(list)
        for version in load(options.versions):
            if version.split == "train":
                works[version.work].append(version)
        jobs = [
            (options.tonal, number, version, options.takes * each + take, options.tonal / "listener.pt", take)
            for number, (_, those) in enumerate(sorted(works.items()))
            for each, version in enumerate(those[: 100 // options.takes])
            for take in range(options.takes)
        ]
        program.run_jobs(_imagine, jobs, options.processes)


def _summary(versions: Sequence[Version]) -> str:
    works: dict[str, list[Version]] = defaultdict(list)
    for version in versions:
        works[version.work].append(version)
    several = [those for those in works.values() if len(those) > 1]
    separated = sum("." in work for work in works)
    return (
        f"{len(versions)} versions of {len(works)} works, {len(several)} works in several versions;"
        f" {separated} groups of versions separated from their work"
    )


if __name__ == "__main__":
    main()
