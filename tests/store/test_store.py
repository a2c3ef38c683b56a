"""The store: every process updates its index after changes of the catalogue."""

from __future__ import annotations

import shutil
import threading

import numpy as np
import pytest
from sqlalchemy import event
from support import toy

from songprint.config import Settings
from songprint.errors import LibraryError, LibraryVersionError
from songprint.kinds import open_store
from songprint.store import level
from songprint.store.index import split_ids
from songprint.store.index.exact import ExactIndex
from songprint.store.level import References, _stored_bytes, segments_to_index
from songprint.store.store import Store
from songprint.types import Embeddings, Kind, Recording, Tags


@pytest.fixture
def store(tmp_path, database_url):
    """An empty store on each kind of database."""
    settings = Settings(database=database_url)
    with open_store(tmp_path / "library", create=True, encoder=toy.ToyEncoder(), settings=settings) as store:
        yield store


def add(store: Store, seed: int, duration: float = 5.0) -> Recording:
    vectors = toy.ToyEncoder(store.levels[Kind.RECORDING].spec.id).encode(toy.song(seed, duration))
    return store.catalog.add(
        tags=Tags(title=f"Song {seed}"),
        duration=duration,
        source=f"/{seed}.wav",
        content_hash=str(seed),
        embeddings={Kind.RECORDING: vectors},
    )


def nearest(store: Store, seed: int) -> int:
    """Return the recording that most segments of a song find."""
    ids, _ = store.levels[Kind.RECORDING].index.search(toy.ToyEncoder().encode(toy.song(seed)).vectors, k=1)
    recordings, _ = split_ids(ids[:, 0])
    return int(np.bincount(recordings).argmax())


def another(store: Store, **settings) -> Store:
    return open_store(store.path, encoder=toy.ToyEncoder(), settings=store.settings.with_(**settings))


def test_additions_and_removals_reach_the_index_of_another_process(store):
    with another(store) as reader:
        first = add(store, 1)
        reader.refresh()
        assert nearest(reader, 1) == first.id
        second = add(store, 2)
        store.catalog.remove([first.id])
        reader.refresh()
        assert reader.levels[Kind.RECORDING].index.recording_ids() == {second.id}
        assert nearest(reader, 1) == nearest(reader, 2) == second.id


def test_refresh_without_changes_reads_nothing(store, monkeypatch):
    add(store, 1)
    store.refresh()
    monkeypatch.setattr(store.catalog, "searched", lambda kind: pytest.fail("the catalogue was read"))
    store.refresh()


def test_silence_is_not_indexed(store):
    samples = np.concatenate([toy.song(1), np.zeros(5 * toy.SAMPLE_RATE, np.float32)])
    vectors = store.levels[Kind.RECORDING].encoder.encode(samples)
    store.catalog.add(tags=Tags("Song"), duration=10, source="", content_hash="h", embeddings={Kind.RECORDING: vectors})
    assert len(store.levels[Kind.RECORDING].index) == vectors.has_content.sum() < len(vectors)
    ids, indexed = segments_to_index(3, vectors)
    recording, position = split_ids(ids)
    assert set(recording) == {3} and np.allclose(vectors.vectors[position], indexed)


def test_a_large_library_is_searched_on_disk_with_the_same_results(store):
    recordings = [add(store, seed, duration=20.0) for seed in range(20)]
    with another(store, exact_limit=100) as large:
        large.tidy()
        assert large.stats().index_bytes > 0
        late = add(store, 99)
        store.catalog.remove([recordings[3].id])
        large.refresh()
        assert nearest(large, 99) == late.id
        assert [nearest(large, seed) for seed in (5, 15)] == [recordings[5].id, recordings[15].id]
        assert recordings[3].id not in large.levels[Kind.RECORDING].index.recording_ids()
    with another(store, exact_limit=100) as reopened:
        reopened.refresh()
        assert reopened.levels[Kind.RECORDING].index.recording_ids() == store.catalog.searched(Kind.RECORDING).keys()


def test_a_lost_index_is_rebuilt(store):
    recordings = [add(store, seed, duration=20.0) for seed in range(20)]
    with another(store, exact_limit=100) as large:
        large.tidy()
    shutil.rmtree(store.path / "index")
    with another(store, exact_limit=100) as large:
        large.refresh()
        assert nearest(large, 7) == recordings[7].id
        large.tidy()
        large.refresh()
        assert nearest(large, 7) == recordings[7].id
        assert large.stats().index_bytes > 0


