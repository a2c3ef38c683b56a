"""Claims: several machines add the same folders to one library, and each file is read by one of them.

A claim is a row with the hash of a path and the time until which it holds. A thread extends the claims of its process;
those of a machine that is switched off expire, and its files are taken by the others. Nothing depends on claims but
time: a file that two machines read is stored once.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Collection, Iterable
from types import TracebackType
from typing import TYPE_CHECKING

from sqlalchemy import Connection, delete, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from songprint.audio.files import stored_path
from songprint.errors import LibraryError
from songprint.store.places import path_key
from songprint.store.tables import claims
from songprint.store.timestamps import clock

if TYPE_CHECKING:
    from songprint.store.catalog import Catalog

log = logging.getLogger(__name__)

LEASE = 60.0  # seconds that a claim holds after it was made or extended
BEATS = 4  # extensions in that time


class Claims:
    """The files that this process has claimed. A context manager: leaving it gives up all of them."""

    def __init__(self, catalog: Catalog, *, lease: float = LEASE) -> None:
        self._database, self._lease = catalog.database, lease
        self._holder = secrets.token_hex(16)
        self._held: set[str] = set()  # keys of paths
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._extend, name="claims", daemon=True)

    def __enter__(self) -> Claims:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        try:
            self._database.write(
                lambda connection: connection.execute(delete(claims).where(claims.c.holder == self._holder))
            )
        except LibraryError as problem:  # they expire by themselves
            log.info("cannot give up claims: %s", problem)

    def take(self, paths: Collection[str]) -> set[str]:
        """Claim those of `paths` that no other process holds, and return them."""
        keys = {path_key(stored_path(path)): path for path in paths}

        def write(connection: Connection) -> set[str]:
            now = clock(connection)
            until = now + round(1000 * self._lease)
            mine = or_(
                claims.c.holder == self._holder,
                claims.c.until <= now,
                claims.c.until > until,  # a clock was set back: no claim is longer than a lease
            )
            connection.execute(delete(claims).where(claims.c.path_hash.in_(keys), mine))
            held = set(connection.scalars(select(claims.c.path_hash).where(claims.c.path_hash.in_(keys))))
            free = [each for each in keys if each not in held]
            if free:
                connection.execute(
                    insert(claims), [{"path_hash": each, "holder": self._holder, "until": until} for each in free]
                )
            return set(free)

        try:
            taken = self._database.write(write)
        except IntegrityError:  # another machine claimed one of them at the same moment
            return set()
        with self._lock:
            self._held |= taken
        return {keys[each] for each in taken}

    def drop(self, paths: Iterable[str]) -> None:
        """Give up the claims of these files: they are in the library, or unusable."""
        with self._lock:
            dropped = {path_key(stored_path(path)) for path in paths} & self._held
            self._held -= dropped
        if not dropped:
            return
        this = claims.c.path_hash.in_(dropped) & (claims.c.holder == self._holder)
        self._database.write(lambda connection: connection.execute(delete(claims).where(this)))

    def _extend(self) -> None:
        while not self._ended.wait(self._lease / BEATS):
            with self._lock:
                if not self._held:
                    continue
            try:
                self._database.write(self._extended)
            except LibraryError as problem:  # another process may read these files as well: no harm
                log.warning("cannot extend the claims of files that are being added: %s", problem)

    def _extended(self, connection: Connection) -> None:
        until = clock(connection) + round(1000 * self._lease)
        connection.execute(update(claims).where(claims.c.holder == self._holder).values(until=until))
