"""Answers of all systems to the queries of an evaluation: stored in a file, and evaluated."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy.stats import binomtest

from lab.data import queries

CLOSE, VERY_CLOSE = 0.5, 0.1  # seconds; limits of the error of a position
SONGPRINT = "Songprint"
RATES = (0.01, 0.001, 0.0001)  # false-accept rates


@dataclass(frozen=True)
class Answer:
    """The best match of one system for one query, whatever its score."""

    system: str
    query: int  # the same number for the same query to another system
    condition: str
    length: float  # seconds; 0 for a query without music
    known: bool  # the library contains the recording
    correct: bool  # and the system reports it
    score: float  # of the best match, for Songprint its confidence; 0 without a match
    error: float | None  # seconds between the true and the reported position; None unless correct
    speed: float  # true: seconds of the recording per second of the query
    reported_speed: float | None  # None unless correct and reported by the system
    elapsed: float  # seconds
    track: str = ""  # name of the file from which the query was cut; empty without music
    reported: str = ""  # name of the file that is reported

    def within(self, seconds: float) -> bool:
        """Whether the reported position is correct within so many seconds."""
        return self.error is not None and self.error <= seconds

    @property
    def main(self) -> bool:
        """Whether the query belongs to the main grid, which every run contains."""
        return self.condition in queries.CONDITIONS and self.length in queries.LENGTHS


@dataclass(frozen=True)
class System:
    """A system, and the cost of adding the library to it."""

    name: str
    version: str
    times_real_time: float  # speed of adding
    megabytes_per_hour: float
    note: str = ""  # what the two figures do not include


@dataclass(frozen=True)
class Run:
    """The conditions of one evaluation."""

    command: str
    machine: str
    recordings: int
    hours: float
    threshold: float  # default confidence threshold of Songprint
    systems: tuple[System, ...]


def write(path: Path, run: Run, answers: Sequence[Answer]) -> None:
    """Write JSON lines: first the run, then every answer."""
    lines = [asdict(run), *map(asdict, answers)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def read(path: Path) -> tuple[Run, list[Answer]]:
    """Read a file written by `write`; ValueError if it is another file."""
    try:
        first, *rest = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        run = Run(**{**first, "systems": tuple(System(**system) for system in first["systems"])})
        return run, [Answer(**line) for line in rest]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"{path} contains no answers ({error!r}). Was it written by --answers of this version?"
        ) from error


def of(answers: Iterable[Answer], system: str) -> list[Answer]:
    return [a for a in answers if a.system == system]


def level(unknown: Sequence[Answer], rate: float) -> float:
    """Return the lowest threshold at which at most `rate` of the unknown queries are accepted."""
    scores = sorted((a.score for a in unknown), reverse=True)
    allowed = int(rate * len(scores) + 1e-9)
    return float(np.nextafter(scores[allowed], np.inf))


def queries_needed(rate: float) -> int:
    """Return how many unknown queries it takes to measure a false-accept rate: enough to allow one of them."""
    return round(1 / rate)


def accepted(answers: Sequence[Answer], threshold: float) -> list[Answer]:
    return [a for a in answers if a.score >= threshold]


def recall(answers: Sequence[Answer], threshold: float) -> float:
    return share(a.correct and a.score >= threshold for a in answers)


def share(flags: Iterable[bool]) -> float:
    """Return the percentage of true values; NaN if there are none."""
    flags = list(flags)
    return 100 * sum(flags) / len(flags) if flags else float("nan")


def wilson(correct: int, count: int) -> tuple[float, float]:
    """Return the 95% Wilson interval of a share in percent.

    >>> [round(end, 1) for end in wilson(0, 10)]
    [0.0, 27.8]
    """
    if not count:
        return 0.0, 100.0
    interval = binomtest(correct, count).proportion_ci(0.95, "wilson")
    return 100 * float(interval.low), 100 * float(interval.high)


def chance(ours: Sequence[Answer], theirs: Sequence[Answer], our_level: float, their_level: float) -> float:
    """Return the probability of such a difference between equal systems on the same queries (exact McNemar test)."""
    other = {a.query: a.correct and a.score >= their_level for a in theirs}
    pairs = [(a.correct and a.score >= our_level, other[a.query]) for a in ours]
    only_ours = sum(us and not them for us, them in pairs)
    differing = only_ours + sum(them and not us for us, them in pairs)
    return float(binomtest(only_ours, differing).pvalue) if differing else 1.0


def reliability(answers: Sequence[Answer], bins: int) -> list[tuple[float, float, list[Answer]]]:
    """Group the answers to music by confidence: (from, to, answers) for each bin of 0 to 100."""
    music = [a for a in answers if a.length]
    width = 100 / bins
    return [
        (part * width, (part + 1) * width, [a for a in music if min(bins - 1, int(a.score // width)) == part])
        for part in range(bins)
    ]


def calibration_error(answers: Sequence[Answer]) -> float:
    """Return the expected calibration error in ten bins, over queries with music, from 0 to 1."""
    parts = [part for _, _, part in reliability(answers, 10) if part]
    return sum(abs(sum(a.score / 100 - a.correct for a in part)) for part in parts) / sum(map(len, parts))


def thresholds(run: Run, answers: Sequence[Answer]) -> dict[str, float]:
    """Return the threshold of each system at which 1% of the unknown queries are accepted, Songprint first."""
    return {system.name: level(unknown(of(answers, system.name)), RATES[0]) for system in run.systems}


def unknown(answers: Sequence[Answer]) -> list[Answer]:
    return [a for a in answers if a.main and not a.known]
