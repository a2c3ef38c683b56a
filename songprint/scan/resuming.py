"""The state of an interrupted scan, stored in a small file so that the next scan continues from there."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from songprint import __version__
from songprint.audio import files
from songprint.formats import objects
from songprint.types import Interval, Segment, Sound

if TYPE_CHECKING:
    from songprint.config import Settings
    from songprint.store.store import Store

FOLDER = "scans"  # in the library folder
CACHE = Path("~/.cache/songprint/scans")  # used for read-only libraries

log = logging.getLogger(__name__)

Sounds = Sequence[tuple[Interval, Sound]]


def file_of(store: Store, source: str | Path) -> Path:
    """The path at which the state of the scan of a file is stored."""
    folder = CACHE.expanduser() if store.catalog.readonly else store.path / FOLDER
    name = f"{store.path.resolve()}\0{Path(source).absolute()}"
    return folder / f"{hashlib.blake2b(os.fsencode(name), digest_size=16).hexdigest()}.json"


@dataclass(frozen=True)
class Past:
    """The final results of a scan up to `until` seconds."""

    until: float = 0.0
    segments: tuple[Segment, ...] = ()
    sounds: tuple[tuple[Interval, Sound], ...] = ()

    def then(self, seconds: float, segments: Iterable[Segment], sounds: Sounds) -> Past:
        """Append the results of the next `seconds`, whose times are relative to their start."""
        return Past(
            self.until + seconds,
            (*self.segments, *(replace(each, interval=self._shifted(each.interval)) for each in segments)),
            (
                *self.sounds,
                *(
                    (self._shifted(Interval(interval.start, min(interval.end, seconds))), sound)
                    for interval, sound in sounds
                    if interval.start < seconds
                ),
            ),
        )

    def _shifted(self, interval: Interval) -> Interval:
        return Interval(interval.start + self.until, interval.end + self.until)


@dataclass(frozen=True)
class Saved:
    """The state file of one scan. It is valid for the same audio, library and settings only."""

    path: Path
    mark: str  # hash of everything on which the timeline depends

    @classmethod
    def of(
        cls, path: Path, source: files.Source, store: Store, settings: Settings, track: int | None = None
    ) -> Saved | None:
        """The state file of a scan; None for a source that cannot be read again, such as a pipe."""
        if not isinstance(source, str | Path):
            return None
        state = store.catalog.state()
        depends_on = (
            __version__,
            files.content_hash(source),
            str(store.path.resolve()),
            state.revision,
            sorted(state.encoders.items()),
            settings.kinds,
            settings.threshold,
            settings.false_accepts,
            settings.shortest_segment,
            track,
        )
        return cls(path, hashlib.blake2b(repr(depends_on).encode(), digest_size=16).hexdigest())

    def load(self) -> Past:
        """Load the state; empty if it belongs to another scan or is damaged."""
        try:
            kept = json.loads(self.path.read_text(encoding="utf-8"))
            if kept["mark"] != self.mark:
                return Past()
            return Past(
                kept["until"],
                tuple(objects.segment_from_object(each) for each in kept["segments"]),
                tuple((Interval(start, end), Sound(sound)) for start, end, sound in kept["sounds"]),
            )
        except FileNotFoundError:
            return Past()
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("cannot use the saved state %s, so the scan starts from the beginning: %s", self.path, error)
            return Past()

    def keep(self, past: Past) -> None:
        """Write the state atomically. Errors are logged and do not stop the scan."""
        kept = {
            "mark": self.mark,
            "until": past.until,
            "segments": [objects.segment_object(each) for each in past.segments],
            "sounds": [(interval.start, interval.end, sound) for interval, sound in past.sounds],
        }
        unfinished = self.path.with_suffix(".unfinished")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            unfinished.write_text(objects.to_json(kept), encoding="utf-8")
            unfinished.replace(self.path)
        except OSError as error:
            log.warning("cannot save the state of the scan: %s", error)

    def delete(self) -> None:
        self.path.unlink(missing_ok=True)
