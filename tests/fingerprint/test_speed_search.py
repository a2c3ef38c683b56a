"""Clips that were changed by more than the encoder knows are heard again, the change roughly undone."""

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
    """So many seconds of a tune that is played otherwise, from there on."""
    return degrade.stretch(
        tune[start * SAMPLE_RATE : round((start + seconds * tempo) * SAMPLE_RATE)], SAMPLE_RATE, tempo, pitch
    )


@pytest.mark.parametrize(
    ("tempo", "pitch"), [(1.2, 1.2), (0.8, 0.8), (1.0, SEMITONE**4), (1.0, SEMITONE**-4), (1.2, 1.0), (0.8, 1.0)]
)
def test_what_is_changed_a_lot_is_named(band, tunes, tempo, pitch):
    match = identify([clip_of(tunes[3], tempo, pitch)], band).matches[0]
    assert match.recording.id == 4
    assert match.speed == pytest.approx(tempo, rel=0.01)
    assert match.key_shift == pytest.approx(12 * np.log2(pitch), abs=0.1)
    assert match.reference.start - match.speed * match.query.start == pytest.approx(10, abs=0.3)
    assert 0 <= match.query.start < match.query.end <= 8.2


@pytest.fixture
def heard(monkeypatch):
    """With what options recordings were looked for closely."""
    calls = []
    judge = recordings.judge

    def counting(query, level, **options):
        calls.append(options)
        return judge(query, level, **options)

    monkeypatch.setattr(recordings, "judge", counting)
    return calls


def test_strangers_stay_unknown(band, heard):
    """Steps up and down in any order: no tune of the library, however it is played."""
    rng = np.random.default_rng(5)
    times = np.arange(SAMPLE_RATE // 4) / SAMPLE_RATE
    stranger = np.concatenate(
        [np.sin(2 * np.pi * hertz * times) * np.exp(-6 * times) for hertz in rng.uniform(200, 2000, 32)]
    ).astype(np.float32)
    assert identify([stranger], band).matches == []
    assert heard == [{}], "a first look is enough"


def test_only_what_is_not_known_otherwise_is_heard_again(band, tunes, heard, monkeypatch):
    assert identify([clip_of(tunes[3])], band).matches
    assert heard == [{}]
    heard.clear()
    changed = clip_of(tunes[3], 1.2, 1.2)
    assert identify([changed], band).matches
    once = {"quickly": True, "cost": speed_search.COST}
    assert heard[:3] == [{}, once, once | {"cost": 0.0}], "the first change leaves no doubt; then as it was told"
    heard.clear()
    monkeypatch.setattr(speed_search, "LONGEST", 5.0)
    assert identify([changed], band).matches == []
    assert heard == [{}]


def test_what_was_found_without_a_change_is_kept_beside(band, tunes):
    level = band.levels[Kind.RECORDING]
    query = Query.from_blocks([clip_of(tunes[3], 1.2, 1.2)], level.encoder)
    plain, found = recordings.judge(query, level), speed_search.judge(query, level)
    assert [match.confidence for match in found] == sorted((match.confidence for match in found), reverse=True)
    assert {match.recording.id for match in found} == {4} | {match.recording.id for match in plain}
    assert len({match.recording.id for match in found}) == len(found)
