"""Synthesised covers: what renditions of one score share, and what differs."""

import numpy as np
import pytest

from lab.data import perform, renditions, scores
from lab.data.tunes import TUNES

SEEDS = range(12)


@pytest.fixture(scope="module")
def score():
    return scores.from_tune(TUNES[0], times=4)


def made(score, seed, **options):
    return renditions.make(score, np.random.default_rng(seed), **options)


def test_the_seed_determines_the_rendition(score):
    one, again, other = made(score, 1), made(score, 1), made(score, 2)
    assert np.array_equal(one.seconds, again.seconds)
    assert all(np.array_equal(part.notes, twin.notes) for part, twin in zip(one.parts, again.parts, strict=True))
    assert one.duration != other.duration


@pytest.mark.parametrize("seed", SEEDS)
def test_a_rendition_contains_the_beat_of_every_time(score, seed):
    rendition = made(score, seed)
    assert len(rendition.seconds) == len(rendition.beats)
    assert (np.diff(rendition.seconds) >= 0).all()
    assert rendition.seconds[-1] <= rendition.duration
    assert rendition.beats.min() >= 0
    assert rendition.beats.max() <= score.beats + score.bar


@pytest.mark.parametrize("seed", SEEDS)
def test_chords_are_those_of_the_score_transposed(score, seed):
    rendition = made(score, seed, boldness=0.0)
    share = []
    for second, beat in zip(rendition.seconds, rendition.beats, strict=True):
        written = [chord for chord in score.chords if chord.start <= beat < chord.end]
        moment = second + 0.01
        sounding = rendition.chords[(rendition.chords["start"] <= moment) & (rendition.chords["end"] > moment)]
        if written and len(sounding):
            expected = {(written[0].root + interval + rendition.shift) % 12 for interval in written[0].intervals}
            share.append(expected == set(sounding["pitch"].tolist()))
    if share:  # a rendition of the tune alone has none
        assert np.mean(share) > 0.9


def test_renditions_have_many_keys_and_tempos(score):
    many = [made(score, seed) for seed in range(40)]
    pace = [np.median(np.diff(rendition.seconds)[np.diff(rendition.beats) > 0]) for rendition in many]
    assert max(pace) / min(pace) > 1.8
    assert len({rendition.shift for rendition in many}) > 8


def test_some_renditions_have_drums_some_no_bass_and_some_only_a_melody(score):
    roles = [tuple(sorted({part.role for part in made(score, seed).parts})) for seed in range(60)]
    assert ("melody",) in roles
    assert sum("drums" in role for role in roles) > 15
    assert sum("bass" not in role for role in roles) > 5


def test_the_parallel_mode_changes_the_third(score):
    moved = renditions._other_mode(score)
    assert moved.minor != score.minor
    steps = moved.melody["pitch"] - score.melody["pitch"]
    assert set(np.unique(steps)) <= {-1, 0, 1}
    assert steps.any()


@pytest.mark.parametrize("seed", SEEDS)
def test_labels_contain_the_played_notes(score, seed):
    rendition = made(score, seed)
    labels = perform.labels(rendition, 5)
    frames = int(rendition.duration * 5)
    assert {name: values.shape[0] for name, values in labels.items()} == dict.fromkeys(labels, frames)
    assert (labels["melody"] <= labels["notes"] + 1e-6).all()
    for part in rendition.parts:
        if part.role != "melody":
            continue
        for note in part.notes[::7]:
            if note["end"] - note["start"] > 0.5:
                frame = int((note["start"] + 0.25) * 5)
                assert labels["melody"][frame, note["pitch"] - perform.LOWEST] > 0.2
    lowest = labels["bass"].argmax(axis=1)[labels["bass"].any(axis=1)]
    assert (lowest <= 60 - perform.LOWEST).all()


def test_folding_takes_the_maximum_of_each_pitch_class():
    pitches = np.zeros((1, perform.SEMITONES), np.float32)
    pitches[0, [0, 12, 19]] = 0.2, 0.9, 0.5
    assert perform.folded(pitches)[0].tolist() == pytest.approx([0.9, 0, 0, 0, 0, 0, 0, 0.5, 0, 0, 0, 0])


@pytest.mark.parametrize(
    ("name", "root", "intervals", "bass"),
    [("C:maj", 0, (0, 4, 7), 0), ("Bb:min7/b3", 10, (0, 3, 7, 10), 1), ("F#:sus4(b7)", 6, (0, 5, 7, 10), 6)],
)
def test_chord_names_are_parsed(name, root, intervals, bass):
    chord = scores.parse_chord(name, 0, 4)
    assert (chord.root, chord.intervals, chord.bass) == (root, intervals, bass)


def test_the_symbol_for_no_chord_gives_none():
    assert scores.parse_chord("N", 0, 4) is None


def test_a_scale_is_in_its_key():
    pitches = [60, 62, 64, 65, 67, 69, 71, 72, 67, 64, 60]
    melody = np.array([(i, i + 1, pitch, 90) for i, pitch in enumerate(pitches)], scores.NOTE)
    assert scores.key_of(melody) == (0, False)
    chords = scores.guess_chords(melody, 4, 0, False)
    assert chords[0].root == 0


@pytest.mark.parametrize(("bar", "taken"), [(4.0, 4), (3.0, 3), (1.5, 2), (6.0, 3), (0.25, 2), (116.0, 4), (5.0, 4)])
def test_a_melody_without_chords_gets_one_per_bar_and_is_repeated(bar, taken):
    melody = np.array([(i, i + 1, 60 + i % 5, 90) for i in range(10)], scores.NOTE)
    work = scores.harmonised("x", melody, bar, tempo=60.0, shortest=50.0)
    assert work.bar == taken
    assert work.beats * 60 / work.tempo >= 50
    assert {chord.end - chord.start for chord in work.chords} == {1.5 if bar == 1.5 else float(taken)}
    assert np.array_equal(work.melody["pitch"], np.tile(melody["pitch"], len(work.melody) // 10))
    assert work.melody["start"][10] == (work.chords[0].end * np.ceil(10 / work.chords[0].end))
