"""An index in PostgreSQL with the extension pgvector: a server that several machines share.

Each encoder of each library has two tables:

    songprint_LIBRARY_ENCODER       id bigint, the segment id; vector halfvec(dim)
    songprint_LIBRARY_ENCODER_r     recording_id bigint; segments integer

A recording and its vectors are written in one transaction, so the second table lists exactly the complete recordings,
and a process that continues after a break adds the others. Vectors are stored with 16 bits per value.

Small tables are compared completely. Larger ones get an index of pgvector: HNSW, or IVFFlat, which takes a fraction of
the memory to build.
"""

from __future__ import annotations

import hashlib
import io
import logging
import math
import random
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from songprint.errors import LibraryError, LibraryFull
from songprint.store.database.postgresql import PostgresDatabase
from songprint.store.database.server import Trouble
from songprint.store.index import NOTHING, POSITION_BITS
from songprint.store.index.cells import number_of_cells

if TYPE_CHECKING:
    from songprint.address import PgvectorAddress

log = logging.getLogger(__name__)

OLDEST = (0, 7)  # version of pgvector that introduced halfvec
ITERATIVE = (0, 8)  # version that introduced iterative scans
EXACT_ROWS = 20_000  # up to which every vector is compared
GROWTH = 4  # an IVFFlat index is built again when the table has grown by this factor
EF_SEARCH = 64  # candidates that a search of HNSW compares
PROBES = 64  # lists that a search of IVFFlat compares
LISTS = (64, 2048)  # of an IVFFlat index, at least and at most
# MB of memory with which PostgreSQL builds an index. HNSW takes about 1 kB per row: beyond, IVFFlat is built.
BUILD_MEMORY = 4096
LEAST_MEMORY = 64
BYTES_PER_ROW = 1000  # for HNSW
BYTES_PER_LISTS = 220  # for IVFFlat, times the square of the number of lists

CHECK_INTERVAL = 5.0  # seconds between two checks that the table still exists
SEARCH_TIMEOUT = 30.0  # seconds
BUSY_TIMEOUT = 60.0  # seconds to wait for locks of other processes
SEARCH_ATTEMPTS = 2  # a second one replaces connections that broke while they were idle
ATTEMPTS = 12  # at changes, which takes about 50 s: a restart of the server interrupts no filling
LONGEST_PAUSE = 5.0  # seconds

_AGAIN = (Trouble.LOST, Trouble.UNREACHABLE, Trouble.ABORTED, Trouble.BUSY, Trouble.CROWDED)
_UNDEFINED = ("42P01", "42704")  # SQLSTATE of a table or type that does not exist
_COPY_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_COPY_END = b"\xff\xff"
_FOUND = np.dtype([("query", ">i4"), ("id", ">i8"), ("distance", ">f4")])  # a row of an answer

T = TypeVar("T")


@dataclass(frozen=True)
class _Table:
    """The table of vectors, as the server describes it."""

    oid: int
    version: tuple[int, ...]  # of pgvector
    method: str = ""  # of its vector index: hnsw, ivfflat, or empty
    lists: int = 0  # of an IVFFlat index
    index: str = ""  # its name


