"""The search for covers in a library."""

from itertools import pairwise

import numpy as np
import pytest
from support import tonal

from songprint.covers import search
from songprint.covers.cohort import Cohort
from songprint.covers.rows import MOTIFS, POOLED
from songprint.covers.search import FEATURES, Networks, find
from songprint.covers.tonal import PITCH_CLASSES
from songprint.store.index import segment_ids
from songprint.store.index.exact import ExactIndex
from songprint.types import Embeddings


class World:
    """Twenty songs in an index."""

    def __init__(self):
        self.songs = [tonal.Song(seed) for seed in range(20)]
        self.index = ExactIndex(tonal.DIM)
        self.stored: dict[int, Embeddings] = {}
        for number, song in enumerate(self.songs):
            self.add(number, song.rendition(seed=number))

    def add(self, number, rendition):
        self.stored[number] = rendition
        self.index.add(
            segment_ids(number, np.flatnonzero(rendition.has_content)), rendition.vectors[rendition.has_content]
        )

    def embeddings_of(self, recording_ids):
        return {number: self.stored[number] for number in recording_ids}

    def find(self, query, cohort, **options):
        return list(find(query, self.index, self.embeddings_of, cohort, **options))


@pytest.fixture
def world():
    return World()


@pytest.fixture(scope="module")
def cohort():
    return Cohort.of([tonal.Song(seed).rendition(seed=seed) for seed in range(200, 220)], seconds=40)


@pytest.mark.parametrize("how", [{"key": 5}, {"tempo": 0.8}, {"tempo": 1.3, "key": -3}, {"parts": "CAB"}])
def test_another_rendition_ranks_first(world, cohort, how):
    best, second, *_ = world.find(world.songs[7].rendition(seed=1, **how), cohort)
    assert best.recording_id == 7
    assert best.score > second.score + 3
    assert best.alignment.key_shift == how.get("key", 0)
    assert best.features["lead"] == pytest.approx(best.score - second.score, rel=0.05)  # or over the best of the cohort


def test_half_a_minute_is_enough(world, cohort):
    query = tonal.excerpt(world.songs[4].rendition(key=2, noise=0.2), start=15, duration=30)
    best = world.find(query, cohort)[0]
    assert best.recording_id == 4
    assert best.alignment.sections[0].reference.start == pytest.approx(15, abs=2)
    assert best.features["consistent"] == 1


def test_an_unknown_song_has_low_scores(world, cohort):
    found = world.find(tonal.Song(50).rendition(), cohort)
    assert max((candidate.score for candidate in found), default=0) < 5
    assert world.find(world.songs[3].rendition(seed=9), cohort)[0].score > 8


def test_features_contain_logarithms(world, cohort):
    best = world.find(world.songs[3].rendition(seed=9), cohort)[0]
    for name in search.UNBOUNDED:
        assert best.features[f"log_{name}"] == pytest.approx(np.log1p(best.features[name]))
    everything = list(search.compare(world.songs[3].rendition(seed=9), world.stored, cohort))
    assert min(candidate.features["lead"] for candidate in everything) < 0
    assert all(
        np.sign(candidate.features["log_lead"]) == np.sign(candidate.features["lead"]) for candidate in everything
    )


def test_results_are_sorted_and_limited(world, cohort):
    found = world.find(world.songs[0].rendition(seed=3), cohort, most=5)
    assert len(found) <= 5
    assert all(one.score >= other.score for one, other in pairwise(found))


def test_excluded_recordings_are_not_found(world, cohort):
    query = world.songs[2].rendition(seed=4)
    assert world.find(query, cohort)[0].recording_id == 2
    assert 2 not in [candidate.recording_id for candidate in world.find(query, cohort, leave_out={2})]


def test_renditions_of_one_song_are_no_rivals(world, cohort):
    world.add(99, world.songs[6].rendition(key=1, tempo=0.9, seed=99))
    first, second, third, *_ = world.find(world.songs[6].rendition(key=-2, tempo=1.1, noise=0.3, seed=5), cohort)
    assert {first.recording_id, second.recording_id} == {6, 99}
    assert first.features["lead"] == pytest.approx(first.score - third.score)
    assert second.features["lead"] == pytest.approx(second.score - third.score)


def test_the_cohort_provides_rivals_in_a_small_library(world, cohort):
    (stranger,) = search.compare(tonal.Song(50).rendition(), {3: world.stored[3]}, cohort)
    (right,) = search.compare(world.songs[3].rendition(seed=9), {3: world.stored[3]}, cohort)
    assert stranger.features["lead"] < 1 and stranger.features["lead"] < stranger.score
    assert 4 < right.features["lead"] < right.score


def test_a_song_that_is_also_in_the_cohort_is_no_rival(world, cohort):
    also = Cohort.of(
        [*(tonal.Song(seed).rendition(seed=seed) for seed in range(200, 220)), world.songs[3].rendition(seed=77)],
        seconds=40,
    )
    (found,) = search.compare(world.songs[3].rendition(seed=9), {3: world.stored[3]}, also)
    assert found.features["lead"] > 0.5 * found.score > 1


def test_references_that_align_well_are_aligned_in_more_keys(world, cohort, monkeypatch):
    """Even if the windows of many others are more similar."""
    tried = []
    lay = search.Comparison.align
    monkeypatch.setattr(
        search.Comparison,
        "align",
        lambda comparison, numbers, keys=2: tried.append((list(numbers), keys)) or lay(comparison, numbers, keys),
    )
    query = world.songs[3].rendition(seed=9)
    mixed = Embeddings(
        np.roll(world.songs[4].rendition(seed=9).vectors, 1, axis=0)[: len(query)],
        tonal.HOP,
        "toy-cover",
        query.evidence,
    )
    found = list(search.compare(mixed, world.stored, cohort))
    [references] = [references for references, keys in tried if keys == search.PARAMETERS.best_keys]
    assert search.PARAMETERS.best_by_each < len(references) <= 2 * search.PARAMETERS.best_by_each
    assert {candidate.recording_id for candidate in found[:2]} == {3, 4}


