"""An index in Milvus: on a server that several machines share, or in Milvus Lite, a file that one process uses.

Each encoder of each library has a collection with one row for each segment:

    id          int64   the segment id
    recording   int64   the id of its recording
    segments    int64   in the last row of a recording the number of its segments, else 0
    vector      float32 (dim,)

`segments` marks complete recordings. Rows are upserted, so adding a recording twice does no harm, and a process that
dies halfway leaves an incomplete recording that is written again.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from songprint.errors import LibraryError, MissingExtra
from songprint.store.index import NOTHING, POSITION_BITS

if TYPE_CHECKING:
    from pymilvus import MilvusClient

    from songprint.address import MilvusAddress

CELLS = 1024  # of the inverted file of each data segment on a server
PROBES = 64  # cells searched per vector
ROWS = 2000  # written by one request
QUERIES = 64  # vectors searched by one request
RECORDINGS = 500  # removed by one request
PAGE = 10_000  # recordings listed by one request
TIMEOUT = 30.0  # seconds
LONG_TIMEOUT = 600.0  # seconds, for requests that read or write the whole collection
# Seconds after a change in which searches use strong consistency. It is slower, but guarantees to see the change.
STRONG_PERIOD = 10.0
CHECK_INTERVAL = 5.0  # seconds between two checks that the collection still exists


class MilvusIndex:
    """The vectors of one encoder of one library in a Milvus collection; see `Index`."""

    shared = True

    def __init__(self, address: MilvusAddress, collection: str, dim: int) -> None:
        self.address, self.collection, self.dim = address, collection, dim
        self._segments: dict[int, int] = {}  # of each complete recording, as of the last request
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
        return "Milvus Lite" if self.address.lite else f"Milvus IVF{CELLS},SQ8"

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
            with translated_errors(self.address):
                page = self._client.query(
                    self.collection,
                    filter=f"segments > 0 and id > {last}",
                    output_fields=["recording", "segments"],
                    consistency_level="Strong",
                    timeout=LONG_TIMEOUT,
                    **({} if self.address.lite else {"limit": PAGE}),
                )
            found.update((row["recording"], row["segments"]) for row in page)
            last = max((row["id"] for row in page), default=last)
            if self.address.lite or len(page) < PAGE:  # Milvus Lite returns all rows
                break
        self._segments = found
        return set(found)

    def contains(self, recording_ids: Iterable[int]) -> set[int]:
        return self.recording_ids() & set(recording_ids)

    def add(self, ids: np.ndarray, vectors: np.ndarray) -> None:
        if vectors.shape != (len(ids), self.dim):
            raise ValueError(f"{len(ids)} ids need vectors of shape ({len(ids)}, {self.dim}), not {vectors.shape}")
        order = np.argsort(ids, kind="stable")
        recordings = ids[order] >> POSITION_BITS
        names, firsts, counts = np.unique(recordings, return_index=True, return_counts=True)
        segments = np.zeros(len(ids), np.int64)
        segments[firsts + counts - 1] = counts
        for start in range(0, len(ids), ROWS):
            rows = order[start : start + ROWS]
            with translated_errors(self.address):
                self._client.upsert(
                    self.collection,
                    [
                        {"id": int(id), "recording": int(id) >> POSITION_BITS, "segments": int(count), "vector": vector}
                        for id, count, vector in zip(
                            ids[rows],
                            segments[start : start + ROWS],
                            np.asarray(vectors[rows], np.float32),
                            strict=True,
                        )
                    ],
                    timeout=TIMEOUT,
                )
        self._segments.update(zip(names.tolist(), counts.tolist(), strict=True))
        self._changed_at = time.monotonic()

    def settle(self) -> None:
        """Do nothing: Milvus merges and indexes new rows itself."""
        return

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
        parameters = {"metric_type": "IP", "params": {} if self.address.lite else {"nprobe": PROBES}}
        for start in range(0, len(vectors), QUERIES):
            recent = time.monotonic() - self._changed_at < STRONG_PERIOD
            try:
                with translated_errors(self.address):
                    found = self._client.search(
                        self.collection,
                        list(np.asarray(vectors[start : start + QUERIES], np.float32)),
                        limit=k,
                        output_fields=["segments"],
                        search_params=parameters,
                        timeout=TIMEOUT,
                        consistency_level="Strong" if recent else "Bounded",
                    )
            except LibraryError:
                self._checked_at = 0.0  # the collection may be gone: the next `reload_if_changed` checks
                raise
            for row, hits in enumerate(found, start):
                ids[row, : len(hits)] = [hit["id"] for hit in hits]
                scores[row, : len(hits)] = [hit["distance"] for hit in hits]
        return ids, scores

    def wants_rebuild(self) -> bool:
        return False  # Milvus merges and indexes new rows itself

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
                client.create_collection(name, schema=schema, timeout=LONG_TIMEOUT)
            if not client.list_indexes(name, timeout=TIMEOUT):
                index = client.prepare_index_params()
                if self.address.lite:  # it always compares every vector
                    index.add_index("vector", index_type="FLAT", metric_type="IP")
                else:
                    index.add_index("vector", index_type="IVF_SQ8", metric_type="IP", params={"nlist": CELLS})
                client.create_index(name, index, timeout=LONG_TIMEOUT, sync=False)
            client.load_collection(name, timeout=LONG_TIMEOUT)
            return missing


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
