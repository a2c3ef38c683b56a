"""A catalogue on a database server: what is special about MariaDB and PostgreSQL, and what goes wrong with servers."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import servers
import toy
from commandline import run
from recordings import add
from sqlalchemy import text

import songprint
from songprint import schema
from songprint.address import DatabaseAddress
from songprint.catalog import Catalog
from songprint.config import Settings
from songprint.database import server
from songprint.errors import LibraryError, LibraryNotFound, LibraryVersionError, MissingExtra, SettingsError
from songprint.store import Store
from songprint.types import Embeddings, Kind, Tags

ON_SERVERS = pytest.mark.parametrize("database_url", servers.KINDS[1:], indirect=True)


@contextmanager
def opened(folder, url, **more) -> Iterator[Catalog]:
    catalog = Catalog(folder, database=url, **more)
    try:
        yield catalog
    finally:
        catalog.close()


def changed(url: str, **parts: object) -> str:
    return servers.url_of(replace(DatabaseAddress.parse(url), **parts))


# Addresses

@pytest.mark.parametrize(("url", "shown"), [
    ("mysql://me:s3cret@db/music", "mysql://me@db:3306/music"),
    ("mariadb://me:s3cret@db:3307/music", "mysql://me@db:3307/music"),
    ("postgres://me:s3cret%40%2F@[::1]/music?tls=verify", "postgresql://me@[::1]:5432/music"),
    ("postgresql://me:s3cret@localhost/music?socket=/run/pg", "postgresql://me@/run/pg/music"),
])
def test_an_address_is_shown_without_its_password(url, shown):
    address = DatabaseAddress.parse(url)
    assert str(address) == shown
    assert address.password.startswith("s3cret")
    assert "s3cret" not in repr(address) + repr(Settings(database=url))


@pytest.mark.parametrize(("url", "why"), [
    ("sqlite:///s3cret", "no kind of database that Songprint knows; leave it empty for SQLite"),
    ("s3cret", "no kind of database"),
    ("mysql://me:s3cret@db", "no database after the host"),
    ("mysql://me:s3cret@db:port/music", "cannot be read"),
    ("mysql://me:s3cret@db/music?charset=latin1", "option 'charset' is not known; known are socket, tls, tls_ca"),
    ("postgresql://me:s3cret@db/music?tls=maybe", "must be one of off, on, verify"),
])
def test_an_address_that_will_not_do_is_refused_without_showing_it(url, why):
    with pytest.raises(SettingsError, match=why) as caught:
        Settings(database=url)
    assert "s3cret" not in str(caught.value) and "USER:PASSWORD@HOST/NAME" in str(caught.value)


# Encryption

@ON_SERVERS
def test_a_connection_is_encrypted_and_the_certificate_checked_as_wanted(tmp_path, database_url):
    certificate = os.environ.get("SONGPRINT_TEST_CERTIFICATE")
    if not certificate:
        pytest.skip("the servers have no certificate: `make test-databases` makes one")
    ask = "SHOW SESSION STATUS LIKE 'Ssl_cipher'" if database_url.startswith("mysql") else \
        "SELECT 'cipher', coalesce(cipher, '') FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    for options, encrypted in (("tls=off", False), ("tls=on", True), (f"tls=verify&tls_ca={certificate}", True)):
        with opened(tmp_path, f"{database_url}?{options}", create=True) as catalog, \
                catalog.database.reading() as connection:
            assert bool(connection.exec_driver_sql(ask).one()[1]) == encrypted
    with pytest.raises(LibraryError, match=r"(?i)certificate"):
        Catalog(tmp_path, database=f"{database_url}?tls=verify")             # nobody vouches for it
    with pytest.raises(LibraryError, match=r"cannot read the certificates in /nowhere"):
        Catalog(tmp_path, database=f"{database_url}?tls=verify&tls_ca=/nowhere")


# What goes wrong

@ON_SERVERS
def test_what_is_wrong_with_a_server_is_said_in_one_line_without_the_password(tmp_path, database_url):
    closed = socket.create_server(("127.0.0.1", 0))
    port = closed.getsockname()[1]
    closed.close()
    for url, said in [
        (changed(database_url, port=port), r"no database server answers at 127.0.0.1:\d+ .*Is it running"),
        (changed(database_url, password="s3cret"), "does not let the user 'songprint' in .*Are name and password"),
        (changed(database_url, user="nobody", password="s3cret"), "does not let the user 'nobody' in"),
        (changed(database_url, name="nowhere"), "there is no database 'nowhere' on the server .*CREATE DATABASE"),
    ]:
        with pytest.raises(LibraryError, match=said) as caught:
            Catalog(tmp_path, create=True, database=url)
        told = str(caught.value)
        assert "\n" not in told and "s3cret" not in told and "for tests" not in told


@ON_SERVERS
def test_a_server_that_hangs_up_or_never_answers_is_said(tmp_path, database_url, monkeypatch):
    monkeypatch.setattr(f"songprint.database.{server_module(database_url)}.CONNECT_TIMEOUT", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = changed(database_url, port=silent.getsockname()[1])
        with pytest.raises(LibraryError, match=r"no database server answers|broke off"):
            Catalog(tmp_path, create=True, database=url)
    with socket.create_server(("127.0.0.1", 0)) as rude:
        threading.Thread(target=lambda: rude.accept()[0].close()).start()
        with pytest.raises(LibraryError, match=r"no database server answers|broke off"):
            Catalog(tmp_path, create=True, database=changed(database_url, port=rude.getsockname()[1]))


def server_module(url: str) -> str:
    return "mariadb" if url.startswith("mysql") else "postgresql"


def test_a_driver_that_is_not_installed_is_named(tmp_path, monkeypatch):
    for package, url, extra in (("pymysql", "mysql://u:s3cret@localhost/x", "mysql"),
                                ("pg8000", "postgresql://u:s3cret@localhost/x", "postgresql")):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(MissingExtra, match=rf"needs the package {package}: pip install 'songprint\[{extra}\]'"):
            Catalog(tmp_path, database=url)


@ON_SERVERS
def test_an_empty_database_is_no_library_until_something_is_added(tmp_path, database_url):
    with pytest.raises(LibraryNotFound, match=r"no library in \w+://songprint@127.* add MUSIC"):
        Catalog(tmp_path, database=database_url)
    with opened(tmp_path, database_url, create=True):
        pass
    with opened(tmp_path / "another machine", database_url) as catalog:
        assert catalog.recordings() == []


@ON_SERVERS
def test_somebody_elses_tables_are_left_alone(tmp_path, database_url):
    for form in ("photographs (id INTEGER)", "library (id INTEGER)"):
        servers.command(DatabaseAddress.parse(database_url), f"CREATE TABLE {form}")
        with pytest.raises(LibraryError, match=r"not a Songprint catalogue\. Songprint needs a database of its own"):
            Catalog(tmp_path, create=True, database=database_url)


@ON_SERVERS
def test_a_user_without_rights_and_a_read_only_server_are_said(tmp_path, database_url, random):
    address = DatabaseAddress.parse(database_url)
    with opened(tmp_path, database_url, create=True) as catalog:
        recording = add(catalog, random)
    name = f"reader_{secrets.token_hex(4)}"
    maria = address.scheme == "mysql"
    user = f"{name}@'127.0.0.1'" if maria else name
    servers.command(address, f"CREATE USER {user} " + ("IDENTIFIED BY 's3cret'" if maria else "PASSWORD 's3cret'"))
    try:
        servers.command(address, f"GRANT SELECT ON {address.name}.* TO {user}" if maria
                        else f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {user}")
        with opened(tmp_path, changed(database_url, user=name, password="s3cret")) as catalog:
            assert catalog.recordings() == [recording]
            with pytest.raises(LibraryError, match=f"the user '{name}' lacks rights .*grant it all rights"):
                catalog.remove([recording.id])
            with pytest.raises(LibraryError, match="lacks rights"):
                add(catalog, random, "new")
    finally:
        servers.command(address, f"DROP OWNED BY {user}" if not maria else "SELECT 1")
        servers.command(address, f"DROP USER {user}")


def test_a_read_only_server_is_searched_and_not_changed(tmp_path, random):
    with servers.new_database("postgresql") as url:
        address = DatabaseAddress.parse(url)
        with opened(tmp_path, url, create=True) as catalog:
            recording = add(catalog, random)
        servers.command(address, f"ALTER DATABASE {address.name} SET default_transaction_read_only = on")
        with opened(tmp_path, url) as catalog:
            assert catalog.readonly and catalog.recordings() == [recording]
            with pytest.raises(LibraryError, match="is read-only: it can be searched, not changed"):
                catalog.remove([recording.id])


def test_a_recording_too_large_for_the_server_is_refused_with_what_to_set(tmp_path, random):
    with servers.new_database("mariadb") as url:
        address = DatabaseAddress.parse(url)
        [[before]] = servers.command(address, "SELECT @@max_allowed_packet")
        servers.command(address, "SET GLOBAL max_allowed_packet = 1048576")
        try:
            with opened(tmp_path, url, create=True) as catalog:
                add(catalog, random, "small")
                with pytest.raises(LibraryError, match=r"takes no more than 1 MB at once.*Set max_allowed_packet=\d+M"):
                    add(catalog, random, "large", count=200_000)
                assert [recording.title for recording in catalog.recordings()] == ["small"]
        finally:
            servers.command(address, f"SET GLOBAL max_allowed_packet = {before}")
        with opened(tmp_path, url) as catalog:
            large = add(catalog, random, "large", count=200_000)
            assert len(catalog.embeddings(Kind.RECORDING, large.id)) == 200_000


@ON_SERVERS
def test_a_connection_that_broke_is_replaced(tmp_path, database_url, random, caplog):
    with opened(tmp_path, database_url, create=True) as catalog:
        recording = add(catalog, random)
        hang_up(database_url)
        assert catalog.recordings() == [recording]
        with pytest.raises(LibraryError, match=r"broke off .*give the command again"), \
                catalog.database.reading() as connection:
            hang_up(database_url)
            connection.execute(text("SELECT 1"))
        assert catalog.recordings() == [recording]
    assert "Traceback" not in caplog.text


def hang_up(url: str) -> None:
    """The server ends all connections to this database but that of who asks."""
    address = DatabaseAddress.parse(url)
    if address.scheme == "mysql":
        for [number] in servers.command(address, "SELECT id FROM information_schema.processlist"
                                                 f" WHERE db = '{address.name}' AND id <> CONNECTION_ID()"):
            servers.command(address, f"KILL {number}")
    else:
        servers.command(address, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                                 f" WHERE datname = '{address.name}' AND pid <> pg_backend_pid()")


# Many at once

@ON_SERVERS
def test_of_two_transactions_that_wait_for_each_other_both_are_done_in_the_end(tmp_path, database_url, caplog):
    caplog.set_level(logging.INFO, logger="songprint")     # a command that ran before may have set another
    with opened(tmp_path, database_url, create=True) as catalog:
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
    assert "others keep changing the same" in caplog.text


@ON_SERVERS
def test_who_waits_too_long_for_another_is_told(tmp_path, database_url, random):
    with opened(tmp_path, database_url, create=True) as catalog, \
            opened(tmp_path, database_url, busy_timeout=1) as hasty, catalog.database.writing() as connection:
        connection.execute(schema.library.update().values(revision=1))
        with pytest.raises(LibraryError, match=r"another process keeps the library at .* busy. Try again"):
            add(hasty, random)


def test_what_a_revision_shows_never_changes(catalog, tmp_path, database_url):
    """Who has read a revision has seen all that was added and removed up to it, whoever else is writing."""
    stop, seen = threading.Event(), {}

    def until_read() -> None:
        for _ in range(3000):
            if catalog.state().revision in seen:
                return
            time.sleep(0.01)

    # Between two rounds all writers pause until a reader has read what stands: it may not come to that by itself.
    round_written = threading.Barrier(4, action=until_read)

    def write(seed: int) -> None:
        with opened(tmp_path / "library", database_url) as own:
            random = np.random.default_rng(seed)
            for number in range(8):
                added = add(own, random, f"{seed}-{number}", count=2)
                if number % 3 == 2:
                    own.remove([added.id])
                round_written.wait(timeout=60)

    def read() -> None:
        with opened(tmp_path / "library", database_url) as own:
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
        # ids are given in the order in which recordings become visible
        assert not new or not seen[earlier] or min(new) > max(seen[earlier])


def guarded(work, failed: list[BaseException], *arguments: object) -> None:
    try:
        work(*arguments)
    except BaseException as error:
        failed.append(error)


def test_a_name_is_held_by_one_at_a_time(catalog, tmp_path, database_url):
    with opened(tmp_path / "library", database_url) as other:
        with catalog.database.alone("index") as first, other.database.alone("index") as second, \
                other.database.alone("something else") as third:
            assert (first, second, third) == (True, False, True)
        with other.database.alone("index", wait=5) as mine:
            assert mine


# Text and tables

def test_text_is_equal_only_if_every_letter_is(catalog, random):
    first = add(catalog, random, "A", work="Hello")
    add(catalog, random, "B", work="hello")
    add(catalog, random, "C", work="Héllo")
    assert [each.id for each in catalog.recordings_of(["Hello"])] == [first.id]
    made = Embeddings(np.eye(2, dtype=np.float32), 0.5, "toy-1")
    for content_hash in ("hash", "HASH"):
        catalog.add(tags=Tags("D"), duration=1, source="", content_hash=content_hash,
                    embeddings={Kind.RECORDING: made})
    assert catalog.totals().recordings == 5
    assert catalog.known("hash") != catalog.known("HASH") and catalog.known("Hash") is None


@pytest.mark.parametrize("title", ["100%", "under_score", "back\\slash", "sla/sh", "quo'te", 'quo"te', "🎵 note",
                                   "per%cent_and\\more", "%s", ":name", "ÀÉÎ", "ΑΒΓ", "ЯБЛОКО"])
def test_every_character_is_found_as_itself(database_url, tmp_path, random, title):
    with opened(tmp_path / "library", database_url, create=True) as catalog:
        added = add(catalog, random, title)
        add(catalog, random, "nothing of the kind")
        assert catalog.recordings(title) == catalog.recordings(title.lower()) == [added]
        assert catalog.recordings("100_") == catalog.recordings("a%z") == []


def test_long_texts_are_kept_whole(catalog, random):
    artists, source = tuple(f"Artist {number} é" for number in range(8000)), "/" + "x" * 70_000
    added = catalog.add(tags=Tags("A", artists), duration=1, source=source, content_hash="h", embeddings={
        Kind.RECORDING: Embeddings(np.eye(2, dtype=np.float32), 0.5, "toy-1")})
    assert catalog.recording(added.id).artists == artists and catalog.recording(added.id).source == source


def test_every_table_compares_text_exactly(tmp_path):
    with servers.new_database("mariadb") as url, opened(tmp_path, url, create=True):
        tables = servers.command(DatabaseAddress.parse(url), "SELECT table_name, table_collation, engine"
                                 " FROM information_schema.tables WHERE table_schema = DATABASE()")
        assert len(tables) >= 4
        assert {(collation, engine) for _, collation, engine in tables} == {("utf8mb4_bin", "InnoDB")}


@ON_SERVERS
def test_making_the_tables_may_break_off_and_is_taken_up_again(tmp_path, database_url, monkeypatch):
    whole = list(schema.STEPS)

    def half(connection, songprint_version):
        schema.library.create(connection)
        schema.encoders.create(connection)
        raise RuntimeError("the power went off")

    monkeypatch.setattr(schema, "STEPS", [half, *whole[1:]])
    with pytest.raises(RuntimeError):
        Catalog(tmp_path, create=True, database=database_url)
    monkeypatch.setattr(schema, "STEPS", whole)
    with opened(tmp_path, database_url, create=True) as catalog:
        assert catalog.state().schema_version == len(whole) and catalog.problems() == []


@ON_SERVERS
def test_an_older_library_on_a_server_is_brought_up_to_date_by_one_of_many(tmp_path, database_url, monkeypatch, random):
    taken = []

    def add_mood(connection, songprint_version):
        taken.append(1)
        connection.execute(text("ALTER TABLE recordings ADD COLUMN mood VARCHAR(20) NOT NULL DEFAULT 'calm'"))

    with opened(tmp_path, database_url, create=True) as catalog:
        add(catalog, random)
    monkeypatch.setattr(schema, "STEPS", [*schema.STEPS, add_mood])
    failed: list[BaseException] = []

    def open_it() -> None:
        with opened(tmp_path, database_url) as catalog:
            assert catalog.state().schema_version == len(schema.STEPS)

    threads = [threading.Thread(target=guarded, args=(open_it, failed)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed and taken == [1]


@ON_SERVERS
def test_a_newer_library_on_a_server_is_refused(tmp_path, database_url):
    with opened(tmp_path, database_url, create=True) as catalog, catalog.database.writing() as connection:
        connection.execute(schema.library.update().values(schema_version=99))
    with pytest.raises(LibraryVersionError, match=r"cannot open the library at \w+://songprint@.* schema version 99"):
        Catalog(tmp_path, database=database_url)


# Two machines with one database

def machine(folder, url: str, **settings) -> Store:
    return Store(folder, create=True, encoder=toy.ToyEncoder(), settings=Settings(database=url, **settings))


def put(store: Store, seed: int) -> int:
    made = toy.ToyEncoder().encode(toy.song(seed, 20.0))
    return store.catalog.add(tags=Tags(f"Song {seed}"), duration=20.0, source=f"/{seed}.wav", content_hash=str(seed),
                             embeddings={Kind.RECORDING: made}).id


def indexed(store: Store) -> set[int]:
    store.refresh()
    return store.levels[Kind.RECORDING].index.recording_ids()


@ON_SERVERS
def test_machines_that_share_a_database_keep_their_own_index_in_step(tmp_path, database_url):
    with machine(tmp_path / "one", database_url) as one, \
            machine(tmp_path / "two", database_url, exact_limit=100) as two:
        ids = [put(one, seed) for seed in range(5)]
        assert indexed(two) == set(ids)
        two.tidy()
        assert two.stats().index_bytes > 0 and one.stats().index_bytes == 0
        one.catalog.remove([ids[1]])
        ids.append(put(two, 9))
        assert indexed(one) == indexed(two) == set(ids) - {ids[1]}
        assert one.stats().database.endswith(f" at {DatabaseAddress.parse(database_url)}")


@ON_SERVERS
def test_the_index_of_another_library_in_the_same_folder_is_not_taken_for_its_own(tmp_path, database_url):
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
        assert first.stats().index_bytes > 0        # it is still there


@ON_SERVERS
def test_one_machine_at_a_time_reads_the_files_again(tmp_path, database_url):
    with machine(tmp_path / "one", database_url) as one, machine(tmp_path / "two", database_url) as two, \
            one.alone() as mine, two.alone() as also_mine:
        assert mine and not also_mine


@ON_SERVERS
def test_a_library_on_a_server_is_used_like_any_other(tmp_path, songs, clip, database_url):
    settings = Settings(library=tmp_path / "library", database=database_url)
    encoder = toy.JudgingToyEncoder()
    with songprint.open(settings=settings, create=True, encoder=encoder) as library:
        assert len(library.add(songs, workers=1).added) == 5
        assert library.add(songs[0]).known
        [match] = library.identify(clip).matches
        assert match.recording.title == "Song 03"
        library.remove(match.recording.id)
        assert not library.identify(clip)
        assert library.rebuild().reencoded == 0
        stats = library.stats()
        assert stats.recordings == 4 and stats.catalogue_bytes > 4096 and "for tests" not in str(stats)
    assert not list((tmp_path / "library").glob("*.sqlite"))


@ON_SERVERS
@pytest.mark.usefixtures("toy_command")
def test_the_command_line_uses_a_server_and_never_shows_the_password(songs, clip, database_url, monkeypatch, caplog,
                                                                     tmp_path):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("SONGPRINT_DATABASE", database_url)
    monkeypatch.setenv("SONGPRINT_INDEX", f"milvus:{tmp_path}/vectors.db")
    results = [run("doctor"), run("add", *songs[:4]), run("--verbose", "identify", clip), run("stats"),
               run("stats", "--json"), run("doctor", "--json"), run("doctor")]
    assert "✗ library: no library in" in results[0].stdout     # but a temporary one was made
    assert "✓ known recording" in results[0].stdout
    assert [result.exit_code for result in results[1:]] == [0] * 6, [result.output for result in results]
    assert "Song 03" in results[2].stdout and "Milvus Lite" in results[3].stdout
    server = str(DatabaseAddress.parse(database_url))
    assert f" at {server}" in results[3].stdout
    for told in (f"✓ library: {server} holds 4", "✓ database: undamaged (", f"Milvus Lite at milvus:{tmp_path}"):
        assert told in results[6].stdout
    assert "✓ pymilvus: version" in results[6].stdout
    monkeypatch.setenv("SONGPRINT_DATABASE", changed(database_url, password="s3cret"))
    results.append(run("list"))
    assert results[-1].exit_code == 2
    shown = "".join(result.output for result in results) + caplog.text
    assert "for tests" not in shown and "for%20tests" not in shown and "s3cret" not in shown


def test_connections_are_not_used_up(tmp_path, monkeypatch):
    monkeypatch.setattr(server, "KEPT", 1)
    monkeypatch.setattr(server, "MOST", 2)
    with servers.new_database("postgresql") as url, opened(tmp_path, url, create=True, busy_timeout=0.5) as catalog, \
            catalog.database.reading(), catalog.database.reading(), \
            pytest.raises(LibraryError, match="all 2 connections of this process"):
        catalog.state()
