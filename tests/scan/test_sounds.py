"""Classification of music, speech, silence and other sounds."""

from itertools import pairwise

import numpy as np
import pytest
from support import toy

from lab.data import degrade, sound_clips, synth
from songprint.scan import sounds
from songprint.scan.sounds import SAMPLE_RATE, SoundMeter, classify
from songprint.types import Sound

MUSIC, SPEECH, OTHER, SILENCE = Sound.MUSIC, Sound.SPEECH, Sound.OTHER, Sound.SILENCE


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    """Twenty seconds of a synthesised tune."""
    from songprint.audio import files

    [path, *_] = synth.write_pieces(tmp_path_factory.mktemp("tunes"), count=1)
    return 0.1 * degrade.unit(files.load(path, SAMPLE_RATE)[10 * SAMPLE_RATE : 30 * SAMPLE_RATE])


def noise(random, seconds):
    return 0.05 * random.standard_normal(seconds * SAMPLE_RATE).astype(np.float32)


def silence(seconds):
    return np.zeros(seconds * SAMPLE_RATE, np.float32)


def rounded(found):
    return [(sound, round(interval.start), round(interval.end)) for interval, sound in found]


def test_music_silence_and_noise_are_classified(music, random):
    found = rounded(classify(np.concatenate([music, silence(6), noise(random, 15)])))
    assert [sound for sound, _, _ in found] == [MUSIC, SILENCE, OTHER]
    assert found[0][2] == pytest.approx(20, abs=1) and found[1][2] == pytest.approx(26, abs=1)


def test_the_intervals_are_contiguous(music, random):
    samples = np.concatenate([music, noise(random, 10), silence(3), music])[:-3000]
    found = classify(samples)
    assert found[0][0].start == 0
    assert found[-1][0].end == pytest.approx(len(samples) / SAMPLE_RATE)
    for (before, _), (after, _) in pairwise(found):
        assert before.end == after.start


@pytest.mark.parametrize("block", [700, SAMPLE_RATE, 10 * SAMPLE_RATE])
def test_the_result_does_not_depend_on_the_blocks_or_on_earlier_queries(block, music, random):
    samples = np.concatenate([music, noise(random, 8), silence(4), 0.3 * music])
    meter = SoundMeter()
    for start in range(0, len(samples), block):
        meter.feed(samples[start : start + block])
        if start % (7 * block) == 0:
            meter.sounds()
    assert meter.sounds() == classify(samples)


def test_the_result_does_not_depend_on_the_level(music, random):
    samples = np.concatenate([music, noise(random, 10)])
    assert rounded(classify(samples)) == rounded(classify(0.05 * samples))


def test_very_faint_sound_is_silence(music):
    assert rounded(classify(0.001 * music)) == [(SILENCE, 0, 20)]


@pytest.mark.parametrize("seconds", [0, 0.1, 0.6, 1.0, 2.7])
def test_short_inputs_are_classified(seconds):
    samples = toy.song(1, 5.0)[: int(seconds * SAMPLE_RATE)]
    found = classify(samples)
    assert sum(interval.duration for interval, _ in found) == pytest.approx(len(samples) / SAMPLE_RATE)


def test_a_single_deviating_second_does_not_change_the_state():
    """A change must last to outweigh its cost."""
    odd = np.zeros((9, 4))
    odd[:, 0] = [3, 3, 3, 0, 3, 3, 0, 0, 0]
    odd[3, 1], odd[6:, 1] = 4, 4
    assert sounds.likeliest(odd).tolist() == [0, 0, 0, 0, 0, 0, 1, 1, 1]
    assert sounds.likeliest(odd[3:4]).tolist() == [1]


def test_training_clips_have_the_label_of_their_name(random):
    assert sound_clips.label("music, under speech 5 to 10 dB louder") is MUSIC
    assert sound_clips.label("speech, over faint music") is SPEECH
    material = sound_clips.Material(
        [toy.song(seed, 20.0) for seed in range(3)],
        [0.1 * random.standard_normal(16_000).astype(np.float32)],
        [noise(random, 12)],
    )
    drawn = list(sound_clips.clips(material, 4, seed=1))
    assert {name.partition(",")[0] for name, _ in drawn} == {"music", "speech", "noise"}
    assert {len(samples) for _, samples in drawn} == {sound_clips.CLIP * SAMPLE_RATE}
    table = sound_clips.measure(sounds._network(), material, 2, 1)
    assert table.startswith("| what | seconds | called music | called speech | called other |")


def test_training_learns_to_separate_tones_from_noise(random, tmp_path):
    """A short training run on synthetic sounds."""
    pytest.importorskip("torch", reason="training needs PyTorch: make lab")
    from lab.ship import export_sounds
    from lab.train import loop
    from lab.train import sounds as train_sounds

    pulses = [
        np.repeat(random.random(40) > 0.5, 400).astype(np.float32) * random.standard_normal(16_000) for _ in range(3)
    ]
    material = sound_clips.Material(
        [toy.song(seed, 20.0) for seed in range(4)], [pulse.astype(np.float32) for pulse in pulses], [noise(random, 15)]
    )
    trainer = train_sounds.Trainer(train_sounds.Config(steps=40, clips=12), material=material)
    loop.train(trainer, tmp_path / "sounds.pt")
    export_sounds.export(tmp_path / "sounds.pt", tmp_path / "sounds.npz")
    with np.load(tmp_path / "sounds.npz") as file:
        network = sounds.Network({name: file[name] for name in file.files})
    samples = np.pad(toy.song(9, 12.0), (0, sounds.REACH))
    predicted = network.log_probabilities(sounds.in_context(sounds.features(samples))).argmax(axis=1)
    assert (predicted == sounds.CLASSES.index(MUSIC)).mean() > 0.8


def hum(frequency, decay, seconds=15):
    """Mains hum: a fundamental and harmonics, each `decay` times as loud as the one below."""
    times = np.arange(seconds * SAMPLE_RATE) / SAMPLE_RATE
    tones = sum(decay**k * np.sin(2 * np.pi * frequency * (k + 1) * times + k) for k in range(15))
    return (0.1 * tones / np.abs(tones).max()).astype(np.float32)


@pytest.mark.parametrize(("frequency", "decay"), [(50, 0.7), (60, 0.7), (100, 0.9)])
def test_mains_hum_is_not_music(frequency, decay, random):
    samples = hum(frequency, decay)
    samples += 0.003 * random.standard_normal(len(samples)).astype(np.float32)
    assert [sound for sound, _, _ in rounded(classify(samples))] == [OTHER]


def test_steady_tones_are_not_music_and_music_is_not_steady(music, random):
    times = np.arange(15 * SAMPLE_RATE) / SAMPLE_RATE
    dial = 0.1 * (np.sin(2 * np.pi * 350 * times) + np.sin(2 * np.pi * 440 * times)).astype(np.float32)
    dial += 0.005 * random.standard_normal(len(dial)).astype(np.float32)
    assert [sound for sound, _, _ in rounded(classify(dial))] == [OTHER]
    partials = sounds._features_and_partials(music)[1]
    assert sounds.steadiness(partials).max() < sounds.MIN_STEADINESS
    found = rounded(classify(np.concatenate([hum(60, 0.7), music])))
    assert [sound for sound, _, _ in found][-1] == MUSIC and found[-1][1] == pytest.approx(15, abs=5)
