"""Alignment of renditions, on synthetic songs of chords and melodies."""

import numpy as np
import pytest
from support import tonal

from songprint.covers import align as tonal_align
from songprint.covers.align import Comparison, align
from songprint.covers.keys import survey
from songprint.covers.paths import NEVER, PARAMETERS, accumulate
from songprint.covers.rows import Rendition


@pytest.fixture(scope="module")
def unrelated():
    return [tonal.Song(seed).frames(seed=seed) for seed in range(100, 130)]


def aligned(query, reference):
    (alignment,) = align(query, [reference])
    return alignment


@pytest.mark.parametrize("key", [-5, -2, 0, 1, 6])
def test_the_key_is_found(unrelated, key):
    song = tonal.Song(1)
    found = align(song.frames(key=key, seed=1), [*unrelated, song.frames(seed=2)])
    assert found[-1].key_shift == key
    assert found[-1].score > 2 * max(other.score for other in found[:-1] if other)


@pytest.mark.parametrize("tempo", [0.7, 0.85, 1.0, 1.2, 1.5])
def test_the_tempo_is_found(unrelated, tempo):
    song = tonal.Song(2)
    found = align(song.frames(tempo=tempo, key=3), [*unrelated, song.frames(seed=2)])
    assert found[-1].tempo == pytest.approx(tempo, rel=0.03)
    assert found[-1].score > max(other.score for other in found[:-1] if other)


def test_some_references_can_be_aligned_in_more_keys(unrelated):
    song = tonal.Song(1)
    query, reference = song.frames(key=4, seed=1), song.frames(seed=2)
    ready = Rendition.of(query), Rendition.of(reference)
    (ranked,), _ = survey(ready[0], [ready[1]])
    assert sorted(ranked) == list(range(12))
    assert ranked[0] == 4
    comparison = Comparison(ready[0], [*map(Rendition.of, unrelated), ready[1]])
    comparison.align(range(31))
    few = [comparison.alignment(number) for number in range(31)]
    comparison.align([30], 12)
    comparison.align([30], 4)
    many = [comparison.alignment(number) for number in range(31)]
    assert few[-1].key_shift == many[-1].key_shift == 4
    assert [one.score for one in few[:-1] if one] == [one.score for one in many[:-1] if one]
    (at_once,) = align(query, [reference], 12)
    assert many[-1].features == pytest.approx(at_once.features, rel=1e-4)
    assert comparison.score(30) == many[-1].score


def test_the_correct_key_leads_over_others(unrelated):
    song = tonal.Song(3)
    found = align(song.frames(key=5, seed=1), [*unrelated, song.frames(seed=2)])
    leads = [alignment.features["key_lead"] for alignment in found if alignment]
    assert leads[-1] > 2 * max(leads[:-1])
    assert min(leads) >= 0
    (alone,) = align(song.frames(seed=1), [song.frames(seed=2)], 1)
    assert alone.features["key_lead"] == 0  # no other key was tried


def channels(query, reference):
    ready = [Rendition.of(frames) for frames in (query, reference)]
    return tonal_align.channels_along(*ready, aligned(query, reference))


def test_another_melody_over_the_same_chords_is_detected():
    one, other = tonal.Song(1), tonal.Song(2)
    query = one.frames(key=3, seed=1)
    same, strange = one.frames(seed=2), one.frames(seed=2)
    strange[:, 24:36] = other.frames(seed=2)[: len(strange), 24:36]  # the melody
    assert aligned(query, strange).key_shift == 3
    assert channels(query, same)["tune"] > 2 * channels(query, strange)["tune"]


def test_a_loop_of_chords_agrees_at_other_positions_too():
    song = tonal.Song(4)
    loop = np.tile(song.frames(parts="A")[:40], (6, 1))  # eight seconds, repeated
    assert channels(song.frames(seed=1), song.frames(seed=2))["place_lead"] > 0.8
    assert abs(channels(loop, loop)["place_lead"]) < 0.2


def test_an_excerpt_is_aligned_at_its_position(unrelated):
    song = tonal.Song(3)
    query = song.frames(key=2, seed=5)[100:250]  # seconds 20 to 50
    found = align(query, [*unrelated, song.frames(seed=6)])
    (section,) = found[-1].sections
    assert section.reference.start == pytest.approx(20, abs=1.5)
    assert section.reference.end == pytest.approx(50, abs=1.5)
    assert (section.query.start, section.query.end) == (pytest.approx(0, abs=1.5), pytest.approx(30, abs=1.5))
    assert found[-1].score == max(other.score for other in found if other)


def test_the_path_maps_moments():
    song = tonal.Song(4)
    path = aligned(song.frames(tempo=1.25, parts="AB"), song.frames(parts="CAB")).path
    assert (np.diff(path, axis=0) > 0).all()
    assert np.abs(path[:, 1] - (16 + 1.25 * path[:, 0])).max() < 2


