"""What the systems answered to the clips of an evaluation, kept in a file, and the figures that follow from it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from lab.data import clips

CLOSE, VERY_CLOSE = 0.5, 0.1  # seconds of error in the place
SONGPRINT = "Songprint"
RATES = (0.01, 0.001, 0.0001)  # false-accept rates


@dataclass(frozen=True)
class Answer:
    """What one system said to one clip, whatever its score."""

    system: str
    clip: int  # the same number: the very same clip
    condition: str
    length: float  # seconds; 0: no music at all
    known: bool  # the library holds it
    right: bool  # and it was named
    score: float  # of the best line, Songprint's confidence; 0 where there was none
    error: float | None  # seconds between the true and the reported place; None unless right
    speed: float  # true: seconds of the recording in a second of the clip
    told_speed: float | None  # None unless right and the system tells
    elapsed: float  # seconds
    track: str = ""  # name of the file that the clip is of; none: no music
    named: str = ""  # of the file that was named

    @property
    def main(self) -> bool:
        """Whether it belongs to the grid that every run has."""
        return self.condition in clips.CONDITIONS and self.length in clips.LENGTHS


@dataclass(frozen=True)
class System:
    """What it took a system to hold the library."""

    name: str
    version: str
    times_real_time: float  # of adding
    megabytes_per_hour: float
    note: str = ""  # what the two figures leave out


@dataclass(frozen=True)
class Run:
    """One evaluation."""

    command: str
    machine: str
    recordings: int
    hours: float
    threshold: float  # confidence that ships
    systems: tuple[System, ...]


def write(path: Path, run: Run, answers: Sequence[Answer]) -> None:
    """JSON lines: the run first, then every answer."""
    lines = [asdict(run), *map(asdict, answers)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def read(path: Path) -> tuple[Run, list[Answer]]:
    try:
        first, *rest = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        run = Run(**{**first, "systems": tuple(System(**system) for system in first["systems"])})
        return run, [Answer(**line) for line in rest]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"{path} holds no answers ({error!r}). Was it written by --answers of this version?"
        ) from error


def of(answers: Iterable[Answer], system: str) -> list[Answer]:
    return [a for a in answers if a.system == system]


def level(unknown: Sequence[Answer], rate: float) -> float:
    """The lowest score that lets at most `rate` of the unknown clips through."""
    scores = sorted((a.score for a in unknown), reverse=True)
    allowed = int(rate * len(scores) + 1e-9)
    return float(np.nextafter(scores[allowed], np.inf))


def clips_needed(rate: float) -> int:
    """Unknown clips without which a false-accept rate cannot be told: at least one may be answered."""
    return round(1 / rate)


def accepted(answers: Sequence[Answer], threshold: float) -> list[Answer]:
    return [a for a in answers if a.score >= threshold]


def recall(answers: Sequence[Answer], threshold: float) -> float:
    return share(a.right and a.score >= threshold for a in answers)


def share(flags: Iterable[bool]) -> float:
    """Per cent that are true; nan of nothing."""
    flags = list(flags)
    return 100 * sum(flags) / len(flags) if flags else float("nan")


def wilson(right: int, asked: int, z: float = 1.96) -> tuple[float, float]:
    """Where the true share lies with 95 % certainty, in per cent.

    >>> [round(end, 1) for end in wilson(0, 10)]
    [0.0, 27.8]
    """
    if not asked:
        return 0.0, 100.0
    p, spread = right / asked, z * z / asked
    middle, half = p + spread / 2, z * np.sqrt(p * (1 - p) / asked + spread / (4 * asked))
    return (
        max(0.0, float(100 * (middle - half) / (1 + spread))),
        min(100.0, float(100 * (middle + half) / (1 + spread))),
    )


def chance(ours: Sequence[Answer], theirs: Sequence[Answer], our_level: float, their_level: float) -> float:
    """How probable a difference like this is between equals on the same clips (exact McNemar test)."""
    said = {a.clip: a.right and a.score >= their_level for a in theirs}
    pairs = [(a.right and a.score >= our_level, said[a.clip]) for a in ours]
    only_ours = sum(us and not them for us, them in pairs)
    differing = only_ours + sum(them and not us for us, them in pairs)
    fewer = min(only_ours, differing - only_ours)
    return min(1.0, 2 * sum(math.comb(differing, count) for count in range(fewer + 1)) / 2**differing)


def reliability(answers: Sequence[Answer], bins: int) -> list[tuple[float, float, list[Answer]]]:
    """(from, to, music clips answered with such a confidence) for each part of 0 to 100."""
    asked = [a for a in answers if a.length]
    width = 100 / bins
    return [
        (part * width, (part + 1) * width, [a for a in asked if min(bins - 1, int(a.score // width)) == part])
        for part in range(bins)
    ]


def calibration_error(answers: Sequence[Answer]) -> float:
    """Expected calibration error in ten bins, over music; 0 to 1."""
    parts = [part for _, _, part in reliability(answers, 10) if part]
    return sum(abs(sum(a.score / 100 - a.right for a in part)) for part in parts) / sum(map(len, parts))


def thresholds(run: Run, answers: Sequence[Answer]) -> dict[str, float]:
    """By system, Songprint first: the score that lets 1 % of the unknown clips through."""
    return {system.name: level(unknown(of(answers, system.name)), RATES[0]) for system in run.systems}


def unknown(answers: Sequence[Answer]) -> list[Answer]:
    return [a for a in answers if a.main and not a.known]
