"""The judge is fitted on what was asked, and its thresholds on what was asked in vain."""

import numpy as np
import pytest

from lab import calibrate
from songprint import confidence


def question(score, right):
    values = dict.fromkeys(confidence.FEATURES, 0.0) | {"score": score}
    return calibrate.Question([values], [right], 5.0)


def test_what_tells_right_from_wrong_gets_the_weight(random):
    questions = [question(random.normal(0.8, 0.1), True) for _ in range(200)]
    questions += [question(random.normal(0.4, 0.1), False) for _ in range(200)]
    weights, bias = calibrate.fit(questions)
    judged = calibrate.best_logits([question(0.8, True), question(0.4, False)], weights, bias)
    assert judged[0] > 2
    assert judged[1] < -2
    assert np.abs(weights[1:]).max() < 1e-6


def test_a_clip_without_an_answer_is_far_below_every_threshold():
    assert calibrate.best_logits([calibrate.Question([], [], 5.0)], np.ones(len(confidence.FEATURES)), 0.0) == [-20]


def test_rare_mistakes_are_told_from_the_tail(random):
    """Of 2,000 clips none tells what happens once in 10,000 times; the shape of the tail does."""
    negative = random.exponential(1.0, 2000)
    assert calibrate.level_at(negative, 0.01) == np.quantile(negative, 0.99)
    assert calibrate.level_at(negative, 0.001) == pytest.approx(np.log(1000), rel=0.15)
    assert calibrate.level_at(negative, 0.0001) == pytest.approx(np.log(10_000), rel=0.15)


def test_a_feature_that_is_left_out_tells_nothing(random):
    questions = [question(random.normal(0.8 if right else 0.4, 0.1), right) for right in [True, False] * 100]
    silent = calibrate.without(questions, ["score"])
    weights, bias = calibrate.fit(silent)
    assert calibrate.rightly_answered(silent, weights, bias, level=1.0) == 0
    weights, bias = calibrate.fit(questions)
    assert calibrate.rightly_answered(questions[::2], weights, bias, level=0.0) > 0.9