def test_only_promising_references_are_aligned(world, cohort, monkeypatch):
    """Promising by their windows or by their coarse pictures."""
    aligned = set()
    update = search.Comparison._update
    monkeypatch.setattr(
        search.Comparison,
        "_update",
        lambda comparison, place, *rest: aligned.add(place.number) or update(comparison, place, *rest),
    )
    query = world.songs[3].rendition(seed=9, key=4, tempo=1.1)
    mixed = Embeddings(
        np.resize(world.songs[4].rendition(seed=9).vectors, query.vectors.shape), tonal.HOP, "toy-cover", query.evidence
    )
    found = list(search.compare(mixed, world.stored, cohort, most=3))
    assert len(found) == 3 and len(aligned - set(range(20, 40))) == 3  # numbers from 20 on belong to the cohort
    assert {candidate.recording_id for candidate in found[:2]} == {3, 4}
    assert [one.recording_id for one in search.compare(mixed, world.stored, cohort, most=50)][:2] == [
        one.recording_id for one in search.compare(mixed, world.stored, cohort)
    ][:2]


def test_fewer_than_eight_aligned_seconds_are_no_cover(world, cohort):
    song = world.songs[5]
    other = tonal.Song(77)
    mixed = np.concatenate([song.frames()[:35], other.frames()[:100]])  # seven seconds of it
    query = Embeddings(song.rendition().vectors[:3], tonal.HOP, "toy-cover", mixed)
    assert all(
        candidate.features["aligned"] >= search.PARAMETERS.min_duration for candidate in world.find(query, cohort)
    )


def test_empty_queries_and_libraries_give_no_results(world, cohort):
    silent = Embeddings(np.zeros((4, tonal.DIM), np.float32), tonal.HOP, "toy-cover", np.zeros((150, 48), np.uint8))
    assert world.find(silent, cohort) == []
    assert list(find(world.stored[1], ExactIndex(tonal.DIM), world.embeddings_of, cohort)) == []


def test_a_recording_removed_since_the_search_is_left_out(world, cohort):
    held = {number: one for number, one in world.stored.items() if number != 3}
    found = find(world.stored[3], world.index, lambda ids: {id: held[id] for id in ids if id in held}, cohort)
    assert 3 not in [candidate.recording_id for candidate in found]


def test_a_short_query_has_one_window(world, cohort):
    query = tonal.excerpt(world.songs[8].rendition(seed=2), start=20, duration=15)
    assert len(query) == 1
    assert world.find(query, cohort)[0].recording_id == 8


def test_without_a_cohort_typical_values_are_used(world):
    best = world.find(world.songs[7].rendition(key=4, seed=1), Cohort.none())[0]
    assert best.recording_id == 7
    assert set(FEATURES) | set(search.UNBOUNDED) | {"changed"} == set(best.features)


def test_hubs_are_ranked_lower(world, cohort):
    """A hub is similar to all music: here the mean of the cohort's windows."""
    middle = cohort.vectors.mean(axis=0)
    hub = Embeddings(np.tile(middle / np.linalg.norm(middle), (8, 1)), tonal.HOP, "toy-cover", tonal.Song(60).frames())
    query = tonal.Song(61).rendition()
    plain, corrected = (
        list(search.compare(query, {1: hub, 2: world.stored[2]}, one)) for one in (Cohort.none(), cohort)
    )
    lead = [
        next(v for v in found if v.recording_id == 1).features["embedding"]
        - next(v for v in found if v.recording_id == 2).features["embedding"]
        for found in (plain, corrected)
    ]
    assert lead[1] < lead[0]


def test_a_cohort_is_saved_in_a_small_file(tmp_path, cohort):
    cohort.save(tmp_path / "cohort.npz")
    again = Cohort.load(tmp_path / "cohort.npz")
    assert (again.vectors * cohort.vectors).sum(axis=1).min() > 0.999
    assert np.array_equal(again.songs, cohort.songs)
    assert all(np.array_equal(one, other) for one, other in zip(again.excerpts, cohort.excerpts, strict=True))
    assert (tmp_path / "cohort.npz").stat().st_size < 200_000


def test_entropy_separates_a_tone_from_noise(random):
    tone = np.zeros((100, 48), np.uint8)
    assert search.entropy(tone) == 1  # silence has the highest entropy
    tone[:, 9] = 255
    assert search.entropy(tone) == 0
    assert search.entropy(random.integers(100, 200, (100, 48)).astype(np.uint8)) > 0.98
    assert search.entropy(tonal.Song(1).frames()) < 0.95


def test_motifs_of_queries_are_computed_apart_from_those_of_references(world, cohort):
    """Each has its own cache: the queries of a stream must not fill that of the references."""
    lengths = {"query": set(), "references": set()}

    def noting(name):
        def motifs(frames):
            lengths[name].add(len(frames))
            return np.zeros((len(frames) // POOLED, MOTIFS, PITCH_CLASSES), np.float32)

        return motifs

    query = tonal.excerpt(world.songs[4].rendition(seed=1), start=15, duration=31)
    world.find(query, cohort, networks=Networks(noting("references"), noting("query")))
    assert lengths["query"] == {len(query.evidence) // POOLED * POOLED}
    assert lengths["references"] and not lengths["query"] & lengths["references"]
