"""The evaluation measures what it says."""

import re

import numpy as np
import pytest

from lab import clips, evaluate_recordings, synth
from lab.evaluate_recordings import Answer
from songprint.encoders import WEIGHTS


def answer(confidence, *, known=True, right=True, length=5.0, error=0.02, condition="clean"):
    return Answer(condition, length, known, right, confidence, error if right else float("nan"), 0.0, 0.05)


def test_recall_counts_right_names_above_the_threshold():
    answers = [answer(90), answer(60), answer(95, right=False), answer(10, right=False)]
    assert evaluate_recordings.recall(answers, 70) == 25
    assert evaluate_recordings.recall(answers, 50) == 50


def test_a_confidence_that_keeps_its_word_has_no_calibration_error():
    honest = [answer(75, right=i % 4 != 0) for i in range(100)]
    boasting = [answer(95, right=i % 2 == 0) for i in range(100)]
    assert evaluate_recordings.calibration_error(honest) == pytest.approx(0)
    assert evaluate_recordings.calibration_error(boasting) == pytest.approx(0.45)


def test_the_threshold_for_a_false_accept_rate_lets_no_more_through():
    unknown = [answer(c, known=False, right=False) for c in np.linspace(0, 50, 200)]
    adding = {"recordings": 1, "hours": 1, "x real time": 1, "MB per hour": 1, "threshold": 49.0}
    text = evaluate_recordings.summary([answer(90, length=10.0), *unknown], adding)
    level = float(re.search(r"at FAR 1 % \(confidence ([0-9.]+)\)", text)[1])
    assert 0 < sum(a.confidence >= level for a in unknown) <= 2
    assert "unknown music answered 2.00 %" in text


def test_clips_are_cut_where_they_say(tmp_path):
    """A clip of a ramp in level tells its own place."""
    rate = clips.RATE
    ramp = (np.random.default_rng(0).standard_normal(40 * rate) * np.linspace(0.1, 1, 40 * rate)).astype(np.float32)
    around = clips.Surroundings([], [], [])
    for condition in ("clean", "speed +4 %", "tempo +6 %", "pitch +1"):
        clip = clips.cut(ramp, 20.0, 5.0, condition, around, np.random.default_rng(1))
        tempo = clips.SPEEDS.get(condition, (1.0, 1.0))[0]
        assert len(clip) == 5 * rate
        levels = [np.std(part) for part in (clip[:rate], clip[-rate:])]
        at = [(level - 0.1) / 0.9 * 40 for level in levels]
        # resampling takes off the top of white noise: compare the ends of the clip with each other
        assert at[0] / at[1] == pytest.approx((20 + tempo / 2) / (20 + 4.5 * tempo), abs=0.03)


@pytest.mark.skipif(not (WEIGHTS / "fingerprint.onnx").exists(), reason="no weights yet")
def test_a_small_evaluation_of_synthetic_music(tmp_path):
    paths = sorted(synth.write_pieces(tmp_path / "music", count=6))
    echoes = 0.1 * np.random.default_rng(0).standard_normal(2000) * np.exp(-np.arange(2000) / 500)
    around = clips.Surroundings([], [], [np.concatenate([[1.0], echoes])])
    answers, adding = evaluate_recordings.measure(paths[:4], paths[4:], around, per_condition=1, seed=1)
    clean = [a for a in answers if a.known and a.condition in ("clean", "mp3 32k")]
    assert clean
    assert all(a.right and a.error < 0.5 for a in clean)
    nothing = [a for a in answers if not a.length]
    assert max(a.confidence for a in nothing if a.condition in ("silence", "tone", "hum")) == 0
    assert "Recall (%) at FAR 1 %" in evaluate_recordings.summary(answers, adding)
