"""A catalogue on a database server: concurrent processes and machines, and text in every language."""

from __future__ import annotations

import logging
import threading
import time
from itertools import pairwise

import numpy as np
import pytest
from sqlalchemy import text
from support import servers, toy
from support.commandline import run
from support.recordings import add

import songprint
from songprint.address import DatabaseAddress
from songprint.config import Settings
from songprint.errors import LibraryError, LibraryVersionError
from songprint.kinds import open_store
from songprint.store import schema, tables
from songprint.store.catalog import Catalog
from songprint.store.database import server
from songprint.store.store import Store
from songprint.types import Embeddings, Kind, Tags

# Concurrent use


@servers.ON_SERVERS
def test_both_transactions_of_a_deadlock_succeed_in_the_end(tmp_path, database_url, caplog):
    caplog.set_level(logging.INFO, logger="songprint")  # an earlier test may have changed it
    with servers.opened(tmp_path, database_url, create=True) as catalog:
        with catalog.database.writing() as connection:
            connection.execute(text("CREATE TABLE pairs (id INTEGER PRIMARY KEY, number INTEGER)"))
        with catalog.database.writing() as connection:
            connection.execute(text("INSERT INTO pairs VALUES (1, 0), (2, 0)"))
        both_have_one = threading.Barrier(2)

        def add_one(order: tuple[int, int]) -> None:
            first_try = [True]

            def work(connection) -> None:
                for row in order:
                    connection.execute(text("UPDATE pairs SET number = number + 1 WHERE id = :row"), {"row": row})
                    if first_try:
                        first_try.clear()
                        both_have_one.wait(10)

            catalog.database.write(work)

        threads = [threading.Thread(target=add_one, args=[order]) for order in ((1, 2), (2, 1))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with catalog.database.reading() as connection:
            assert connection.scalars(text("SELECT number FROM pairs")).all() == [2, 2]
    assert "deadlock with other transactions" in caplog.text


@servers.ON_SERVERS
def test_waiting_too_long_for_another_writer_is_an_error(tmp_path, database_url, random):
    with (
        servers.opened(tmp_path, database_url, create=True) as catalog,
        servers.opened(tmp_path, database_url, busy_timeout=1) as hasty,
        catalog.database.writing() as connection,
    ):
        connection.execute(tables.library.update().values(revision=1))
        with pytest.raises(LibraryError, match=r"another process keeps the library at .* busy. Try again"):
            add(hasty, random)


def test_the_content_of_a_revision_never_changes(catalog, tmp_path, database_url):
    """Every reader of a revision sees all additions and removals up to it, whatever other writers do."""
    stop, seen = threading.Event(), {}

    def until_read() -> None:
        for _ in range(3000):
            if catalog.state().revision in seen:
                return
            time.sleep(0.01)

    # All writers pause after each round until a reader has read the state. Otherwise readers might miss most states.
    round_written = threading.Barrier(4, action=until_read)

    def write(seed: int) -> None:
        with servers.opened(tmp_path / "library", database_url) as own:
            random = np.random.default_rng(seed)
            for number in range(8):
                added = add(own, random, f"{seed}-{number}", count=2)
                if number % 3 == 2:
                    own.remove([added.id])
                round_written.wait(timeout=60)

    def read() -> None:
        with servers.opened(tmp_path / "library", database_url) as own:
            while not stop.is_set():
                before, searched, after = own.state(), frozenset(own.searched(Kind.RECORDING)), own.state()
                if before == after:
                    assert seen.setdefault(before.revision, searched) == searched

    failed: list[BaseException] = []
    writers = [threading.Thread(target=guarded, args=(write, failed, seed)) for seed in range(4)]
    readers = [threading.Thread(target=guarded, args=(read, failed)) for _ in range(2)]
    for thread in writers + readers:
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    for thread in readers:
        thread.join()
    assert not failed
    assert catalog.state().revision == 4 * 8 + 4 * 2
    assert len(catalog.searched(Kind.RECORDING)) == 4 * 6
    revisions = sorted(seen)
    assert len(revisions) >= 8
    for earlier, later in pairwise(revisions):
        new = seen[later] - seen[earlier]
        # Ids grow in the order in which recordings become visible.
        assert not new or not seen[earlier] or min(new) > max(seen[earlier])


def guarded(work, failed: list[BaseException], *arguments: object) -> None:
    try:
        work(*arguments)
    except BaseException as error:
        failed.append(error)


def test_a_named_lock_has_one_holder_at_a_time(catalog, tmp_path, database_url):
    with servers.opened(tmp_path / "library", database_url) as other:
        with (
            catalog.database.lock("index") as first,
            other.database.lock("index") as second,
            other.database.lock("something else") as third,
        ):
            assert (first, second, third) == (True, False, True)
        with other.database.lock("index", wait=5) as locked:
            assert locked


# Text and tables


def test_text_comparison_is_exact(catalog, random):
    first = add(catalog, random, "A", work="Hello")
    add(catalog, random, "B", work="hello")
    add(catalog, random, "C", work="Héllo")
    assert [each.id for each in catalog.recordings_of(["Hello"])] == [first.id]
    made = Embeddings(np.eye(2, dtype=np.float32), 0.5, "toy-1")
    for content_hash in ("hash", "HASH"):
        catalog.add(tags=Tags("D"), duration=1, source="", content_hash=content_hash, embeddings={Kind.RECORDING: made})
    assert catalog.totals().recordings == 5
    assert catalog.known("hash") != catalog.known("HASH") and catalog.known("Hash") is None


@pytest.mark.parametrize(
    "title",
    [
        "100%",
        "under_score",
        "back\\slash",
        "sla/sh",
        "quo'te",
        'quo"te',
        "🎵 note",
        "per%cent_and\\more",
        "%s",
        ":name",
        "ÀÉÎ",
        "ΑΒΓ",
        "ЯБЛОКО",
    ],
)
def test_search_treats_every_character_literally(database_url, tmp_path, random, title):
    with servers.opened(tmp_path / "library", database_url, create=True) as catalog:
        added = add(catalog, random, title)
        add(catalog, random, "unrelated")
        assert catalog.recordings(title) == catalog.recordings(title.lower()) == [added]
        assert catalog.recordings("100_") == catalog.recordings("a%z") == []


def test_long_texts_are_stored_completely(catalog, random):
    artists, source = tuple(f"Artist {number} é" for number in range(8000)), "/" + "x" * 70_000
    added = catalog.add(
        tags=Tags("A", artists),
        duration=1,
        source=source,
        content_hash="h",
        embeddings={Kind.RECORDING: Embeddings(np.eye(2, dtype=np.float32), 0.5, "toy-1")},
    )
    assert catalog.recording(added.id).artists == artists and catalog.recording(added.id).source == source


def test_every_table_compares_text_exactly(tmp_path):
    with servers.new_database("mariadb") as url, servers.opened(tmp_path, url, create=True):
        rows = servers.command(
            DatabaseAddress.parse(url),
            "SELECT table_name, table_collation, engine FROM information_schema.tables WHERE table_schema = DATABASE()",
        )
        assert len(rows) >= 4
        assert {(collation, engine) for _, collation, engine in rows} == {("utf8mb4_bin", "InnoDB")}


@servers.ON_SERVERS
def test_an_interrupted_creation_of_the_tables_continues_later(tmp_path, database_url, monkeypatch):
    shipped = list(schema.MIGRATIONS)

    def half(connection):
        tables.library.create(connection)
        tables.encoders.create(connection)
        raise RuntimeError("the power fails")

    monkeypatch.setattr(schema, "MIGRATIONS", [half, *shipped[1:]])
    with pytest.raises(RuntimeError):
        Catalog(tmp_path, create=True, database=database_url)
    monkeypatch.setattr(schema, "MIGRATIONS", shipped)
    with servers.opened(tmp_path, database_url, create=True) as catalog:
        assert catalog.state().schema_version == len(shipped) and catalog.problems() == []


@servers.ON_SERVERS
def test_one_of_several_processes_migrates_an_older_library(tmp_path, database_url, monkeypatch, random):
    runs = []

    def add_mood(connection):
        runs.append(1)
        connection.execute(text("ALTER TABLE recordings ADD COLUMN mood VARCHAR(20) NOT NULL DEFAULT 'calm'"))

    with servers.opened(tmp_path, database_url, create=True) as catalog:
        add(catalog, random)
    monkeypatch.setattr(schema, "MIGRATIONS", [*schema.MIGRATIONS, add_mood])
    failed: list[BaseException] = []

    def open_library() -> None:
        with servers.opened(tmp_path, database_url) as catalog:
            assert catalog.state().schema_version == len(schema.MIGRATIONS)

    threads = [threading.Thread(target=guarded, args=(open_library, failed)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed and runs == [1]


@servers.ON_SERVERS
def test_a_newer_library_on_a_server_is_refused(tmp_path, database_url):
    with servers.opened(tmp_path, database_url, create=True) as catalog, catalog.database.writing() as connection:
        connection.execute(tables.library.update().values(schema_version=99))
    with pytest.raises(LibraryVersionError, match=r"cannot open the library at \w+://songprint@.* schema version 99"):
        Catalog(tmp_path, database=database_url)


# Two machines that share a database


def machine(folder, url: str, **settings) -> Store:
    return open_store(folder, create=True, encoder=toy.ToyEncoder(), settings=Settings(database=url, **settings))


def put(store: Store, seed: int) -> int:
    made = toy.ToyEncoder().encode(toy.song(seed, 20.0))
    return store.catalog.add(
        tags=Tags(f"Song {seed}"),
        duration=20.0,
        source=f"/{seed}.wav",
        content_hash=str(seed),
        embeddings={Kind.RECORDING: made},
    ).id


def indexed(store: Store) -> set[int]:
    store.refresh()
    return store.levels[Kind.RECORDING].index.recording_ids()


@servers.ON_SERVERS
def test_machines_that_share_a_database_update_their_own_indexes(tmp_path, database_url):
    with (
        machine(tmp_path / "one", database_url) as one,
        machine(tmp_path / "two", database_url, exact_limit=100) as two,
    ):
        ids = [put(one, seed) for seed in range(5)]
        assert indexed(two) == set(ids)
        two.tidy()
        two.refresh()  # opens the files
        assert two.stats().index_bytes > 0 and one.stats().index_bytes == 0
        one.catalog.remove([ids[1]])
        ids.append(put(two, 9))
        assert indexed(one) == indexed(two) == set(ids) - {ids[1]}
        assert one.stats().database.endswith(f" at {DatabaseAddress.parse(database_url)}")


@servers.ON_SERVERS
def test_a_folder_keeps_the_indexes_of_two_libraries_apart(tmp_path, database_url):
    with machine(tmp_path / "one", database_url, exact_limit=100) as first:
        for seed in range(5):
            put(first, seed)
        first.tidy()
    kind = {"mysql": "mariadb"}.get(DatabaseAddress.parse(database_url).scheme, "postgresql")
    with servers.new_database(kind) as other, machine(tmp_path / "one", other, exact_limit=100) as second:
        assert indexed(second) == set()
        added = put(second, 7)
        assert indexed(second) == {added}
        second.rebuild()
    with machine(tmp_path / "one", database_url, exact_limit=100) as first:
        assert first.stats().index_bytes > 0


@servers.ON_SERVERS
def test_only_one_machine_reencodes_at_a_time(tmp_path, database_url):
    with (
        machine(tmp_path / "one", database_url) as one,
        machine(tmp_path / "two", database_url) as two,
        one.exclusive() as first,
        two.exclusive() as second,
    ):
        assert first and not second


@servers.ON_SERVERS
def test_a_library_on_a_server_works_like_any_other(tmp_path, songs, query, database_url):
    settings = Settings(library=tmp_path / "library", database=database_url)
    encoder = toy.CalibratedToyEncoder()
    with songprint.open(settings=settings, create=True, encoder=encoder) as library:
        assert len(library.add(songs, workers=1).added) == 5
        assert library.add(songs[0]).known
        [match] = library.identify(query).matches
        assert match.recording.title == "Song 03"
        library.remove(match.recording.id)
        assert not library.identify(query)
        assert library.rebuild().reencoded == 0
        stats = library.stats()
        assert stats.recordings == 4 and stats.catalogue_bytes > 4096 and "for tests" not in str(stats)
    assert not list((tmp_path / "library").glob("*.sqlite"))


@servers.ON_SERVERS
@pytest.mark.usefixtures("toy_command")
def test_the_command_line_uses_a_server_and_never_shows_the_password(
    songs, query, database_url, monkeypatch, caplog, tmp_path
):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("SONGPRINT_DATABASE", database_url)
    monkeypatch.setenv("SONGPRINT_INDEX", f"milvus:{tmp_path}/vectors.db")
    results = [
        run("doctor"),
        run("add", *songs[:4]),
        run("--verbose", "identify", query),
        run("stats"),
        run("stats", "--json"),
        run("doctor", "--json"),
        run("doctor"),
    ]
    assert "✗ library: no library in" in results[0].stdout  # but a temporary one was created
    assert "✓ known recording" in results[0].stdout
    assert [result.exit_code for result in results[1:]] == [0] * 6, [result.output for result in results]
    assert "Song 03" in results[2].stdout and "Milvus Lite" in results[3].stdout
    server = str(DatabaseAddress.parse(database_url))
    assert f" at {server}" in results[3].stdout
    for line in (
        f"✓ library: {server} contains 4 recordings",
        "✓ database: intact (",
        f"Milvus Lite at milvus:{tmp_path}",
    ):
        assert line in results[6].stdout
    assert "✓ pymilvus: version" in results[6].stdout
    monkeypatch.setenv("SONGPRINT_DATABASE", servers.changed(database_url, password="s3cret"))
    results.append(run("list"))
    assert results[-1].exit_code == 2
    shown = "".join(result.output for result in results) + caplog.text
    assert "for tests" not in shown and "for%20tests" not in shown and "s3cret" not in shown


def test_a_process_opens_a_limited_number_of_connections(tmp_path, monkeypatch):
    monkeypatch.setattr(server, "IDLE_CONNECTIONS", 1)
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 2)
    with (
        servers.new_database("postgresql") as url,
        servers.opened(tmp_path, url, create=True, busy_timeout=0.5) as catalog,
        catalog.database.reading(),
        catalog.database.reading(),
        pytest.raises(LibraryError, match="all 2 connections of this process"),
    ):
        catalog.state()