def test_a_gradual_change_of_tempo_is_not_crooked(unrelated):
    song = tonal.Song(5)
    slow, fast = song.frames(tempo=0.9, seed=1), song.frames(tempo=1.15, seed=1)
    query = np.concatenate([slow[: len(slow) // 2], fast[len(fast) // 2 :]])
    *others, right = (one.features["crookedness"] for one in align(query, [*unrelated, song.frames(seed=2)]) if one)
    assert right < 0.4 and right < 0.5 * np.median(others)


def test_reordered_parts_are_several_sections():
    song = tonal.Song(5)
    alignment = aligned(song.frames(parts="BC", seed=1), song.frames(parts="CAAB", seed=2))
    assert len(alignment.sections) == 2
    first, second = alignment.sections
    assert first.query.start == pytest.approx(0, abs=2.5)
    assert first.reference.start == pytest.approx(tonal.seconds(3), abs=2.5)
    assert second.query.start == pytest.approx(tonal.seconds(1), abs=2.5)
    assert second.reference.start == pytest.approx(0, abs=2.5)
    assert alignment.features["sections"] == 2
    assert alignment.features["aligned"] == pytest.approx(32, abs=5)


def test_a_missing_part_divides_a_song_into_two_sections():
    song = tonal.Song(6)
    sections = aligned(song.frames(parts="AC", seed=1), song.frames(parts="ABC", seed=2)).sections
    assert len(sections) == 2
    assert sections[1].reference.start - sections[1].query.start == pytest.approx(tonal.seconds(1), abs=1)


def test_the_melody_alone_is_enough(unrelated):
    song = tonal.Song(7)
    found = align(song.frames(channels=[2], key=4), [*unrelated, song.frames(seed=2)])
    assert found[-1].score == max(other.score for other in found if other)
    assert found[-1].key_shift == 4


def test_scores_of_unrelated_songs_do_not_depend_on_length(unrelated):
    song = tonal.Song(8)
    long = song.frames(parts="ABACBACABC")
    for query in (long, long[:300], long[:150], long[:75]):
        scores = [alignment.score for alignment in align(query, unrelated) if alignment]
        assert 0.5 < np.mean(scores) < 3
        assert max(scores) < aligned(query, song.frames(parts="CABA", seed=1)).score


def test_references_in_one_matrix_do_not_affect_each_other(unrelated):
    query = tonal.Song(9).frames(parts="AB")
    together = align(query, unrelated)
    for reference, alignment in zip(unrelated[:5], together, strict=False):
        alone = aligned(query, reference)
        assert alone.score == pytest.approx(alignment.score, abs=1e-3)
        assert alone.key_shift == alignment.key_shift


def test_references_in_several_portions_give_the_same_result(unrelated, monkeypatch):
    query = tonal.Song(9).frames(parts="AB")

    def scores() -> list[float]:
        return [alignment.score if alignment else 0.0 for alignment in align(query, unrelated)]

    together = scores()
    assert np.count_nonzero(together) > 3
    monkeypatch.setattr(tonal_align, "CELLS", 50_000)
    assert scores() == pytest.approx(together, abs=1e-3)


def test_ten_seconds_can_be_aligned():
    song = tonal.Song(10)
    (section,) = aligned(song.frames(seed=1)[50:100], song.frames(seed=2)).sections
    assert section.reference.start == pytest.approx(10, abs=1.5)


def test_short_and_silent_audio_is_not_aligned():
    song = tonal.Song(11).frames()
    silence, short, nothing = np.zeros((200, 48), np.uint8), song[:30], song[:0]
    for query in (silence, short, nothing):
        assert align(query, [song, song]) == [None, None]
    first, *others = align(song, [song, silence, short, nothing])
    assert first is not None
    assert others == [None, None, None]
    assert align(song, []) == []


def test_a_held_chord_has_no_alignment():
    held = np.zeros((300, 48), np.uint8)
    held[:, [0, 4, 7, 12]] = 255
    for query, reference in ((held, tonal.Song(12).frames()), (tonal.Song(12).frames(), held), (held, held)):
        alignment = aligned(query, reference)
        assert alignment is None or alignment.score < 5


def test_noise_has_no_alignment(random, unrelated):
    noise = (random.integers(0, 16, (300, 48)) * 17).astype(np.uint8)
    assert all(alignment is None or alignment.score < 6 for alignment in align(noise, unrelated))


def test_totals_follow_the_recurrence_with_jumps_within_each_reference():
    random = np.random.default_rng(0)
    firsts, ends = [2, 34, 41], [32, 39, 70]
    evidence = random.uniform(-0.5, 1.0, (60, 70)).astype(np.float32)
    for first in firsts:
        evidence[:, first - 2 : first] = NEVER
    expected = np.zeros((62, 70))
    jumps = 0
    for first, end in zip(firsts, ends, strict=True):
        for i in range(2, 62):
            elsewhere = expected[:i, first:end].max() - PARAMETERS.jump_penalty
            for j in range(first, end):
                before = max(expected[i - 1, j - 1], expected[i - 2, j - 1], expected[i - 1, j - 2])
                jumps += elsewhere > max(before, 0)
                expected[i, j] = max(0, max(before, elsewhere) + evidence[i - 2, j])
    assert jumps > 10
    np.testing.assert_allclose(accumulate(evidence, firsts), expected[2:], rtol=1e-4, atol=1e-4)
