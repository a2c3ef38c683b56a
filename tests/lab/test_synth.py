"""The tunes and the synthesizer, from which the demo and the tests get their music."""

import itertools

import numpy as np
import pytest

from lab.data import synth
from lab.data.tunes import TUNES, invent, read_chords, read_notes
from songprint.audio import files


@pytest.mark.parametrize("tune", [*TUNES, *(invent(seed) for seed in range(20))], ids=lambda tune: tune.title)
def test_melody_and_chords_take_the_same_time_in_whole_bars(tune):
    _, beats = read_chords(tune.chords)
    assert beats == tune.beats
    assert beats % tune.bar == 0
    assert all(48 <= note.pitch <= 96 for note in tune.notes())


def test_the_octave_stays_valid_and_rests_count():
    notes, beats = read_notes("B3 C4:.5 | R:1.5 G#")
    assert [(note.start, note.pitch) for note in notes] == [(0, 59), (1, 60), (3, 68)]
    assert beats == 4


def test_invalid_notation_is_an_error():
    with pytest.raises(ValueError, match="cannot read 'H4' as a note"):
        read_notes("C4 H4")


def test_the_seed_determines_every_sample():
    tune = TUNES[1]
    first = synth.render(tune, seed=3)
    assert np.array_equal(first, synth.render(tune, seed=3))
    other = synth.render(tune, seed=4)
    assert len(other) != len(first) or not np.allclose(other, first, atol=0.1)


@pytest.mark.parametrize("tune", TUNES[::3], ids=lambda tune: tune.title)
def test_a_piece_lasts_about_a_minute(tune):
    samples = synth.render(tune)
    assert samples.dtype == np.float32
    assert 40 <= len(samples) / synth.SAMPLE_RATE <= 90
    assert np.abs(samples).max() == pytest.approx(0.8, abs=1e-3)
    seconds = samples[: len(samples) // synth.SAMPLE_RATE * synth.SAMPLE_RATE].reshape(-1, synth.SAMPLE_RATE)
    loudness = np.sqrt((seconds**2).mean(axis=1))
    assert np.median(loudness) > 0.05


def test_no_two_verses_are_identical():
    """No excerpt of two seconds occurs again sample by sample."""
    samples = synth.render(TUNES[0])
    length = 2 * synth.SAMPLE_RATE
    spectra = [
        np.fft.rfft(samples[start : start + length], 2 * length)
        for start in range(0, len(samples) - length, 2 * length)
    ]
    for one, other in itertools.combinations(spectra, 2):
        alike = np.fft.irfft(one * other.conj())
        energy = np.sqrt(np.fft.irfft(abs(one) ** 2)[0] * np.fft.irfft(abs(other) ** 2)[0])
        assert alike.max() / energy < 0.95


def test_pieces_are_unlimited_and_different():
    titles = [tune.title for tune in synth.pieces(60)]
    assert len(set(titles)) == 60
    assert titles[: len(TUNES)] == [tune.title for tune in TUNES]
    melodies = {tune.melody for tune in synth.pieces(60)}
    assert len(melodies) == 60
    assert {tune.title for tune in synth.pieces(30, seed=1)[20:]}.isdisjoint(titles)


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_written_files_can_be_read(tmp_path, suffix):
    samples = synth.render(TUNES[3])[: synth.SAMPLE_RATE]
    path = tmp_path / f"tune{suffix}"
    synth.write(path, samples, title="Für Elise", artist="Ludwig van Beethoven")
    again = files.load(path, synth.SAMPLE_RATE)
    assert np.allclose(again, samples, atol=1e-3)
    assert files.metadata(path)["title"] == "Für Elise"


def test_existing_files_are_kept(tmp_path):
    [path] = synth.write_pieces(tmp_path, count=1)
    assert path.name == "Ludwig van Beethoven - Ode to Joy.flac"
    written = path.stat().st_mtime_ns
    synth.write_pieces(tmp_path, count=1)
    assert path.stat().st_mtime_ns == written
    assert list(tmp_path.iterdir()) == [path]
