"""Keys: who may ask a service, for what and how often.

One key is a SecretId and SecretKey, for requests that are signed as Tencent's are, and a bearer token for the rest.
A signature can be checked only with the secret itself, so that is kept, sealed (`songprint.accounts.vault`); of the
token a hash is enough. A key made under another one (a sub-account) never has more rights than that, and ends with
it.
"""

from __future__ import annotations

import hashlib
import secrets
import string
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Row, insert, select, update

from songprint.errors import KeyRefused
from songprint.formats import schema
from songprint.store.database import storable
from songprint.store.tables import keys
from songprint.store.timestamps import clock, iso

if TYPE_CHECKING:
    from songprint.accounts.vault import Vault
    from songprint.store.database import Database

SCOPES = ("identify", "write", "admin")  # each includes those before it
_LETTERS = string.ascii_letters + string.digits


@dataclass(frozen=True)
class Key:
    """Who asks."""

    id: str  # the SecretId
    name: str
    scope: str  # one of SCOPES
    parent: str  # the key it was made under; empty: none
    rate: float | None  # requests per second; None: no limit of its own
    created_at: str  # UTC, ISO 8601
    revoked_at: str  # empty: it is in use

    def may(self, scope: str) -> bool:
        """Whether the key's rights include this scope.

        >>> Key("SPx", "player", "write", "", None, "", "").may("identify")
        True
        """
        return SCOPES.index(scope) <= SCOPES.index(self.scope)


@dataclass(frozen=True)
class NewKey:
    """A key with its secrets, which are shown this once."""

    key: Key
    secret_key: str
    token: str


def key_object(key: Key) -> schema.Key:
    """A key as JSON, without secrets."""
    return {
        "id": key.id,
        "name": key.name,
        "scope": key.scope,
        "parent": key.parent or None,
        "rate": key.rate,
        "created_at": key.created_at,
        "revoked_at": key.revoked_at or None,
    }


