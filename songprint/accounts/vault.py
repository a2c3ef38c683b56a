"""The vault: seals the secrets that must be kept, under a master key which is not in the database.

The master key is a file of 0600 in the library's folder, or comes from the environment. Who copies the database alone
reads no secret. Sealed is with AES-256-GCM, each secret bound to what it belongs to, so that none can be put in the
place of another.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import select

from songprint.errors import KeyRefused, MissingExtra
from songprint.store.tables import keys

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    from songprint.store.database import Database

MASTER_KEY_FILE = "master.key"  # in the library's folder
MASTER_KEY_VARIABLE = "SONGPRINT_MASTER_KEY"  # goes before the file; for several machines on one database
_NONCE_BYTES = 12


class Vault:
    """Seals and opens under the master key of a library. Nothing is read or made before it is needed."""

    def __init__(self, database: Database, folder: Path, environ: Mapping[str, str] = os.environ) -> None:
        self._database = database
        self._file = Path(folder) / MASTER_KEY_FILE
        self._environ = environ
        self._cipher: AESGCM | None = None

    def seal(self, secret: str, owner: str) -> bytes:
        """The secret of `owner`, unreadable; makes the master key if there is none yet."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._opened(make=True).encrypt(nonce, secret.encode("utf-8", "surrogatepass"), owner.encode())

    def open(self, sealed: bytes, owner: str) -> str:
        """The reverse of `seal`; KeyRefused under another master key, or without one."""
        from cryptography.exceptions import InvalidTag

        try:
            return (
                self._opened(make=False)
                .decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], owner.encode())
                .decode("utf-8", "surrogatepass")
            )
        except InvalidTag as error:
            raise KeyRefused(
                f"the master key is not the one with which the secret of {owner} was encrypted."
                f" Put the right one into {self._file} or ${MASTER_KEY_VARIABLE}"
            ) from error

    def derived(self, purpose: str) -> bytes:
        """32 secret bytes for one purpose, the same on every server that has the master key."""
        return hmac.digest(self._master_key(make=True), purpose.encode(), "sha256")

    def _opened(self, *, make: bool) -> AESGCM:
        if self._cipher is None:
            try:
                from cryptography.hazmat.primitives.ciphers.aead import AESGCM
            except ImportError as error:
                raise MissingExtra("secrets need the package cryptography: pip install 'songprint[server]'") from error
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
            raise KeyRefused(
                f"cannot read the master key {self._file}: {error.strerror}. Without it no secret can be"
                f" decrypted; on another machine give it as ${MASTER_KEY_VARIABLE}"
            ) from error

    def _make_master_key(self) -> None:
        """Only where there are no keys yet; whole or not at all, and the first of two processes wins."""
        if self._has_keys() and not self._file.exists():
            raise KeyRefused(
                f"the master key {self._file} is missing, and there are keys already. Put it back, or give"
                f" it as ${MASTER_KEY_VARIABLE}; otherwise revoke all keys and start with a new library"
            )
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

    def _has_keys(self) -> bool:
        with self._database.reading() as connection:
            return connection.execute(select(keys.c.id).limit(1)).first() is not None


def _decoded(text: str, origin: str) -> bytes:
    try:
        key = base64.urlsafe_b64decode(text.strip())
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != 32:
        raise KeyRefused(
            f"the master key in {origin} must be 32 bytes in base64. Make one with"
            " `head -c 32 /dev/urandom | base64 | tr +/ -_`"
        )
    return key
