"""The index in Milvus: one process fills it for all, and a lost collection is restored from the catalogue."""

from __future__ import annotations

import secrets
import subprocess
import sys
import threading

import numpy as np
import pytest
from pymilvus import MilvusException
from support import toy
from support.children import environment

from songprint.address import MilvusAddress
from songprint.config import Settings
from songprint.errors import LibraryError, MissingExtra, SettingsError
from songprint.kinds import open_store
from songprint.store.index import milvus, segment_ids, split_ids
from songprint.store.store import Store
from songprint.types import Embeddings, Kind, Tags

BOTH = pytest.mark.parametrize("address", ["lite", pytest.param("server", marks=pytest.mark.heavy)], indirect=True)


@pytest.fixture
def address(request, tmp_path):
    """The setting `index`."""
    return f"milvus:{tmp_path}/vectors.db" if request.param == "lite" else request.getfixturevalue("milvus_server")


def opened(folder, address: str, database: str = "", encoder: str = "toy-1") -> Store:
    settings = Settings(index=address, database=database)
    return open_store(folder, create=True, encoder=toy.ToyEncoder(encoder), settings=settings)


def put(store: Store, seed: int) -> int:
    made = toy.ToyEncoder().encode(toy.song(seed))
    return store.catalog.add(
        tags=Tags(f"Song {seed}"),
        duration=5,
        source=f"/{seed}.wav",
        content_hash=str(seed),
        embeddings={Kind.RECORDING: made},
    ).id


def index_of(store: Store) -> milvus.MilvusIndex:
    return store.levels[Kind.RECORDING].index


def nearest(store: Store, seed: int) -> int:
    """Return the recording that most segments of a song find."""
    ids, _ = index_of(store).search(toy.ToyEncoder().encode(toy.song(seed)).vectors, k=1)
    return int(np.bincount(split_ids(ids[:, 0])[0]).argmax())


@BOTH
def test_milvus_searches_a_library_and_restores_a_lost_collection(tmp_path, address, monkeypatch):
    with opened(tmp_path / "library", address) as store:
        store.refresh()  # an empty library needs no server
        ids = [put(store, seed) for seed in range(4)]
        store.catalog.remove([ids.pop(1)])
        store.refresh()
        index = index_of(store)
        assert index.shared and index.recording_ids() == set(ids)
        assert len(index) == 3 * 9 and store.stats().levels[0].index.startswith("Milvus")
        assert [nearest(store, seed) for seed in (0, 2, 3)] == ids
        index._client.drop_collection(index.collection)
        with pytest.raises(LibraryError, match=r"Milvus at milvus:.* reports: .*"):
            nearest(store, 0)
        store.refresh()
        assert [nearest(store, seed) for seed in (0, 2, 3)] == ids
        index._client.drop_collection(index.collection)
        store.rebuild()
        assert [nearest(store, seed) for seed in (0, 2, 3)] == ids
    with opened(tmp_path / "library", address) as store:  # the collection still exists
        monkeypatch.setattr(milvus.MilvusIndex, "add", lambda *given: pytest.fail("filled again"))
        store.refresh()
        assert [nearest(store, seed) for seed in (0, 2, 3)] == ids


@BOTH
@pytest.mark.heavy
def test_a_partly_written_recording_is_written_again(tmp_path, address):
    with opened(tmp_path / "library", address) as store:
        recording = put(store, 1)
        index = index_of(store)
        index.remove([recording])
        vectors = toy.ToyEncoder().encode(toy.song(1)).vectors
        index.add(segment_ids(recording, np.arange(9)), vectors)
        index._client.delete(index.collection, filter="segments > 0")  # as if the last row was never written
        assert index.recording_ids() == set()
        assert store.levels[Kind.RECORDING].rebuild(store.catalog.state())
        assert index.recording_ids() == {recording} and len(index) == 9
        found, scores = index.search(vectors, k=9)
        assert sorted(found[0].tolist()) == segment_ids(recording, np.arange(9)).tolist()  # no duplicates
        assert (scores[:, 0] > 0.99).all()


@BOTH
@pytest.mark.heavy
def test_a_broken_request_is_repeated_without_duplicates(tmp_path, address, random, monkeypatch):
    pauses, failures = [], [False, True, False, True]
    index = milvus.MilvusIndex(MilvusAddress.parse(address), milvus.collection_name(secrets.token_hex(4), "toy"), 16)
    write = index._client.upsert if index.address.lite else index._client.insert

    def broken(*given, **more):
        if failures and failures.pop(0):
            raise MilvusException(message="connection lost")
        return write(*given, **more)

    monkeypatch.setattr(index._client, "upsert" if index.address.lite else "insert", broken)
    monkeypatch.setattr(milvus, "REQUEST_BYTES", 40 * milvus._row_bytes(16))
    monkeypatch.setattr(milvus, "LITE_ROWS", 40)
    monkeypatch.setattr("songprint.store.index.milvus.time.sleep", pauses.append)
    vectors = random.standard_normal((100, 16)).astype(np.float32)
    ids = np.concatenate([segment_ids(recording, np.arange(20)) for recording in range(1, 6)])
    index.add(ids, vectors)
    assert len(pauses) == 2 and pauses[0] < pauses[1]
    assert index.recording_ids() == {1, 2, 3, 4, 5} and len(index) == 100
    found, _ = index.search(vectors[:4], k=120)
    assert [sorted(row[row >= 0].tolist()) for row in found] == [ids.tolist()] * 4
    index.close()


