"""What speaks for a line -> the probability that its name is right.

Similarity alone is not evidence: a drum loop resembles every drum loop. So a line is judged by what it has
beyond its best rival, by how long it holds, by how many segments of the clip came up with it unasked, and by
what a second witness says, who knows the peaks of the spectrum (`encoders.landmarks`). Where these are not sure
it is asked how much fewer peaks agree with the rest of the library (`matching.everywhere`).
A logistic regression over these, fitted on music that no weight was trained on (`lab.ship.calibrate`), gives the
probability; the size of the library is one of its inputs. Its coefficients lie in the encoder's spec.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from songprint.errors import EncoderError, SettingsError

EVEN_ODDS = 50.0
MAX_PROBABILITY = 0.999  # no measurement of ours could show more
SPECIAL = {
    "everywhere": "peak_search",
    "own_tempo": "own_tempo",
}  # cases of which a calibration may say something else, or a part of it


@dataclass(frozen=True)
class Calibration:
    """A fitted judge. `thresholds` maps a false-accept rate, as text, to a confidence from 0 to 100."""

    features: tuple[str, ...]
    weights: tuple[float, ...]  # one per feature
    bias: float
    thresholds: dict[str, float]
    peak_search: Calibration | None = None  # of clips that were laid everywhere in the library, if that is known
    own_tempo: Calibration | None = None  # of what was looked for at its own tempo alone, if others may be tried

    @classmethod
    def from_spec(cls, values: dict) -> Calibration:
        if not values:
            raise EncoderError("this encoder has no calibration: run `python -m lab.ship.calibrate` after its export")
        special = {field: values[key] for key, field in SPECIAL.items() if key in values}
        plain = {name: value for name, value in values.items() if name not in SPECIAL}
        return cls(
            tuple(values["features"]),
            tuple(values["weights"]),
            values["bias"],
            values["thresholds"],
            **{name: cls.from_spec(plain | those) for name, those in special.items()},
        )

    def of_case(self, case: str) -> Calibration:
        """The calibration of a special case, or this one where the case needs none of its own."""
        special = {"peak_search": self.peak_search, "own_tempo": self.own_tempo}
        return special.get(case) or self

    def threshold(self, rate: float) -> float:
        """The confidence at which at most a share `rate` of the clips of unknown music is answered.

        Never below EVEN_ODDS: no name is given that is more probably wrong than right.
        """
        known = {float(text): threshold for text, threshold in self.thresholds.items()}
        if rate not in known:
            raise SettingsError(
                f"false_accepts={rate:g}: this encoder has thresholds for"
                f" {', '.join(f'{one:g}' for one in sorted(known))}"
            )
        return max(EVEN_ODDS, known[rate])

    def logit(self, features: dict[str, float]) -> float:
        """Log-odds that the name is right."""
        if unknown := set(self.features) - features.keys():
            raise EncoderError(
                "the calibration of this encoder was made for another version of Songprint"
                f" (it asks for {', '.join(sorted(unknown))}): run `python -m lab.ship.calibrate`"
            )
        return self.bias + sum(
            weight * features[name] for weight, name in zip(self.weights, self.features, strict=True)
        )


def combine(logits: list[float], windows: int) -> float:
    """Log-odds of one line seen in several of `windows` windows of a long clip.

    Each further window that speaks for it adds; having looked in many places costs (Bonferroni).
    """
    best, *others = sorted(logits, reverse=True)
    return best + sum(max(0.0, other) for other in others) - float(np.log(windows))


def to_confidence(logit: float) -> float:
    """Log-odds -> 0 to 100, one decimal."""
    return round(100 * min(MAX_PROBABILITY, float(1 / (1 + np.exp(-np.clip(logit, -50, 50))))), 1)
