"""The search at other speeds and pitches, for changes beyond the robustness of the encoder."""

from dataclasses import replace

import numpy as np
import pytest

from lab.data import degrade
from songprint.fingerprint import identify as recordings
from songprint.fingerprint import speed_search
from songprint.fingerprint.logmel import SAMPLE_RATE
from songprint.fingerprint.query import Query
from songprint.identify import identify
from songprint.types import Kind

SEMITONE = 2 ** (1 / 12)


def clip_of(tune, tempo=1.0, pitch=1.0, start=10, seconds=8):
    """`seconds` of a tune from `start` on, at another tempo and pitch."""
    return degrade.stretch(
        tune[start * SAMPLE_RATE : round((start + seconds * tempo) * SAMPLE_RATE)], SAMPLE_RATE, tempo, pitch
    )


@pytest.mark.parametrize(
    ("tempo", "pitch"), [(1.2, 1.2), (0.8, 0.8), (1.0, SEMITONE**4), (1.0, SEMITONE**-4), (1.2, 1.0), (0.8, 1.0)]
)
def test_large_changes_are_identified(band, tunes, tempo, pitch):
    match = identify([clip_of(tunes[3], tempo, pitch)], band).matches[0]
    assert match.recording.id == 4
    assert match.speed == pytest.approx(tempo, rel=0.01)
    assert match.key_shift == pytest.approx(12 * np.log2(pitch), abs=0.1)
    assert match.reference.start - match.speed * match.query.start == pytest.approx(10, abs=0.3)
    assert 0 <= match.query.start < match.query.end <= 8.2


@pytest.fixture
def searches(monkeypatch):
    """The options of all searches."""
    calls = []
    find_matches = recordings.find_matches

    def counting(query, level, **options):
        calls.append(options)
        return find_matches(query, level, **options)

    monkeypatch.setattr(recordings, "find_matches", counting)
    return calls


def test_unknown_music_is_not_identified(band, searches):
    """A random melody, which no change turns into a tune of the library."""
    rng = np.random.default_rng(5)
    times = np.arange(SAMPLE_RATE // 4) / SAMPLE_RATE
    stranger = np.concatenate(
        [np.sin(2 * np.pi * hertz * times) * np.exp(-6 * times) for hertz in rng.uniform(200, 2000, 32)]
    ).astype(np.float32)
    assert identify([stranger], band).matches == []
    assert searches == [{}], "the quick first pass rejects all changes"


def test_only_unidentified_queries_are_searched_again(band, tunes, searches, monkeypatch):
    assert identify([clip_of(tunes[3])], band).matches
    assert searches == [{}]
    searches.clear()
    changed = clip_of(tunes[3], 1.2, 1.2)
    assert identify([changed], band).matches
    once = {"use_peaks": False, "penalty": speed_search.PARAMETERS.penalty}
    assert searches[:3] == [{}, once, once | {"penalty": 0.0}], "the first change is certain; then it is refined"
    searches.clear()
    monkeypatch.setattr(speed_search, "PARAMETERS", replace(speed_search.PARAMETERS, max_duration=5.0))
    assert identify([changed], band).matches == []
    assert searches == [{}]


def test_matches_without_a_change_are_kept(band, tunes):
    level = band.levels[Kind.RECORDING]
    query = Query.from_blocks([clip_of(tunes[3], 1.2, 1.2)], level.encoder)
    plain, found = recordings.find_matches(query, level), speed_search.find_matches(query, level)
    assert [match.confidence for match in found] == sorted((match.confidence for match in found), reverse=True)
    assert {match.recording.id for match in found} == {4} | {match.recording.id for match in plain}
    assert len({match.recording.id for match in found}) == len(found)
