"""An ear that hears in a thread of its own, a few blocks behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Queue

import numpy as np

from songprint.matching.cover_ear import CoverEar

AHEAD = 4                   # blocks that may wait


class Aside:
    """What the ear raises is raised by the next `hear`, or by `finish`."""

    def __init__(self, ear: CoverEar):
        self._ear = ear
        self._lock = threading.RLock()
        self._blocks: Queue[np.ndarray | None] = Queue(AHEAD)
        self._error: BaseException | None = None
        self._stopped = False
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def hear(self, block: np.ndarray) -> None:
        if self._error:
            raise self._error
        self._blocks.put(block)

    def close(self) -> None:
        """Stop, whatever was not heard yet."""
        self._stopped = True
        self._end()

    def _end(self) -> None:
        if self._thread.is_alive():
            self._blocks.put(None)
            self._thread.join()

    def finish(self) -> None:
        """Wait until all blocks are heard."""
        self._end()
        if self._error:
            raise self._error

    @contextmanager
    def ear(self) -> Iterator[CoverEar]:
        """The ear, which hears nothing meanwhile."""
        with self._lock:
            yield self._ear

    def _listen(self) -> None:
        while (block := self._blocks.get()) is not None:
            if self._error or self._stopped:        # whoever tells the blocks must not wait for one who has stopped
                continue
            try:
                with self._lock:
                    self._ear.hear(block)
            except BaseException as error:
                self._error = error
        if not self._error and not self._stopped:
            try:
                self._ear.finish()
            except BaseException as error:
                self._error = error
