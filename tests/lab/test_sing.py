"""Synthesised singing: places of syllables, and the pitch of the voice."""

import numpy as np
import pytest

from lab.data import sing, sing_along
from lab.data.renditions import Part, Rendition
from lab.data.scores import NOTE

TUNE = np.array([(0.5, 1.5, 60, 90), (1.5, 2.0, 64, 90), (2.6, 4.0, 67, 90)], NOTE)


def part(**changes) -> Part:
    return Part("melody", 53, 0.0, TUNE, **changes)


@pytest.fixture()
def singer() -> sing.Singer:
    """A singer of "sa sa sa": noise, then voice."""
    voiced = np.tile(np.repeat([False, True], [15, 25]), 4)
    envelope = np.where(voiced[:, None], -2.0, -6.0) + np.zeros((len(voiced), sing.BINS))
    aperiodicity = np.where(voiced[:, None], 0.1, 0.9) + np.zeros((len(voiced), sing.BINS))
    line = sing.Line(
        envelope.astype(np.float32), aperiodicity.astype(np.float32), voiced, sing.syllables_of(voiced), pitch=50.0
    )
    return sing.Singer((line,), high=False, throat=1.0, steadiness=0.0)


def test_a_syllable_has_its_consonants_before_its_vowel(singer):
    assert singer.lines[0].syllables.tolist() == [[0, 15, 40], [40, 55, 80], [80, 95, 120], [120, 135, 160]]


def test_a_long_voiced_interval_is_several_syllables():
    voiced = np.repeat([False, True], [10, 120])
    syllables = sing.syllables_of(voiced)
    assert len(syllables) == 4
    assert syllables[:, 1].tolist()[1:] == syllables[:, 2].tolist()[:-1]


def test_the_voice_reaches_the_pitch_of_each_note(singer, random):
    notes = sing.one_at_a_time(TUNE, 1000)
    pitch = sing.pitches(notes, 1000, part(vibrato=0.01), 0.25, singer, random)
    for second, semitones in ((1.4, 60), (1.95, 64), (3.9, 67)):
        assert 69 + 12 * np.log2(pitch[round(second * 200)] / 440) == pytest.approx(semitones + 0.25, abs=0.15)
    assert not pitch[:100].any(), "silent before the first note"
    assert not pitch[405:515].any(), "silent in a rest"
    assert 60 < 69 + 12 * np.log2(pitch[round(1.52 * 200)] / 440) < 64, "it slides from one note to the next"


def test_vowels_begin_on_the_beat_and_last_as_long_as_the_note(singer, random):
    notes = sing.one_at_a_time(TUNE, 1000)
    pitch = sing.pitches(notes, 1000, part(), 0.0, singer, random)
    envelope, aperiodicity = sing.words(notes, 1000, pitch, singer, random)
    assert envelope.shape == aperiodicity.shape == (1000, sing.BINS)
    loud = envelope.mean(axis=1)
    assert (loud[100:285] > -2.5).all()  # the first note without its fading end
    assert (loud[86:100] < -3).all() and (loud[86:100] > -10).all()  # the consonant before it
    assert (loud[:80] < -15).all()
    assert (aperiodicity[pitch == 0] > 0.99).all()


def test_overlapping_notes_are_sung_one_after_the_other():
    overlapping = np.array([(0.0, 2.0, 60, 90), (1.0, 1.5, 62, 90), (1.5, 1.52, 64, 90)], NOTE)
    assert sing.one_at_a_time(overlapping, 1000) == [(0, 200, 60), (200, 300, 62)]


def test_the_melody_is_transposed_into_the_range_of_the_singer(singer, random):
    rendition = Rendition("work", (part(),), 4.5, np.array([0, 4.5]), np.array([0, 4.5]), TUNE[:0], 0, 0.0)
    moved = sing.tune_of(sing.within_reach(rendition, singer, random)).notes["pitch"] - TUNE["pitch"]
    assert len(set(moved.tolist())) == 1
    assert moved[0] % 12 == 0
    assert abs(64 + moved[0] - 56.5) <= 9.5


def test_the_audio_has_the_pitch_of_the_melody(singer, random):
    pytest.importorskip("pyworld", reason="singing needs WORLD: make lab")
    sound = sing.sing(part(vibrato=0.01), 4.5, 0.0, singer, random)
    assert sound.shape == (36000,)
    held = sound[round(3.0 * 8000) : round(3.8 * 8000)]
    spectrum = np.abs(np.fft.rfft(held * np.hanning(len(held))))
    partials = np.arange(1, 5) * 440 * 2 ** ((67 - 69) / 12)
    peaks = spectrum[(partials * len(held) / 8000).round().astype(int)[:, None] + np.arange(-3, 4)].max(axis=1)
    assert (peaks > 5 * np.median(spectrum)).all()
    assert np.abs(sound[:2000]).max() < 0.05 * np.abs(sound).max()


def test_a_melody_over_real_music_fits_its_chords(random):
    taught = np.zeros((400, 12), np.uint8)
    taught[:200, [0, 4, 7]] = 250
    taught[200:, [7, 11, 2]] = 250
    notes = sing_along.tune(taught, random)
    assert len(notes) > 20
    assert (notes["end"] > notes["start"]).all() and (notes["start"][1:] >= notes["end"][:-1]).all()
    assert notes["end"][-1] <= 400 * sing_along.HOP_SAMPLES / sing_along.SAMPLE_RATE
    long = notes[notes["end"] - notes["start"] > 0.5]
    for note in long:
        at = int(note["start"] * sing_along.SAMPLE_RATE / sing_along.HOP_SAMPLES)
        assert taught[at, note["pitch"] % 12] > sing_along.BELONGS
    assert np.abs(np.diff(notes["pitch"])).max() <= 9
