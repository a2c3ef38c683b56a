"""The queries with which the confidence of covers is calibrated."""

from dataclasses import replace

import numpy as np
import pytest
from support import tonal

from lab.ship import calibrate_covers, classifier
from lab.ship.calibrate_covers import Song, Songs
from lab.ship.classifier import QueryResult
from songprint.confidence import Calibration, to_confidence
from songprint.covers.cohort import Cohort
from songprint.covers.tonal import FRAMES_PER_SECOND
from songprint.encoders.contract import WEIGHTS
from songprint.kinds import load_encoder

pytestmark = pytest.mark.skipif(not (WEIGHTS / "cover.onnx").exists(), reason="no weights yet")


@pytest.fixture(scope="module")
def encoder():
    return load_encoder("cover")


@pytest.fixture(scope="module")
def works(encoder):
    """Two takes each of six songs."""
    return {
        f"{seed:05d}": [
            calibrate_covers.embedded(tonal.Song(seed).frames(key=key, seed=key), encoder) for key in (0, 3)
        ]
        for seed in range(6)
    }


def test_a_medley_is_a_minute_of_two_songs(works, encoder, random):
    one, other = works["00001"][1], works["00002"][1]
    mixed = calibrate_covers.medley(one, other, encoder, random).evidence
    assert len(mixed) == calibrate_covers.MEDLEY * FRAMES_PER_SECOND
    theirs = {row.tobytes() for row in one.evidence}, {row.tobytes() for row in other.evidence}
    shares = sorted(np.mean([row.tobytes() in those for row in mixed]) for those in theirs)
    assert shares[0] > 0.2 and sum(shares) >= 1


def test_an_absent_work_is_not_found(works, encoder):
    songs = Songs([Song(work, takes[0]) for work, takes in works.items()])
    query = works["00003"][1]
    assert any(songs.identify(query, "00003", encoder, Cohort.none(), ()).correct)
    assert any(songs.identify(query, "00003", encoder, Cohort.none(), ("00004",)).correct)
    assert not any(songs.identify(query, "00003", encoder, Cohort.none(), ("00003",)).correct)


def test_every_work_is_searched_as_known_and_unknown_at_several_lengths(works, encoder):
    cohort = Cohort.of(
        [calibrate_covers.embedded(tonal.Song(seed).frames(), encoder) for seed in range(50, 56)], seconds=30
    )
    real = {"game/tune.ogg": works["00005"][0]}
    held = {work: [[take] for take in works[work]] for work in ("00000", "00001")}
    tunes = {"a tune": [[take] for take in works["00002"]]}
    known, unknown, simple = calibrate_covers.results(held, tunes, real, {}, [], encoder, cohort)
    assert simple and not any(any(question.correct) for question in simple)
    assert len(unknown) == len(known) + 9  # of the real one, which is never known
    lengths, whole = {round(question.length) for question in known}, 64
    assert lengths <= {*calibrate_covers.EXCERPTS, whole} and {whole, 60} < lengths
    assert min(lengths) < calibrate_covers.SHORT and len(lengths) > 4
    assert any(any(question.correct) for question in known) and not any(any(question.correct) for question in unknown)


def test_thresholds_are_lower_without_a_tempo_search(random):
    """A third of the unknown queries resemble something at another tempo."""

    def question(right, number):
        own = {"value": random.normal(4 if right else 0), "changed": 0.0}
        other = {"value": random.normal(3 if number % 3 == 0 else -9), "changed": 1.0}
        return QueryResult([own, other], [right, False], 20.0)

    known, unknown = ([question(right, number) for number in range(600)] for right in (True, False))
    fitted = Calibration(("value", "changed"), (1.0, -0.5), -2.0, {})
    thresholds = calibrate_covers.own_tempo_thresholds(known, unknown, fitted)
    level = {rate: to_confidence(level) for rate, level in classifier.threshold_logits(unknown, fitted).items()}
    assert list(thresholds) == list(map(str, level))
    assert thresholds["0.01"] < level[0.01] - 5
    alone = [replace(question, features=question.features[:1], correct=question.correct[:1]) for question in unknown]
    assert thresholds["0.01"] == to_confidence(classifier.threshold_logits(alone, fitted)[0.01])


def test_half_of_the_cohort_excerpts_are_played_scores(tmp_path, works, encoder, random, monkeypatch):
    monkeypatch.setattr(calibrate_covers, "COHORT_EXCERPTS", 4)
    for name in ("00001-00", "00001-02", "00001-52", "00002-01", "00009-00"):  # sung; of the calibration
        seed = int(name.replace("-", ""))
        np.savez(tmp_path / f"rendered-{name}.npz", frames=tonal.Song(seed).frames(seed=seed))
    passages = calibrate_covers.load_passages(tmp_path, encoder, random)
    expected = [tonal.Song(seed).frames(seed=seed) for seed in (102, 201)]
    assert sorted(one.evidence.tobytes() for one in passages) == sorted(frames.tobytes() for frames in expected)
    tracks = {work: takes[0] for work, takes in works.items()}
    cohort = calibrate_covers.make_cohort(tracks, passages, random)
    assert len(np.unique(cohort.songs)) == len(tracks) + len(passages)
    theirs = [any(excerpt[0].tobytes() in one.evidence.tobytes() for one in passages) for excerpt in cohort.excerpts]
    assert theirs == [False, False, True, True]
