"""The judge is fitted on what was asked, and its thresholds on what was asked in vain."""

import re
from dataclasses import replace

import numpy as np
import pytest

from lab.ship import judge
from songprint import confidence
from songprint.fingerprint import evidence


def question(score, right):
    values = dict.fromkeys(evidence.FEATURES, 0.0) | {"score": score}
    return judge.Question([values], [right], 5.0)


def test_what_tells_right_from_wrong_gets_the_weight(random):
    questions = [question(random.normal(0.8, 0.1), True) for _ in range(200)]
    questions += [question(random.normal(0.4, 0.1), False) for _ in range(200)]
    fitted = judge.fit(questions, evidence.FEATURES)
    judged = judge.best_logits([question(0.8, True), question(0.4, False)], fitted)
    assert judged[0] > 2
    assert judged[1] < -2
    assert np.abs(fitted.weights[1:]).max() < 1e-6


def test_a_judge_learns_from_so_many_answers_to_each_clip(random):
    """The third answers alone are right, and high."""
    questions = [
        judge.Question([{"value": random.normal(mean)} for mean in (2, 2, 6)], [False, False, True], 5.0)
        for _ in range(100)
    ]
    learned = judge.fit(questions, ("value",), answers=3)
    assert learned.logit({"value": 7.0}) > 0 > learned.logit({"value": 1.0})
    assert judge.fit(questions, ("value",)).logit({"value": 7.0}) < 0, "of the first two none is right"


def test_a_weight_that_is_given_is_not_learned(random):
    questions = [
        judge.Question([{"value": random.normal(6 if right else 2), "further": 1.0}], [right], 5.0)
        for right in [True, False] * 100
    ]
    plain, given = (judge.fit(questions, ("value",), given=weights) for weights in ({}, {"further": -3.0}))
    assert given.features == ("value", "further") and given.weights == (*plain.weights, -3.0)
    assert given.logit({"value": 4.0, "further": 1.0}) == plain.logit({"value": 4.0}) - 3


def test_a_clip_without_an_answer_is_far_below_every_threshold():
    anyone = judge.fit([question(0.8, True), question(0.4, False)], evidence.FEATURES)
    assert judge.best_logits([judge.Question([], [], 5.0)], anyone) == [-20]


def test_rare_mistakes_are_told_from_the_tail(random):
    """Of 2,000 clips none tells what happens once in 10,000 times; the shape of the tail does."""
    negative = random.exponential(1.0, 2000)
    assert judge.level_at(negative, 0.01) == np.quantile(negative, 0.99)
    assert judge.level_at(negative, 0.001) == pytest.approx(np.log(1000), rel=0.15)
    assert judge.level_at(negative, 0.0001) == pytest.approx(np.log(10_000), rel=0.15)


def test_a_feature_that_is_left_out_tells_nothing(random):
    questions = [question(random.normal(0.8 if right else 0.4, 0.1), right) for right in [True, False] * 100]
    silent = judge.without(questions, ["score"])
    assert judge.rightly_answered(silent, judge.fit(silent, evidence.FEATURES), level=1.0) == 0
    assert judge.rightly_answered(questions[::2], judge.fit(questions, evidence.FEATURES), level=0.0) > 0.9


def test_a_calibration_says_how_good_it_is_and_what_each_part_is_worth(random, capsys):
    known, unknown = (
        [
            judge.Question(
                [question(random.normal(score, 0.1), right).features[0] | {"lead": random.normal()}], [right], 5.0
            )
            for _ in range(200)
        ]
        for score, right in ((0.8, True), (0.4, False))
    )
    values = judge.fitted(known, unknown, evidence.FEATURES, {"similarity": ("score",)})
    told = capsys.readouterr().out
    assert float(re.search(r"without similarity: ([\d.]+) %", told)[1]) < 10
    calibration = confidence.Calibration.from_spec(values)
    answered = judge.best_logits(unknown, calibration) > -np.log(100 / calibration.thresholds["0.01"] - 1)
    assert answered.mean() == pytest.approx(0.01, abs=0.006)


def test_works_are_judged_by_judges_that_did_not_learn_from_them(random, monkeypatch):
    known, unknown = (
        [replace(question(random.normal(score, 0.1), right), work=str(number)) for number in range(100)]
        for score, right in ((0.8, True), (0.4, False))
    )
    learned = []
    monkeypatch.setattr(
        judge,
        "fit",
        lambda questions, *how, fit=judge.fit: (
            learned.append({question.work for question in questions}) or fit(questions, *how)
        ),
    )
    rightly, wrongly = judge.crossed(known, unknown, evidence.FEATURES)
    assert rightly.mean() > 0.9 and wrongly.mean() <= 0.02
    assert len(learned) == judge.FOLDS
    assert all(sum(question.work not in works for works in learned) == 1 for question in known)


def test_the_rates_hold_for_short_clips_by_themselves(random, capsys):
    def asked(value: float, length: float) -> judge.Question:
        return judge.Question([{"value": value}], [value > 4], length)

    known = [asked(random.normal(6), 30.0) for _ in range(200)]
    unknown = [asked(random.normal(2 if length < 15 else 0), length) for length in [10.0, 30.0, 30.0, 30.0] * 100]
    plain, careful = (judge.fitted(known, unknown, ("value",), {}, short=short)["thresholds"] for short in (0.0, 15.0))
    short = judge.best_logits([q for q in unknown if q.length < 15], judge.fit(known + unknown, ("value",)))
    assert careful["0.05"] > plain["0.05"]
    assert np.mean([confidence.to_confidence(logit) > careful["0.05"] for logit in short]) <= 0.05
