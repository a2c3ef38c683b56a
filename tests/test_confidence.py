"""Features of an alignment, and their calibration."""

import numpy as np
import pytest

from songprint import confidence
from songprint.confidence import Calibration
from songprint.errors import EncoderError, SettingsError
from songprint.fingerprint import evidence, landmarks
from songprint.fingerprint.align import LineAlignment


def line(cosines, recording_id=1):
    cosines = np.array(cosines, float)
    return LineAlignment(recording_id, 1.0, 0.0, cosines, np.arange(len(cosines)), 0, len(cosines))


def segments(count):
    """Unrelated segments."""
    return np.eye(max(count, 32), dtype=np.float32)[:count]


UNVERIFIED = landmarks.Verification()


def features(own, rivals=(), verification=UNVERIFIED):
    return evidence.features(
        line(own),
        verification,
        [np.array(r) for r in rivals],
        segments(len(own)),
        np.ones(len(own), bool),
        0.25,
        10_000,
    )


def test_the_lead_is_measured_over_the_best_rival():
    assert features([0.8] * 20)["lead"] == pytest.approx(0.8)
    assert features([0.8] * 20, [[0.7] * 20])["lead"] == pytest.approx(0.1)


def test_a_rival_is_measured_where_the_alignment_agrees():
    """Two songs that follow each other in a query are no rivals."""
    own = LineAlignment(1, 1.0, 0.0, np.array([0.8] * 10 + [0.0] * 10), np.arange(20), 0, 10)
    other = np.array([0.0] * 10 + [0.8] * 10)
    found = evidence.features(own, UNVERIFIED, [other], segments(20), np.ones(20, bool), 0.25, 100)
    assert found["lead"] == pytest.approx(0.8)


def test_a_drone_has_the_highest_sameness():
    drone = np.tile(segments(1), (20, 1))
    assert evidence.features(line([0.8] * 20), UNVERIFIED, [], drone, np.ones(20, bool), 0.25, 100)["sameness"] == 1
    assert features([0.8] * 20)["sameness"] == 0


def test_verification_adds_features():
    verification = landmarks.Verification(prominence=0.6, excess=0.5, contrast=40.0, unchanged=3.0, speed=1.04)
    found = features([0.8] * 16, verification=verification)
    assert found["excess_length"] == pytest.approx(1.0)  # 4 s
    assert found["contrast"] == evidence.PARAMETERS.max_contrast  # limited
    assert found["unchanged"] == 3
    assert found["plain"] == 1  # faster, at the same pitch
    assert features([0.8] * 16, verification=landmarks.Verification(speed=1.04, pitch=0.93))["plain"] == 0


def test_a_high_score_with_a_close_rival_is_a_feature():
    assert features([0.9] * 16, [[0.4] * 16])["rivalled"] == 0
    assert features([0.9] * 16, [[0.85] * 16])["rivalled"] == pytest.approx(0.3 * 0.1)
    assert features([0.5] * 16, [[0.5] * 16])["rivalled"] == 0, "a low score does not count"


def test_further_windows_add_and_the_number_of_windows_is_a_penalty():
    assert confidence.combine([2.0], 1) == 2.0
    assert confidence.combine([2.0, 2.0], 2) == pytest.approx(4 - np.log(2))
    assert confidence.combine([2.0, -1.0], 10) == pytest.approx(2 - np.log(10))


def test_confidence_runs_from_0_to_99_9():
    assert confidence.to_confidence(0) == 50
    assert confidence.to_confidence(-1000) == 0
    assert confidence.to_confidence(1000) == 99.9


def test_each_false_accept_rate_has_a_threshold():
    calibration = Calibration(("score",), (1.0,), 0.0, {"0.05": 12.0, "0.01": 60.0, "0.001": 90.0})
    assert (calibration.threshold(0.01), calibration.threshold(0.001)) == (60, 90)
    assert calibration.threshold(0.05) == 50  # a name is never more probably wrong than correct
    with pytest.raises(SettingsError, match=r"false_accepts=0.5: this encoder has thresholds for 0.001, 0.01, 0.05"):
        calibration.threshold(0.5)


def test_special_cases_override_thresholds():
    values = {"features": ["score"], "weights": [1.0], "bias": 0.5, "thresholds": {"0.01": 80.0}}
    assert Calibration.from_spec(values).own_tempo is None
    calibration = Calibration.from_spec(values | {"own_tempo": {"thresholds": {"0.01": 72.0}}})
    assert (calibration.threshold(0.01), calibration.own_tempo.threshold(0.01)) == (80, 72)
    assert calibration.logit({"score": 2.0}) == calibration.own_tempo.logit({"score": 2.0}) == 2.5


def test_an_encoder_without_calibration_is_refused():
    with pytest.raises(EncoderError, match="no calibration"):
        Calibration.from_spec({})
    with pytest.raises(EncoderError, match="another version"):
        Calibration.from_spec({"features": ["charm"], "weights": [1], "bias": 0, "thresholds": {}}).logit({"score": 1})


def test_windows_are_grouped_by_what_they_continue_best_first():
    found = [9, 5, 8, 4, 1]  # those that are next to each other belong together
    groups = confidence.group_windows(found, lambda group, each: any(abs(each - other) == 1 for other in group))
    assert groups == [[9, 8], [5, 4], [1]]
