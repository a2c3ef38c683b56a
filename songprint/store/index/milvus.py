"""An index in Milvus: on a server that several machines share, or in Milvus Lite, a file that one process uses.

Each encoder of each library has a collection with one row for each segment:

    id          int64   the segment id
    recording   int64   the id of its recording
    segments    int64   in the last row of a recording the number of its segments, else 0
    vector      float32 (dim,)

`segments` marks complete recordings. A process that dies halfway leaves an incomplete recording, whose rows are deleted
before it is written again, so adding a recording twice does no harm.

A server searches each of its data segments with an own inverted file. Their number of cells is chosen when the
collection is created, for the rows that the library has then, or those of a full segment.
"""

from __future__ import annotations

import logging
import random
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from songprint.errors import LibraryError, MissingExtra
from songprint.store.index import NOTHING, POSITION_BITS
from songprint.store.index.cells import number_of_cells

if TYPE_CHECKING:
    from pymilvus import MilvusClient

    from songprint.address import MilvusAddress

log = logging.getLogger(__name__)

SEGMENT_BYTES = 512 << 20  # of a full data segment; the default of Milvus 2.3
# Of the inverted file of a data segment, at least and at most. The server trains them with up to 256 rows each, which
# takes minutes of processor time with 4096 and four times as long with 8192.
CELLS = (1024, 4096)
PROBES = 64  # cells searched per vector
EF = 100  # candidates that a search of HNSW compares
HNSW = {"M": 16, "efConstruction": 128}
REQUEST_BYTES = 8 << 20  # written by one request; servers refuse more than 64 MB
LITE_ROWS = 2000  # written by one request to Milvus Lite
QUERIES = 4096  # vectors searched by one request; servers allow 16,384
RECORDINGS = 500  # removed by one request
PAGE = 10_000  # recordings listed by one request
TIMEOUT = 30.0  # seconds
WRITE_TIMEOUT = 120.0  # seconds, for a request that writes
LONG_TIMEOUT = 600.0  # seconds, for requests that read or write the whole collection
ATTEMPTS = 12  # at writing, which takes about 50 s: a restart of the server interrupts no filling
LONGEST_PAUSE = 5.0  # seconds
FLUSH_ROWS = 50_000  # new rows from which the server is asked to build their index
# Seconds after a change in which searches use strong consistency. It is slower, but guarantees to see the change.
STRONG_PERIOD = 10.0
CHECK_INTERVAL = 5.0  # seconds between two checks that the collection still exists


