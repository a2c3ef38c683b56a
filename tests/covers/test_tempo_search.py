"""The search at other tempos."""

from itertools import chain

import numpy as np
import pytest
from support import tonal

from songprint.confidence import Calibration
from songprint.covers import search, tempo_search
from songprint.covers.cohort import Cohort
from songprint.covers.tempo_search import TEMPOS, candidates_by_tempo, change_tempo, scored_candidates
from songprint.types import Embeddings

BY_ALIGNMENT = Calibration(("log_alignment", "changed"), (10.0, -0.5), -20.0, {})


def embedded(song, tempo):
    """The vectors of a song at a tempo."""
    return lambda frames: song._vectors(frames, tempo, tonal.PARTS, 0.1, 0)


class Asked:
    """A library that records its queries."""

    def __init__(self, *stored):
        self.stored = dict(enumerate(stored))
        self.queries, self.most = [], []

    def find(self, query, most=50):
        self.queries.append(query)
        self.most.append(most)
        return (version for version in search.compare(query, self.stored, Cohort.none()) if version.claimable)


@pytest.fixture
def songs():
    return [tonal.Song(seed) for seed in range(6)]


@pytest.fixture
def library(songs):
    return Asked(*(song.rendition(seed=seed) for seed, song in enumerate(songs)))


def excerpt(song, tempo, duration=30.0):
    return tonal.excerpt(song.rendition(tempo=tempo, key=2, seed=9), start=0, duration=duration)


@pytest.mark.parametrize("tempo", TEMPOS)
def test_a_slower_query_is_longer_in_proportion(songs, tempo):
    query = excerpt(songs[0], 1.0)
    other = change_tempo(query.evidence, tempo)
    assert other.shape == (round(len(query.evidence) / tempo), query.evidence.shape[1]) and other.dtype == np.uint8
    assert (other[0] == query.evidence[0]).all()
    middle, at = other[len(other) // 2], len(query.evidence) // 2
    near = query.evidence[at - 2 : at + 3]
    assert (middle <= near.max(axis=0)).all() and (middle >= near.min(axis=0)).all()


@pytest.mark.parametrize(("look", "tempo"), [(1, 1.9), (2, 0.5)])
def test_results_at_another_tempo_refer_to_the_original_query(songs, library, look, tempo):
    query = excerpt(songs[3], tempo)
    best, *_ = list(candidates_by_tempo(query, library.find, embedded(songs[3], tempo * TEMPOS[look - 1])))[look]
    assert best.recording_id == 3
    assert best.features["changed"] == 1 and best.features["length"] == pytest.approx(np.log(30))
    alignment = best.alignment
    assert alignment.tempo == pytest.approx(tempo, rel=0.08)
    assert alignment.key_shift == 2
    assert alignment.sections[-1].query.end <= 30
    aligned = sum(section.query.duration for section in alignment.sections)
    assert best.features["aligned"] == alignment.features["aligned"] == pytest.approx(aligned, abs=1)
    seconds, reference = alignment.path.T
    again = tonal.seconds(2)  # the first part is repeated there
    assert np.abs((reference - seconds * tempo + again / 2) % again - again / 2).max() < 3


def test_unidentified_queries_are_searched_at_every_tempo(songs, library):
    uncertain = Calibration(("log_alignment",), (0.0,), tempo_search.PARAMETERS.certain - 1, {})
    query = excerpt(songs[3], 1.0)
    scored_candidates(query, library.find, uncertain, None)
    assert len(library.queries) == 1, "without `embed` no other tempo is tried"
    scored_candidates(query, library.find, uncertain, embedded(songs[3], 1.0))
    assert [len(query.evidence) for query in library.queries[1:]] == [150, 240, 94]
    assert library.most[1:] == [50, tempo_search.PARAMETERS.max_compared, tempo_search.PARAMETERS.max_compared]


def test_identified_queries_are_searched_once(songs, library):
    assert (
        scored_candidates(excerpt(songs[2], 1.0), library.find, BY_ALIGNMENT, embedded(songs[2], 1.0))[0].logit
        > tempo_search.PARAMETERS.certain
    )
    assert len(library.queries) == 1


def test_long_queries_are_searched_at_their_own_tempo(songs, library):
    stranger = tonal.Song(50).rendition(parts="ABACABAC")
    assert len(stranger.evidence) / 5 > tempo_search.PARAMETERS.max_duration
    scored_candidates(stranger, library.find, BY_ALIGNMENT, embedded(songs[0], 1.0))
    assert len(library.queries) == 1


def test_each_recording_is_returned_once_at_its_best_tempo(songs, library):
    query = excerpt(songs[1], 1.25)
    everything = list(chain.from_iterable(candidates_by_tempo(query, library.find, embedded(songs[1], 1.0))))
    never = Calibration(("log_alignment", "changed"), (1.0, -0.5), -20.0, {})
    found = scored_candidates(query, library.find, never, embedded(songs[1], 1.0))
    names = [answer.candidate.recording_id for answer in found]
    assert len(set(names)) == len(names) <= search.PARAMETERS.max_verified
    assert [answer.logit for answer in found] == sorted((answer.logit for answer in found), reverse=True)
    for answer in found:
        assert answer.logit == max(
            never.logit(version.features)
            for version in everything
            if version.recording_id == answer.candidate.recording_id
        )


def test_a_silent_query_has_no_candidates():
    silence = Embeddings(np.zeros((2, tonal.DIM), np.float32), 5.0, "toy-cover", np.zeros((150, 48), np.uint8))
    assert not scored_candidates(
        silence,
        Asked(tonal.Song(0).rendition()).find,
        BY_ALIGNMENT,
        lambda frames: np.zeros((2, tonal.DIM), np.float32),
    )
