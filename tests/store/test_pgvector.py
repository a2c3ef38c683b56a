"""The index in PostgreSQL: complete after breaks, one request a query, and errors that explain what to do."""

from __future__ import annotations

import secrets
from dataclasses import replace

import numpy as np
import pg8000.core
import pytest
from support import toy
from support.servers import command, url_of

from songprint.address import DatabaseAddress, PgvectorAddress
from songprint.config import Settings
from songprint.errors import LibraryError, SettingsError
from songprint.kinds import open_store
from songprint.store.index import pgvector, segment_ids, split_ids
from songprint.store.index.pgvector import PgvectorIndex, table_name
from songprint.store.store import Store
from songprint.types import Embeddings, Kind, Tags

DIM = 16


@pytest.fixture
def url(pgvector_server):
    """A database of its own, with a superuser."""
    server, name = DatabaseAddress.parse(pgvector_server), f"songprint_{secrets.token_hex(6)}"
    command(server, f"CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE template0")
    yield url_of(replace(server, name=name))
    command(server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def index(url):
    index = opened(url)
    yield index
    index.close()


def opened(url: str, encoder: str = "toy-1") -> PgvectorIndex:
    return PgvectorIndex(PgvectorAddress.parse(url), table_name("0" * 16, encoder), DIM)


def store_at(folder, index: str, database: str = "", encoder: str = "toy-1") -> Store:
    settings = Settings(index=index, database=database)
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


def nearest(store: Store, seed: int) -> int:
    """Return the recording that most segments of a song find."""
    ids, _ = store.levels[Kind.RECORDING].index.search(toy.ToyEncoder().encode(toy.song(seed)).vectors, k=1)
    return int(np.bincount(split_ids(ids[:, 0])[0]).argmax())


def some(random, recording: int, count: int = 20) -> tuple[np.ndarray, np.ndarray]:
    vectors = random.standard_normal((count, DIM)).astype(np.float32)
    return segment_ids(recording, np.arange(count)), vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def tables(url: str) -> set[str]:
    found = command(DatabaseAddress.parse(url), "SELECT relname FROM pg_class WHERE relname LIKE 'songprint%'")
    return {name for (name,) in found if not name.endswith("_pkey")}


def test_one_server_has_the_catalogue_and_the_index_and_restores_lost_tables(tmp_path, url, monkeypatch):
    with store_at(tmp_path / "library", "pgvector", url) as store:
        store.refresh()  # an empty library needs no tables
        ids = [put(store, seed) for seed in range(4)]
        store.catalog.remove([ids.pop(1)])
        store.refresh()
        index = store.levels[Kind.RECORDING].index
        assert index.shared and index.recording_ids() == set(ids) and len(index) == 3 * 9
        stats = store.stats().levels[0]
        assert stats.index == "pgvector exact" and stats.index_bytes > 0
        assert [nearest(store, seed) for seed in (0, 2, 3)] == ids
        command(DatabaseAddress.parse(url), f"DROP TABLE {index.table}, {index.table}_r")
        with pytest.raises(LibraryError, match=r"the index in the PostgreSQL database .* does not exist"):
            nearest(store, 0)
        store.refresh()
        assert [nearest(store, seed) for seed in (0, 2, 3)] == ids
        store.rebuild()
        assert [nearest(store, seed) for seed in (0, 2, 3)] == ids
    with store_at(tmp_path / "library", "pgvector", url) as store:  # the tables still exist
        monkeypatch.setattr(PgvectorIndex, "add", lambda *given: pytest.fail("filled again"))
        store.refresh()
        assert [nearest(store, seed) for seed in (0, 2, 3)] == ids


def test_the_tables_of_an_unused_encoder_are_dropped(tmp_path, url):
    with store_at(tmp_path / "library", url) as store:
        recording = put(store, 1)
        store.refresh()
        old = store.levels[Kind.RECORDING].index.table
    with store_at(tmp_path / "library", url, encoder="toy-2") as store:
        vectors = np.eye(4, toy.DIM, dtype=np.float32)
        store.catalog.add_embeddings(recording, {Kind.RECORDING: Embeddings(vectors, 0.5, "toy-2")})
        store.catalog.adopt(Kind.RECORDING, "toy-2")
        store.rebuild()
        new = store.levels[Kind.RECORDING].index.table
    assert old != new and tables(url) == {new, f"{new}_r"}


def test_all_vectors_of_a_query_are_searched_in_one_request(index, random, monkeypatch):
    ids, vectors = some(random, 3, 60)
    index.add(ids, vectors)
    sent, flush = [], pg8000.core._flush
    monkeypatch.setattr(pg8000.core, "_flush", lambda sock: (sent.append(sock), flush(sock)))
    found, scores = index.search(vectors, k=4)
    assert len(sent) == 1
    assert found[:, 0].tolist() == ids.tolist() and (scores[:, 0] > 0.999).all()
    assert np.allclose(scores, np.sort(vectors @ vectors.T, axis=1)[:, ::-1][:, :4], atol=2e-3)


@pytest.mark.parametrize("method", ["hnsw", "ivfflat"])
def test_a_large_table_gets_a_vector_index(url, random, monkeypatch, method):
    monkeypatch.setattr(pgvector, "EXACT_ROWS", 500)
    monkeypatch.setattr(pgvector, "GROWTH", 0.9)
    index = opened(f"{url}?method={method}&probes=50&ef_search=150")
    try:
        parts = {recording: some(random, recording, 200) for recording in range(1, 4)}
        for part in parts.values():
            index.add(*part)
        index.settle()
        assert index.kind == {"hnsw": "pgvector HNSW", "ivfflat": "pgvector IVFFlat, 128 lists"}[method]
        ids, vectors = parts[2]
        assert index.search(vectors, k=3)[0][:, 0].tolist() == ids.tolist()
        index.remove([1, 3])
        found, scores = index.search(vectors[:5], k=150)  # dead rows do not count
        assert set(found.ravel().tolist()) <= set(ids.tolist()) and (scores[:, 140] > -1).all()
        steps = index._search_statement(vectors[:2], 3).split("; ")
        plan = index._read("; ".join([*steps[:-2], f"EXPLAIN {steps[-2]}", "COMMIT"]))
        assert "vector_idx" in str(plan)
        before = index._present.index
        index.add(*parts[1])
        index.add(*parts[3])
        index.settle()
        assert (index._present.index == before) == (method == "hnsw")  # IVFFlat is built again for more rows
    finally:
        index.close()


def test_the_vector_index_follows_the_number_of_rows_and_the_memory(index):
    assert [index._method(rows) for rows in (20_000, 20_001, 4_000_000, 5_000_000)] == ["", "hnsw", "hnsw", "ivfflat"]
    assert [pgvector._lists(rows) for rows in (1, 65_536, 10**9)] == [64, 1024, 2048]


def test_a_break_while_a_recording_is_written_leaves_nothing_of_it(index, random, monkeypatch):
    first, second = some(random, 1), some(random, 2)
    index.add(*first)
    copy = pgvector._copy

    def broken(cursor, target, columns):
        if "_r (" in target:
            raise OSError("broken")
        copy(cursor, target, columns)

    with monkeypatch.context() as patched:
        patched.setattr(pgvector, "_copy", broken)
        patched.setattr(pgvector, "ATTEMPTS", 1)
        with pytest.raises(LibraryError, match="lost the connection to the PostgreSQL server"):
            index.add(*second)
    assert index.recording_ids() == {1} and len(index) == 20
    found, _ = index.search(second[1], k=30)
    assert set(split_ids(found[found >= 0])[0].tolist()) == {1}
    index.add(*second)
    index.add(*second)  # again: no duplicates
    assert index.recording_ids() == {1, 2} and len(index) == 40
    assert (index.search(second[1], k=60)[0] >= 0).sum(axis=1).tolist() == [40] * 20


def test_broken_connections_are_replaced(url, index, random):
    end = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    ids, vectors = some(random, 1)
    command(DatabaseAddress.parse(url), end)
    index.add(ids, vectors)
    command(DatabaseAddress.parse(url), end)
    assert index.search(vectors, k=1)[0].ravel().tolist() == ids.tolist()


def test_a_server_that_stays_away_is_reported(url, index, random, monkeypatch):
    ids, vectors = some(random, 1)
    pauses = []
    index._server.address = replace(index._server.address, port=1, password="s3cret")
    monkeypatch.setattr("time.sleep", pauses.append)
    index._server._engine.dispose()
    with pytest.raises(
        LibraryError, match=r"no PostgreSQL server answers at 127\.0\.0\.1:1 .*setting `index`"
    ) as caught:
        index.search(vectors, k=1)
    assert not pauses and "s3cret" not in str(caught.value)  # a query does not wait
    with pytest.raises(LibraryError, match="no PostgreSQL server answers"):
        index.add(ids, vectors)
    assert len(pauses) == pgvector.ATTEMPTS - 2


def test_a_user_without_rights_learns_what_to_run(url):
    address = DatabaseAddress.parse(url)
    command(address, "DROP EXTENSION IF EXISTS vector CASCADE")
    user = f"reader_{secrets.token_hex(4)}"
    command(address, f"CREATE ROLE {user} LOGIN")
    plain = url_of(replace(address, user=user))
    with pytest.raises(LibraryError, match=r"may not create the extension pgvector .* Run .*: CREATE EXTENSION vector"):
        opened(plain)
    command(address, "CREATE EXTENSION vector")
    with pytest.raises(LibraryError, match=rf"lacks rights .* GRANT CREATE ON SCHEMA public TO \"{user}\""):
        opened(plain)
    command(address, f"GRANT CREATE ON SCHEMA public TO {user}")
    opened(plain).close()


class Answering:
    """A cursor that answers with the same rows."""

    def __init__(self, *rows):
        self.rows = rows

    def execute(self, statement):
        """Accept any statement."""

    def fetchall(self):
        return self.rows


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ((), r"lacks the extension pgvector\. Install it there"),
        ((("0.6.2", "0.6.2"),), r"has pgvector 0\.6\.2; Songprint needs 0\.7 or newer"),
    ],
)
def test_a_missing_or_old_extension_is_reported(rows, message):
    address = PgvectorAddress.parse("postgresql://me:s3cret@host/music")
    with pytest.raises(LibraryError, match=message) as caught:
        pgvector._create_extension(Answering(*rows), address)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "database", "why"),
    [
        ("pgvector", "", "the database of the catalogue: set `database` to postgresql"),
        ("pgvector", "mysql://me:s3cret@host/music", "which is not PostgreSQL"),
        ("pgvector?tls=on", "postgresql://me:s3cret@host/music", "unknown option 'tls'"),
        ("postgresql://me:s3cret@host", "", "no database name"),
        ("postgresql://me:s3cret@host/music?method=flat", "", "method must be one of auto, hnsw, ivfflat"),
        ("postgresql://me:s3cret@host/music?probes=many", "", "probes must be a number"),
        ("postgresql://me:s3cret@host/music?s3cret", "", "options .* cannot be read"),
    ],
)
def test_an_invalid_address_is_refused_without_showing_it(setting, database, why):
    with pytest.raises(SettingsError, match=why) as caught:
        Settings(index=setting, database=database)
    assert "s3cret" not in str(caught.value)


def test_an_address_contains_options_of_the_connection_and_of_the_search():
    address = PgvectorAddress.parse("postgres://me:s3cret@db/music?tls=on&method=hnsw&ef_search=200&build_memory=9000")
    assert address.database.tls == "on" and (address.method, address.ef_search, address.probes) == ("hnsw", 200, 0)
    assert address.build_memory == 9000
    assert str(address) == "pgvector at postgresql://me@db:5432/music" and "s3cret" not in repr(address)
    own = Settings(index="pgvector?probes=7", database="postgresql://me@db/music").index_address
    assert own == PgvectorAddress(DatabaseAddress.parse("postgresql://me@db/music"), probes=7)