class MilvusIndex:
    """The vectors of one encoder of one library in a Milvus collection; see `Index`."""

    shared = True

    def __init__(self, address: MilvusAddress, collection: str, dim: int, rows: int = 0) -> None:
        """Open the collection, or create it for about this many rows."""
        self.address, self.collection, self.dim, self._expected = address, collection, dim, rows
        self._segments: dict[int, int] = {}  # of each complete recording, as of the last request
        self._unflushed = 0  # rows written by this process that the server may not have indexed
        self._changed_at = time.monotonic()
        self._checked_at = 0.0
        self._collection_id: int | None = None  # at the last check; a new collection of the same name has another
        self._client = connect(address)
        try:
            self.reload_if_changed()
        except BaseException:
            self._client.close()
            raise

    @property
    def kind(self) -> str:
        if self.address.lite:
            return "Milvus Lite"
        return "Milvus HNSW" if self.address.method == "hnsw" else "Milvus IVF_SQ8"

    @property
    def bytes_on_disk(self) -> int:
        """The size of Milvus Lite; 0 for a server, which does not report it."""
        folder = Path(self.address.uri)
        return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) if self.address.lite else 0

    def __len__(self) -> int:
        return sum(self._segments.values())

    def recording_ids(self) -> set[int]:
        """Return the ids of all complete recordings in the collection, including those that others added."""
        self._changed_at = time.monotonic()
        found: dict[int, int] = {}
        last = -1
        while True:  # a server returns the smallest ids first
            page = self._complete(f"id > {last}", **({} if self.address.lite else {"limit": PAGE}))
            found.update((row["recording"], row["segments"]) for row in page)
            last = max((row["id"] for row in page), default=last)
            if self.address.lite or len(page) < PAGE:  # Milvus Lite returns all rows
                break
        self._segments = found
        return set(found)

    def contains(self, recording_ids: Iterable[int]) -> set[int]:
        """Return those of these recordings that are complete in the collection."""
        self._changed_at = time.monotonic()
        wanted = sorted(map(int, recording_ids))
        found: dict[int, int] = {}
        for start in range(0, len(wanted), RECORDINGS):
            rows = self._complete(f"recording in {wanted[start : start + RECORDINGS]}")
            found.update((row["recording"], row["segments"]) for row in rows)
        for recording_id in wanted:
            self._segments.pop(recording_id, None)
        self._segments.update(found)
        return set(found)

    def _complete(self, condition: str, **limit: int) -> list[dict[str, Any]]:
        """Return the last row of each complete recording that fulfils a condition."""
        with translated_errors(self.address):
            rows: list[dict[str, Any]] = self._client.query(
                self.collection,
                filter=f"segments > 0 and {condition}",
                output_fields=["recording", "segments"],
                consistency_level="Strong",
                timeout=LONG_TIMEOUT,
                **limit,
            )
        return rows

    def add(self, ids: np.ndarray, vectors: np.ndarray) -> None:
        if vectors.shape != (len(ids), self.dim):
            raise ValueError(f"{len(ids)} ids need vectors of shape ({len(ids)}, {self.dim}), not {vectors.shape}")
        order = np.argsort(ids, kind="stable")
        ids, vectors = ids[order], np.asarray(vectors[order], np.float32)
        recordings, firsts, counts = np.unique(ids >> POSITION_BITS, return_index=True, return_counts=True)
        segments = np.zeros(len(ids), np.int64)
        segments[firsts + counts - 1] = counts
        step = LITE_ROWS if self.address.lite else max(1, REQUEST_BYTES // _row_bytes(self.dim))
        self._again(lambda: self._write(ids, segments, vectors, recordings.tolist(), step))
        self._segments.update(zip(recordings.tolist(), counts.tolist(), strict=True))
        self._changed_at = time.monotonic()
        self._unflushed += len(ids)

    def _write(
        self, ids: np.ndarray, segments: np.ndarray, vectors: np.ndarray, recordings: list[int], step: int
    ) -> None:
        """Write rows, sorted by id, after deleting what an earlier attempt has left of these recordings.

        The official client accepts rows only; the one that accepted columns is deprecated.
        """
        write = self._client.upsert
        if not self.address.lite:  # inserting takes a fraction of the work of upserting
            write = self._client.insert
            self._delete_rows_of(recordings)
        for start in range(0, len(ids), step):
            columns = (each[start : start + step].tolist() for each in (ids, segments))
            rows = [
                {"id": id, "recording": id >> POSITION_BITS, "segments": count, "vector": vector}
                for id, count, vector in zip(*columns, vectors[start : start + step], strict=True)
            ]
            with translated_errors(self.address):
                write(self.collection, rows, timeout=WRITE_TIMEOUT)

    def _delete_rows_of(self, recordings: list[int]) -> None:
        """Delete the rows of these recordings if there are any."""
        for start in range(0, len(recordings), RECORDINGS):
            these = f"recording in {recordings[start : start + RECORDINGS]}"
            with translated_errors(self.address):
                if self._client.query(
                    self.collection, filter=these, limit=1, consistency_level="Strong", timeout=LONG_TIMEOUT
                ):
                    self._client.delete(self.collection, filter=these, timeout=LONG_TIMEOUT)

    def _again(self, work: Callable[[], None]) -> None:
        """Run `work`; after an error again, with growing pauses."""
        for attempt in range(1, ATTEMPTS):
            try:
                return work()
            except LibraryError as error:
                log.info("%s; attempt %d", error, attempt)
                time.sleep(min(LONGEST_PAUSE, 0.5 * 2**attempt) * random.uniform(0.5, 1))
        return work()

    def settle(self) -> None:
        """Ask the server to build the index of many new rows. Few rows are indexed later, with others."""
        if not self.address.lite and self._unflushed >= FLUSH_ROWS:
            with translated_errors(self.address):
                self._client.flush(self.collection, timeout=LONG_TIMEOUT)
            self._unflushed = 0

    def remove(self, recording_ids: Iterable[int]) -> None:
        removed = sorted(map(int, recording_ids))
        for start in range(0, len(removed), RECORDINGS):
            with translated_errors(self.address):
                self._client.delete(
                    self.collection, filter=f"recording in {removed[start : start + RECORDINGS]}", timeout=LONG_TIMEOUT
                )
        for recording_id in removed:
            self._segments.pop(recording_id, None)
        self._changed_at = time.monotonic()

    def search(self, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        ids = np.full((len(vectors), k), NOTHING, np.int64)
        scores = np.full((len(vectors), k), -1, np.float32)
        for start in range(0, len(vectors), QUERIES):
            recent = time.monotonic() - self._changed_at < STRONG_PERIOD
            try:
                with translated_errors(self.address):
                    found = self._client.search(
                        self.collection,
                        list(np.asarray(vectors[start : start + QUERIES], np.float32)),
                        limit=k,
                        search_params={"metric_type": "IP", "params": self._search_parameters(k)},
                        timeout=TIMEOUT,
                        consistency_level="Strong" if recent else "Bounded",
                    )
            except LibraryError:
                self._checked_at = 0.0  # the collection may be gone: the next `reload_if_changed` checks
                raise
            for row, hits in enumerate(found, start):
                ids[row, : len(hits)] = hits.ids
                scores[row, : len(hits)] = hits.distances
        return ids, scores

    def _search_parameters(self, k: int) -> dict[str, int]:
        if self.address.lite:
            return {}
        if self.address.method == "hnsw":
            return {"ef": max(self.address.ef or EF, k)}
        return {"nprobe": self.address.probes or PROBES}

    def rebuild(self, source: Callable[[], Iterator[tuple[np.ndarray, np.ndarray]]]) -> None:
        """Write all rows that `source` yields, then remove all other recordings. Searches continue meanwhile."""
        self._create_if_missing()
        written: set[int] = set()
        for ids, vectors in source():
            self.add(ids, vectors)
            written.update(np.unique(ids >> POSITION_BITS).tolist())
        self.remove(self.recording_ids() - written)

    def reload_if_changed(self) -> bool:
        """Create the collection if it was dropped. Returns True if it is a new one: `recording_ids` may differ."""
        if self._segments and time.monotonic() - self._checked_at < CHECK_INTERVAL:
            return False
        created = self._create_if_missing()
        with translated_errors(self.address):
            collection_id = self._client.describe_collection(self.collection, timeout=TIMEOUT).get("collection_id")
        self._checked_at = time.monotonic()
        if collection_id == self._collection_id and not created:
            return False
        self._collection_id, self._segments = collection_id, {}
        return True

    def close(self) -> None:
        self._client.close()

    def _create_if_missing(self) -> bool:
        """Create, index and load the collection. Returns whether it was missing.

        Each step is skipped where it is done: another process may be creating it, or may have died halfway.
        """
        from pymilvus import DataType

        client, name = self._client, self.collection
        with translated_errors(self.address):
            missing = not client.has_collection(name, timeout=TIMEOUT)
            if missing:
                schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
                schema.add_field("id", DataType.INT64, is_primary=True)
                schema.add_field("recording", DataType.INT64)
                schema.add_field("segments", DataType.INT64)
                schema.add_field("vector", DataType.FLOAT_VECTOR, dim=self.dim)
                shards = {"num_shards": self.address.shards} if self.address.shards else {}
                client.create_collection(name, schema=schema, timeout=LONG_TIMEOUT, **shards)
            present = client.list_indexes(name, timeout=TIMEOUT)
            index = client.prepare_index_params()
            if "vector" not in present:
                index.add_index("vector", index_name="vector", metric_type="IP", **self._index())
            if "recording" not in present and not self.address.lite:
                index.add_index("recording", index_name="recording", index_type="STL_SORT")
            if len(index):
                client.create_index(name, index, timeout=LONG_TIMEOUT, sync=False)
            replicas = {"replica_number": self.address.replicas} if self.address.replicas else {}
            client.load_collection(name, timeout=LONG_TIMEOUT, **replicas)
            return missing

    def _index(self) -> dict[str, Any]:
        if self.address.lite:  # it always compares every vector
            return {"index_type": "FLAT"}
        if self.address.method == "hnsw":
            return {"index_type": "HNSW", "params": HNSW}
        return {"index_type": "IVF_SQ8", "params": {"nlist": cells(self._expected, self.dim)}}


def cells(rows: int, dim: int) -> int:
    """Return `number_of_cells` for these rows, of at most a full data segment, within CELLS."""
    least, most = CELLS
    in_segment = min(rows, SEGMENT_BYTES // _row_bytes(dim))
    return min(most, max(least, number_of_cells(in_segment)))


def _row_bytes(dim: int) -> int:
    return 4 * dim + 3 * 8


def collection_name(library: str, encoder_id: str) -> str:
    """Return the collection of a library and an encoder. Milvus allows letters, digits and underscores."""
    return f"songprint_{library}_{re.sub('[^0-9A-Za-z]', '_', encoder_id)}"


def drop_others(address: MilvusAddress, library: str, encoder_ids: Collection[str]) -> None:
    """Drop the collections of encoders that the library no longer uses."""
    kept = {collection_name(library, encoder_id) for encoder_id in encoder_ids}
    client = connect(address)
    with translated_errors(address):
        for name in client.list_collections(timeout=TIMEOUT):
            if name.startswith(collection_name(library, "")) and name not in kept:
                client.drop_collection(name, timeout=TIMEOUT)
    client.close()


def connect(address: MilvusAddress) -> MilvusClient:
    """Connect to a server, or open the file of Milvus Lite, which is created if it is missing."""
    try:
        from pymilvus import MilvusClient

        if address.lite:
            import milvus_lite  # noqa: F401
    except ImportError as error:
        raise MissingExtra(f"the index {address} needs Milvus's client: pip install 'songprint[milvus]'") from error
    for name in ("pymilvus", "milvus_lite"):  # they log errors that Songprint reports itself
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with translated_errors(address):
        if address.lite:
            Path(address.uri).parent.mkdir(parents=True, exist_ok=True)
        return MilvusClient(address.uri, token=address.token, timeout=TIMEOUT)


@contextmanager
def translated_errors(address: MilvusAddress) -> Iterator[None]:
    """Turn errors of Milvus into a LibraryError that explains what to do."""
    import grpc
    from pymilvus import MilvusException

    try:
        yield
    except (MilvusException, grpc.RpcError, OSError) as error:
        detail = " ".join(str(getattr(error, "message", "") or error).split())[:300]
        if "Open local milvus failed" in detail:
            raise LibraryError(
                f"cannot open Milvus Lite at {address}. Only one process at a time can use it. For several,"
                " run a Milvus server"
            ) from error
        if "connect" in detail.lower() or "UNAVAILABLE" in detail or isinstance(error, grpc.FutureTimeoutError):
            raise LibraryError(
                f"no Milvus server answers at {address}. Check that it is running and that the"
                " setting `index` is correct"
            ) from error
        if "auth" in detail.lower():
            raise LibraryError(
                f"the Milvus server at {address} refuses the login ({detail}). Check the user and password in"
                " the setting `index`"
            ) from error
        raise LibraryError(f"Milvus at {address} reports: {detail}") from error
