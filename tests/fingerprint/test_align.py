"""Votes and line alignments on synthetic vectors."""

import numpy as np
import pytest

from songprint.fingerprint import align
from songprint.store.index import segment_ids
from songprint.store.index.exact import ExactIndex
from songprint.types import Embeddings

HOP, QUERY_HOP, WINDOW = 0.5, 0.25, 1.0


def smooth_walk(random, seconds, step=0.01):
    """A path of unit vectors that changes like music: vectors close in time are similar."""
    points = random.standard_normal((int(seconds / 0.5) + 3, 64))
    at = np.arange(0, seconds, step) / 0.5
    left, fraction = at.astype(int), (at % 1)[:, None]
    vectors = points[left] * (1 - fraction) + points[left + 1] * fraction
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def paths(random):
    return {number: smooth_walk(random, 60) for number in (1, 2, 3)}


def rows(path, times):
    return path[np.clip(np.round(np.asarray(times) / 0.01).astype(int), 0, len(path) - 1)]


def library(paths):
    index = ExactIndex(64)
    stored = {}
    for number, path in paths.items():
        vectors = rows(path, np.arange(0, 58, HOP))
        stored[number] = Embeddings(vectors, HOP, "test")
        index.add(segment_ids(number, np.arange(len(vectors))), vectors)
    return index, stored


def aligned(paths, times, vectors):
    """Search, vote, align and refine -> the best alignment, and the ids that the search returned."""
    index, stored = library(paths)
    ids, cosines = index.search(vectors, 10)
    candidates = align.vote(ids, cosines, times, HOP)
    layout = align.Layout(times, HOP, WINDOW)
    lines = [align.verify(vectors, layout, stored[c.recording_id], c) for c in candidates]
    best = max(filter(None, lines), key=lambda line: line.cosines.sum())
    return align.refine(best, vectors, layout, stored[best.recording_id]), ids


@pytest.mark.parametrize("offset", [12.0, 12.11, 12.25, 12.37])
def test_a_query_is_aligned_at_its_position(paths, offset):
    times = np.arange(0, 8, QUERY_HOP)
    line, ids = aligned(paths, times, rows(paths[2], times + offset))
    assert line.recording_id == 2
    assert line.offset == pytest.approx(offset, abs=0.06)
    assert line.speed == pytest.approx(1, abs=0.006)
    assert align.hits(line, ids, times, HOP).mean() > 0.9


@pytest.mark.parametrize("speed", [0.94, 0.98, 1.03, 1.08])
def test_the_speed_is_found(paths, speed):
    times = np.arange(0, 10, QUERY_HOP)
    # windows are compared at their centres
    line, _ = aligned(paths, times, rows(paths[3], speed * (times + WINDOW / 2) - WINDOW / 2 + 20))
    assert line.recording_id == 3
    assert line.speed == pytest.approx(speed, abs=0.006)


def test_only_segments_that_agree_count(paths, random):
    times = np.arange(0, 10, QUERY_HOP)
    vectors = rows(paths[1], times + 30)
    noise = random.standard_normal((16, 64)).astype(np.float32)
    vectors[:16] = noise / np.linalg.norm(noise, axis=1, keepdims=True)
    line, _ = aligned(paths, times, vectors)
    query, reference = align.intervals(line, times, WINDOW, 11.0, 60.0)
    assert query.start == pytest.approx(4.0, abs=0.5)
    assert query.end == pytest.approx(10.75, abs=0.3)
    assert reference.start == pytest.approx(34.0, abs=0.5)


def test_an_alignment_may_extend_beyond_the_recording(paths):
    times = np.arange(0, 10, QUERY_HOP)
    line, _ = aligned(paths, times, rows(paths[1], times + 54))  # stored until 58 s
    assert line.offset == pytest.approx(54, abs=0.1)
    assert line.rows[-1] == -1
    assert line.cosines[-1] == 0


def test_without_neighbours_there_are_no_candidates():
    ids = np.full((5, 4), -1)
    assert align.vote(ids, np.full((5, 4), -1.0), np.arange(5) * QUERY_HOP, HOP) == []


def test_a_segment_votes_once_for_a_position(paths):
    """A held chord of the reference has many equal rows, which one segment of the query must not all vote for."""
    ids = segment_ids(7, np.array([[4, 5, 6, 4]]))
    candidates = align.vote(ids, np.full((1, 4), 0.9), np.zeros(1), HOP)
    assert max(candidate.votes for candidate in candidates) == pytest.approx(0.6)


def test_duplicates_are_separated_from_other_recordings(paths):
    twins = {1: paths[1], 2: paths[1], 3: paths[3]}
    _, stored = library(twins)
    times = np.arange(0, 6, QUERY_HOP)
    vectors = rows(paths[1], times + 10)
    layout = align.Layout(times, HOP, WINDOW)
    lines = {
        number: align.verify(vectors, layout, stored[number], align.Candidate(number, 10.0, 1.0)) for number in twins
    }
    rows_of = {number: embeddings.vectors for number, embeddings in stored.items()}
    assert align.same_sound(lines[1], lines[2], rows_of[1], rows_of[2])
    assert not align.same_sound(lines[1], lines[3], rows_of[1], rows_of[3])
