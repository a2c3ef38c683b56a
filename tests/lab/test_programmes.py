"""The audio of a programme agrees with its ground truth."""

import json

import numpy as np
import pytest
from support import toy

from lab.data import degrade, mixing, programmes
from lab.data.programmes import Collection, Piece
from songprint.audio import files
from songprint.types import Interval, Kind, Sound

MINUTE = 60.0


@pytest.fixture
def collection(tmp_path):
    songs = toy.write_songs(tmp_path / "music", 8, duration=25.0)
    lines = [toy.write_song(tmp_path / "speech" / f"{seed}.wav", seed, duration=2.0) for seed in range(50, 53)]
    pieces = [str(path) for path in songs]
    return Collection(
        [Piece(path, path) for path in pieces[:4]],
        [Piece(path) for path in pieces[4:6]],
        [Piece(pieces[6], pieces[0], Kind.COVER), Piece(pieces[7], pieces[1], Kind.COVER)],
        {"en": [str(line) for line in lines]},
        pieces[5:6],
    )


def make(collection, condition="plain", seed=3, seconds=4 * MINUTE):
    return programmes.plan(collection, seconds, condition, seed, mixing.sounding)


def test_the_same_seed_gives_the_same_programme(collection):
    assert make(collection) == make(collection)
    assert make(collection) != make(collection, seed=4)


def test_a_long_programme_contains_every_kind_of_item(collection):
    programme = make(collection, seconds=60 * MINUTE)
    assert {item.what for item in programme.items} == set(programmes.MIX)
    assert {sound for _, sound in programme.sounds} == {Sound.SPEECH, Sound.OTHER, Sound.SILENCE}
    assert any(item.talk for item in programme.items)
    assert any(item.fade_in > programmes.FADE for item in programme.items)
    assert {part.kind for part in programme.songs} == set(Kind)
    assert programme.duration == pytest.approx(60 * MINUTE, abs=MINUTE)
    assert all(part.reference.end <= 25.05 for part in programme.parts)
    first, second = next(
        pair
        for pair in zip(programme.parts, programme.parts[1:], strict=False)
        if pair[0].audible.end > pair[1].audible.start
    )
    assert second.audible.start < second.interval.start < first.interval.end < first.audible.end


def test_without_speech_noise_and_covers_a_programme_contains_music_and_silence(collection):
    programme = make(Collection(collection.known, collection.unknown), seconds=20 * MINUTE)
    assert {item.what for item in programme.items} == {"song", "repeat", "unknown", "unknown again", "silence"}


def test_leading_and_trailing_silence_is_not_part_of_a_song(tmp_path):
    quiet = np.zeros(2 * toy.SAMPLE_RATE, np.float32)
    path = toy.write(tmp_path / "song.wav", np.concatenate([quiet, toy.song(1, 10.0), quiet]))
    found = mixing.sounding(str(path))
    assert (found.start, found.end) == (pytest.approx(2, abs=0.06), pytest.approx(12, abs=0.06))
    assert mixing.sounding(str(toy.write(tmp_path / "nothing.wav", quiet))) == Interval(0.0, 0.0)


@pytest.mark.parametrize("condition", list(programmes.SPEEDS))
def test_music_plays_at_its_true_times(collection, condition, tmp_path):
    """Cross-correlation finds each excerpt within 20 ms of its true place."""
    programme = make(collection, condition)
    path = mixing.write(programme, collection.speech, tmp_path / "made")
    assert path.suffix == (".mp3" if condition == "mp3 48k" else ".wav")
    rate = 8000
    samples = files.load(path, rate)
    assert len(samples) / rate == pytest.approx(programme.duration, abs=0.1)
    for part in programme.parts:
        middle, place = (part.interval.start + part.interval.end) / 2, (part.reference.start + part.reference.end) / 2
        original = files.load(part.path, rate, start=place - 1, duration=2.0)
        if programme.speed != 1:
            original = degrade.speed(original, rate, programme.speed)
        off = _offset(samples, original, round((middle - 1 / programme.speed) * rate)) / rate
        assert off == pytest.approx(0, abs=0.02), part


def _offset(samples: np.ndarray, original: np.ndarray, expected: int) -> int:
    reach = 800
    around = samples[expected - reach : expected + len(original) + reach]
    return int(np.argmax(np.correlate(around, original, "valid"))) - reach


def test_only_true_silence_is_silent(collection, tmp_path):
    programme = make(collection, seconds=10 * MINUTE)
    samples = files.load(mixing.write(programme, collection.speech, tmp_path), 8000)
    for interval, sound in programme.sounds:
        inside = samples[round((interval.start + 0.2) * 8000) : round((interval.end - 0.2) * 8000)]
        assert (degrade.rms(inside) < 1e-4) == (sound == Sound.SILENCE), sound


def test_an_existing_programme_is_kept_and_a_changed_one_is_rendered_again(collection, tmp_path):
    path = mixing.write(make(collection), collection.speech, tmp_path)
    written = path.stat().st_mtime_ns
    assert mixing.write(make(collection), collection.speech, tmp_path) == path
    assert path.stat().st_mtime_ns == written
    assert json.loads(path.with_suffix(".json").read_text())["seed"] == 3
    mixing.write(make(collection, seconds=3 * MINUTE), collection.speech, tmp_path)
    assert path.stat().st_mtime_ns != written


def test_an_unknown_condition_is_an_error(collection):
    with pytest.raises(ValueError, match="condition='under water' is none of plain, speed"):
        make(collection, "under water")