class PgvectorIndex:
    """The vectors of one encoder of one library in a table of PostgreSQL; see `Index`."""

    shared = True

    def __init__(self, address: PgvectorAddress, table: str, dim: int) -> None:
        self.address, self.table, self.dim = address, table, dim
        self._rows = 0  # vectors of complete recordings, as of the last request
        self._checked_at = -math.inf
        self._described: _Table | None = None
        self._server = _Server(address)
        try:
            self.reload_if_changed()
        except BaseException:
            self._server.close()
            raise

    @property
    def kind(self) -> str:
        names = {"hnsw": "HNSW", "ivfflat": f"IVFFlat, {self._present.lists} lists"}
        return f"pgvector {names.get(self._present.method, 'exact')}"

    @property
    def bytes_on_disk(self) -> int:
        """The size of the tables with their indexes on the server."""
        sizes = " + ".join(f"pg_total_relation_size('{name}')" for name in _tables(self.table))
        return int(self._read(f"SELECT {sizes}")[0][0])

    def __len__(self) -> int:
        return self._rows

    def recording_ids(self) -> set[int]:
        """Return the ids of all complete recordings in the table, including those that others added."""
        ids, rows = self._read(
            "SELECT string_agg(int8send(recording_id), ''::bytea), coalesce(sum(segments), 0)::bigint"
            f" FROM {self.table}_r"
        )[0]
        self._rows = int(rows)
        return set(np.frombuffer(ids or b"", ">i8").tolist())

    def contains(self, recording_ids: Iterable[int]) -> set[int]:
        """Return those of these recordings that are complete in the table."""
        wanted = ",".join(str(int(each)) for each in recording_ids)
        found = self._read(
            f"SELECT recording_id FROM {self.table}_r WHERE recording_id = ANY (ARRAY[{wanted}]::bigint[])"
        )
        return {recording_id for (recording_id,) in found}

    def add(self, ids: np.ndarray, vectors: np.ndarray) -> None:
        if vectors.shape != (len(ids), self.dim):
            raise ValueError(f"{len(ids)} ids need vectors of shape ({len(ids)}, {self.dim}), not {vectors.shape}")
        self._rows += self._server.run(partial(_add, table=self.table, ids=ids, vectors=vectors), ATTEMPTS)

    def remove(self, recording_ids: Iterable[int]) -> None:
        removed = [int(each) for each in recording_ids]
        if removed:
            self._rows -= self._server.run(lambda cursor: _in_one(cursor, _remove, self.table, removed), ATTEMPTS)

    def search(self, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Search all vectors in one request; see `Index`."""
        ids = np.full((len(vectors), k), NOTHING, np.int64)
        scores = np.full((len(vectors), k), -1, np.float32)
        if not len(vectors):
            return ids, scores
        statement = self._search_statement(np.asarray(vectors, np.float32), k)
        try:
            answer = self._read(statement)[0][0]
        except LibraryError:
            self._checked_at = -math.inf  # the table may be gone: the next `reload_if_changed` checks
            raise
        found = np.frombuffer(answer or b"", _FOUND)
        rows, distances = found["query"].astype(np.int64), found["distance"].astype(np.float32)
        order = np.lexsort((distances, rows))
        rows = rows[order]
        columns = np.arange(len(rows)) - np.searchsorted(rows, rows)
        ids[rows, columns], scores[rows, columns] = found["id"][order], -distances[order]
        return ids, scores

    def _search_statement(self, vectors: np.ndarray, k: int) -> str:
        """Return a transaction of one request: settings that only it uses, and the search of every vector."""
        present = self._present
        local = {"statement_timeout": round(1000 * SEARCH_TIMEOUT), "jit": "off", "max_parallel_workers_per_gather": 0}
        if present.method == "hnsw":
            local |= {"enable_seqscan": "off", "hnsw.ef_search": min(1000, max(self.address.ef_search or EF_SEARCH, k))}
        elif present.method == "ivfflat":
            probes = min(self.address.probes or PROBES, present.lists)
            local |= {"enable_seqscan": "off", "ivfflat.probes": probes}
        if present.method and present.version >= ITERATIVE:  # continues until k rows that still exist are found
            local[f"{present.method}.iterative_scan"] = "relaxed_order"
        quoted = ",".join(f'"[{",".join(map(_number, vector))}]"' for vector in vectors.tolist())
        return "; ".join(
            [
                "BEGIN READ ONLY",
                *(f"SET LOCAL {name} = {value}" for name, value in local.items()),
                "SELECT string_agg(int4send(query.number::int - 1) || int8send(near.id)"
                " || float4send(near.distance::real), ''::bytea)"
                f" FROM unnest('{{{quoted}}}'::halfvec[]) WITH ORDINALITY AS query (vector, number)"
                f" CROSS JOIN LATERAL (SELECT id, vector <#> query.vector AS distance FROM {self.table}"
                f" ORDER BY vector <#> query.vector LIMIT {int(k)}) AS near",
                "COMMIT",
            ]
        )

    def settle(self) -> None:
        """Create or replace the vector index if the table has outgrown it. Searches continue meanwhile."""
        self._rows = int(self._read(f"SELECT coalesce(sum(segments), 0)::bigint FROM {self.table}_r")[0][0])
        present = self._present
        method = self._method(self._rows)
        outgrown = present.method == "ivfflat" and _lists(self._rows) ** 2 > GROWTH * present.lists**2
        if not method or (present.method == method and not outgrown):
            return
        if present.method == "hnsw" and self.address.method == "auto":
            return  # more accurate than what would replace it
        log.info("building the index %s of %d vectors in %s", method, self._rows, self.address)

        self._build(self.table, method, self._rows, present.index)
        self._describe()

    def _build(self, table: str, method: str, rows: int, replaced: str = "") -> None:
        """Create a vector index and drop the one that it replaces."""

        def build(cursor: Any) -> None:
            cursor.execute("BEGIN")
            _build(cursor, table, method, rows, self._build_memory, parallel)
            if replaced:
                cursor.execute(f"DROP INDEX IF EXISTS {replaced}")
            cursor.execute("COMMIT")

        parallel = True
        try:
            self._server.run(build, ATTEMPTS)
        except LibraryFull:  # of shared memory, which containers have little of: one process needs none
            parallel = False
            self._server.run(build, ATTEMPTS)

    def rebuild(self, source: Callable[[], Iterator[tuple[np.ndarray, np.ndarray]]]) -> None:
        """Write a new table from what `source` yields, and replace the present one at once. Searches continue."""
        new = f"{self.table}_n"

        def prepare(cursor: Any) -> None:
            cursor.execute("BEGIN")
            _drop(cursor, new)
            _create(cursor, new, self.dim)
            cursor.execute("COMMIT")

        self._server.run(prepare, ATTEMPTS)
        rows = 0
        for ids, vectors in source():
            rows += self._server.run(partial(_add, table=new, ids=ids, vectors=vectors), ATTEMPTS)
        if method := self._method(rows):
            self._build(new, method, rows)

        def replace(cursor: Any) -> None:
            cursor.execute("BEGIN")
            _drop(cursor, self.table)
            for old, name in zip(_tables(new), _tables(self.table), strict=True):
                cursor.execute(f"ALTER TABLE {old} RENAME TO {name}")
            cursor.execute("COMMIT")

        self._server.run(replace, 1)
        self._rows = rows
        self._describe()

    def reload_if_changed(self) -> bool:
        """Create the tables if they were dropped. Returns True if they are new ones: `recording_ids` may differ."""
        if time.monotonic() - self._checked_at < CHECK_INTERVAL:
            return False
        before = self._described
        present = self._describe()
        if present is None:
            self._server.run(self._prepare, ATTEMPTS)
            present = self._describe()
        if before and present and before.oid == present.oid:
            return False
        self.recording_ids()
        return True

    def close(self) -> None:
        self._server.close()

    @property
    def _build_memory(self) -> int:
        return self.address.build_memory or BUILD_MEMORY

    def _method(self, rows: int) -> str:
        """Return the vector index for a table of this size; empty: none."""
        if rows <= EXACT_ROWS:
            return ""
        if self.address.method != "auto":
            return self.address.method
        return "hnsw" if rows * BYTES_PER_ROW >> 20 <= self._build_memory else "ivfflat"

    @property
    def _present(self) -> _Table:
        if self._described is None:
            raise LibraryError(f"{self.address} has no table {self.table}")
        return self._described

    def _prepare(self, cursor: Any) -> None:
        """Create the extension and the tables. Another process may be doing the same."""
        _create_extension(cursor, self.address)
        cursor.execute("BEGIN")
        cursor.execute(f"SELECT pg_advisory_xact_lock(hashtext('{self.table}'))")
        _create(cursor, self.table, self.dim)
        cursor.execute("COMMIT")

    def _describe(self) -> _Table | None:
        """Read whether the table exists, and its vector index."""
        tables = " AND ".join(f"to_regclass('{name}') IS NOT NULL" for name in _tables(self.table))
        rows = self._read(
            f"SELECT to_regclass('{self.table}')::oid::bigint,"
            " (SELECT extversion FROM pg_extension WHERE extname = 'vector'), class.relname, am.amname,"
            " array_to_string(class.reloptions, ',')"
            " FROM (SELECT 1) AS one LEFT JOIN (pg_index JOIN pg_class AS class ON class.oid = pg_index.indexrelid"
            " JOIN pg_am AS am ON am.oid = class.relam AND am.amname IN ('hnsw', 'ivfflat'))"
            f" ON pg_index.indrelid = to_regclass('{self.table}') AND pg_index.indisvalid WHERE {tables}"
        )
        self._checked_at = time.monotonic()
        self._described = None
        if rows:
            oid, version, index, method, options = rows[0]
            lists = re.search(r"lists=(\d+)", options or "")
            self._described = _Table(
                oid, _version(version or ""), method or "", int(lists[1]) if lists else 0, index or ""
            )
        return self._described

    def _read(self, statement: str) -> Sequence[Sequence[Any]]:
        def work(cursor: Any) -> Sequence[Sequence[Any]]:
            cursor.execute(statement)
            rows: Sequence[Sequence[Any]] = cursor.fetchall()
            return rows

        return self._server.run(work, SEARCH_ATTEMPTS)


def table_name(library: str, encoder_id: str) -> str:
    """Return the table of a library and an encoder. PostgreSQL allows 63 bytes; the digest keeps names different."""
    readable = re.sub("[^0-9a-z]", "_", encoder_id.lower())[:16]
    return f"songprint_{library}_{readable}_{hashlib.blake2b(encoder_id.encode(), digest_size=4).hexdigest()}"


def drop_others(address: PgvectorAddress, library: str, encoder_ids: Collection[str]) -> None:
    """Drop the tables of encoders that the library no longer uses."""
    kept = {name for encoder_id in encoder_ids for name in _tables(table_name(library, encoder_id))}

    def drop(cursor: Any) -> None:
        cursor.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND pg_table_is_visible(oid)"
            f" AND starts_with(relname, 'songprint_{library}_')"
        )
        for (name,) in cursor.fetchall():
            if name not in kept:
                cursor.execute(f'DROP TABLE IF EXISTS "{name}"')

    server = _Server(address)
    try:
        server.run(drop, ATTEMPTS)
    finally:
        server.close()


class _Server(PostgresDatabase):
    """The connections to the server. They are checked when a request fails, and not before each request."""

    def __init__(self, address: PgvectorAddress) -> None:
        self._shown = address
        super().__init__(address.database, busy_timeout=BUSY_TIMEOUT)

    def run(self, work: Callable[[Any], T], attempts: int) -> T:
        """Return `work(cursor)`; try again, after a pause, if the connection breaks or the server is busy.

        `work` may run several times, also after it has succeeded. Raises LibraryError.
        """
        for attempt in range(1, attempts + 1):
            try:
                return self._attempt(work)
            except _Temporary as error:
                if attempt == attempts:
                    raise error.shown from error
                log.info("%s; attempt %d", error.shown, attempt)
                if attempt > 1:
                    time.sleep(min(LONGEST_PAUSE, 0.5 * 2**attempt) * random.uniform(0.5, 1))
        raise AssertionError("unreachable")

    def _attempt(self, work: Callable[[Any], T]) -> T:
        connection = None
        try:
            connection = self._engine.raw_connection()
            return work(connection.cursor())
        except NoConnectionFree as error:
            raise self._translated(error) from error
        except (DBAPIError, self._driver.Error, OSError) as error:
            original = getattr(error, "orig", None) or error
            trouble, shown = self._trouble(original), self._translated(error)
            if trouble is Trouble.LOST and connection:
                connection.invalidate()
                connection = None
                self._engine.dispose()  # the other idle connections are as old
            if trouble in _AGAIN:
                raise _Temporary(shown) from error
            raise shown from error
        finally:
            if connection:
                try:
                    connection.close()  # ends a transaction that an error has left open
                except (DBAPIError, self._driver.Error, OSError):
                    connection.invalidate()

    def _check_connection(self, connection: DBAPIConnection, *_: object) -> None:
        """Do nothing: `run` replaces broken connections, and a query takes one request instead of two."""

    def _error(self, trouble: Trouble, detail: str) -> LibraryError:
        server, user, name = self.address.server, self.address.user, self.address.name
        messages = {
            Trouble.UNREACHABLE: f"no PostgreSQL server answers at {server} ({detail}). Check that it is running and"
            " that the setting `index` is correct",
            Trouble.REFUSED: f"the PostgreSQL server {server} refuses the user '{user}' ({detail}). Check the user name"
            " and password in the setting `index`",
            Trouble.FORBIDDEN: f"the user '{user}' lacks rights in the database {self.name} ({detail}). The index"
            f' needs its own tables: GRANT CREATE ON SCHEMA public TO "{user}"',
            Trouble.LOST: f"lost the connection to the PostgreSQL server {server} ({detail}). The index continues"
            " where it stopped when the server is available",
            Trouble.BUSY: f"the index in the database {self.name} is busy ({detail}). Try again",
            Trouble.OTHER: f"the index in the PostgreSQL database '{name}' at {server} reports: {detail}",
        }
        return LibraryError(messages[trouble]) if trouble in messages else super()._error(trouble, detail)


class _Temporary(Exception):
    """An error that may be gone at the next attempt; `shown` is the error for users."""

    def __init__(self, shown: LibraryError) -> None:
        self.shown = shown


def _tables(table: str) -> tuple[str, str]:
    """Return the tables of vectors and of recordings."""
    return table, f"{table}_r"


def _create(cursor: Any, table: str, dim: int) -> None:
    vectors, recordings = _tables(table)
    cursor.execute(f"CREATE TABLE IF NOT EXISTS {vectors} (id bigint PRIMARY KEY, vector halfvec({dim}) NOT NULL)")
    cursor.execute(
        f"CREATE TABLE IF NOT EXISTS {recordings} (recording_id bigint PRIMARY KEY, segments integer NOT NULL)"
    )


def _drop(cursor: Any, table: str) -> None:
    for name in _tables(table):
        cursor.execute(f"DROP TABLE IF EXISTS {name}")


def _add(cursor: Any, table: str, ids: np.ndarray, vectors: np.ndarray) -> int:
    """Write whole recordings in one transaction, also over older rows of them. Returns by how many rows it grew."""
    recordings, counts = np.unique(ids >> POSITION_BITS, return_counts=True)
    cursor.execute("BEGIN")
    removed = _remove(cursor, table, recordings.tolist())
    dim = vectors.shape[1]
    halfvec = [("dim", ">i2"), ("unused", ">i2"), ("values", ">f2", (dim,))]
    _copy(
        cursor,
        f"{table} (id, vector)",
        {
            "id": (">i8", ids),
            "vector": (halfvec, (dim, vectors)),
        },
    )
    _copy(cursor, f"{table}_r (recording_id, segments)", {"recording": (">i8", recordings), "count": (">i4", counts)})
    cursor.execute("COMMIT")
    return len(ids) - removed


def _copy(cursor: Any, target: str, columns: dict[str, tuple[Any, Any]]) -> None:
    """Write columns, given as (type, values), with COPY in its binary format."""
    fields: list[Any] = [("columns", ">i2")]
    for name, (kind, _) in columns.items():
        fields += [(f"size of {name}", ">i4"), (name, np.dtype(kind))]
    first = next(iter(columns.values()))[1]
    rows = np.zeros(len(first), np.dtype(fields))
    rows["columns"] = len(columns)
    for name, (_, values) in columns.items():
        rows[f"size of {name}"] = rows.dtype[name].itemsize
        if isinstance(values, tuple):
            rows[name]["dim"], rows[name]["values"] = values
        else:
            rows[name] = values
    stream = io.BytesIO(_COPY_HEADER + rows.tobytes() + _COPY_END)
    cursor.execute(f"COPY {target} FROM STDIN (FORMAT binary)", stream=stream)


def _remove(cursor: Any, table: str, recording_ids: Sequence[int]) -> int:
    """Delete the rows of recordings, and return how many vectors these were."""
    cursor.execute(
        f"DELETE FROM {table}_r WHERE recording_id = ANY (ARRAY[{','.join(map(str, recording_ids))}]::bigint[])"
        " RETURNING recording_id, segments"
    )
    present = list(cursor.fetchall())
    if present:
        shift, ids = POSITION_BITS, ",".join(str(recording_id) for recording_id, _ in present)
        cursor.execute(
            f"DELETE FROM {table} USING unnest(ARRAY[{ids}]::bigint[]) AS removed (recording_id)"
            f" WHERE id >= removed.recording_id << {shift} AND id < (removed.recording_id + 1) << {shift}"
        )
    return sum(segments for _, segments in present)


def _in_one(cursor: Any, work: Callable[..., T], *given: Any) -> T:
    cursor.execute("BEGIN")
    result = work(cursor, *given)
    cursor.execute("COMMIT")
    return result


def _build(cursor: Any, table: str, method: str, rows: int, build_memory: int, parallel: bool) -> None:
    """Create a vector index, in memory if `build_memory` suffices."""
    lists = _lists(rows)
    size = rows * BYTES_PER_ROW if method == "hnsw" else lists**2 * BYTES_PER_LISTS
    memory = max(LEAST_MEMORY, min(size >> 20, build_memory) if method == "hnsw" else size >> 20)
    cursor.execute(f"SET LOCAL maintenance_work_mem = '{memory}MB'")
    if not parallel:
        cursor.execute("SET LOCAL max_parallel_maintenance_workers = 0")
    options = {"hnsw": "", "ivfflat": f" WITH (lists = {lists})"}[method]
    cursor.execute(f"CREATE INDEX ON {table} USING {method} (vector halfvec_ip_ops){options}")


def _create_extension(cursor: Any, address: PgvectorAddress) -> None:
    """Create the extension vector if it is missing. Raises LibraryError that names the command to run."""
    cursor.execute("SELECT default_version, installed_version FROM pg_available_extensions WHERE name = 'vector'")
    rows = cursor.fetchall()
    where = f"the database '{address.database.name}' at {address.database.server}"
    if not rows:
        raise LibraryError(
            f"the PostgreSQL server {address.database.server} lacks the extension pgvector. Install it there, for"
            " example with `apt install postgresql-17-pgvector` for PostgreSQL 17"
        )
    available, installed = rows[0]
    if not installed:
        try:
            cursor.execute("CREATE EXTENSION IF NOT EXISTS vector")
        except Exception as error:
            if getattr(error, "args", None) and isinstance(error.args[0], dict) and error.args[0].get("C") == "42501":
                raise LibraryError(
                    f"the user '{address.database.user}' may not create the extension pgvector in {where}. Run as an"
                    " administrator of this database: CREATE EXTENSION vector"
                ) from error
            if not _exists_meanwhile(cursor):
                raise
        installed = available
    if _version(installed) < OLDEST:
        raise LibraryError(
            f"{where} has pgvector {installed}; Songprint needs {'.'.join(map(str, OLDEST))} or newer. Install it and"
            " run: ALTER EXTENSION vector UPDATE"
        )


def _exists_meanwhile(cursor: Any) -> bool:
    """Whether another process has created the extension at the same moment, which makes our attempt fail."""
    cursor.execute("SELECT 1 FROM pg_extension WHERE extname = 'vector'")
    return bool(cursor.fetchall())


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text))


def _lists(rows: int) -> int:
    """Return `number_of_cells` within LISTS: k-means takes memory for their square."""
    least, most = LISTS
    return min(most, max(least, number_of_cells(rows)))


def _number(value: float) -> str:
    return f"{value:.6g}"