def test_a_damaged_index_is_rebuilt(store):
    recordings = [add(store, seed, duration=20.0) for seed in range(20)]
    with another(store, exact_limit=100) as large:
        large.tidy()
    for file in (store.path / "index").rglob("*.*"):
        if file.is_file():
            file.write_bytes(b"nonsense" * 100)
    with another(store, exact_limit=100) as large:
        large.refresh()
        assert nearest(large, 7) == recordings[7].id


def test_another_process_finds_recordings_that_moved_to_disk(store):
    recordings = [add(store, seed, duration=20.0) for seed in range(20)]
    with another(store, exact_limit=10_000) as reader:
        reader.refresh()
        with another(store, exact_limit=100) as large:
            large.tidy()
        late = add(store, 99)
        reader.refresh()
        assert reader.levels[Kind.RECORDING].index.recording_ids() == store.catalog.searched(Kind.RECORDING).keys()
        assert [nearest(reader, seed) for seed in (2, 99)] == [recordings[2].id, late.id]


def test_rebuild_changes_only_the_index(store):
    recordings = [add(store, seed) for seed in range(5)]
    store.rebuild()
    assert store.catalog.recordings() == recordings
    assert [nearest(store, seed) for seed in range(5)] == [recording.id for recording in recordings]


def test_only_one_process_rebuilds_at_a_time(store):
    add(store, 1)
    with another(store) as other, other.exclusive() as locked:
        assert locked
        with pytest.raises(LibraryError, match="rebuilding it now"):
            store.rebuild()
    store.rebuild()


def test_a_library_with_another_encoder_can_be_listed_but_not_searched(store):
    recording = add(store, 1)
    with open_store(store.path, encoder=toy.ToyEncoder("toy-2"), settings=store.settings) as newer:
        assert newer.catalog.recordings() == [recording]
        assert newer.stats().levels[0].encoder_id == "toy-1"
        for operation in (newer.check_encoders, newer.refresh):
            with pytest.raises(LibraryVersionError, match="encoder toy-1"):
                operation()


def test_vectors_of_the_old_encoder_are_not_searched_after_a_change(store):
    recording = add(store, 1)
    store.refresh()
    with open_store(store.path, encoder=toy.ToyEncoder("toy-2"), settings=store.settings) as newer:
        vectors = np.zeros((4, toy.DIM), np.float32)
        vectors[:, 3] = 1
        newer.catalog.add_embeddings(recording.id, {Kind.RECORDING: Embeddings(vectors, 0.5, "toy-2")})
        newer.catalog.adopt(Kind.RECORDING, "toy-2")
        newer.refresh()
        assert len(newer.levels[Kind.RECORDING].index) == 4
        ids, scores = newer.levels[Kind.RECORDING].index.search(vectors[:1], k=1)
        assert split_ids(ids)[0][0, 0] == recording.id and scores[0, 0] == pytest.approx(1, abs=1e-3)
    with pytest.raises(LibraryVersionError):
        store.refresh()


def test_an_empty_library_can_be_searched(store):
    store.refresh()
    ids, _ = store.levels[Kind.RECORDING].index.search(np.eye(toy.DIM, dtype=np.float32), k=3)
    assert (ids < 0).all() and len(store.levels[Kind.RECORDING].index) == 0
    assert store.stats().recordings == 0 and store.stats().levels[0].encoder_id == ""


def test_a_library_on_a_read_only_disk_is_searched(disk):
    with open_store(disk.path / "library", create=True, encoder=toy.ToyEncoder()) as store:
        recordings = [add(store, seed) for seed in range(3)]
    disk.make_readonly()
    with open_store(disk.path / "library", encoder=toy.ToyEncoder(), settings=Settings(exact_limit=5)) as store:
        store.refresh()
        assert nearest(store, 2) == recordings[2].id
        with pytest.raises(LibraryError, match="read-only"):
            store.rebuild()


def test_threads_can_refresh_at_the_same_time(store):
    errors = []

    def refresh() -> None:
        try:
            for _ in range(20):
                store.refresh()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=refresh) for _ in range(4)]
    for thread in threads:
        thread.start()
    for seed in range(10):
        add(store, seed)
    for thread in threads:
        thread.join()
    store.refresh()
    assert not errors and len(store.levels[Kind.RECORDING].index.recording_ids()) == 10


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_tidy_moves_the_write_ahead_log_into_the_file(store):
    for seed in range(3):
        add(store, seed)
    log = store.path / "catalogue.sqlite-wal"
    assert log.stat().st_size > 0
    with another(store) as reader, reader.catalog.database.reading() as connection:  # a transaction is open
        connection.exec_driver_sql("SELECT count(*) FROM recordings").scalar()
        add(store, 3)
        store.tidy()  # neither waits nor loses data
    store.tidy()
    assert log.stat().st_size == 0
    assert len(store.catalog.recordings()) == 4


