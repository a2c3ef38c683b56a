"""Watch a folder for new, complete audio files.

The folder is polled, because notifications of the operating system do not work on network drives.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from songprint.errors import SongprintError
from songprint.ingest import add
from songprint.types import FileState

INTERVAL = 2.0  # seconds between two polls
SETTLE = 5.0  # seconds without a change after which a file is complete
MAX_DELAY = 300.0  # seconds between two attempts while every file fails, as on a full disk
# Files that are being downloaded or converted, such as `song.part.mp3`. Other programs change the suffix instead.
_TEMPORARY = re.compile(r"^[~#]|\.(part|partial|tmp|temp|download|crdownload|filepart|incomplete)\.\w+$", re.IGNORECASE)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Seen:
    """A file at the last poll."""

    state: FileState
    since: float  # seconds on the clock when it was first seen like this
    done: bool = False


class Folder:
    """The files of a folder at the last poll, to detect which are new or changed, and complete."""

    def __init__(
        self,
        path: str | Path,
        *,
        recursive: bool = True,
        settle: float = SETTLE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = os.path.abspath(path)
        self.recursive, self._settle, self._clock = recursive, settle, clock
        self._seen: dict[str, _Seen] = {}
        self._gone = False
        self.lost_files = True  # whether files may have gone since this was last set to False
        if not os.path.isdir(self.path):
            raise SongprintError(f"cannot watch {path}: it is not a folder")

    def ready(self) -> list[str]:
        """Poll, and return the complete files in order of their names, without those marked as done."""
        now = self._clock()
        present: dict[str, _Seen] = {}
        for path, state in self._files():
            before = self._seen.get(path)
            present[path] = before if before is not None and before.state == state else _Seen(state, now)
        self.lost_files = self.lost_files or bool(self._seen.keys() - present.keys())
        self._seen = present
        return sorted(
            path
            for path, seen in present.items()
            if not seen.done and seen.state.size and now - seen.since >= self._settle
        )

    def done(self, path: str) -> None:
        """Mark a file as done until it changes."""
        if path in self._seen:
            self._seen[path] = replace(self._seen[path], done=True)

    def ignore_present(self) -> None:
        """Mark all files that are in the folder now as done."""
        self.ready()
        for path in list(self._seen):
            self.done(path)

    def _files(self) -> list[tuple[str, FileState]]:
        found, unusable = add.find([self.path], recursive=self.recursive)
        gone = not os.path.isdir(self.path)
        if gone and not self._gone:
            logger.warning("%s is gone: waiting for it to return", self.path)
        self._gone = gone
        for skipped in unusable:
            logger.debug("%s: %s", skipped.path, skipped.reason)
        return [(path, state) for path, state in found.items() if not _TEMPORARY.search(os.path.basename(path))]


def watch(
    folder: Folder,
    take: Callable[[list[str]], None],
    *,
    stop: threading.Event,
    interval: float = INTERVAL,
    on_lost_files: Callable[[], None] | None = None,
) -> None:
    """Pass complete files to `take`, a list at a time, until `stop` is set.

    `on_lost_files` is called at the beginning and whenever files have gone, after the files that are complete were
    taken: a file that has moved is then found at its new path first.

    `take` reports problems of single files itself. If it raises SongprintError, no file can be taken now, as on a full
    disk: the files are passed again, after delays that double up to MAX_DELAY.
    """
    delay = interval
    while not stop.is_set():
        files = folder.ready()
        try:
            if files:
                take(files)
            if on_lost_files and folder.lost_files and os.path.isdir(folder.path):
                on_lost_files()
                folder.lost_files = False
            delay = interval
        except SongprintError as error:
            delay = min(2 * delay, MAX_DELAY)
            logger.error("%s: next attempt in %.0f s", error, delay)
        else:
            for path in files:
                folder.done(path)
        stop.wait(delay)
