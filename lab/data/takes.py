"""Takes: tonal frames of renditions, computed or simulated, with the beats of the score."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from lab.data.render_covers import rendition_of, split_of
from songprint.covers.tonal import FRAMES_PER_SECOND

SONGS = ("rendered", "imagined")  # kinds of takes that share their scores


@dataclass(frozen=True)
class Take:
    """The tonal frames of one rendition. Beat `beats[i]` is played at `seconds[i]`."""

    frames: np.ndarray  # (n, 48) uint8
    seconds: np.ndarray
    beats: np.ndarray
    arrangement: str = ""  # the same for the takes of one rendition or version
    work: str = ""  # kind and number

    @classmethod
    def load(cls, path: Path) -> Take:
        """Load `KIND-NNNNN-KK.npz`, written by `lab.data.cover_features`, `lab.data.imagine` or `lab.data.versions`."""
        kind, number, _ = path.stem.split("-")
        with np.load(path) as file:
            return cls(
                file["frames"],
                file["seconds"],
                file["beats"],
                str(file["arrangement"]) if "arrangement" in file else f"{kind} {rendition_of(path)}",
                f"{'song' if kind in SONGS else kind} {int(number)}",
            )

    @cached_property
    def all_beats(self) -> set[int]:
        """All beats that are played."""
        return self.between(0, len(self.frames))

    def between(self, first: int, last: int) -> set[int]:
        """Return the beats that are played in a range of frames."""
        at = np.arange(first, last) / FRAMES_PER_SECOND
        return set(np.floor(np.interp(at, self.seconds, self.beats)).astype(int).tolist())

    def when(self, beat: float, rng: np.random.Generator) -> float | None:
        """Return a time in seconds at which this beat is played, at random if there are several; None if there is
        none."""
        before, after = self.beats[:-1], self.beats[1:]
        spans = np.flatnonzero((before <= beat) & (beat < after) & (self.seconds[1:] > self.seconds[:-1]))
        if not len(spans):
            return None
        i = int(rng.choice(spans))
        share = (beat - before[i]) / (after[i] - before[i])
        return float(self.seconds[i] + share * (self.seconds[i + 1] - self.seconds[i]))

    def beat_at(self, second: float) -> float:
        """Return the beat that is played at this time."""
        i = int(np.clip(np.searchsorted(self.seconds, second, "right") - 1, 0, len(self.seconds) - 2))
        share = (second - self.seconds[i]) / max(self.seconds[i + 1] - self.seconds[i], 1e-6)
        return float(self.beats[i] + share * (self.beats[i + 1] - self.beats[i]))

    def frames_at(self, at: np.ndarray) -> np.ndarray:
        """Interpolate frames at fractional places (n,) -> (n, 48) float32 in 0..1. Places beyond the end give the
        last."""
        at = at.clip(0, len(self.frames) - 1.001)
        low = at.astype(int)
        share = (at - low)[:, None].astype(np.float32)
        return (self.frames[low] * (1 - share) + self.frames[low + 1] * share) / np.float32(255)


def any_tempo(rng: np.random.Generator) -> float:
    """Draw a tempo factor: 1 in half of the cases, otherwise up to 15% faster or slower."""
    return 2 ** rng.uniform(-0.2, 0.2) if rng.random() < 0.5 else 1.0


def split_of_take(path: Path) -> str:
    """Return the split of `KIND-NNNNN-KK.npz`. Only scores are held out; everything else belongs to training."""
    kind, number, _ = path.stem.split("-")
    return split_of(int(number)) if kind in SONGS else "train"
