"""Evaluation of identification of recordings, by Songprint and other systems, on any folder of music.

    python -m lab.measure.recordings --music DIR [--unknown DIR] [--noise DIR] [--speech DIR] [--clips 25]
        [--wide] [--peers audfprint,chromaprint] [--answers FILE] [--report docs/accuracy.md]

The music is added to a library through the public API, which is timed. Queries are cut from it and damaged in
thirteen ways; so are queries of unknown music. Queries without music (silence, tones, noise, speech) are added. Without
--unknown, every fifth file is left out of the library and serves as unknown music. Peers contain the same files and
get the same queries. "Recall at FAR 1%" is the share of queries with the correct match at the threshold that accepts
1% of the unknown queries, which is determined for each system in this run.

--wide adds a grid of other conditions: queries of one and two seconds, other speeds, codecs, noises, drop-outs, two
songs at once. --answers stores every answer, and --from-answers writes the report from such a file without measuring.
--report writes figures and plots into a page, between its lines `<!-- measured -->` and `<!-- /measured -->`.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

import songprint
from lab import program
from lab.data import queries
from lab.measure import answers as kept
from lab.measure import peers, report
from lab.measure.answers import CLOSE, SONGPRINT, Answer, Run, System
from lab.measure.peers import PeerMatch
from songprint.audio import files as audio
from songprint.config import Settings
from songprint.errors import AudioError, SongprintError
from songprint.library import Library
from songprint.types import AddReport, Kind

SAME = 0.85  # mean cosine above which two places of a recording count as the same loop
WITHOUT_MUSIC = 5  # queries of each kind of silence, tones, noise and speech

Identify = Callable[[np.ndarray, int], PeerMatch | None]  # samples, sample rate -> best match


def music_in(folders: Sequence[Path]) -> list[Path]:
    """Return the files of 30 s and more, sorted by path."""
    found = []
    for path in sorted(path for folder in folders for path in folder.rglob("*") if audio.is_probably_audio(path)):
        try:
            duration = audio.probe(path).duration
        except AudioError:
            continue
        if duration and duration >= 30:
            found.append(path)
    return found


def measure(
    music: list[Path],
    unknown: list[Path],
    using: queries.Disturbances,
    per_condition: int,
    seed: int,
    *,
    wide: bool = False,
    against: Sequence[peers.Peer] = (),
    command: str = "",
) -> tuple[Run, list[Answer]]:
    """Run the same queries of known and unknown music on all systems."""
    music = [path.resolve() for path in music]
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(kinds=("recording",), threshold=0.0, threads=os.cpu_count() or 0)
        with Library(Path(folder) / "library", create=True, settings=settings) as library:
            ids, seconds, ours = fill(library, music)
        known = [path for path in music if str(path) in ids]
        systems = [ours, *(fill_peer(peer, known, seconds) for peer in against)]
        # threshold 0: the best match is always reported, and thresholds are applied afterwards
        with Library(Path(folder) / "library", settings=settings) as library:
            identify_by_system: dict[str, Identify] = {SONGPRINT: partial(identify_in_library, library)} | {
                peer.name: peer.identify for peer in against
            }
            answers = [
                answer
                for number, query in enumerate(_queries(known, unknown, using, per_condition, seed, wide))
                for answer in query_all(identify_by_system, number, query, ids, library)
            ]
            calibration = library.store.levels[Kind.RECORDING].calibration
            run = Run(
                command,
                machine(),
                library.stats().recordings,
                seconds / 3600,
                calibration.threshold(0.01),
                tuple(systems),
            )
    return run, answers


def _queries(
    known: list[Path], unknown: list[Path], using: queries.Disturbances, per_condition: int, seed: int, wide: bool
) -> Iterator[queries.Query]:
    for grid, first_seed in [(None, seed), *([(queries.WIDE, seed + 100)] if wide else [])]:
        yield from queries.draw(known, per_condition, using, queries.RATE, first_seed, grid=grid)
        yield from queries.draw(unknown, per_condition, using, queries.RATE, first_seed + 1, grid=grid)
    for name, samples in queries.without_music(queries.RATE, using, WITHOUT_MUSIC, seed + 2):
        yield queries.Query(samples, "", 0.0, name, 0.0, 1.0, samples)


def add(library: Library, files: list[Path]) -> AddReport:
    """Add the files and print the progress."""
    added = library.add(
        files, on_progress=lambda p: print(f"\radded {p.files_done}/{p.files_total}", end="", file=sys.stderr)
    )
    print(file=sys.stderr)
    return added


def fill(library: Library, files: list[Path]) -> tuple[dict[str, int], float, System]:
    """Add the files; return the recording id of each path, the seconds of music, and the cost of adding."""
    added = add(library, files)
    ids = {recording.source: recording.id for recording in added.added}
    ids |= {known.path: known.recording_id for known in added.known}  # files with the same content
    stats = library.stats()
    size = (stats.catalogue_bytes + stats.index_bytes) / 1e6
    version = f"{songprint.__version__}, {stats.levels[0].encoder_id}"
    return (
        ids,
        stats.duration,
        System(SONGPRINT, version, added.audio_seconds / added.elapsed, size / (stats.duration / 3600)),
    )


def fill_peer(peer: peers.Peer, files: list[Path], seconds: float) -> System:
    print(f"adding to {peer.name}", file=sys.stderr)
    began = time.perf_counter()
    peer.add(files, workers=os.cpu_count() or 1)
    elapsed = time.perf_counter() - began
    return System(peer.name, peer.version, seconds / elapsed, peer.bytes / 1e6 / (seconds / 3600), peer.note)


def identify_in_library(library: Library, samples: np.ndarray, sample_rate: int) -> PeerMatch | None:
    matches = library.identify(samples, sample_rate=sample_rate).matches
    if not matches:
        return None
    best = matches[0]
    return PeerMatch(
        best.recording.source, best.confidence, best.reference.start - best.speed * best.query.start, best.speed
    )


def query_all(
    identify_by_system: dict[str, Identify], number: int, query: queries.Query, ids: dict[str, int], library: Library
) -> Iterator[Answer]:
    """Yield the answer of each system; `ids` maps the paths in the library to recordings."""
    truth = ids.get(query.track)
    for system, identify in identify_by_system.items():
        began = time.perf_counter()
        match = identify(query.audio, queries.RATE)
        elapsed = time.perf_counter() - began
        correct = match is not None and truth is not None and ids[match.track] == truth
        error = None
        if match and truth is not None and correct:
            error = abs(match.start - query.start)
            if error > CLOSE and repeats(library, truth, query.start, match.start, query.length):
                error = 0.0
        yield Answer(
            system,
            number,
            query.condition,
            query.length,
            truth is not None,
            correct,
            match.score if match else 0.0,
            error,
            query.speed,
            match.speed if match and correct else None,
            elapsed,
            Path(query.track).name,
            Path(match.track).name if match else "",
        )


def repeats(library: Library, recording_id: int, start: float, reported: float, length: float) -> bool:
    """Whether the recording sounds the same at both places, as in a loop: then either is correct."""
    stored = library.store.catalog.embeddings(Kind.RECORDING, recording_id)
    rows = np.arange(round(length / stored.hop))

    def at(place: float) -> np.ndarray:
        return stored.vectors[(round(place / stored.hop) + rows).clip(0, len(stored) - 1)]

    return float((at(start) * at(reported)).sum(axis=1).mean()) > SAME


def machine() -> str:
    """Return the number of cores and the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    except OSError:
        model = ""
    return f"{os.cpu_count()} cores" + (f" ({model})" if model else "")


