"""API keys: who may use the server, with which rights and at which rate.

A key consists of a SecretId and SecretKey, for requests with Tencent's signature, and a bearer token for all others.
Checking a signature needs the SecretKey itself, so it is stored encrypted (`songprint.accounts.vault`); a hash of the
token is enough. A key may have sub-keys. They never have more rights than their parent, share its rate, and are revoked
with it.
"""

from __future__ import annotations

import hashlib
import secrets
import string
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Connection, Row, insert, select, update

from songprint.errors import KeyRefused
from songprint.store.database import storable
from songprint.store.tables import keys
from songprint.store.timestamps import clock, iso

if TYPE_CHECKING:
    from songprint.accounts.vault import Vault
    from songprint.formats import schema
    from songprint.store.database import Database

SCOPES = ("identify", "write", "admin")  # each includes those before it
_LETTERS = string.ascii_letters + string.digits


@dataclass(frozen=True)
class Key:
    """A key without its secrets."""

    id: str  # the SecretId
    name: str
    scope: str  # one of SCOPES
    parent: str  # id of the parent key; empty: a top-level key
    rate: float | None  # requests per second; None: unlimited
    created_at: str  # UTC, ISO 8601
    revoked_at: str  # empty: the key is active

    def may(self, scope: str) -> bool:
        """Whether the rights of the key include this scope.

        >>> Key("SPx", "player", "write", "", None, "", "").may("identify")
        True
        """
        return SCOPES.index(scope) <= SCOPES.index(self.scope)


@dataclass(frozen=True)
class NewKey:
    """A new key with its secrets, which cannot be read later."""

    key: Key
    secret_key: str
    token: str


def key_object(key: Key) -> schema.Key:
    """Convert a key to a JSON object, without secrets."""
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
    """The keys of a library."""

    def __init__(self, database: Database, vault: Vault) -> None:
        self._database = database
        self._vault = vault

    def create(self, name: str, scope: str, parent: str | None = None, rate: float | None = None) -> NewKey:
        """Create a key.

        Raises KeyRefused for invalid values, and for a sub-key with more rights or a higher rate than its parent.
        """
        if scope not in SCOPES:
            raise KeyRefused(f"scope={scope!r} must be one of {', '.join(SCOPES)}")
        if rate is not None and rate <= 0:
            raise KeyRefused(f"rate={rate} must be positive (requests per second)")
        if not name.strip():
            raise KeyRefused("a key needs a name, which shows later who uses it")
        key_id, secret_key = f"SP{_random(32)}", _random(40)
        token = f"sp_{secrets.token_urlsafe(32)}"
        secret = self._vault.seal(secret_key, key_id)
        with self._database.writing() as connection:
            if parent:
                rate = _limited_by(_to_key(_active(connection, keys.c.id == parent, parent, lock=True)), scope, rate)
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
            key = _to_key(_active(connection, keys.c.id == key_id, key_id))
        return NewKey(key, secret_key, token)

    def by_secret_id(self, key_id: str) -> tuple[Key, str]:
        """Return the active key with this SecretId, and its SecretKey. Raises KeyRefused."""
        with self._database.reading() as connection:
            row = _active(connection, keys.c.id == key_id, key_id)
        return _to_key(row), self._vault.open(row.secret, row.id)

    def by_token(self, token: str) -> Key:
        """Return the active key with this bearer token. Raises KeyRefused."""
        with self._database.reading() as connection:
            return _to_key(_active(connection, keys.c.token_hash == _hash(token), "with this token"))

    def by_id(self, key_id: str) -> Key:
        """Return the active key with this id. Raises KeyRefused."""
        with self._database.reading() as connection:
            return _to_key(_active(connection, keys.c.id == key_id, key_id))

    def all(self, *, revoked: bool = True) -> list[Key]:
        """Return all keys, or the active ones, in the order in which they were created."""
        wanted = select(keys).order_by(keys.c.created_at, keys.c.id)
        with self._database.reading() as connection:
            return [
                _to_key(row)
                for row in connection.execute(wanted if revoked else wanted.where(keys.c.revoked_at.is_(None)))
            ]

    def any(self) -> bool:
        """Whether there is an active key. Without one, the server cannot authenticate anyone."""
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

    def with_parents(self, key: Key) -> list[Key]:
        """Return a key and all keys above it. They share the rates of those above."""
        found = [key]
        if key.parent:
            with self._database.reading() as connection:
                while found[-1].parent:
                    row = connection.execute(select(keys).where(keys.c.id == found[-1].parent)).one()
                    found.append(_to_key(row))
        return found

    def family(self, key_id: str) -> list[str]:
        """Return the ids of a key and of its sub-keys at any depth."""
        with self._database.reading() as connection:
            return _family(connection, key_id)

    def revoke(self, key_id: str) -> list[Key]:
        """Revoke a key and its sub-keys. Returns the keys that were active until now. Raises KeyRefused."""
        with self._database.writing() as connection:
            _active(connection, keys.c.id == key_id, key_id)
            revoked: list[str] = []
            while active := list(
                connection.scalars(
                    select(keys.c.id).where(keys.c.id.in_(_family(connection, key_id)), keys.c.revoked_at.is_(None))
                )
            ):
                # Repeat until there are none, because another process may create a sub-key at the same time.
                connection.execute(update(keys).where(keys.c.id.in_(active)).values(revoked_at=clock(connection)))
                revoked += active
            return [
                _to_key(row)
                for row in connection.execute(
                    select(keys).where(keys.c.id.in_(revoked)).order_by(keys.c.created_at, keys.c.id)
                )
            ]


def _limited_by(parent: Key, scope: str, rate: float | None) -> float | None:
    """Return the rate of a sub-key. Raises KeyRefused if it exceeds the rights or the rate of the parent."""
    if not parent.may(scope):
        raise KeyRefused(
            f"the key {parent.id} ({parent.name}) has the scope {parent.scope}: its sub-keys cannot have {scope}"
        )
    if rate is not None and parent.rate is not None and rate > parent.rate:
        raise KeyRefused(
            f"the key {parent.id} ({parent.name}) has a rate of {parent.rate:g} requests per second: its sub-keys"
            f" cannot have {rate:g}"
        )
    return parent.rate if rate is None else rate


def _active(
    connection: Connection, condition: ColumnElement[bool], description: str, *, lock: bool = False
) -> Row[Any]:
    """Return the active key that fulfils the condition. `description` names it in the error KeyRefused."""
    wanted = select(keys).where(condition)
    row = connection.execute(wanted.with_for_update() if lock else wanted).first()
    if row is None or row.revoked_at is not None:
        raise KeyRefused(f"no key {description}" if row is None else f"the key {row.id} was revoked")
    return row


def _family(connection: Connection, key_id: str) -> list[str]:
    found, newest = [key_id], [key_id]
    while newest:
        newest = list(connection.scalars(select(keys.c.id).where(keys.c.parent.in_(newest))))
        found += newest
    return found


def _to_key(row: Row[Any]) -> Key:
    return Key(row.id, row.name, row.scope, row.parent, row.rate, iso(row.created_at), iso(row.revoked_at))


def _random(length: int) -> str:
    """Return random letters and digits, without dashes: command lines treat a leading dash as an option."""
    return "".join(secrets.choice(_LETTERS) for _ in range(length))


def _hash(token: str) -> str:
    """Hash a token without salt: tokens are random and too long to guess."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
