"""One decoding for several encoders: each hears the same blocks at the same time, in bounded memory."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from queue import Queue

import numpy as np

from songprint.fingerprint.encoder import Encoder
from songprint.types import Embeddings, Kind

AHEAD = 2  # blocks that wait for an encoder


def encode(blocks: Iterable[np.ndarray], encoders: Mapping[Kind, Encoder]) -> tuple[dict[Kind, Embeddings], float]:
    """Blocks of samples -> the embeddings of each kind, and the length in seconds.

    An encoder asks for its blocks itself, so all but one listen in threads of their own. Whatever an encoder or the
    blocks raise is raised here, when all have come to an end.
    """
    (first, encoder), *others = encoders.items()
    listeners = {kind: _Listener(other) for kind, other in others}
    try:
        made, duration = encoder.encode_stream(_overheard(blocks, listeners.values()))
    finally:
        for listener in listeners.values():
            listener.end()
    return {first: made, **{kind: listener.embeddings() for kind, listener in listeners.items()}}, duration


def _overheard(blocks: Iterable[np.ndarray], listeners: Iterable[_Listener]) -> Iterator[np.ndarray]:
    for block in blocks:
        for listener in listeners:
            listener.feed(block)
        yield block


class _Listener:
    """An encoder that is told its blocks."""

    def __init__(self, encoder: Encoder) -> None:
        self._blocks: Queue[np.ndarray | None] = Queue(AHEAD)
        self._made: Embeddings | None = None
        self._error: BaseException | None = None
        self._ended = False
        self._thread = threading.Thread(target=self._listen, args=(encoder,), daemon=True)
        self._thread.start()

    def feed(self, block: np.ndarray) -> None:
        self._blocks.put(block)

    def end(self) -> None:
        self._blocks.put(None)
        self._thread.join()

    def embeddings(self) -> Embeddings:
        if self._error:
            raise self._error
        return self._made

    def _listen(self, encoder: Encoder) -> None:
        try:
            self._made, _ = encoder.encode_stream(self._coming())
        except BaseException as error:  # raised where it is waited for
            self._error = error
        while not self._ended:  # whoever tells the blocks must not wait for one who has stopped
            self._next()

    def _coming(self) -> Iterator[np.ndarray]:
        while (block := self._next()) is not None:
            yield block

    def _next(self) -> np.ndarray | None:
        block = self._blocks.get()
        self._ended = block is None
        return block
