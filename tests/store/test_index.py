"""The contract of the index, for every engine, and the files of the FAISS index."""

import secrets

import numpy as np
import pytest

from songprint.address import MilvusAddress, PgvectorAddress
from songprint.store.index import NOTHING, open_index, segment_ids, split_ids
from songprint.store.index.exact import GROUP, ExactIndex, _largest
from songprint.store.index.faiss import FaissIndex
from songprint.store.index.milvus import MilvusIndex, collection_name
from songprint.store.index.pgvector import PgvectorIndex, table_name

DIM = 128


def unit(random, count):
    vectors = random.standard_normal((count, DIM)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture
def recordings(random):
    """Return the vectors of 40 recordings with 200 segments each, with ids 1 to 40."""
    return {number: unit(random, 200) for number in range(1, 41)}


def fill(index, recordings):
    for number, vectors in recordings.items():
        index.add(segment_ids(number, np.arange(len(vectors))), vectors)


def as_source(recordings):
    return lambda: ((segment_ids(n, np.arange(len(v))), v) for n, v in sorted(recordings.items()))


@pytest.fixture(
    params=[
        "exact",
        "memory",
        "disk",
        pytest.param("milvus lite", marks=pytest.mark.heavy),
        pytest.param("milvus server", marks=pytest.mark.heavy),
        "pgvector exact",
        "pgvector ivfflat",
        pytest.param("pgvector hnsw", marks=pytest.mark.heavy),
    ]
)
def index(request, tmp_path, recordings, monkeypatch):
    if request.param.startswith("pgvector"):
        method = request.param.split()[1]
        url = request.getfixturevalue("pgvector_server")
        if method != "exact":
            monkeypatch.setattr("songprint.store.index.pgvector.EXACT_ROWS", 1000)
            url += f"?method={method}"
        index = PgvectorIndex(PgvectorAddress.parse(url), table_name(secrets.token_hex(8), "toy-1"), DIM)
        fill(index, recordings)
        index.settle()
        assert index.kind.lower().startswith(request.param)
    elif request.param.startswith("milvus"):
        lite = request.param == "milvus lite"
        address = f"milvus:{tmp_path}/vectors.db" if lite else request.getfixturevalue("milvus_server")
        index = MilvusIndex(MilvusAddress.parse(address), collection_name(secrets.token_hex(4), "toy-1"), DIM)
        fill(index, recordings)
    elif request.param == "exact":
        index = ExactIndex(DIM)
        fill(index, recordings)
    elif request.param == "memory":
        index = FaissIndex(tmp_path, DIM, exact_limit=100_000)
        fill(index, recordings)
    else:
        index = FaissIndex(tmp_path, DIM, exact_limit=1000)
        index.rebuild(as_source(recordings))
    yield index
    index.close()


def test_segment_ids_contain_recording_and_position():
    recording, position = split_ids(segment_ids(123_456, np.array([0, 5, 99_999])))
    assert recording.tolist() == [123_456] * 3
    assert position.tolist() == [0, 5, 99_999]


def test_a_vector_finds_itself(index, recordings):
    ids, scores = index.search(recordings[7][10:20], k=5)
    assert ids.shape == scores.shape == (10, 5)
    found, positions = split_ids(ids[:, 0])
    assert found.tolist() == [7] * 10
    assert positions.tolist() == list(range(10, 20))
    assert (scores[:, 0] > 0.8).all()


def test_results_come_best_first(index, recordings):
    _, scores = index.search(recordings[3][:8], k=10)
    assert (np.diff(scores, axis=1) <= 1e-6).all()


def test_removed_recordings_are_not_found_and_can_be_added_again(index, recordings):
    index.remove([7, 9, 12_345])
    ids, _ = index.search(recordings[7][:20], k=50)
    assert not {7, 9} & set(split_ids(ids)[0].ravel().tolist())
    assert index.recording_ids() == set(recordings) - {7, 9}
    index.add(segment_ids(7, np.arange(200)), recordings[7])
    ids, _ = index.search(recordings[7][:20], k=1)
    assert set(split_ids(ids)[0].ravel().tolist()) == {7}


def test_a_few_recordings_are_looked_up(index):
    index.remove([5])
    assert index.contains([4, 5, 41, 2]) == {2, 4} and index.contains([]) == set()


def test_added_vectors_are_found_immediately(index, random):
    vectors = unit(random, 30)
    index.add(segment_ids(900, np.arange(30)), vectors)
    ids, _ = index.search(vectors, k=1)
    assert split_ids(ids[:, 0])[0].tolist() == [900] * 30


def test_an_empty_index_finds_nothing(tmp_path, random):
    for empty in (ExactIndex(DIM), FaissIndex(tmp_path, DIM, exact_limit=10)):
        ids, scores = empty.search(unit(random, 3), k=4)
        assert (ids == NOTHING).all()
        assert (scores == -1).all()
        assert len(empty) == 0


def test_results_are_filled_up_if_the_index_has_fewer_than_k_vectors(random):
    index = ExactIndex(DIM)
    index.add(segment_ids(1, np.arange(3)), unit(random, 3))
    ids, _ = index.search(unit(random, 2), k=5)
    assert (ids[:, 3:] == NOTHING).all()
    assert (ids[:, :3] != NOTHING).all()


def test_vectors_of_the_wrong_shape_are_rejected():
    with pytest.raises(ValueError, match=r"need vectors of shape \(2, 128\), not \(2, 64\)"):
        ExactIndex(DIM).add(np.arange(2), np.zeros((2, 64), np.float32))


def test_a_file_is_written_beyond_the_exact_limit(tmp_path, recordings):
    index = open_index(tmp_path, DIM, exact_limit=2000)
    fill(index, recordings)
    assert index.kind == "exact"
    index.rebuild(as_source(recordings))
    assert index.kind.startswith("IVF")
    assert len(index) == 8000
    assert index.bytes_on_disk > 128 * 8000


def test_another_process_opens_a_new_file(tmp_path, recordings):
    one, other = (open_index(tmp_path, DIM, exact_limit=2000) for _ in range(2))
    fill(other, recordings)
    one.rebuild(as_source(recordings))
    assert other.reload_if_changed()
    assert not other.reload_if_changed()
    assert len(other) == 8000  # no duplicates
    ids, _ = other.search(recordings[5][:4], k=1)
    assert set(split_ids(ids)[0].ravel().tolist()) == {5}


def test_a_damaged_file_is_ignored(tmp_path, recordings):
    open_index(tmp_path, DIM, exact_limit=2000).rebuild(as_source(recordings))
    next(tmp_path.glob("*.faiss")).write_bytes(b"not an index")
    index = open_index(tmp_path, DIM, exact_limit=2000)
    assert index.recording_ids() == set()


def test_the_file_is_deleted_when_the_library_shrinks(tmp_path, recordings):
    index = open_index(tmp_path, DIM, exact_limit=2000)
    index.rebuild(as_source(recordings))
    few = {number: recordings[number] for number in (1, 2)}
    index.rebuild(as_source(few))
    assert index.kind == "exact"
    assert not list(tmp_path.glob("*.faiss"))
    assert index.recording_ids() == {1, 2}


@pytest.mark.parametrize("extra", [0, 5])
def test_the_largest_values_are_those_of_a_complete_sort(random, extra):
    values = random.standard_normal((4, 200 * GROUP + extra)).astype(np.float32)
    values[2] = np.sort(values[2])  # neighbours fill a group
    values[3] = 1.0  # all alike
    found = np.take_along_axis(values, _largest(values, 50), axis=1)
    assert np.array_equal(np.sort(found, axis=1), np.sort(values, axis=1)[:, -50:])
    assert all(len(set(columns)) == 50 for columns in _largest(values, 50).tolist())
