"""The vault: encrypts secrets with a master key that is not in the database.

The master key is a file with mode 0600 in the library's folder, or an environment variable. So a copy of the database
alone reveals no secret. The cipher is AES-256-GCM, with the owner of each secret as associated data: a secret moved to
another owner cannot be decrypted.
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
# Takes precedence over the file; for several machines with one database.
MASTER_KEY_VARIABLE = "SONGPRINT_MASTER_KEY"
_NONCE_BYTES = 12


class Vault:
    """Encrypts and decrypts with the master key of a library, which is read or created at first use."""

    def __init__(self, database: Database, folder: Path, environ: Mapping[str, str] = os.environ) -> None:
        self._database = database
        self._file = Path(folder) / MASTER_KEY_FILE
        self._environ = environ
        self._cipher: AESGCM | None = None

    def seal(self, secret: str, owner: str) -> bytes:
        """Encrypt the secret of `owner`. Creates the master key if there is none."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._aead(create=True).encrypt(nonce, secret.encode("utf-8", "surrogatepass"), owner.encode())

    def open(self, sealed: bytes, owner: str) -> str:
        """Decrypt what `seal` returned. Raises KeyRefused if the master key is missing or another one."""
        from cryptography.exceptions import InvalidTag

        try:
            return (
                self._aead(create=False)
                .decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], owner.encode())
                .decode("utf-8", "surrogatepass")
            )
        except InvalidTag as error:
            raise KeyRefused(
                f"the secret of {owner} was encrypted with another master key."
                f" Put that key into {self._file} or ${MASTER_KEY_VARIABLE}"
            ) from error

    def derived(self, purpose: str) -> bytes:
        """Derive 32 secret bytes for one purpose. They are the same on every server with the same master key."""
        return hmac.digest(self._master_key(create=True), purpose.encode(), "sha256")

    def _aead(self, *, create: bool) -> AESGCM:
        if self._cipher is None:
            try:
                from cryptography.hazmat.primitives.ciphers.aead import AESGCM
            except ImportError as error:
                raise MissingExtra("secrets need the package cryptography: pip install 'songprint[server]'") from error
            self._cipher = AESGCM(self._master_key(create))
        return self._cipher

    def _master_key(self, create: bool) -> bytes:
        given = self._environ.get(MASTER_KEY_VARIABLE, "")
        if given:
            return _decoded(given, f"${MASTER_KEY_VARIABLE}")
        if create and not self._file.exists():
            self._create_master_key()
        try:
            return _decoded(self._file.read_text(), str(self._file))
        except OSError as error:
            raise KeyRefused(
                f"cannot read the master key {self._file}: {error.strerror}. Secrets cannot be decrypted without"
                f" it; set ${MASTER_KEY_VARIABLE} on other machines"
            ) from error

    def _create_master_key(self) -> None:
        """Create the master key file atomically, unless there are keys already. The first of two processes wins."""
        if self._has_keys() and not self._file.exists():
            raise KeyRefused(
                f"the master key {self._file} is missing, but there are keys already. Restore it, or set"
                f" ${MASTER_KEY_VARIABLE}; otherwise start with a new library"
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
            f"the master key in {origin} must be 32 bytes in base64. Create one with"
            " `head -c 32 /dev/urandom | base64 | tr +/ -_`"
        )
    return key
