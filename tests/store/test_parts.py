"""The files of the FAISS index: parts, removals, merges, crashes, damage and the format of older versions."""

from __future__ import annotations

import json

import faiss
import numpy as np
import pytest
from support import toy

from songprint.config import Settings
from songprint.kinds import open_store
from songprint.store import disk
from songprint.store import level as level_module
from songprint.store.changes import Mark
from songprint.store.index import cells, open_index, parts, segment_ids, split_ids, writing
from songprint.store.index.exact import ExactIndex
from songprint.store.index.writing import Writer
from songprint.store.store import Store, incomplete
from songprint.types import Kind, Tags

DIM = 16
SEGMENTS = 60


def unit(random, count):
    vectors = random.standard_normal((count, DIM)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class Catalogue:
    """Vectors by recording id, as a source for a writer. Every seventh segment has no content."""

    def __init__(self, random):
        self.random, self.vectors = random, {}

    def add(self, *recording_ids: int) -> None:
        self.vectors |= {each: unit(self.random, SEGMENTS) for each in recording_ids}

    def segments(self, recording_id: int):
        positions = np.flatnonzero(np.arange(SEGMENTS) % 7 < 6)
        return segment_ids(recording_id, positions), self.vectors[recording_id][positions]

    def source(self, recording_ids):
        return (self.segments(each) for each in recording_ids)

    @property
    def counts(self) -> dict[int, int]:
        return dict.fromkeys(self.vectors, SEGMENTS)

    def update(self, folder, revision: int, gone=()) -> Writer:
        """Bring the files into step, as a level does."""
        for each in gone:
            del self.vectors[each]
        writer = Writer(folder, DIM, exact_limit=100)
        present = writer.opened.recording_ids() if writer.opened else set()
        missing = {each: SEGMENTS for each in self.vectors if each not in present}
        writer.update(missing, gone, self.source, Mark(revision, 5), lambda: self.counts)
        return writer

    def check(self, folder) -> None:
        """Check that the files contain exactly this, and that every segment finds itself."""
        index = open_index(folder, DIM, exact_limit=100)
        assert index.recording_ids() == self.vectors.keys() and len(index.files.parts)
        exact = ExactIndex(DIM)
        for each in self.vectors:
            exact.add(*self.segments(each))
        assert len(index) == len(exact)
        ids, vectors = zip(*(self.segments(each) for each in self.vectors), strict=True)
        wanted, queries = np.concatenate(ids), np.concatenate(vectors)
        found, scores = index.search(queries, k=5)
        assert (found[:, 0] == wanted).mean() > 0.99  # two vectors may get the same code
        assert set(split_ids(found)[0].ravel().tolist()) <= self.vectors.keys()
        # Codes are clipped to the ranges of the vectors that they were trained on, here very few.
        assert (scores[:, 0] > 0.98).mean() > 0.95 and (scores[:, 0] > 0.85).all()


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(writing, "MAX_PENDING", 200)
    monkeypatch.setattr(cells, "MIN_CELLS", 8)
    monkeypatch.setattr(cells, "number_of_probes", lambda vectors: 1000)


@pytest.fixture
def catalogue(random, tmp_path):
    """The files with recordings 1 to 30."""
    made = Catalogue(random)
    made.add(*range(1, 31))
    made.update(tmp_path, 1)
    return made


def test_new_recordings_become_a_part_once_they_are_many(catalogue, tmp_path):
    catalogue.check(tmp_path)
    catalogue.add(31, 32)
    assert len(catalogue.update(tmp_path, 2).opened.parts) == 1  # 120 of 200: searched in memory
    assert open_index(tmp_path, DIM, exact_limit=100).mark == Mark(1, 5)
    catalogue.add(33, 34)
    opened = catalogue.update(tmp_path, 3).opened
    assert [part.vectors for part in opened.parts] == [30 * 52, 4 * 52]
    assert opened.mark == Mark(3, 5)
    catalogue.check(tmp_path)


def test_parts_remain_few(catalogue, tmp_path):
    number = 31
    for revision in range(2, 16):
        catalogue.add(*range(number, number + 4))
        number += 4
        writer = catalogue.update(tmp_path, revision)
        sizes = [part.vectors for part in writer.opened.parts]
        assert len(sizes) <= 4 and sizes == sorted(sizes, reverse=True)
    catalogue.check(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == (writer.opened.manifest.files | {"current.json"}) - {""}


def test_removals_are_bits_that_survive_opening_and_merging(catalogue, tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "MAX_REMOVED", 0)
    catalogue.update(tmp_path, 2, gone=[3, 4, 17])
    index = open_index(tmp_path, DIM, exact_limit=100)
    assert [part.removed for part in index.files.parts] == [{3, 4, 17}]
    catalogue.check(tmp_path)
    catalogue.update(tmp_path, 3, gone=[5])
    catalogue.check(tmp_path)
    catalogue.add(*range(31, 61))
    opened = catalogue.update(tmp_path, 4).opened
    assert [(part.vectors, part.removed) for part in opened.parts] == [(56 * 52, set())]  # merged
    catalogue.check(tmp_path)


def test_a_part_with_many_removed_recordings_is_written_again(catalogue, tmp_path):
    opened = catalogue.update(tmp_path, 2, gone=range(1, 10)).opened
    assert [part.vectors for part in opened.parts] == [21 * 52]
    catalogue.check(tmp_path)


def test_a_removed_recording_can_be_added_again_to_another_part(catalogue, tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "MAX_REMOVED", 0)
    catalogue.update(tmp_path, 2, gone=[7])
    catalogue.add(7, *range(31, 35))
    assert len(catalogue.update(tmp_path, 3).opened.parts) == 2
    catalogue.check(tmp_path)


def test_removals_in_memory_have_the_same_results_as_a_rebuild(catalogue, tmp_path):
    index = open_index(tmp_path, DIM, exact_limit=100)
    queries = np.concatenate([catalogue.vectors[each][:5] for each in range(1, 31)])
    index.remove(range(1, 25))
    for each in range(1, 25):
        del catalogue.vectors[each]
    found = index.search(queries, k=20)
    Writer(tmp_path, DIM, exact_limit=100).rebuild(catalogue.counts, catalogue.source)
    rebuilt = open_index(tmp_path, DIM, exact_limit=100)
    np.testing.assert_allclose(found[1], rebuilt.search(queries, k=20)[1], atol=0.02)
    assert len(index) == len(rebuilt) == 6 * 52


@pytest.mark.parametrize("interrupted", ["write_part", "merge", "write", "rebuild"])
def test_an_interrupted_writer_leaves_the_old_index_or_the_new_one(catalogue, tmp_path, monkeypatch, interrupted):
    before = dict(catalogue.vectors)
    with monkeypatch.context() as patched:
        fail = lambda *args: (_ for _ in ()).throw(KeyboardInterrupt)  # noqa: E731
        if interrupted == "write":
            patched.setattr(parts.Manifest, "write", fail)
        elif interrupted == "rebuild":
            patched.setattr(writing, "OUTGROWN", 1)
            patched.setattr(disk, "durably_rename", lambda unfinished, target: fail())
        else:
            patched.setattr(parts if interrupted == "write_part" else writing, interrupted, fail)
        catalogue.add(*range(31, 70))
        with pytest.raises(KeyboardInterrupt):
            catalogue.update(tmp_path, 2)
    index = open_index(tmp_path, DIM, exact_limit=100)
    assert index.recording_ids() == (catalogue.vectors if interrupted == "merge" else before).keys()
    (tmp_path / "000099.faiss.unfinished").touch()
    catalogue.add(*range(70, 100))
    files = catalogue.update(tmp_path, 3).opened.manifest.files
    assert {path.name for path in tmp_path.iterdir()} == (files | {"current.json"}) - {""}
    catalogue.check(tmp_path)


@pytest.mark.parametrize("damage", ["truncated", "nonsense", "missing", "runs"])
def test_the_recordings_of_a_damaged_part_are_added_again(catalogue, tmp_path, damage):
    catalogue.add(*range(31, 36))
    opened = catalogue.update(tmp_path, 2).opened
    name = opened.parts[1].files.name
    file = tmp_path / (f"{name}.runs.npy" if damage == "runs" else f"{name}.faiss")
    content = file.read_bytes()
    file.unlink()
    if damage != "missing":
        file.write_bytes({"truncated": content[:-100], "nonsense": b"nonsense" * 50, "runs": b""}[damage])
    index = open_index(tmp_path, DIM, exact_limit=100)
    assert index.recording_ids() == set(range(1, 31)) and index.mark is None
    catalogue.update(tmp_path, 2)
    assert open_index(tmp_path, DIM, exact_limit=100).mark == Mark(2, 5)
    catalogue.check(tmp_path)


def test_the_cells_are_trained_again_when_the_library_has_outgrown_them(catalogue, tmp_path):
    first = catalogue.update(tmp_path, 2).opened.manifest
    catalogue.add(*range(31, 130))
    opened = catalogue.update(tmp_path, 3).opened
    assert opened.manifest.trained_for == 129 * SEGMENTS > 4 * first.trained_for
    assert opened.cells.count > cells.number_of_cells(first.trained_for) and len(opened.parts) == 1
    catalogue.check(tmp_path)


def test_a_rebuild_in_many_chunks_equals_one_in_a_single_chunk(catalogue, tmp_path, monkeypatch):
    queries = unit(catalogue.random, 20)
    one = open_index(tmp_path, DIM, exact_limit=100).search(queries, k=10)
    monkeypatch.setattr(writing, "CHUNK", 100)
    monkeypatch.setattr(writing, "LARGEST_MERGED", 800)
    Writer(tmp_path, DIM, exact_limit=100).rebuild(catalogue.counts, catalogue.source, Mark(2, 5))
    index = open_index(tmp_path, DIM, exact_limit=100)
    assert len(index.files.parts) > 1
    assert all(np.array_equal(a, b) for a, b in zip(one, index.search(queries, k=10), strict=True))
    catalogue.check(tmp_path)


def test_an_index_of_an_older_version_is_searched_until_it_is_written_again(catalogue, tmp_path):
    for path in tmp_path.iterdir():
        path.unlink()
    ids, vectors = map(np.concatenate, zip(*catalogue.source(range(1, 31)), strict=True))
    old = faiss.index_factory(DIM, "IVF64,SQ8", faiss.METRIC_INNER_PRODUCT)
    old.train(vectors)
    old.add_with_ids(vectors, ids)
    faiss.write_index(old, str(tmp_path / "000001.faiss"))
    content = {"file": "000001.faiss", "kind": "IVF64,SQ8", "vectors": len(ids), "recordings": list(range(1, 31))}
    (tmp_path / "current.json").write_text(json.dumps(content))
    index = open_index(tmp_path, DIM, exact_limit=100)
    assert index.recording_ids() == set(range(1, 31)) and index.files.manifest.older and index.mark is None
    found, scores = index.search(vectors, k=1)
    assert (found[:, 0] == ids).mean() > 0.99 and (scores > 0.98).all()
    index.remove([7])
    assert 7 not in split_ids(index.search(catalogue.vectors[7], k=5)[0])[0]
    catalogue.update(tmp_path, 2)
    catalogue.check(tmp_path)
    assert not open_index(tmp_path, DIM, exact_limit=100).files.manifest.older


def test_cells_in_two_levels_are_nearly_always_the_nearest(random, monkeypatch):
    vectors = unit(random, 4000)
    monkeypatch.setattr(cells, "FLAT_CELLS", 32)
    monkeypatch.setattr(cells, "NEAR_CELLS", 64)
    trained = cells.train(vectors, 128)
    assert trained.count == 128
    nearest, _ = trained.nearest(vectors, 1)
    assert (trained.assign(vectors) == nearest.ravel()).mean() > 0.9
    assert np.bincount(trained.assign(vectors), minlength=128).max() < 200


# Levels


@pytest.fixture
def store(tmp_path):
    with open_store(
        tmp_path / "library", create=True, encoder=toy.ToyEncoder(), settings=Settings(exact_limit=100)
    ) as store:
        yield store


def add(store: Store, seed: int) -> int:
    return store.catalog.add(
        tags=Tags(title=f"Song {seed}"),
        duration=20.0,
        source=f"/{seed}.wav",
        content_hash=str(seed),
        embeddings={Kind.RECORDING: toy.ToyEncoder().encode(toy.song(seed, 20.0))},
    ).id


def test_opening_loads_the_newest_recordings_and_reports_what_is_not_searched(store, monkeypatch):
    ids = [add(store, seed) for seed in range(10)]  # 39 segments each
    monkeypatch.setattr(level_module, "MAX_PENDING", 60)
    store.refresh()
    level = store.identity
    assert level.index.recording_ids() == set(ids[-3:]) and (level.searched, level.searchable) == (3, 10)
    [warning] = incomplete(store)
    assert warning.startswith("only 3 of 10 recordings were searched for recordings")
    ids.append(add(store, 10))  # there is no room
    store.catalog.remove([ids.pop(0)])
    store.refresh()
    assert (level.searched, level.searchable) == (3, 10)
    store.tidy()
    store.refresh()
    assert level.index.recording_ids() == set(ids) and (level.searched, level.searchable) == (10, 10)
    assert not list(incomplete(store))


def test_opening_compares_only_what_is_newer_than_the_files(store, monkeypatch):
    ids = {add(store, seed) for seed in range(10)}
    store.tidy()
    late = add(store, 10)
    store.catalog.remove([1])
    listed = []
    with open_store(store.path, encoder=toy.ToyEncoder(), settings=store.settings) as other:
        searched = other.catalog.searched
        monkeypatch.setattr(other.catalog, "searched", lambda kind, ids=None: listed.append(ids) or searched(kind, ids))
        other.refresh()
        assert other.identity.index.recording_ids() == ids - {1} | {late}
        assert other.identity.searched == 10
    assert listed == [{1, late}]


def test_searches_never_write_files(store, monkeypatch):
    for seed in range(10):
        add(store, seed)
    store.refresh()
    assert store.stats().index_bytes == 0 and len(store.identity.index.recording_ids()) == 10
