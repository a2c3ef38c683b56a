"""Calibration: features of an alignment -> the probability that its name is correct.

Similarity alone is not evidence: one drum loop resembles every other. The features therefore measure the lead over the
best rival, the duration of the agreement, how many segments retrieved the recording in the index search, and the
result of landmark verification (`fingerprint.landmarks`). Uncertain queries are also compared with the landmarks of
the whole library (`fingerprint.peak_search`). A logistic regression over these features, fitted on music that no
network was trained on (`lab.ship.calibrate`), gives the probability. The size of the library is one of the features.
The coefficients are part of the encoder's spec.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from songprint.errors import EncoderError, SettingsError

T = TypeVar("T")

EVEN_ODDS = 50.0  # confidence below which a name is more probably wrong than correct
MAX_PROBABILITY = 0.999  # no test set is large enough to support a higher probability
# Special cases of a calibration by their key in the spec. Each overrides some or all of the values of the general case.
SPECIAL = {"everywhere": "peak_search", "own_tempo": "own_tempo"}


@dataclass(frozen=True)
class Calibration:
    """A fitted logistic regression. `thresholds` maps a false-accept rate, as text, to a confidence from 0 to 100."""

    features: tuple[str, ...]
    weights: tuple[float, ...]  # one for each feature
    bias: float
    thresholds: dict[str, float]
    peak_search: Calibration | None = None  # for queries that were compared with all landmarks of the library
    own_tempo: Calibration | None = None  # for queries without tempo search, where that exists

    @classmethod
    def from_spec(cls, values: Mapping[str, Any]) -> Calibration:
        """Read the calibration of an encoder's spec. Raises EncoderError if it is empty."""
        if not values:
            raise EncoderError("this encoder has no calibration: run `python -m lab.ship.calibrate` after its export")
        special = {field: values[key] for key, field in SPECIAL.items() if key in values}
        general = {key: value for key, value in values.items() if key not in SPECIAL}
        return cls(
            tuple(values["features"]),
            tuple(values["weights"]),
            values["bias"],
            values["thresholds"],
            **{field: cls.from_spec(general | overrides) for field, overrides in special.items()},
        )

    def of_case(self, case: str) -> Calibration:
        """The calibration of a special case, or this one where the case needs none of its own."""
        special = {"peak_search": self.peak_search, "own_tempo": self.own_tempo}
        return special.get(case) or self

    def threshold(self, rate: float) -> float:
        """The confidence above which at most a share `rate` of the queries of unknown music is answered.

        Never below EVEN_ODDS. Raises SettingsError for a rate that was not calibrated.
        """
        known = {float(text): threshold for text, threshold in self.thresholds.items()}
        if rate not in known:
            raise SettingsError(
                f"false_accepts={rate:g}: this encoder has thresholds for"
                f" {', '.join(f'{one:g}' for one in sorted(known))}"
            )
        return max(EVEN_ODDS, known[rate])

    def logit(self, features: Mapping[str, float]) -> float:
        """Log-odds that the name is correct. Raises EncoderError if a feature is missing."""
        if missing := set(self.features) - features.keys():
            raise EncoderError(
                "the calibration of this encoder was made for another version of Songprint"
                f" (it needs {', '.join(sorted(missing))}): run `python -m lab.ship.calibrate`"
            )
        return self.bias + sum(
            weight * features[name] for weight, name in zip(self.weights, self.features, strict=True)
        )


def group_windows(found: Iterable[T], continues: Callable[[list[T], T], bool]) -> list[list[T]]:
    """Group what was found in the windows of a query by recording and continuity.

    Each result joins the first group that it `continues`, or starts a new one. Best first in, best first out: the first
    of each group is its best.
    """
    groups: list[list[T]] = []
    for each in found:
        group = next((group for group in groups if continues(group, each)), None)
        if group is None:
            groups.append([each])
        else:
            group.append(each)
    return groups


def combine(logits: list[float], windows: int) -> float:
    """Log-odds of a recording found in one or more of `windows` searched windows.

    Positive log-odds of further windows are added. The number of windows is a penalty (Bonferroni correction): every
    window is another chance of a false match.
    """
    best, *others = sorted(logits, reverse=True)
    return best + sum(max(0.0, other) for other in others) - float(np.log(windows))


def to_confidence(logit: float) -> float:
    """Log-odds -> confidence from 0 to 99.9, one decimal."""
    return round(100 * min(MAX_PROBABILITY, float(1 / (1 + np.exp(-np.clip(logit, -50, 50))))), 1)
