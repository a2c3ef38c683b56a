"""How well recordings are identified, by Songprint and by others: on any folder of music.

    python -m lab.measure.recordings --music DIR [--unknown DIR] [--noise DIR] [--speech DIR] [--clips 25]
        [--wide] [--peers audfprint,chromaprint] [--answers FILE] [--report docs/accuracy.md]

The music is added to a library through the public API (that is timed), clips of it are damaged in thirteen
ways and asked; clips of music that the library does not hold, and silence, tones, noise and speech, are
asked as well. Without --unknown every fifth file is kept out of the library for that. Peers hold the same
files and are asked the very same clips. "Recall at FAR 1 %" is the share of clips answered rightly at the
threshold that lets 1 % of the unknown clips through, found for each system on the unknown clips of this run.

--wide asks more: clips of one and two seconds, other speeds, codecs, noises, drop-outs, two songs at once.
--answers keeps what every system said, and --from-answers makes the report again without measuring.
--report puts figures and plots into a page, between its lines `<!-- measured -->` and `<!-- /measured -->`.
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
from lab.data import clips
from lab.measure import answers as kept
from lab.measure import peers, report
from lab.measure.answers import CLOSE, SONGPRINT, Answer, Run, System
from lab.measure.peers import Guess
from songprint.audio import files as audio
from songprint.config import Settings
from songprint.errors import SongprintError
from songprint.library import Library
from songprint.types import Kind

SAME = 0.85  # mean cosine of two places of a recording that are one loop
NOTHINGS = 5  # of each kind of silence, tones, noise and speech

Ask = Callable[[np.ndarray, int], Guess | None]  # samples and their rate


def music_in(folders: Sequence[Path]) -> list[Path]:
    """Files of 30 s and more, sorted by path."""
    found = []
    for path in sorted(path for folder in folders for path in folder.rglob("*") if audio.is_probably_audio(path)):
        try:
            duration = audio.probe(path).duration
        except audio.AudioError:
            continue
        if duration and duration >= 30:
            found.append(path)
    return found


def measure(
    music: list[Path],
    unknown: list[Path],
    around: clips.Surroundings,
    per_condition: int,
    seed: int,
    *,
    wide: bool = False,
    against: Sequence[peers.Peer] = (),
    command: str = "",
) -> tuple[Run, list[Answer]]:
    """Ask all systems the same clips, of music that they hold and of music that they do not."""
    music = [path.resolve() for path in music]
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(kinds=("recording",), threshold=0.0, threads=os.cpu_count())
        with Library(Path(folder) / "library", create=True, settings=settings) as library:
            ids, seconds, ours = fill(library, music)
        held = [path for path in music if str(path) in ids]
        systems = [ours, *(fill_peer(peer, held, seconds) for peer in against)]
        # threshold 0: every best line is reported, the thresholds are applied afterwards
        with Library(Path(folder) / "library", settings=settings) as library:
            asks = {SONGPRINT: partial(ask_library, library)} | {peer.name: peer.ask for peer in against}
            answers = [
                answer
                for number, clip in enumerate(_clips(held, unknown, around, per_condition, seed, wide))
                for answer in ask_all(asks, number, clip, ids, library)
            ]
            judge = library.store.levels[Kind.RECORDING].calibration
            run = Run(
                command, machine(), library.stats().recordings, seconds / 3600, judge.threshold(0.01), tuple(systems)
            )
    return run, answers


def _clips(
    held: list[Path], unknown: list[Path], around: clips.Surroundings, per_condition: int, seed: int, wide: bool
) -> Iterator[clips.Clip]:
    for grid, first_seed in [(None, seed), *([(clips.WIDE, seed + 100)] if wide else [])]:
        yield from clips.draw(held, per_condition, around, clips.RATE, first_seed, grid=grid)
        yield from clips.draw(unknown, per_condition, around, clips.RATE, first_seed + 1, grid=grid)
    for name, samples in clips.nothings(clips.RATE, around, NOTHINGS, seed + 2):
        yield clips.Clip(samples, "", 0.0, name, 0.0, 1.0, samples)


def fill(library: Library, files: list[Path]) -> tuple[dict[str, int], float, System]:
    """Add the files -> recording id of each path, seconds of music, and what adding took."""
    added = library.add(
        files, on_progress=lambda p: print(f"\radded {p.files_done}/{p.files_total}", end="", file=sys.stderr)
    )
    print(file=sys.stderr)
    ids = {recording.source: recording.id for recording in added.added}
    ids |= {known.path: known.recording_id for known in added.known}  # the same content twice
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


def ask_library(library: Library, samples: np.ndarray, sample_rate: int) -> Guess | None:
    matches = library.identify(samples, sample_rate=sample_rate).matches
    if not matches:
        return None
    best = matches[0]
    return Guess(
        best.recording.source, best.confidence, best.reference.start - best.speed * best.query.start, best.speed
    )


def ask_all(
    asks: dict[str, Ask], number: int, clip: clips.Clip, ids: dict[str, int], library: Library
) -> Iterator[Answer]:
    """What each system says to the clip; `ids` are the recordings of the paths that are held."""
    truth = ids.get(clip.track)
    for system, ask in asks.items():
        began = time.perf_counter()
        guess = ask(clip.heard, clips.RATE)
        elapsed = time.perf_counter() - began
        right = guess is not None and truth is not None and ids[guess.track] == truth
        error = abs(guess.start - clip.start) if right else None
        if right and error > CLOSE and repeats(library, truth, clip.start, guess.start, clip.length):
            error = 0.0
        yield Answer(
            system,
            number,
            clip.condition,
            clip.length,
            truth is not None,
            right,
            guess.score if guess else 0.0,
            error,
            clip.speed,
            guess.speed if right else None,
            elapsed,
            Path(clip.track).name,
            Path(guess.track).name if guess else "",
        )


def repeats(library: Library, recording_id: int, start: float, reported: float, length: float) -> bool:
    """Whether the recording sounds the same at another place: a loop, where either is right."""
    stored = library.store.catalog.embeddings(Kind.RECORDING, recording_id)
    rows = np.arange(round(length / stored.hop))

    def at(place: float) -> np.ndarray:
        return stored.vectors[(round(place / stored.hop) + rows).clip(0, len(stored) - 1)]

    return float((at(start) * at(reported)).sum(axis=1).mean()) > SAME


def machine() -> str:
    """Cores and processor, in words."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    except OSError:
        model = ""
    return f"{os.cpu_count()} cores" + (f" ({model})" if model else "")


