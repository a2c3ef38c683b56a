"""Fit the classifier behind `songprint.confidence`: features of a match -> probability that it is correct.

The classifier is a logistic regression with an L2 penalty on standardised features. Thresholds for the
false-accept rates come from queries whose music is not in the library.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np

from songprint import confidence
from songprint.confidence import Calibration

RATES = (0.05, 0.01, 0.001, 0.0001)  # false-accept rates (FAR) for which thresholds are computed
MIN_COUNTED_RATE = 0.01  # lower rates are extrapolated from the tail: there are too few queries to count
TAIL = 0.05  # share of the unknown queries from which the shape of the tail is estimated
FOLDS = 5  # of the cross-validation, split by work
TRAINED_CANDIDATES = 2  # best candidates of each query used for training: the first is not always correct
RIDGE = 0.02  # L2 penalty per 100 training examples; keeps the weights of correlated features small
NO_CANDIDATE = -20.0  # log-odds of a query without candidates; below every threshold
NO_WEIGHTS: Mapping[str, float] = {}


@dataclass(frozen=True)
class QueryResult:
    """The best candidates of one query: their features, and which of them are correct."""

    features: list[dict[str, float]]
    correct: list[bool]
    length: float  # of the query, in seconds
    work: str = ""  # the work that was searched for


def calibrate(
    known: list[QueryResult],
    unknown: list[QueryResult],
    names: tuple[str, ...],
    ablations: Mapping[str, tuple[str, ...]],
    *,
    min_length: float = 0.0,
    short: float = 0.0,
    candidates: int = TRAINED_CANDIDATES,
    given: Mapping[str, float] = NO_WEIGHTS,
) -> dict:
    """Fit classifier and thresholds; print recall, and recall without each group of features.

    Args:
        known: results of queries whose music is in the library.
        unknown: results of queries whose music is not.
        names: features of the classifier.
        ablations: groups of features by name.
        min_length: seconds; shorter unknown queries do not raise the thresholds.
        short: seconds; the false-accept rates also hold for shorter queries alone.
        candidates, given: see `fit`.

    Returns the `calibration` of an encoder's spec.
    """
    classifier = fit(known + unknown, names, candidates, given)
    levels = threshold_logits(unknown, classifier, min_length, short)
    thresholds = {str(rate): confidence.to_confidence(level) for rate, level in levels.items()}
    has_correct = np.mean([any(result.correct) for result in known])
    print(f"{len(known)} known queries, the correct name is among the candidates of {100 * has_correct:.1f}%")
    for rate, level in levels.items():
        print(
            f"false-accept rate {100 * rate:g}%: confidence {thresholds[str(rate)]}, "
            f"{100 * (best_logits(known, classifier) >= level).mean():.1f}% of known queries are answered"
        )
    for name, left_out in {"nothing": (), **ablations}.items():
        ablated, ablated_unknown = without(known, left_out), without(unknown, left_out)
        other = fit(ablated + ablated_unknown, names, candidates, given)
        counted = [result for result in ablated_unknown if result.length >= min_length]
        level = logit_at_rate(best_logits(counted, other), 0.01)
        print(f"without {name}: recall {100 * recall(ablated, other, level):.1f}% at a false-accept rate of 1%")
    return {
        "features": list(classifier.features),
        "weights": [round(float(weight), 5) for weight in classifier.weights],
        "bias": round(classifier.bias, 5),
        "thresholds": thresholds,
        "known": len(known),
        "unknown": len(unknown),
    }


def threshold_logits(
    unknown: list[QueryResult], classifier: Calibration, min_length: float = 0.0, short: float = 0.0
) -> dict[float, float]:
    """The log-odds for each of RATES; see `calibrate` for `min_length` and `short`."""
    counted = [result for result in unknown if result.length >= min_length]
    groups = [counted, [result for result in counted if result.length < short]]
    negatives = [best_logits(group, classifier) for group in groups if group]
    return {rate: max(logit_at_rate(negative, rate) for negative in negatives) for rate in RATES}


def fit(
    results: list[QueryResult],
    names: tuple[str, ...],
    candidates: int = TRAINED_CANDIDATES,
    given: Mapping[str, float] = NO_WEIGHTS,
) -> Calibration:
    """Logistic regression on the best `candidates` of each query, without thresholds.

    `given` maps further features to fixed weights. When all candidates are correct, or none is, the
    classifier returns the same log-odds for everything.
    """
    from sklearn.linear_model import LogisticRegression

    examples = [
        example for r in results for example in zip(r.features[:candidates], r.correct[:candidates], strict=True)
    ]
    matrix = np.array([[values[name] for name in names] for values, _ in examples])
    labels = np.array([correct for _, correct in examples])
    mean, scale = matrix.mean(axis=0), matrix.std(axis=0) + 1e-6
    if labels.all() or not labels.any():
        weights, bias = np.zeros(len(names)), -NO_CANDIDATE if labels.all() else NO_CANDIDATE
    else:
        # scikit-learn's C is the inverse of the penalty; the bias is not penalised
        model = LogisticRegression(C=100 / (RIDGE * len(matrix)), solver="newton-cholesky", tol=1e-8)
        model.fit((matrix - mean) / scale, labels)
        weights = model.coef_[0] / scale
        bias = float(model.intercept_[0] - weights @ mean)
    return Calibration((*names, *given), (*weights.tolist(), *given.values()), bias, thresholds={})


def cross_validate(
    known: list[QueryResult],
    unknown: list[QueryResult],
    names: tuple[str, ...],
    rate: float = 0.01,
    candidates: int = TRAINED_CANDIDATES,
    given: Mapping[str, float] = NO_WEIGHTS,
) -> tuple[np.ndarray, np.ndarray]:
    """Classify every query with a classifier that was not trained on its work.

    Returns which known queries are answered correctly at the false-accept rate, and which unknown
    queries are answered.
    """

    def fold(result: QueryResult) -> int:
        return zlib.crc32(result.work.encode()) % FOLDS

    classifiers = [
        fit([result for result in known + unknown if fold(result) != number], names, candidates, given)
        for number in range(FOLDS)
    ]
    best = [
        [best_candidates([result], classifiers[fold(result)])[0] for result in results] for results in (known, unknown)
    ]
    negative = np.array([logit for logit, _ in best[1]])
    level = logit_at_rate(negative, rate)
    return np.array([correct and logit >= level for logit, correct in best[0]]), negative >= level


def best_logits(results: list[QueryResult], classifier: Calibration) -> np.ndarray:
    """(queries,) log-odds of the best candidate; NO_CANDIDATE for queries without candidates."""
    return np.array([logit for logit, _ in best_candidates(results, classifier)])


def best_candidates(results: list[QueryResult], classifier: Calibration) -> list[tuple[float, bool]]:
    """The most probable candidate of each query: its log-odds, and whether it is correct."""
    return [
        max(zip(map(classifier.logit, result.features), result.correct, strict=True), default=(NO_CANDIDATE, False))
        for result in results
    ]


def logit_at_rate(negative: np.ndarray, rate: float) -> float:
    """The log-odds that a share `rate` of the unknown queries exceeds.

    Rates below MIN_COUNTED_RATE are extrapolated with an exponential tail, which is the distribution of
    maxima of many chance matches (Pickands, 1975: a generalised Pareto tail of shape 0).
    """
    if rate >= MIN_COUNTED_RATE:
        return float(np.quantile(negative, 1 - rate))
    start = np.quantile(negative, 1 - TAIL)
    return float(start + (negative[negative > start] - start).mean() * np.log(TAIL / rate))


def without(results: list[QueryResult], names: Collection[str]) -> list[QueryResult]:
    """The same results with the named features set to 0."""
    return [
        replace(result, features=[values | dict.fromkeys(names, 0.0) for values in result.features])
        for result in results
    ]


def recall(known: list[QueryResult], classifier: Calibration, level: float) -> float:
    """The share of known queries whose most probable candidate is correct and reaches `level` (log-odds)."""
    return float(np.mean([correct and logit >= level for logit, correct in best_candidates(known, classifier)]))
