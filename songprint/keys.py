"""Keys: who may ask a service, for what and how often.

One key is a SecretId and SecretKey, for requests that are signed as Tencent's are, and a bearer token for the rest.
A signature can be checked only with the secret itself, so that is kept encrypted, under a master key which is not in
the database; of the token a hash is enough. A key made under another one (a sub-account) never has more rights than
that, and ends with it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import secrets
import string
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Row, insert, select, update

from songprint.errors import KeyRefused, MissingExtra
from songprint.service_schema import clock, iso, keys, storable

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    from songprint.database import Database

SCOPES = ("identify", "write", "admin")         # each includes those before it
MASTER_KEY_FILE = "master.key"                  # in the library's folder
MASTER_KEY_VARIABLE = "SONGPRINT_MASTER_KEY"    # goes before the file; for several machines on one database
_LETTERS = string.ascii_letters + string.digits
_NONCE_BYTES = 12


@dataclass(frozen=True)
class Key:
    """Who asks."""

    id: str                     # the SecretId
    name: str
    scope: str                  # one of SCOPES
    parent: str                 # the key it was made under; empty: none
    rate: float | None          # requests per second; None: no limit of its own
    created_at: str             # UTC, ISO 8601
    revoked_at: str             # empty: it is in use

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


def key_object(key: Key) -> dict[str, object]:
    """A key as JSON, without secrets."""
    return {"id": key.id, "name": key.name, "scope": key.scope, "parent": key.parent or None, "rate": key.rate,
            "created_at": key.created_at, "revoked_at": key.revoked_at or None}


class Keys:
    """The keys of a service. `folder` is the library's: the master key lies there."""

    def __init__(self, database: Database, folder: Path, environ: Mapping[str, str] = os.environ) -> None:
        self._database = database
        self._file = Path(folder) / MASTER_KEY_FILE
        self._environ = environ
        self._cipher: AESGCM | None = None

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
        cipher = self._opened()
        with self._database.writing() as connection:
            if parent:
                rate = _within(_to_key(_in_use(connection, keys.c.id == parent, parent, lock=True)), scope, rate)
            nonce = secrets.token_bytes(_NONCE_BYTES)
            connection.execute(insert(keys).values(
                id=key_id, name=storable(name, 200), scope=scope, parent=parent or "", rate=rate,
                secret=nonce + cipher.encrypt(nonce, secret_key.encode(), key_id.encode()),
                token_hash=_hash(token), created_at=clock(connection)))
            key = _to_key(_in_use(connection, keys.c.id == key_id, key_id))
        return NewKey(key, secret_key, token)

    def by_secret_id(self, key_id: str) -> tuple[Key, str]:
        """A key that is in use, and its SecretKey; KeyRefused if there is none."""
        with self._database.reading() as connection:
            row = _in_use(connection, keys.c.id == key_id, key_id)
        return _to_key(row), self._decrypted(row)

    def by_token(self, token: str) -> Key:
        """The key in use with this bearer token; KeyRefused if there is none."""
        with self._database.reading() as connection:
            return _to_key(_in_use(connection, keys.c.token_hash == _hash(token), "with this token"))

    def by_id(self, key_id: str) -> Key:
        """The key in use with this id; KeyRefused if there is none."""
        with self._database.reading() as connection:
            return _to_key(_in_use(connection, keys.c.id == key_id, key_id))

    def derived(self, purpose: str) -> bytes:
        """32 secret bytes for one purpose, the same on every server that has the master key."""
        return hmac.digest(self._master_key(make=True), purpose.encode(), "sha256")

    def list(self, *, revoked: bool = True) -> list[Key]:
        """All keys in the order they were made, or those that are in use."""
        wanted = select(keys).order_by(keys.c.created_at, keys.c.id)
        with self._database.reading() as connection:
            return [_to_key(row) for row in connection.execute(
                wanted if revoked else wanted.where(keys.c.revoked_at.is_(None)))]

    def any(self) -> bool:
        """Whether there is a key in use: without one, nobody can be told from anybody."""
        with self._database.reading() as connection:
            return connection.execute(select(keys.c.id).where(keys.c.revoked_at.is_(None)).limit(1)).first() is not None

    def family(self, key_id: str) -> list[str]:
        """The ids of a key and of all that were made under it, at any depth: whose jobs it may see."""
        with self._database.reading() as connection:
            return _family(connection, key_id)

    def revoke(self, key_id: str) -> list[Key]:
        """End a key and all that were made under it; returns those that were in use until now."""
        with self._database.writing() as connection:
            _in_use(connection, keys.c.id == key_id, key_id)
            ended: list[str] = []
            while fresh := list(connection.scalars(select(keys.c.id).where(
                    keys.c.id.in_(_family(connection, key_id)), keys.c.revoked_at.is_(None)))):
                # Again and again, for a key may be made under one of them at this very moment.
                connection.execute(update(keys).where(keys.c.id.in_(fresh)).values(revoked_at=clock(connection)))
                ended += fresh
            return [_to_key(row) for row in connection.execute(select(keys).where(keys.c.id.in_(ended)).order_by(
                keys.c.created_at, keys.c.id))]

    def _decrypted(self, row: Row) -> str:
        from cryptography.exceptions import InvalidTag

        try:
            return self._opened(make=False).decrypt(row.secret[:_NONCE_BYTES], row.secret[_NONCE_BYTES:],
                                                    row.id.encode()).decode()
        except InvalidTag as error:
            raise KeyRefused(f"the master key is not the one with which the secret of {row.id} was encrypted."
                             f" Put the right one into {self._file} or ${MASTER_KEY_VARIABLE}") from error

    def _opened(self, *, make: bool = True) -> AESGCM:
        if self._cipher is None:
            try:
                from cryptography.hazmat.primitives.ciphers.aead import AESGCM
            except ImportError as error:
                raise MissingExtra("keys need the package cryptography: pip install 'songprint[server]'") from error
            self._cipher = AESGCM(self._master_key(make))
        return self._cipher

    def _master_key(self, make: bool) -> bytes:
        given = self._environ.get(MASTER_KEY_VARIABLE, "")
        if given:
            return _decoded(given, f"${MASTER_KEY_VARIABLE}")
        if make and not self._file.exists():
            self._make_master_key()
        try:
            return _decoded(self._file.read_text(), str(self._file))
        except OSError as error:
            raise KeyRefused(f"cannot read the master key {self._file}: {error.strerror}. Without it no secret can be"
                             f" decrypted; on another machine give it as ${MASTER_KEY_VARIABLE}") from error

    def _make_master_key(self) -> None:
        """Only where there are no keys yet; whole or not at all, and the first of two processes wins."""
        if self.list() and not self._file.exists():
            raise KeyRefused(f"the master key {self._file} is missing, and there are keys already. Put it back, or give"
                             f" it as ${MASTER_KEY_VARIABLE}; otherwise revoke all keys and start with a new library")
        part = self._file.with_name(f".{MASTER_KEY_FILE}-{secrets.token_hex(4)}")
        try:
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(base64.urlsafe_b64encode(secrets.token_bytes(32)).decode() + "\n")
                file.flush()
                os.fsync(file.fileno())
            os.link(part, self._file)
        except FileExistsError:
            pass
        except OSError as error:
            raise KeyRefused(f"cannot write the master key {self._file}: {error.strerror}") from error
        finally:
            part.unlink(missing_ok=True)


def _within(parent: Key, scope: str, rate: float | None) -> float | None:
    """The rate of a key under this parent; KeyRefused if it wants more than that has."""
    if not parent.may(scope):
        raise KeyRefused(f"the key {parent.id} ({parent.name}) has the scope {parent.scope}: a key under it cannot have"
                         f" {scope}")
    if rate is not None and parent.rate is not None and rate > parent.rate:
        raise KeyRefused(f"the key {parent.id} ({parent.name}) may ask {parent.rate:g} times a second: a key under it"
                         f" cannot {rate:g} times")
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


def _decoded(text: str, origin: str) -> bytes:
    try:
        key = base64.urlsafe_b64decode(text.strip())
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != 32:
        raise KeyRefused(f"the master key in {origin} must be 32 bytes in base64. Make one with"
                         " `head -c 32 /dev/urandom | base64 | tr +/ -_`")
    return key