def test_single_rows_equal_the_rows_of_whole_embeddings(store):
    first, removed = add(store, 1), add(store, 2)
    store.catalog.remove([removed.id])
    stored = store.levels[Kind.RECORDING].embeddings_of([first.id, removed.id])
    assert stored.keys() == {first.id}
    rows, whole = stored[first.id].vectors, store.catalog.embeddings(Kind.RECORDING, first.id)
    assert len(rows) == len(whole) and rows.shape == whole.vectors.shape
    np.testing.assert_array_equal(rows[2:5], whole.vectors[2:5])
    np.testing.assert_array_equal(rows[np.array([0, 4])], whole.vectors[[0, 4]])
    np.testing.assert_allclose(whole.vectors @ rows[0:1].T, whole.vectors @ whole.vectors[0:1].T)
    assert stored[first.id].has_content.all()


def statements(store: Store) -> list[str]:
    """Return a list to which every statement about embeddings is appended that the database gets from now on."""
    sent: list[str] = []

    def note(connection, cursor, statement, *given):
        if "FROM embeddings" in statement:
            sent.append(statement)

    event.listen(store.catalog.database._engine, "before_cursor_execute", note)
    return sent


def test_references_are_read_with_one_statement_and_kept_until_recordings_change(store, monkeypatch):
    ids = [add(store, seed).id for seed in range(4)]
    level = store.levels[Kind.RECORDING]
    store.refresh()
    sent = statements(store)
    first = level.references(ids[:3])
    assert list(first) == ids[:3] and len(sent) == 1
    assert level.references(ids[:2])[ids[1]] is first[ids[1]] and len(sent) == 1
    assert list(level.references(ids)) == ids and len(sent) == 2
    store.catalog.remove([ids[0]])
    store.refresh()
    sent.clear()
    assert list(level.references(ids)) == ids[1:] and len(sent) == 1


@pytest.mark.parametrize("limit", ["recordings", "bytes"])
def test_few_references_are_kept(store, monkeypatch, limit):
    ids = [add(store, seed).id for seed in range(4)]
    level = store.levels[Kind.RECORDING]
    store.refresh()
    size = _stored_bytes(level.embeddings_of(ids[:1])[ids[0]])
    monkeypatch.setattr("songprint.store.level.MAX_REFERENCE_BYTES", 2.5 * size if limit == "bytes" else 100 * size)
    references = References(level, kept=2 if limit == "recordings" else 100)
    assert list(references(ids)) == ids  # more than it keeps
    sent = statements(store)
    references(ids[2:])
    assert not sent
    references(ids[:1])
    assert len(sent) == 1


class SharedIndex(ExactIndex):
    """An index on a server, as far as a level can see."""

    shared = True

    def settle(self) -> None:
        pass

    def reload_if_changed(self) -> bool:
        return False

    def recording_ids(self) -> set[int]:
        return set(split_ids(self.ids)[0].tolist())

    def contains(self, recording_ids):
        return self.recording_ids() & set(recording_ids)


@pytest.fixture
def on_a_server(tmp_path, monkeypatch):
    """An empty store with a shared index, whose refresh adds at most 20 vectors: those of two songs."""
    monkeypatch.setattr(level, "MAX_PENDING", 10)
    monkeypatch.setattr(level, "open_shared", lambda address, library, encoder, dim, rows: SharedIndex(dim))
    settings = Settings(index="milvus:http://nowhere:19530")
    with open_store(tmp_path / "library", create=True, encoder=toy.ToyEncoder(), settings=settings) as store:
        yield store


def test_a_query_fills_a_shared_index_in_portions_and_says_how_much_was_searched(on_a_server, monkeypatch):
    for seed in range(5):
        add(on_a_server, seed)
    identity = on_a_server.levels[Kind.RECORDING]
    counts = []
    for now in (0.0, 1.0, 40.0, 80.0):
        monkeypatch.setattr(level.time, "monotonic", lambda now=now: 1e6 + now)
        on_a_server.refresh()
        counts.append((identity.searched, identity.searchable))
    assert counts == [(2, 5), (2, 5), (4, 5), (5, 5)]


def test_upkeep_fills_a_shared_index_completely(on_a_server):
    for seed in range(5):
        add(on_a_server, seed)
    add(on_a_server, 5, duration=30.0)  # more vectors than one refresh adds
    on_a_server.refresh()
    on_a_server.tidy()
    assert on_a_server.levels[Kind.RECORDING].searched == 6