class Keys:
    """The keys of a service."""

    def __init__(self, database: Database, vault: Vault) -> None:
        self._database = database
        self._vault = vault

    def create(self, name: str, scope: str, parent: str | None = None, rate: float | None = None) -> NewKey:
        """Make a key; KeyRefused if it were to have more rights, or a higher rate, than its parent."""
        if scope not in SCOPES:
            raise KeyRefused(f"scope={scope!r} must be one of {', '.join(SCOPES)}")
        if rate is not None and rate <= 0:
            raise KeyRefused(f"rate={rate} must be positive (requests per second)")
        if not name.strip():
            raise KeyRefused("a key needs a name, so that you know later whose it is")
        key_id, secret_key = f"SP{_random(32)}", _random(40)
        token = f"sp_{secrets.token_urlsafe(32)}"
        secret = self._vault.seal(secret_key, key_id)
        with self._database.writing() as connection:
            if parent:
                rate = _within(_to_key(_in_use(connection, keys.c.id == parent, parent, lock=True)), scope, rate)
            connection.execute(
                insert(keys).values(
                    id=key_id,
                    name=storable(name, 200),
                    scope=scope,
                    parent=parent or "",
                    rate=rate,
                    secret=secret,
                    token_hash=_hash(token),
                    created_at=clock(connection),
                )
            )
            key = _to_key(_in_use(connection, keys.c.id == key_id, key_id))
        return NewKey(key, secret_key, token)

    def by_secret_id(self, key_id: str) -> tuple[Key, str]:
        """A key that is in use, and its SecretKey; KeyRefused if there is none."""
        with self._database.reading() as connection:
            row = _in_use(connection, keys.c.id == key_id, key_id)
        return _to_key(row), self._vault.open(row.secret, row.id)

    def by_token(self, token: str) -> Key:
        """The key in use with this bearer token; KeyRefused if there is none."""
        with self._database.reading() as connection:
            return _to_key(_in_use(connection, keys.c.token_hash == _hash(token), "with this token"))

    def by_id(self, key_id: str) -> Key:
        """The key in use with this id; KeyRefused if there is none."""
        with self._database.reading() as connection:
            return _to_key(_in_use(connection, keys.c.id == key_id, key_id))

    def all(self, *, revoked: bool = True) -> list[Key]:
        """All keys in the order they were made, or those that are in use."""
        wanted = select(keys).order_by(keys.c.created_at, keys.c.id)
        with self._database.reading() as connection:
            return [
                _to_key(row)
                for row in connection.execute(wanted if revoked else wanted.where(keys.c.revoked_at.is_(None)))
            ]

    def any(self) -> bool:
        """Whether there is a key in use: without one, nobody can be told from anybody."""
        with self._database.reading() as connection:
            return connection.execute(select(keys.c.id).where(keys.c.revoked_at.is_(None)).limit(1)).first() is not None

    def visible_to(self, key: Key | None) -> list[str] | None:
        """Return the ids of the keys whose jobs and usage the caller with `key` may see; None stands for all keys.

        Top-level administrators see everything, and so do callers without a key, on a server that has no keys yet.
        All others see what belongs to their own key and its sub-keys.
        """
        if key is None or (key.may("admin") and not key.parent):
            return None
        return self.family(key.id)

    def family(self, key_id: str) -> list[str]:
        """The ids of a key and of all that were made under it, at any depth: whose jobs it may see."""
        with self._database.reading() as connection:
            return _family(connection, key_id)

    def revoke(self, key_id: str) -> list[Key]:
        """End a key and all that were made under it; returns those that were in use until now."""
        with self._database.writing() as connection:
            _in_use(connection, keys.c.id == key_id, key_id)
            ended: list[str] = []
            while fresh := list(
                connection.scalars(
                    select(keys.c.id).where(keys.c.id.in_(_family(connection, key_id)), keys.c.revoked_at.is_(None))
                )
            ):
                # Again and again, for a key may be made under one of them at this very moment.
                connection.execute(update(keys).where(keys.c.id.in_(fresh)).values(revoked_at=clock(connection)))
                ended += fresh
            return [
                _to_key(row)
                for row in connection.execute(
                    select(keys).where(keys.c.id.in_(ended)).order_by(keys.c.created_at, keys.c.id)
                )
            ]


def _within(parent: Key, scope: str, rate: float | None) -> float | None:
    """The rate of a key under this parent; KeyRefused if it wants more than that has."""
    if not parent.may(scope):
        raise KeyRefused(
            f"the key {parent.id} ({parent.name}) has the scope {parent.scope}: a key under it cannot have {scope}"
        )
    if rate is not None and parent.rate is not None and rate > parent.rate:
        raise KeyRefused(
            f"the key {parent.id} ({parent.name}) may ask {parent.rate:g} times a second: a key under it"
            f" cannot {rate:g} times"
        )
    return parent.rate if rate is None else rate


def _in_use(connection: Connection, where, told: str, *, lock: bool = False) -> Row:
    wanted = select(keys).where(where)
    row = connection.execute(wanted.with_for_update() if lock else wanted).first()
    if row is None or row.revoked_at is not None:
        raise KeyRefused(f"no key {told}" if row is None else f"the key {row.id} was revoked")
    return row


def _family(connection: Connection, key_id: str) -> list[str]:
    found, newest = [key_id], [key_id]
    while newest:
        newest = list(connection.scalars(select(keys.c.id).where(keys.c.parent.in_(newest))))
        found += newest
    return found


def _to_key(row: Row) -> Key:
    return Key(row.id, row.name, row.scope, row.parent, row.rate, iso(row.created_at), iso(row.revoked_at))


def _random(length: int) -> str:
    """Letters and digits alone: a secret that begins with a dash is taken for an option where it is an argument."""
    return "".join(secrets.choice(_LETTERS) for _ in range(length))


def _hash(token: str) -> str:
    """Tokens are random and long: a plain hash cannot be reversed by guessing."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
