"""The stored embeddings of references, with the most recently used ones kept in memory."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from cachetools import LRUCache

if TYPE_CHECKING:
    from songprint.store.level import Level
    from songprint.types import Embeddings

MAX_KEPT = 64  # recordings; a song that is playing is needed for window after window


class References:
    """Reads embeddings from the catalogue and keeps those of the `kept` recordings that were used last."""

    def __init__(self, level: Level, kept: int = MAX_KEPT) -> None:
        self._level = level
        self._kept: LRUCache[int, Embeddings] = LRUCache(kept)

    def __call__(self, recording_ids: Collection[int]) -> Mapping[int, Embeddings]:
        """Return the embeddings by recording id; recordings without any are left out."""
        found = {each: self._kept[each] for each in recording_ids if each in self._kept}
        missing = [each for each in recording_ids if each not in found]
        if missing:
            read = self._level.embeddings_of(missing)
            self._kept.update(read)
            found |= read
        return {each: found[each] for each in recording_ids if each in found}