@BOTH
@pytest.mark.heavy
def test_the_collection_of_an_unused_encoder_is_dropped(tmp_path, address):
    with opened(tmp_path / "library", address) as store:
        recording = put(store, 1)
        store.refresh()
        old = index_of(store).collection
    vectors = np.eye(4, toy.DIM, dtype=np.float32)
    with opened(tmp_path / "library", address, encoder="toy-2") as store:
        store.catalog.add_embeddings(recording, {Kind.RECORDING: Embeddings(vectors, 0.5, "toy-2")})
        store.catalog.adopt(Kind.RECORDING, "toy-2")
        store.rebuild()
        assert index_of(store).collection != old and len(index_of(store)) == 4
        names = index_of(store)._client.list_collections()
        assert index_of(store).collection in names and old not in names


@pytest.mark.heavy
@pytest.mark.parametrize("address", ["server"], indirect=True)
def test_one_of_several_machines_fills_the_index_for_all(tmp_path, database_url, address, monkeypatch):
    added: list[int] = []
    write = milvus.MilvusIndex.add

    def recorded(index, ids, vectors):
        added.extend(np.unique(split_ids(ids)[0]).tolist())
        write(index, ids, vectors)

    monkeypatch.setattr(milvus.MilvusIndex, "add", recorded)
    # A SQLite file means one machine with three processes; a server means three machines.
    folders = [tmp_path / ("library" if not database_url else str(number)) for number in range(3)]
    stores = [opened(folder, address, database_url) for folder in folders]
    ids = [put(stores[0], seed) for seed in range(6)]
    monkeypatch.setattr("songprint.store.level.PATIENCE", 60.0)
    threads = [threading.Thread(target=store.refresh) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(added) == ids
    for store in stores:
        assert index_of(store).recording_ids() == set(ids) and nearest(store, 4) == ids[4]
    stores[1].catalog.remove([ids[4]])
    late = put(stores[2], 9)
    for store in stores:
        store.refresh()
        assert index_of(store).recording_ids() == {*ids, late} - {ids[4]} and nearest(store, 9) == late
    assert sorted(added) == [*ids, late]
    for store in stores:
        store.close()


@pytest.mark.heavy
@pytest.mark.parametrize("address", ["server"], indirect=True)
def test_searches_use_the_present_content_while_another_process_fills_the_index(tmp_path, address, monkeypatch):
    monkeypatch.setattr("songprint.store.level.PATIENCE", 0.1)
    with opened(tmp_path / "library", address) as store, opened(tmp_path / "library", address) as other:
        first = put(store, 1)
        store.refresh()
        with store.catalog.database.lock("index-recording") as locked:
            second = put(store, 2)
            other.refresh()
            assert locked and nearest(other, 1) == first and index_of(other).recording_ids() == {first}
        other.refresh()
        assert nearest(other, 2) == second


@pytest.mark.heavy
@pytest.mark.parametrize("address", ["lite"], indirect=True)
def test_a_second_process_cannot_open_milvus_lite(tmp_path, address):
    with opened(tmp_path / "library", address) as store:
        put(store, 1)
        store.refresh()
        program = (
            "from songprint.store.index import milvus; from songprint.address import MilvusAddress; import sys\n"
            "try: milvus.connect(MilvusAddress.parse(sys.argv[1]))\nexcept Exception as error: print(error)"
        )
        result = subprocess.run(
            [sys.executable, "-c", program, address], env=environment(), text=True, capture_output=True, timeout=100
        )
    assert "Only one process at a time can use it. For several, run a Milvus server" in result.stdout


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ("faiss", "leave it empty for the index in the library folder"),
        ("milvus:", "leave it empty"),
        ("milvus:s3cret", r"neither a web address nor a path that ends in \.db"),
        ("milvus:http://me:s3cret@host:port", "port or brackets"),
        ("milvus:tcp://me:s3cret@host", "neither a web address"),
        ("milvus:http://me:s3cret@host?method=flat", "method must be one of ivf_sq8, hnsw"),
        ("milvus:http://me:s3cret@host?shards=many", "shards must be a number"),
        ("milvus:http://me:s3cret@host?cells=1", "unknown option 'cells'"),
    ],
)
def test_an_invalid_address_is_refused_without_showing_it(setting, why):
    with pytest.raises(SettingsError, match=why) as caught:
        Settings(index=setting)
    assert "s3cret" not in str(caught.value)


def test_an_address_is_shown_without_its_password():
    address = MilvusAddress.parse("milvus:https://me:s3cret%21@[::1]")
    assert (str(address), address.token, address.lite) == ("milvus:https://[::1]:19530", "me:s3cret!", False)
    assert "s3cret" not in repr(address) + repr(Settings(index="milvus:http://me:s3cret@host"))
    assert MilvusAddress.parse("milvus:~/x.db").lite
    sized = MilvusAddress.parse("milvus:http://host:1?shards=4&replicas=2&method=hnsw&ef=300")
    assert (sized.uri, sized.shards, sized.replicas, sized.method, sized.ef) == ("http://host:1", 4, 2, "hnsw", 300)


def test_the_cells_follow_from_the_rows_of_the_library_and_of_a_full_segment():
    assert [milvus.cells(rows, 40) for rows in (0, 480_000, 1_000_000, 10**9)] == [1024, 2048, 4096, 4096]
    assert milvus.cells(10**9, 4000) == 1024  # a segment of such vectors has 33,000 rows


def test_an_unreachable_server_and_a_missing_client_are_reported(tmp_path, monkeypatch):
    with opened(tmp_path / "library", "milvus:http://me:s3cret@127.0.0.1:1") as store:
        put(store, 1)
        message = r"no Milvus server answers at milvus:http://127.0.0.1:1\. Check that it is running"
        with pytest.raises(LibraryError, match=message) as caught:
            store.refresh()
        assert "s3cret" not in str(caught.value)
        monkeypatch.setitem(sys.modules, "pymilvus", None)
        with pytest.raises(MissingExtra, match=r"pip install 'songprint\[milvus\]'"):
            store.refresh()