def shown_command(options: argparse.Namespace) -> str:
    """The command line as others can use it: folders by what they hold, not by where they are here."""
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--music", type=Path, nargs="+", default=[])
    parser.add_argument("--unknown", type=Path, nargs="+", default=[])
    parser.add_argument("--hold-out", type=int, default=5, metavar="N", help="every Nth file stays out; 0: none")
    parser.add_argument("--noise", type=Path, help="folder of noise recordings; pink noise otherwise")
    parser.add_argument("--kinds", default="", help="comma-separated file stems of --noise to use; all otherwise")
    parser.add_argument("--speech", type=Path, help="folder of speech; without it that condition is left out")
    parser.add_argument("--clips", type=int, default=25, help="per condition and length")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--wide", action="store_true", help="the wider grid as well")
    parser.add_argument("--peers", default="", help=f"comma-separated, of {', '.join(peers.PEERS)}")
    parser.add_argument("--answers", type=Path, help="write every answer here, one JSON object per line")
    parser.add_argument("--from-answers", type=Path, metavar="FILE", help="report on these; measure nothing")
    parser.add_argument("--report", type=Path, metavar="PAGE", help="put the figures and plots into this page")
    return parser


def measured(options: argparse.Namespace) -> tuple[Run, list[Answer]]:
    against = [peers.find(name) for name in filter(None, options.peers.split(","))]
    files = music_in(options.music)
    held = files[options.hold_out - 1 :: options.hold_out] if options.hold_out else []
    music = [path for path in files if path not in held]
    unknown = held + music_in(options.unknown)
    if not music or not unknown:
        raise ValueError(
            f"{len(music)} files of 30 s and more to add and {len(unknown)} to ask for as unknown music:"
            " both are needed. Are --music and --unknown the right folders?"
        )
    kinds = set(filter(None, options.kinds.split(",")))
    noise = [p for p in sorted(options.noise.glob("*")) if not kinds or p.stem in kinds] if options.noise else []
    speech = sorted(p for p in options.speech.rglob("*") if audio.is_probably_audio(p))[:300] if options.speech else []
    around = clips.Surroundings.load(noise, speech, 10_000 + options.seed, unknown[:20] if options.wide else ())
    return measure(
        music,
        unknown,
        around,
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
        ours.error("give either --music to measure, or --from-answers to report on what was measured")
    try:
        if options.report:
            report.check(options.report)  # before the hours, not after them
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
