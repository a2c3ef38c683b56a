"""A catalogue on a database server: addresses, encryption, and the errors of MariaDB and PostgreSQL."""

from __future__ import annotations

import os
import secrets
import socket
import sys
import threading

import pytest
from sqlalchemy import text
from support import servers
from support.recordings import add

from songprint.address import DatabaseAddress
from songprint.config import Settings
from songprint.errors import LibraryError, LibraryNotFound, MissingExtra, SettingsError
from songprint.store.catalog import Catalog
from songprint.types import Kind

# Addresses


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("mysql://me:s3cret@db/music", "mysql://me@db:3306/music"),
        ("mariadb://me:s3cret@db:3307/music", "mysql://me@db:3307/music"),
        ("postgres://me:s3cret%40%2F@[::1]/music?tls=verify", "postgresql://me@[::1]:5432/music"),
        ("postgresql://me:s3cret@localhost/music?socket=/run/pg", "postgresql://me@/run/pg/music"),
    ],
)
def test_an_address_is_shown_without_its_password(url, shown):
    address = DatabaseAddress.parse(url)
    assert str(address) == shown
    assert address.password.startswith("s3cret")
    assert "s3cret" not in repr(address) + repr(Settings(database=url))


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("sqlite:///s3cret", "does not start with a supported kind of database; leave it empty for SQLite"),
        ("s3cret", "supported kind of database"),
        ("mysql://me:s3cret@db", "contains no database name after the host"),
        ("mysql://me:s3cret@db:port/music", "cannot be read"),
        ("mysql://me:s3cret@db/music?charset=latin1", "unknown option 'charset'; the options are socket, tls, tls_ca"),
        ("postgresql://me:s3cret@db/music?tls=maybe", "must be one of off, on, verify"),
    ],
)
def test_an_invalid_address_is_refused_without_showing_it(url, why):
    with pytest.raises(SettingsError, match=why) as caught:
        Settings(database=url)
    assert "s3cret" not in str(caught.value) and "USER:PASSWORD@HOST/NAME" in str(caught.value)


# Encryption


