"""An ear that hears in a thread of its own, some blocks behind."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from songprint.matching.cover_ear import CoverEar

AHEAD = 36                  # blocks that may wait: music that this ear soon works off makes up for other music
Answer = TypeVar("Answer")


class Aside:
    """All that is asked of the ear is done in order. What it raises is raised by the next call, or by `finish`."""

    def __init__(self, ear: CoverEar):
        self._ear = ear
        self._heard: deque[Future[None]] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="songprint-covers")

    def hear(self, block: np.ndarray) -> None:
        """Hear this block some time; waits where too many lie before it."""
        while self._heard and (len(self._heard) >= AHEAD or self._heard[0].done()):
            self._heard.popleft().result()
        self._heard.append(self._thread.submit(self._ear.hear, block))

    def later(self, question: Callable[[CoverEar], Answer]) -> Future[Answer]:
        """What the ear answers once it has heard all blocks until now."""
        return self._thread.submit(question, self._ear)

    def finish(self) -> None:
        """Wait until all blocks are heard: nothing comes any more."""
        while self._heard:
            self._heard.popleft().result()
        self.later(lambda ear: ear.finish()).result()

    def close(self) -> None:
        """Stop, whatever was not heard yet."""
        self._thread.shutdown(cancel_futures=True)
