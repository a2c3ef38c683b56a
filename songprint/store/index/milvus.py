"""Search by Milvus: a server that several machines share, or Milvus Lite, a folder that one process uses.

Each encoder of each library has a collection, a row for each segment:

    id          int64   the segment id
    recording   int64   the recording that it is of
    segments    int64   in the last row of a recording how many it has, else 0: so a recording counts when it is whole
    vector      float32 (dim,)

Rows are written under their id whether they are there already or not. So adding twice does no harm, and a process
that dies in the middle leaves a recording that does not count and is written again.
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

from songprint.address import MilvusAddress
from songprint.errors import LibraryError, MissingExtra
from songprint.store.index import NOTHING, POSITION_BITS

if TYPE_CHECKING:
    from pymilvus import MilvusClient

CELLS, PROBES = 1024, 64  # of a server's inverted file: cells in a part of the index; those that are searched
ROWS = 2000  # written at once
QUERIES = 64  # vectors asked for at once
RECORDINGS = 500  # removed at once
PAGE = 10_000  # recordings listed at once
TIMEOUT, LONG_TIMEOUT = 30.0, 600.0  # seconds; for what goes through everything
STALE = 10.0  # seconds after a change in which a search waits until it sees the latest
LOOK_AGAIN = 5.0  # seconds between two looks at whether the collection is still there


class MilvusIndex:
    """The vectors of one encoder of one library in a Milvus collection; see `Index`."""

    shared = True  # by processes and machines: one of them fills it for all

    def __init__(self, address: MilvusAddress, collection: str, dim: int) -> None:
        self.address, self.collection, self.dim = address, collection, dim
        self._segments: dict[int, int] = {}  # of each recording that counts, as of the last look
        self._changed_at = time.monotonic()
        self._looked_at, self._number = 0.0, None  # when, and which collection of this name it was
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
        """Of Milvus Lite; what a server takes it does not tell."""
        folder = Path(self.address.uri)
        return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) if self.address.lite else 0

    def __len__(self) -> int:
        return sum(self._segments.values())

    def recording_ids(self) -> set[int]:
        """The recordings that can be found, whoever added them."""
        self._changed_at = time.monotonic()
        found: dict[int, int] = {}
        last, page = -1, None
        while page is None or len(page) == PAGE:  # a server gives the smallest ids first
            with self._translated_errors():
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
            if self.address.lite:  # it gives all at once
                break
        self._segments = found
        return set(found)

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
            with self._translated_errors():
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

    def remove(self, recording_ids: Iterable[int]) -> None:
        gone = sorted(map(int, recording_ids))
        for start in range(0, len(gone), RECORDINGS):
            with self._translated_errors():
                self._client.delete(
                    self.collection, filter=f"recording in {gone[start : start + RECORDINGS]}", timeout=LONG_TIMEOUT
                )
        for recording_id in gone:
            self._segments.pop(recording_id, None)
        self._changed_at = time.monotonic()

    def search(self, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        ids = np.full((len(vectors), k), NOTHING, np.int64)
        scores = np.full((len(vectors), k), -1, np.float32)
        parameters = {"metric_type": "IP", "params": {} if self.address.lite else {"nprobe": PROBES}}
        for start in range(0, len(vectors), QUERIES):
            recent = time.monotonic() - self._changed_at < STALE
            try:
                with self._translated_errors():
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
                self._looked_at = 0.0  # perhaps it was dropped: the next `refresh` looks
                raise
            for row, hits in enumerate(found, start):
                ids[row, : len(hits)] = [hit["id"] for hit in hits]
                scores[row, : len(hits)] = [hit["distance"] for hit in hits]
        return ids, scores

    def wants_rebuild(self) -> bool:
        return False  # Milvus merges and indexes what comes in by itself

    def rebuild(self, source: Callable[[], Iterator[tuple[np.ndarray, np.ndarray]]]) -> None:
        """Write all that `source` yields over what is there, and remove the rest; searches go on meanwhile."""
        self._make_if_missing()
        kept: set[int] = set()
        for ids, vectors in source():
            self.add(ids, vectors)
            kept.update(np.unique(ids >> POSITION_BITS).tolist())
        self.remove(self.recording_ids() - kept)

    def reload_if_changed(self) -> bool:
        """Make the collection anew if somebody has dropped it. True if what it holds has to be looked at."""
        if self._segments and time.monotonic() - self._looked_at < LOOK_AGAIN:
            return False
        made = self._make_if_missing()
        with self._translated_errors():
            number = self._client.describe_collection(self.collection, timeout=TIMEOUT).get("collection_id")
        self._looked_at = time.monotonic()
        if number == self._number and not made:
            return False
        self._number, self._segments = number, {}
        return True

    def close(self) -> None:
        self._client.close()

    def _make_if_missing(self) -> bool:
        """Each step does nothing where it is done: others may be making it too, or have died over it."""
        from pymilvus import DataType

        client, name = self._client, self.collection
        with self._translated_errors():
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
                if self.address.lite:  # which looks at every vector, whatever it is told
                    index.add_index("vector", index_type="FLAT", metric_type="IP")
                else:
                    index.add_index("vector", index_type="IVF_SQ8", metric_type="IP", params={"nlist": CELLS})
                client.create_index(name, index, timeout=LONG_TIMEOUT, sync=False)
            client.load_collection(name, timeout=LONG_TIMEOUT)
            return missing

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        with translated_errors(self.address):
            yield


def collection_name(library: str, encoder_id: str) -> str:
    """Milvus knows letters, digits and underscores. Libraries that share a server are told apart."""
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
    """An open connection. A path in the file system is a library of Milvus Lite, made if it is missing."""
    try:
        from pymilvus import MilvusClient

        if address.lite:
            import milvus_lite  # noqa: F401
    except ImportError as error:
        raise MissingExtra(f"the index {address} needs Milvus's client: pip install 'songprint[milvus]'") from error
    for name in ("pymilvus", "milvus_lite"):  # what goes wrong is said once, by us
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with translated_errors(address):
        if address.lite:
            Path(address.uri).parent.mkdir(parents=True, exist_ok=True)
        return MilvusClient(address.uri, token=address.token, timeout=TIMEOUT)


@contextmanager
def translated_errors(address: MilvusAddress) -> Iterator[None]:
    """Turn the errors of Milvus into a LibraryError that says what to do."""
    import grpc
    from pymilvus import MilvusException

    try:
        yield
    except (MilvusException, grpc.RpcError, OSError) as error:
        said = " ".join(str(getattr(error, "message", "") or error).split())[:300]
        if "Open local milvus failed" in said:
            raise LibraryError(
                f"cannot open Milvus Lite at {address}. One process at a time can use it: for several,"
                " run a Milvus server"
            ) from error
        if "connect" in said.lower() or "UNAVAILABLE" in said or isinstance(error, grpc.FutureTimeoutError):
            raise LibraryError(
                f"no Milvus server answers at {address}. Is it running, and does the setting `index` name it rightly?"
            ) from error
        if "auth" in said.lower():
            raise LibraryError(
                f"the Milvus server at {address} does not let us in ({said}). Are user and password in"
                " the setting `index` right?"
            ) from error
        raise LibraryError(f"Milvus at {address} says: {said}") from error
