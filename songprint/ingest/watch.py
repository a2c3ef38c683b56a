"""A folder that is looked at again and again -> the files that are new in it and complete.

Looking, not being told by the operating system: that works on every system and on network drives too.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from songprint.errors import SongprintError
from songprint.ingest import add

INTERVAL = 2.0  # seconds between two looks
SETTLE = 5.0  # seconds for which a file must not have changed
LONGEST_DELAY = 300.0  # seconds between two attempts when everything fails, as on a full disk
# `song.part.mp3`, `song (1).tmp.flac`: what is being downloaded or converted; in other cases the suffix says so
_TEMPORARY = re.compile(r"^[~#]|\.(part|partial|tmp|temp|download|crdownload|filepart|incomplete)\.\w+$", re.IGNORECASE)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Seen:
    """A file as it was when it was looked at last."""

    size: int
    modified: int  # nanoseconds
    since: float  # on the clock: unchanged
    done: bool = False


class Folder:
    """Remembers the files of a folder as they were, to tell which are new or changed and complete."""

    def __init__(
        self,
        path: str | Path,
        *,
        recursive: bool = True,
        settle: float = SETTLE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = os.path.abspath(path)
        self._recursive, self._settle, self._clock = recursive, settle, clock
        self._seen: dict[str, _Seen] = {}
        self._gone = False
        if not os.path.isdir(self.path):
            raise SongprintError(f"cannot watch {path}: it is no folder")

    def ready(self) -> list[str]:
        """Look: the files that have not changed for a while and were not `done` as they are, in name order."""
        now, present = self._clock(), {}
        for path in self._files():
            try:
                at = os.stat(path)
            except OSError:  # it went away just now
                continue
            before = self._seen.get(path)
            same = before is not None and (before.size, before.modified) == (at.st_size, at.st_mtime_ns)
            present[path] = before if same else _Seen(at.st_size, at.st_mtime_ns, now)
        self._seen = present
        return sorted(
            path for path, seen in present.items() if not seen.done and seen.size and now - seen.since >= self._settle
        )

    def done(self, path: str) -> None:
        """This file need not be told again unless it changes."""
        if path in self._seen:
            seen = self._seen[path]
            self._seen[path] = _Seen(seen.size, seen.modified, seen.since, done=True)

    def leave_out_what_is_there(self) -> None:
        self.ready()
        for path in list(self._seen):
            self.done(path)

    def _files(self) -> list[str]:
        found, unusable = add.find([self.path], recursive=self._recursive)
        gone = not os.path.isdir(self.path)
        if gone and not self._gone:
            logger.warning("%s is gone: waiting until it is there again", self.path)
        self._gone = gone
        for skipped in unusable:
            logger.debug("%s: %s", skipped.path, skipped.reason)
        return [path for path in found if not _TEMPORARY.search(os.path.basename(path))]


def watch(
    folder: Folder, take: Callable[[list[str]], None], *, stop: threading.Event, interval: float = INTERVAL
) -> None:
    """Give complete files to `take`, a list at a time, until `stop` is set.

    What is wrong with one file, `take` says itself. A SongprintError out of it says that none can be taken now, as on a
    full disk: they are given again, later and later.
    """
    delay = interval
    while not stop.is_set():
        files = folder.ready()
        try:
            if files:
                take(files)
            delay = interval
        except SongprintError as error:
            delay = min(2 * delay, LONGEST_DELAY)
            logger.error("%s: again in %.0f s", error, delay)
        else:
            for path in files:
                folder.done(path)
        stop.wait(delay)
