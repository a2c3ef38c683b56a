"""Renditions as the tonal network hears them, or would, with the beats of the score."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from lab.data.render_covers import rendition_of, split_of
from songprint.covers.tonal import FRAMES_PER_SECOND

SONGS = ("rendered", "imagined")  # takes of the same scores


@dataclass(frozen=True)
class Take:
    """The tonal frames (n, 48) uint8 of one rendition, and which beat is played when."""

    frames: np.ndarray  # (n, 48) uint8
    seconds: np.ndarray
    beats: np.ndarray
    arrangement: str = ""  # the same for two takes that differ in the lead alone, played or sung
    work: str = ""  # its kind and its number

    @classmethod
    def load(cls, path: Path) -> Take:
        """`KIND-NNNNN-KK.npz`, as `lab.data.cover_features` and `lab.data.imagine` write it."""
        kind, number, _ = path.stem.split("-")
        with np.load(path) as file:
            return cls(
                file["frames"],
                file["seconds"],
                file["beats"],
                f"{kind} {rendition_of(path)}",
                f"{'song' if kind in SONGS else kind} {int(number)}",
            )

    @cached_property
    def heard(self) -> set[int]:
        """The beats that it has, all of them."""
        return self.between(0, len(self.frames))

    def between(self, first: int, last: int) -> set[int]:
        """Those in a stretch of frames."""
        at = np.arange(first, last) / FRAMES_PER_SECOND
        return set(np.floor(np.interp(at, self.seconds, self.beats)).astype(int).tolist())

    def when(self, beat: float, rng: np.random.Generator) -> float | None:
        """A second at which this beat is played."""
        before, after = self.beats[:-1], self.beats[1:]
        spans = np.flatnonzero((before <= beat) & (beat < after) & (self.seconds[1:] > self.seconds[:-1]))
        if not len(spans):
            return None
        i = int(rng.choice(spans))
        share = (beat - before[i]) / (after[i] - before[i])
        return float(self.seconds[i] + share * (self.seconds[i + 1] - self.seconds[i]))

    def beat_at(self, second: float) -> float:
        i = int(np.clip(np.searchsorted(self.seconds, second, "right") - 1, 0, len(self.seconds) - 2))
        share = (second - self.seconds[i]) / max(self.seconds[i + 1] - self.seconds[i], 1e-6)
        return float(self.beats[i] + share * (self.beats[i + 1] - self.beats[i]))

    def frames_at(self, at: np.ndarray) -> np.ndarray:
        """Places (n,) in frames, between two of them as well -> (n, 48) float32 0..1; beyond the end the last one."""
        at = at.clip(0, len(self.frames) - 1.001)
        low = at.astype(int)
        share = (at - low)[:, None].astype(np.float32)
        return (self.frames[low] * (1 - share) + self.frames[low + 1] * share) / np.float32(255)


def any_tempo(rng: np.random.Generator) -> float:
    """A little faster or slower, every second time: frames that pass in the time of one."""
    return 2 ** rng.uniform(-0.2, 0.2) if rng.random() < 0.5 else 1.0


def split_of_take(path: Path) -> str:
    """Of `KIND-NNNNN-KK.npz`: only scores are held out, all else is of the training."""
    kind, number, _ = path.stem.split("-")
    return split_of(int(number)) if kind in SONGS else "train"
