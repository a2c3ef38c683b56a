"""How well recordings are identified: a table of condition by clip length, on any folder of music.

    python -m lab.evaluate_recordings --music DIR [--unknown DIR] [--noise DIR] [--speech DIR] [--clips 25]

The music is added to a library through the public API (that is timed), clips of it are damaged in thirteen
ways and asked; clips of music that the library does not hold, and silence, tones, noise and speech, are
asked as well. Without --unknown every fifth file is kept out of the library for that. "Recall at FAR 1 %" is
the share of clips answered rightly at the threshold that lets 1 % of the unknown clips through; below the
table stand the figures at the threshold that ships.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from lab import clips
from songprint import audio
from songprint.confidence import Calibration
from songprint.config import Settings
from songprint.library import Library

CLOSE, VERY_CLOSE = 0.5, 0.1        # seconds of error in the place
SAME = 0.85                         # mean cosine of two places of a recording that are one loop


@dataclass(frozen=True)
class Answer:
    """What came back for one clip, whatever its confidence."""

    condition: str
    length: float
    known: bool             # the library holds it
    right: bool             # and it was named
    confidence: float       # of the best line; 0 where there was none
    error: float            # seconds between the true and the reported place; nan unless right
    speed_error: float      # of the reported speed; nan unless right
    elapsed: float          # seconds


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


def fill(library: Library, files: list[Path]) -> tuple[dict[str, int], dict[str, float]]:
    """Add the files -> recording id of each path, and what adding took."""
    report = library.add(files, on_progress=lambda p: print(f"\radded {p.files_done}/{p.files_total}", end="",
                                                            file=sys.stderr))
    print(file=sys.stderr)
    ids = {recording.source: recording.id for recording in report.added}
    ids |= {known.path: known.recording_id for known in report.known}      # the same content twice
    stats = library.stats()
    hours = stats.duration / 3600
    return ids, {"recordings": stats.recordings, "hours": hours, "x real time": report.audio_seconds / report.elapsed,
                 "MB per hour": (stats.catalogue_bytes + stats.index_bytes) / 1e6 / hours}


def ask(library: Library, samples: np.ndarray, rate: int, condition: str, length: float,
        truth: int | None = None, start: float = 0.0, speed: float = 1.0) -> Answer:
    began = time.perf_counter()
    report = library.identify(samples, sample_rate=rate)
    elapsed = time.perf_counter() - began
    best = report.matches[0] if report.matches else None
    right = best is not None and best.recording.id == truth
    error = abs(best.reference.start - best.speed * best.query.start - start) if right else float("nan")
    if error > CLOSE and repeats(library, truth, start, start + error, start - error, length):
        error = 0.0
    return Answer(condition, length, truth is not None, right, best.confidence if best else 0.0, error,
                  abs(best.speed - speed) if right else float("nan"), elapsed)


def repeats(library: Library, recording_id: int, start: float, later: float, earlier: float, length: float) -> bool:
    """Whether the recording sounds the same at one of two other places: a loop, where either is right."""
    stored = library.store.catalog.embeddings(recording_id)
    rows = np.arange(round(length / stored.hop))

    def at(place: float) -> np.ndarray:
        return stored.vectors[(round(place / stored.hop) + rows).clip(0, len(stored) - 1)]

    return max(float((at(start) * at(place)).sum(axis=1).mean()) for place in (later, earlier)) > SAME


def measure(music: list[Path], unknown: list[Path], around: clips.Surroundings, per_condition: int, seed: int
            ) -> tuple[list[Answer], dict[str, float]]:
    with tempfile.TemporaryDirectory() as folder:
        with Library(Path(folder) / "library", create=True) as library:
            ids, adding = fill(library, [path.resolve() for path in music])
        # threshold 0: every best line is reported, the thresholds are applied afterwards
        with Library(Path(folder) / "library", settings=Settings(threshold=0.0, threads=os.cpu_count())) as library:
            rate = library.store.encoder.spec.sample_rate
            answers = [ask(library, clip.samples, rate, clip.condition, clip.length, ids[clip.track], clip.start,
                           clip.speed)
                       for clip in clips.draw([p.resolve() for p in music if str(p.resolve()) in ids],
                                              per_condition, around, rate, seed)]
            answers += [ask(library, clip.samples, rate, clip.condition, clip.length)
                        for clip in clips.draw(unknown, per_condition, around, rate, seed + 1)]
            answers += [ask(library, samples, rate, name, 0.0)
                        for name, samples in clips.nothings(rate, around, 5, seed + 2)]
            adding["threshold"] = Calibration.from_spec(library.store.encoder.spec.calibration).threshold
    return answers, adding


def calibration_error(answers: list[Answer]) -> float:
    """Expected calibration error in ten bins, over music; 0 to 1."""
    asked = [a for a in answers if a.length]
    bins = np.array([min(9, int(a.confidence // 10)) for a in asked])
    confidence = np.array([a.confidence / 100 for a in asked])
    right = np.array([a.right for a in asked], float)
    return float(sum(abs(confidence[bins == b].mean() - right[bins == b].mean()) * (bins == b).mean()
                     for b in np.unique(bins)))


def table(answers: list[Answer], threshold: float) -> str:
    """Recall at a threshold, in per cent: a row per condition, a column per length, as Markdown."""
    known = [a for a in answers if a.known]
    lengths = sorted({a.length for a in known})
    rows = ["| condition | " + " | ".join(f"{length:g} s" for length in lengths)
            + " | all | place within 0.5 s | within 0.1 s | wrong names |", "|---" * (len(lengths) + 5) + "|"]
    for condition in [*dict.fromkeys(c for c in clips.CONDITIONS if any(a.condition == c for a in known)), "all"]:
        chosen = [a for a in known if condition in (a.condition, "all")]
        cells = [recall([a for a in chosen if a.length == length], threshold) for length in lengths]
        right = [a for a in chosen if a.right and a.confidence >= threshold]
        wrong = sum(not a.right and a.confidence >= threshold for a in chosen)
        rows.append(f"| {condition} | " + " | ".join(f"{cell:.1f}" for cell in [*cells, recall(chosen, threshold)])
                    + f" | {share(a.error <= CLOSE for a in right):.1f} | "
                    f"{share(a.error <= VERY_CLOSE for a in right):.1f} | {wrong} |")
    return "\n".join(rows)


def recall(answers: list[Answer], threshold: float) -> float:
    return share(a.right and a.confidence >= threshold for a in answers)


def share(flags) -> float:
    flags = list(flags)
    return 100 * sum(flags) / len(flags) if flags else float("nan")


def summary(answers: list[Answer], adding: dict[str, float]) -> str:
    known = [a for a in answers if a.known]
    unknown = [a for a in answers if not a.known and a.length]
    nothing = [a for a in answers if not a.length]
    shipped = adding["threshold"]
    levels = {rate: float(np.quantile([a.confidence for a in unknown], 1 - rate, method="higher")) + 0.05
              for rate in (0.01, 0.001)}
    times = np.array([a.elapsed for a in answers if a.length == max(clips.LENGTHS)]) * 1000
    right = [a for a in known if a.right and a.confidence >= shipped]
    long_unknown = [a for a in unknown if a.length >= 5]
    lines = [
        f"{adding['recordings']:.0f} recordings, {adding['hours']:.1f} h; {len(known)} known clips, {len(unknown)} of "
        f"unknown music, {len(nothing)} of silence, tones, noise and speech",
        "", f"Recall (%) at FAR 1 % (confidence {levels[0.01]:.1f}):", "", table(answers, levels[0.01]), "",
        f"recall at FAR 0.1 %: {recall(known, levels[0.001]):.1f} %; right name first, no threshold: "
        f"{share(a.right for a in known):.1f} %",
        f"at the threshold that ships ({shipped}): recall {recall(known, shipped):.1f} %, unknown music answered "
        f"{share(a.confidence >= shipped for a in unknown):.2f} % (5 s and more: "
        f"{share(a.confidence >= shipped for a in long_unknown):.2f} %), wrong names for known clips "
        f"{share(not a.right and a.confidence >= shipped for a in known):.2f} %",
        f"place within 0.5 s {share(a.error <= CLOSE for a in right):.1f} %, within 0.1 s "
        f"{share(a.error <= VERY_CLOSE for a in right):.1f} %; speed within 0.5 % at 10 s: "
        f"{share(a.speed_error <= 0.005 for a in right if a.length == 10):.1f} %",
        "silence, tones, noise, speech answered: " + (", ".join(sorted(
            {a.condition for a in nothing if a.confidence >= shipped})) or "none"),
        f"expected calibration error {calibration_error(answers):.3f}",
        f"adding {adding['x real time']:.0f} x real time; {adding['MB per hour']:.2f} MB per hour; a 10 s clip takes "
        f"{np.median(times):.0f} ms (p95 {np.quantile(times, 0.95):.0f} ms)",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--music", type=Path, nargs="+", required=True)
    parser.add_argument("--unknown", type=Path, nargs="+", default=[])
    parser.add_argument("--hold-out", type=int, default=5, metavar="N", help="every Nth file stays out; 0: none")
    parser.add_argument("--noise", type=Path, help="folder of noise recordings; pink noise otherwise")
    parser.add_argument("--kinds", default="", help="comma-separated file stems of --noise to use; all otherwise")
    parser.add_argument("--speech", type=Path, help="folder of speech; without it that condition is left out")
    parser.add_argument("--clips", type=int, default=25, help="per condition and length")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--answers", type=Path, help="write every answer here, one JSON object per line")
    options = parser.parse_args()
    files = music_in(options.music)
    held = files[options.hold_out - 1::options.hold_out] if options.hold_out else []
    music = [path for path in files if path not in held]
    kinds = set(filter(None, options.kinds.split(",")))
    noise = [p for p in sorted(options.noise.glob("*")) if not kinds or p.stem in kinds] if options.noise else []
    speech = sorted(p for p in options.speech.rglob("*") if audio.is_probably_audio(p))[:300] if options.speech else []
    around = clips.Surroundings.load(noise, speech, room_seed=10_000 + options.seed)
    answers, adding = measure(music, held + music_in(options.unknown), around, options.clips, options.seed)
    if options.answers:
        options.answers.write_text("".join(json.dumps(asdict(a)) + "\n" for a in answers))
    print(summary(answers, adding))


if __name__ == "__main__":
    main()
