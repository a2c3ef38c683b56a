"""The embeddings of recordings, those asked for last at hand: a song that is heard is asked for again and again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping

from songprint.store.level import Level
from songprint.types import Embeddings

REMEMBERED = 64  # recordings


class References:
    """What is stored of recordings, the last ones asked for at hand, so many `remembered`."""

    def __init__(self, level: Level, remembered: int = REMEMBERED):
        self._level = level
        self._remembered = remembered
        self._kept: OrderedDict[int, Embeddings] = OrderedDict()

    def __call__(self, recording_ids: Collection[int]) -> Mapping[int, Embeddings]:
        lacking = [each for each in recording_ids if each not in self._kept]
        if lacking:
            self._kept.update(self._level.embeddings_of(lacking))
        for each in recording_ids:
            if each in self._kept:
                self._kept.move_to_end(each)
        found = {each: self._kept[each] for each in recording_ids if each in self._kept}
        while len(self._kept) > max(self._remembered, len(recording_ids)):
            self._kept.popitem(last=False)
        return found
