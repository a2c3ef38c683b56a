"""What speaks for a line -> the probability that its name is right.

Similarity alone is not evidence: a drum loop resembles every drum loop. So a line is judged by what it has
beyond its best rival, by how long it holds, by how many segments of the clip came up with it unasked, and by
what a second witness says, who knows the peaks of the spectrum (`encoders.landmarks`). Where these are not sure
it is asked how much fewer peaks agree with the rest of the library (`matching.everywhere`).
A logistic regression over these, fitted on music that no weight was trained on (`lab.calibrate`), gives the
probability; the size of the library is one of its inputs. Its coefficients lie in the encoder's spec.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from songprint.align import Line
from songprint.encoders.landmarks import Testimony
from songprint.errors import EncoderError, SettingsError

FEATURES = ("score", "lead", "lead_length", "score_length", "hits", "length", "sameness", "library",
            "prominence", "excess", "excess_length", "contrast", "background", "plain", "unchanged", "rivalled")
EVERYWHERE = (*FEATURES, "everywhere", "clearly", "nearby")     # of a clip that was laid everywhere in the library
HIGHEST_CONTRAST = 12.0     # more says no more
ALIKE, AHEAD = 0.6, 0.15    # a mean cosine above the one that leads by less than the other has a rival in earnest
EVEN = 50.0
MOST_CERTAIN = 0.999        # no measurement of ours could show more
SPECIAL = ("everywhere", "own_tempo")       # cases of which a calibration may say something else, or a part of it
APART = 1.25                # seconds from which two segments share no sound


@dataclass(frozen=True)
class Calibration:
    """A fitted judge. `thresholds` maps a false-accept rate, as text, to a confidence from 0 to 100."""

    features: tuple[str, ...]
    weights: tuple[float, ...]          # one per feature
    bias: float
    thresholds: dict[str, float]
    everywhere: Calibration | None = None       # of clips that were laid everywhere in the library, if that is known
    own_tempo: Calibration | None = None        # of what was looked for at its own tempo alone, if others may be tried

    @classmethod
    def from_spec(cls, values: dict) -> Calibration:
        if not values:
            raise EncoderError("this encoder has no calibration: run `python -m lab.calibrate` after its export")
        special = {name: values[name] for name in SPECIAL if name in values}
        plain = {name: value for name, value in values.items() if name not in SPECIAL}
        return cls(tuple(values["features"]), tuple(values["weights"]), values["bias"], values["thresholds"],
                   **{name: cls.from_spec(plain | those) for name, those in special.items()})

    def threshold(self, rate: float) -> float:
        """The confidence at which at most a share `rate` of the clips of unknown music is answered.

        Never below EVEN: no name is given that is more probably wrong than right.
        """
        known = {float(text): threshold for text, threshold in self.thresholds.items()}
        if rate not in known:
            raise SettingsError(f"false_accepts={rate:g}: this encoder has thresholds for"
                                f" {', '.join(f'{one:g}' for one in sorted(known))}")
        return max(EVEN, known[rate])

    def logit(self, features: dict[str, float]) -> float:
        """Log-odds that the name is right."""
        if unknown := set(self.features) - features.keys():
            raise EncoderError("the calibration of this encoder was made for another version of Songprint"
                               f" (it asks for {', '.join(sorted(unknown))}): run `python -m lab.calibrate`")
        return self.bias + sum(weight * features[name]
                               for weight, name in zip(self.weights, self.features, strict=True))


def features(line: Line, testimony: Testimony, rivals: list[np.ndarray], vectors: np.ndarray, hits: np.ndarray,
             hop: float, library_segments: int) -> dict[str, float]:
    """What is known of a line, given the cosines (m,) along the lines of other recordings over the same clip.

    Rivals that are the same sound (`align.same_sound`) must have been left out. `vectors (m, dim)` is the clip,
    `hits (m,)` the segments for which the search itself came up with this place (`align.hits`), `hop` its
    seconds between segments.
    """
    stretch = slice(line.first, line.last)
    length = (line.last - line.first) * hop
    rival = max((float(other[stretch].mean()) for other in rivals), default=0.0)
    lead = line.score - rival
    return {
        "score": line.score,
        "lead": lead,
        "lead_length": lead * np.sqrt(length),
        "score_length": line.score * np.sqrt(length),
        "hits": float(hits[stretch].mean()),
        "length": float(np.log(length)),
        "sameness": _sameness(vectors[stretch], round(APART / hop)),
        "library": float(np.log10(library_segments + 1)),
        "prominence": testimony.prominence,
        "excess": testimony.excess,
        "excess_length": testimony.excess * float(np.sqrt(length)),
        "contrast": min(testimony.contrast, HIGHEST_CONTRAST),
        "background": testimony.background,
        "plain": float(testimony.plain),
        "unchanged": min(testimony.unchanged, HIGHEST_CONTRAST),
        # to the embeddings a drone is like any drone: what is very much alike is to have no rival
        "rivalled": max(0.0, line.score - ALIKE) * max(0.0, AHEAD - lead),
    }


def _sameness(vectors: np.ndarray, apart: int) -> float:
    """Mean cosine of the clip with itself, `apart` segments and more later.

    A drone, or noise, agrees with another drone for as long as it lasts: its many segments say one thing.
    """
    count = len(vectors) - apart
    if count < 1:
        return 0.0
    later = np.cumsum(vectors[apart:][::-1], axis=0)[::-1]             # (count, dim) sums from each one on
    return float(np.vdot(vectors[:count], later)) / (count * (count + 1) / 2)


def combine(logits: list[float], windows: int) -> float:
    """Log-odds of one line seen in several of `windows` windows of a long clip.

    Each further window that speaks for it adds; having looked in many places costs (Bonferroni).
    """
    best, *others = sorted(logits, reverse=True)
    return best + sum(max(0.0, other) for other in others) - float(np.log(windows))


def to_confidence(logit: float) -> float:
    """Log-odds -> 0 to 100, one decimal."""
    return round(100 * min(MOST_CERTAIN, float(1 / (1 + np.exp(-np.clip(logit, -50, 50))))), 1)