def shown_command(options: argparse.Namespace) -> str:
    """Return the command line with placeholders instead of local folders."""
    words = ["python -m lab.measure.recordings"]
    for name in ("music", "unknown", "noise", "speech"):
        words += [f"--{name} {name.upper()}"] if getattr(options, name) else []
    words += [f"--kinds {options.kinds}"] if options.kinds else []
    words += [f"--hold-out {options.hold_out}"] if options.hold_out != 5 else []
    words += [f"--clips {options.clips}", f"--seed {options.seed}"]
    words += ["--wide"] if options.wide else []
    words += [f"--peers {shlex.quote(options.peers)}"] if options.peers else []
    return " ".join([*words, "--report docs/accuracy.md"])


def parser() -> argparse.ArgumentParser:
    parser = program.parser(__doc__, seed=1, report=None)
    parser.add_argument("--music", type=Path, nargs="+", default=[], help="folders of music for the library")
    parser.add_argument("--unknown", type=Path, nargs="+", default=[], help="folders of unknown music")
    parser.add_argument(
        "--hold-out", type=int, default=5, metavar="N", help="leave every Nth file out of the library (0: none)"
    )
    parser.add_argument("--noise", type=Path, help="folder of noise recordings; without it, pink noise is used")
    parser.add_argument(
        "--kinds", default="", help="comma-separated file names of --noise, without extension; default: all"
    )
    parser.add_argument("--speech", type=Path, help="folder of speech; without it, its condition is left out")
    parser.add_argument("--clips", type=int, default=25, help="queries per condition and length (default: %(default)s)")
    parser.add_argument("--wide", action="store_true", help="add the extended grid")
    parser.add_argument("--peers", default="", help=f"comma-separated: {', '.join(peers.PEERS)}")
    parser.add_argument("--answers", type=Path, help="write every answer to this file, one JSON object per line")
    parser.add_argument("--from-answers", type=Path, metavar="FILE", help="report on stored answers without measuring")
    return parser


def measured(options: argparse.Namespace) -> tuple[Run, list[Answer]]:
    against = [peers.find(name) for name in filter(None, options.peers.split(","))]
    files = music_in(options.music)
    held_out = files[options.hold_out - 1 :: options.hold_out] if options.hold_out else []
    music = [path for path in files if path not in held_out]
    unknown = held_out + music_in(options.unknown)
    if not music or not unknown:
        raise ValueError(
            f"{len(music)} files of 30 s and more to add and {len(unknown)} to query as unknown music:"
            " both are needed. Are --music and --unknown the right folders?"
        )
    kinds = set(filter(None, options.kinds.split(",")))
    noise = [p for p in sorted(options.noise.glob("*")) if not kinds or p.stem in kinds] if options.noise else []
    speech = sorted(p for p in options.speech.rglob("*") if audio.is_probably_audio(p))[:300] if options.speech else []
    using = queries.Disturbances.load(noise, speech, 10_000 + options.seed, unknown[:20] if options.wide else ())
    return measure(
        music,
        unknown,
        using,
        options.clips,
        options.seed,
        wide=options.wide,
        against=against,
        command=shown_command(options),
    )


def main() -> None:
    ours = parser()
    options = ours.parse_args()
    if bool(options.music) == bool(options.from_answers):
        ours.error("give either --music to measure, or --from-answers to report on stored answers")
    try:
        if options.report:
            report.check(options.report)  # before hours of measuring
        run, answers = kept.read(options.from_answers) if options.from_answers else measured(options)
        if options.answers:
            kept.write(options.answers, run, answers)
        print(report.text(run, answers))
        if options.report:
            report.into_page(options.report, run, answers)
    except (peers.PeerMissing, report.PageError, SongprintError, OSError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
