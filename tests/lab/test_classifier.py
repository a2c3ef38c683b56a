"""Fitting the classifier behind the confidence, and its thresholds."""

import re
from dataclasses import replace

import numpy as np
import pytest

from lab.ship import classifier
from lab.ship.classifier import QueryResult
from songprint import confidence
from songprint.fingerprint import evidence


def result(score, correct):
    values = dict.fromkeys(evidence.FEATURES, 0.0) | {"score": score}
    return QueryResult([values], [correct], 5.0)


def test_the_feature_that_separates_gets_the_weight(random):
    results = [result(random.normal(0.8, 0.1), True) for _ in range(200)]
    results += [result(random.normal(0.4, 0.1), False) for _ in range(200)]
    fitted = classifier.fit(results, evidence.FEATURES)
    logits = classifier.best_logits([result(0.8, True), result(0.4, False)], fitted)
    assert logits[0] > 2
    assert logits[1] < -2
    assert np.abs(fitted.weights[1:]).max() < 1e-6


def test_the_weights_minimise_the_penalised_log_loss(random):
    """The gradient at the fitted weights is zero; correlated features share their weight."""
    values = [{"one": one, "two": one + random.normal(0, 0.3)} for one in random.normal(0, 1, 400)]
    correct = [bool(row["one"] + random.normal() > 0) for row in values]
    results = [QueryResult([row], [is_correct], 5.0) for row, is_correct in zip(values, correct, strict=True)]
    fitted = classifier.fit(results, ("one", "two"))
    matrix = np.array([[row["one"], row["two"]] for row in values])
    scale = matrix.std(axis=0) + 1e-6
    weights = np.array(fitted.weights) * scale
    probability = 1 / (1 + np.exp(-(matrix @ fitted.weights + fitted.bias)))
    residual = np.array(correct) - probability
    penalty = classifier.RIDGE * len(matrix) / 100
    assert residual.sum() == pytest.approx(0, abs=1e-3)
    assert (matrix - matrix.mean(axis=0)).T @ residual / scale == pytest.approx(penalty * weights, abs=1e-3)


def test_the_number_of_candidates_used_for_training_is_limited(random):
    """Only the third candidates are correct, with high values."""
    results = [
        QueryResult([{"value": random.normal(mean)} for mean in (2, 2, 6)], [False, False, True], 5.0)
        for _ in range(100)
    ]
    fitted = classifier.fit(results, ("value",), candidates=3)
    assert fitted.logit({"value": 7.0}) > 0 > fitted.logit({"value": 1.0})
    assert classifier.fit(results, ("value",)).logit({"value": 7.0}) < 0, "none of the first two is correct"


def test_given_weights_are_kept(random):
    results = [
        QueryResult([{"value": random.normal(6 if correct else 2), "further": 1.0}], [correct], 5.0)
        for correct in [True, False] * 100
    ]
    plain, given = (classifier.fit(results, ("value",), given=weights) for weights in ({}, {"further": -3.0}))
    assert given.features == ("value", "further") and given.weights == (*plain.weights, -3.0)
    assert given.logit({"value": 4.0, "further": 1.0}) == plain.logit({"value": 4.0}) - 3


def test_a_query_without_candidates_is_far_below_every_threshold():
    fitted = classifier.fit([result(0.8, True), result(0.4, False)], evidence.FEATURES)
    assert classifier.best_logits([QueryResult([], [], 5.0)], fitted) == [-20]


def test_thresholds_of_low_rates_are_extrapolated_from_the_tail(random):
    """2,000 queries are too few to count a rate of 1 in 10,000."""
    negative = random.exponential(1.0, 2000)
    assert classifier.logit_at_rate(negative, 0.01) == np.quantile(negative, 0.99)
    assert classifier.logit_at_rate(negative, 0.001) == pytest.approx(np.log(1000), rel=0.15)
    assert classifier.logit_at_rate(negative, 0.0001) == pytest.approx(np.log(10_000), rel=0.15)


def test_a_feature_that_is_left_out_does_not_contribute(random):
    results = [result(random.normal(0.8 if correct else 0.4, 0.1), correct) for correct in [True, False] * 100]
    silent = classifier.without(results, ["score"])
    assert classifier.recall(silent, classifier.fit(silent, evidence.FEATURES), level=1.0) == 0
    assert classifier.recall(results[::2], classifier.fit(results, evidence.FEATURES), level=0.0) > 0.9


def test_calibration_reports_recall_and_the_value_of_each_group_of_features(random, capsys):
    known, unknown = (
        [
            QueryResult(
                [result(random.normal(score, 0.1), correct).features[0] | {"lead": random.normal()}], [correct], 5.0
            )
            for _ in range(200)
        ]
        for score, correct in ((0.8, True), (0.4, False))
    )
    values = classifier.calibrate(known, unknown, evidence.FEATURES, {"similarity": ("score",)})
    printed = capsys.readouterr().out
    assert float(re.search(r"without similarity: recall ([\d.]+)%", printed)[1]) < 10
    calibration = confidence.Calibration.from_spec(values)
    answered = classifier.best_logits(unknown, calibration) > -np.log(100 / calibration.thresholds["0.01"] - 1)
    assert answered.mean() == pytest.approx(0.01, abs=0.006)


def test_cross_validation_never_trains_on_the_work_it_classifies(random, monkeypatch):
    known, unknown = (
        [replace(result(random.normal(score, 0.1), correct), work=str(number)) for number in range(100)]
        for score, correct in ((0.8, True), (0.4, False))
    )
    trained_on = []
    monkeypatch.setattr(
        classifier,
        "fit",
        lambda results, *options, fit=classifier.fit: (
            trained_on.append({result.work for result in results}) or fit(results, *options)
        ),
    )
    correct, wrong = classifier.cross_validate(known, unknown, evidence.FEATURES)
    assert correct.mean() > 0.9 and wrong.mean() <= 0.02
    assert len(trained_on) == classifier.FOLDS
    assert all(sum(result.work not in works for works in trained_on) == 1 for result in known)


def test_false_accept_rates_hold_for_short_queries_alone(random, capsys):
    def searched(value: float, length: float) -> QueryResult:
        return QueryResult([{"value": value}], [value > 4], length)

    known = [searched(random.normal(6), 30.0) for _ in range(200)]
    unknown = [searched(random.normal(2 if length < 15 else 0), length) for length in [10.0, 30.0, 30.0, 30.0] * 100]
    plain, careful = (
        classifier.calibrate(known, unknown, ("value",), {}, short=short)["thresholds"] for short in (0.0, 15.0)
    )
    short = classifier.best_logits([r for r in unknown if r.length < 15], classifier.fit(known + unknown, ("value",)))
    assert careful["0.05"] > plain["0.05"]
    assert np.mean([confidence.to_confidence(logit) > careful["0.05"] for logit in short]) <= 0.05
