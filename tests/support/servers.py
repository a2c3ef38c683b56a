"""Databases on servers, for tests. Each test gets an empty database, which is dropped afterwards.

`$SONGPRINT_TEST_DATABASES` contains the URLs of servers, separated by spaces, each with a user who may create
databases. `.ci/with-databases` starts servers and sets it. Tests that need a missing server are skipped.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from urllib.parse import quote

import pytest

from songprint.address import DatabaseAddress
from songprint.store.catalog import Catalog

KINDS = ("sqlite", "mariadb", "postgresql")
ON_SERVERS = pytest.mark.parametrize("database_url", KINDS[1:], indirect=True)


def address_of(kind: str) -> DatabaseAddress:
    """Return the address of the server of this kind. Skips the test if there is none."""
    scheme = {"mariadb": "mysql"}.get(kind, kind)
    for url in os.environ.get("SONGPRINT_TEST_DATABASES", "").split():
        address = DatabaseAddress.parse(url)
        if address.scheme == scheme:
            return address
    pytest.skip(f"no {kind} server: $SONGPRINT_TEST_DATABASES names none; `make test-databases` starts one")


def url_of(address: DatabaseAddress) -> str:
    return f"{address.scheme}://{quote(address.user)}:{quote(address.password)}@{address.server}/{address.name}"


@contextmanager
def new_database(kind: str) -> Iterator[str]:
    """Create an empty database, yield its URL, and drop it."""
    server, name = address_of(kind), f"songprint_{secrets.token_hex(6)}"
    form = "CHARACTER SET latin1" if kind == "mariadb" else "ENCODING 'UTF8' TEMPLATE template0"
    command(server, f"CREATE DATABASE {name} {form}")
    try:
        yield url_of(replace(server, name=name))
    finally:
        command(server, f"DROP DATABASE {name}" + (" WITH (FORCE)" if kind == "postgresql" else ""))


def command(server: DatabaseAddress, statement: str) -> list[tuple]:
    """Run a statement as the user of `$SONGPRINT_TEST_DATABASES`, and return its rows."""
    given = {
        "host": server.host,
        "port": server.port,
        "user": server.user,
        "password": server.password,
        "database": server.name,
    }
    if server.scheme == "mysql":
        import pymysql

        connection = pymysql.connect(**given, autocommit=True)
    else:
        import pg8000

        connection = pg8000.connect(**given, ssl_context=False)
        connection.autocommit = True
    try:
        cursor = connection.cursor()
        cursor.execute(statement)
        return list(cursor.fetchall()) if cursor.description else []
    finally:
        connection.close()


@contextmanager
def opened(folder, url, **more) -> Iterator[Catalog]:
    catalog = Catalog(folder, database=url, **more)
    try:
        yield catalog
    finally:
        catalog.close()


def changed(url: str, **parts: object) -> str:
    return url_of(replace(DatabaseAddress.parse(url), **parts))