@servers.ON_SERVERS
def test_connections_are_encrypted_and_certificates_checked_as_configured(tmp_path, database_url):
    certificate = os.environ.get("SONGPRINT_TEST_CERTIFICATE")
    if not certificate:
        pytest.skip("the servers have no certificate: `make test-databases` makes one")
    cipher = (
        "SHOW SESSION STATUS LIKE 'Ssl_cipher'"
        if database_url.startswith("mysql")
        else "SELECT 'cipher', coalesce(cipher, '') FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    )
    for options, encrypted in (("tls=off", False), ("tls=on", True), (f"tls=verify&tls_ca={certificate}", True)):
        with (
            servers.opened(tmp_path, f"{database_url}?{options}", create=True) as catalog,
            catalog.database.reading() as connection,
        ):
            assert bool(connection.exec_driver_sql(cipher).one()[1]) == encrypted
    with pytest.raises(LibraryError, match=r"(?i)certificate"):
        Catalog(tmp_path, database=f"{database_url}?tls=verify")  # a self-signed certificate
    with pytest.raises(LibraryError, match=r"cannot read the certificates in /nowhere"):
        Catalog(tmp_path, database=f"{database_url}?tls=verify&tls_ca=/nowhere")


# Errors


@servers.ON_SERVERS
def test_connection_errors_take_one_line_and_hide_the_password(tmp_path, database_url):
    closed = socket.create_server(("127.0.0.1", 0))
    port = closed.getsockname()[1]
    closed.close()
    for url, message in [
        (
            servers.changed(database_url, port=port),
            r"no database server answers at 127.0.0.1:\d+ .*Check that it is running",
        ),
        (
            servers.changed(database_url, password="s3cret"),
            "refuses the user 'songprint' .*Check the user name and password",
        ),
        (servers.changed(database_url, user="nobody", password="s3cret"), "refuses the user 'nobody'"),
        (
            servers.changed(database_url, name="nowhere"),
            "there is no database 'nowhere' on the server .*CREATE DATABASE",
        ),
    ]:
        with pytest.raises(LibraryError, match=message) as caught:
            Catalog(tmp_path, create=True, database=url)
        shown = str(caught.value)
        assert "\n" not in shown and "s3cret" not in shown and "for tests" not in shown


@servers.ON_SERVERS
def test_a_server_that_closes_the_connection_or_never_answers_is_reported(tmp_path, database_url, monkeypatch):
    monkeypatch.setattr(f"songprint.store.database.{server_module(database_url)}.CONNECT_TIMEOUT", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = servers.changed(database_url, port=silent.getsockname()[1])
        with pytest.raises(LibraryError, match=r"no database server answers|lost the connection"):
            Catalog(tmp_path, create=True, database=url)
    with socket.create_server(("127.0.0.1", 0)) as rude:
        threading.Thread(target=lambda: rude.accept()[0].close()).start()
        with pytest.raises(LibraryError, match=r"no database server answers|lost the connection"):
            Catalog(tmp_path, create=True, database=servers.changed(database_url, port=rude.getsockname()[1]))


def server_module(url: str) -> str:
    return "mariadb" if url.startswith("mysql") else "postgresql"


def test_a_missing_driver_is_reported_with_the_command_that_installs_it(tmp_path, monkeypatch):
    for package, url, extra in (
        ("pymysql", "mysql://u:s3cret@localhost/x", "mysql"),
        ("pg8000", "postgresql://u:s3cret@localhost/x", "postgresql"),
    ):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(MissingExtra, match=rf"needs the package {package}: pip install 'songprint\[{extra}\]'"):
            Catalog(tmp_path, database=url)


@servers.ON_SERVERS
def test_an_empty_database_is_not_a_library_until_it_is_created(tmp_path, database_url):
    with pytest.raises(LibraryNotFound, match=r"no library in \w+://songprint@127.* add MUSIC"):
        Catalog(tmp_path, database=database_url)
    with servers.opened(tmp_path, database_url, create=True):
        pass
    with servers.opened(tmp_path / "another machine", database_url) as catalog:
        assert catalog.recordings() == []


@servers.ON_SERVERS
def test_tables_of_another_program_are_refused(tmp_path, database_url):
    for form in ("photographs (id INTEGER)", "library (id INTEGER)"):
        servers.command(DatabaseAddress.parse(database_url), f"CREATE TABLE {form}")
        with pytest.raises(LibraryError, match=r"not a Songprint catalogue\. Songprint needs its own database"):
            Catalog(tmp_path, create=True, database=database_url)


@servers.ON_SERVERS
def test_a_user_without_rights_can_search_but_not_change(tmp_path, database_url, random):
    address = DatabaseAddress.parse(database_url)
    with servers.opened(tmp_path, database_url, create=True) as catalog:
        recording = add(catalog, random)
    name = f"reader_{secrets.token_hex(4)}"
    maria = address.scheme == "mysql"
    user = f"{name}@'127.0.0.1'" if maria else name
    servers.command(address, f"CREATE USER {user} " + ("IDENTIFIED BY 's3cret'" if maria else "PASSWORD 's3cret'"))
    try:
        servers.command(
            address,
            f"GRANT SELECT ON {address.name}.* TO {user}"
            if maria
            else f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {user}",
        )
        with servers.opened(tmp_path, servers.changed(database_url, user=name, password="s3cret")) as catalog:
            assert catalog.recordings() == [recording]
            with pytest.raises(LibraryError, match=f"the user '{name}' lacks rights .*grant it all rights"):
                catalog.remove([recording.id])
            with pytest.raises(LibraryError, match="lacks rights"):
                add(catalog, random, "new")
    finally:
        servers.command(address, f"DROP OWNED BY {user}" if not maria else "SELECT 1")
        servers.command(address, f"DROP USER {user}")


def test_a_read_only_server_can_be_searched_but_not_changed(tmp_path, random):
    with servers.new_database("postgresql") as url:
        address = DatabaseAddress.parse(url)
        with servers.opened(tmp_path, url, create=True) as catalog:
            recording = add(catalog, random)
        servers.command(address, f"ALTER DATABASE {address.name} SET default_transaction_read_only = on")
        with servers.opened(tmp_path, url) as catalog:
            assert catalog.readonly and catalog.recordings() == [recording]
            with pytest.raises(LibraryError, match="is read-only: it can be searched, but not changed"):
                catalog.remove([recording.id])


def test_a_recording_too_large_for_the_server_is_refused_with_the_setting_to_raise(tmp_path, random):
    with servers.new_database("mariadb") as url:
        address = DatabaseAddress.parse(url)
        [[before]] = servers.command(address, "SELECT @@max_allowed_packet")
        servers.command(address, "SET GLOBAL max_allowed_packet = 1048576")
        try:
            with servers.opened(tmp_path, url, create=True) as catalog:
                add(catalog, random, "small")
                with pytest.raises(LibraryError, match=r"accepts at most 1 MB at once.*Set max_allowed_packet=\d+M"):
                    add(catalog, random, "large", count=200_000)
                assert [recording.title for recording in catalog.recordings()] == ["small"]
        finally:
            servers.command(address, f"SET GLOBAL max_allowed_packet = {before}")
        with servers.opened(tmp_path, url) as catalog:
            large = add(catalog, random, "large", count=200_000)
            assert len(catalog.embeddings(Kind.RECORDING, large.id)) == 200_000


@servers.ON_SERVERS
def test_a_broken_connection_is_replaced(tmp_path, database_url, random, caplog):
    with servers.opened(tmp_path, database_url, create=True) as catalog:
        recording = add(catalog, random)
        end_connections(database_url)
        assert catalog.recordings() == [recording]
        with (
            pytest.raises(LibraryError, match=r"lost the connection .*run the command again"),
            catalog.database.reading() as connection,
        ):
            end_connections(database_url)
            connection.execute(text("SELECT 1"))
        assert catalog.recordings() == [recording]
    assert "Traceback" not in caplog.text


def end_connections(url: str) -> None:
    """Make the server end all other connections to this database."""
    address = DatabaseAddress.parse(url)
    if address.scheme == "mysql":
        for [number] in servers.command(
            address,
            f"SELECT id FROM information_schema.processlist WHERE db = '{address.name}' AND id <> CONNECTION_ID()",
        ):
            servers.command(address, f"KILL {number}")
    else:
        servers.command(
            address,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            f" WHERE datname = '{address.name}' AND pid <> pg_backend_pid()",
        )
