"""Fit a judge (`songprint.confidence`) to what a search said of known and of unknown clips."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np

from songprint import confidence
from songprint.confidence import Calibration

RATES = (0.05, 0.01, 0.001, 0.0001)  # false-accept rates that get a threshold,
COUNTED = 0.01  # those below this by the shape of the tail: too few clips to count them
TAIL = 0.05  # share of the unknown clips that the shape is taken from
FOLDS = 5  # parts of the works, each judged by a judge that learned from the others
FITTED = 2  # answers to a clip that a judge learns from: the first is not always right
NOTHING: Mapping[str, float] = {}
RIDGE = 0.02  # keeps weights of features that say the same apart and small


@dataclass(frozen=True)
class Question:
    """What the search said of one clip: features of its best answers, and which of them are right."""

    features: list[dict[str, float]]
    right: list[bool]
    length: float  # seconds
    work: str = ""  # that was asked for


def fitted(
    known: list[Question],
    unknown: list[Question],
    names: tuple[str, ...],
    ablations: Mapping[str, tuple[str, ...]],
    shortest: float = 0.0,
    short: float = 0.0,
    answers: int = FITTED,
    given: Mapping[str, float] = NOTHING,
) -> dict:
    """The calibration as the spec of an encoder holds it; prints how good it is.

    Unknown clips of less than `shortest` seconds do not raise the thresholds. The rates hold for those of less than
    `short` seconds by themselves, too. `ablations` names groups of
    features: what the judge would be worth without each is printed, too. For `answers` and `given` see `fit`.
    """
    judge = fit(known + unknown, names, answers, given)
    levels = levels_of(unknown, judge, shortest, short)
    thresholds = {str(rate): confidence.to_confidence(level) for rate, level in levels.items()}
    positive = best_logits(known, judge)
    top = np.array([any(q.right) for q in known])
    print(f"{len(known)} known clips, right name among the first answers: {100 * top.mean():.1f} %")
    for rate, level in levels.items():
        print(
            f"false accepts {100 * rate:g} %: confidence {thresholds[str(rate)]}, known clips answered "
            f"{100 * (positive >= level).mean():.1f} %"
        )
    for name, left_out in {"nothing": (), **ablations}.items():
        less, less_unknown = without(known, left_out), without(unknown, left_out)
        other = fit(less + less_unknown, names, answers, given)
        level = level_at(best_logits([q for q in less_unknown if q.length >= shortest], other), 0.01)
        share = rightly_answered(less, other, level)
        print(f"without {name}: {100 * share:.1f} % of known clips answered rightly at FAR 1 %")
    return {
        "features": list(judge.features),
        "weights": [round(float(weight), 5) for weight in judge.weights],
        "bias": round(judge.bias, 5),
        "thresholds": thresholds,
        "known": len(known),
        "unknown": len(unknown),
    }


def levels_of(
    unknown: list[Question], judge: Calibration, shortest: float = 0.0, short: float = 0.0
) -> dict[float, float]:
    """The log-odds of each of the RATES; for `shortest` and `short` see `fitted`."""
    counted = [q for q in unknown if q.length >= shortest]
    negatives = [best_logits(those, judge) for those in (counted, [q for q in counted if q.length < short]) if those]
    return {rate: max(level_at(negative, rate) for negative in negatives) for rate in RATES}


def fit(
    questions: list[Question], names: tuple[str, ...], answers: int = FITTED, given: Mapping[str, float] = NOTHING
) -> Calibration:
    """Logistic regression (Newton's method) on the first `answers` to each clip; no thresholds yet.

    `given` are weights of further features that are not learned.
    """
    best = [line for q in questions for line in zip(q.features[:answers], q.right[:answers], strict=True)]
    rows = [[values[name] for name in names] for values, _ in best]
    labels = np.array([float(right) for _, right in best])
    matrix = np.array(rows)
    mean, scale = matrix.mean(axis=0), matrix.std(axis=0) + 1e-6
    design = np.hstack([(matrix - mean) / scale, np.ones((len(matrix), 1))])
    penalty = np.diag([RIDGE * len(matrix) / 100] * matrix.shape[1] + [0.0])
    beta = np.zeros(design.shape[1])
    for _ in range(40):
        probability = 1 / (1 + np.exp(-np.clip(design @ beta, -30, 30)))
        gradient = design.T @ (labels - probability) - penalty @ beta
        curvature = (design * (probability * (1 - probability))[:, None]).T @ design + penalty
        beta += np.linalg.solve(curvature + 1e-9 * np.eye(len(beta)), gradient)
    weights = beta[:-1] / scale
    return Calibration(
        (*names, *given), (*weights.tolist(), *given.values()), float(beta[-1] - weights @ mean), thresholds={}
    )


def crossed(
    known: list[Question],
    unknown: list[Question],
    names: tuple[str, ...],
    rate: float = 0.01,
    answers: int = FITTED,
    given: Mapping[str, float] = NOTHING,
) -> tuple[np.ndarray, np.ndarray]:
    """Of judges that did not learn from the works that they are asked of: which known questions are answered rightly at
    a false-accept rate, and which unknown ones are answered."""

    def fold(question: Question) -> int:
        return zlib.crc32(question.work.encode()) % FOLDS

    judges = [fit([q for q in known + unknown if fold(q) != number], names, answers, given) for number in range(FOLDS)]
    said = [[best_answers([q], judges[fold(q)])[0] for q in questions] for questions in (known, unknown)]
    negative = np.array([logit for logit, _ in said[1]])
    level = level_at(negative, rate)
    return np.array([right and logit >= level for logit, right in said[0]]), negative >= level


def best_logits(questions: list[Question], judge: Calibration) -> np.ndarray:
    """(questions,) log-odds of the answer that would be given; very low where there is none."""
    return np.array([logit for logit, _ in best_answers(questions, judge)])


def best_answers(questions: list[Question], judge: Calibration) -> list[tuple[float, bool]]:
    """The most probable answer to each question: its log-odds, and whether it is right."""
    return [max(zip(map(judge.logit, q.features), q.right, strict=True), default=(-20.0, False)) for q in questions]


def level_at(negative: np.ndarray, rate: float) -> float:
    """The log-odds that a share `rate` of the unknown clips exceeds.

    Counted where there are enough of them; beyond, the tail is taken to fall exponentially, which maxima of
    many chance matches do (Pickands, 1975: a generalised Pareto tail of shape 0).
    """
    if rate >= COUNTED:
        return float(np.quantile(negative, 1 - rate))
    start = np.quantile(negative, 1 - TAIL)
    return float(start + (negative[negative > start] - start).mean() * np.log(TAIL / rate))


def without(questions: list[Question], names: Collection[str]) -> list[Question]:
    """The same questions with some features silent."""
    return [replace(q, features=[f | dict.fromkeys(names, 0.0) for f in q.features]) for q in questions]


def rightly_answered(known: list[Question], judge: Calibration, level: float) -> float:
    """The share of known clips of which the most probable answer is right, and probable enough."""
    return float(np.mean([right and logit >= level for logit, right in best_answers(known, judge)]))
