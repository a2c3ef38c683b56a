"""Library: what a user holds. Each verb is a line into the modules that do the work."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from songprint import identify
from songprint.audio import files, samples
from songprint.audio.streams.live import Raw
from songprint.config import Settings
from songprint.covers import explain, within_library
from songprint.covers.explain import Explanation
from songprint.encoders.contract import Encoder
from songprint.ingest import add as ingest
from songprint.ingest.add import OnProgress
from songprint.kinds import open_store
from songprint.scan import listen, scan
from songprint.scan.scan import OnProgress as OnScan
from songprint.store import works
from songprint.types import AddReport, Event, Match, RebuildReport, Recording, Report, Stats, Timeline, UnknownMusic
from songprint.unknown import adoption
from songprint.unknown import memory as unknown


class Library:
    """A set of recordings that Songprint knows, in one folder. Open it with `songprint.open`.

    Several processes may have the same library open, and change it, at the same time.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        create: bool = False,
        encoder: Encoder | Sequence[Encoder] | None = None,
        settings: Settings | None = None,
    ) -> None:
        self.store = open_store(Path(path).expanduser(), create=create, encoder=encoder, settings=settings)

    @property
    def path(self) -> Path:
        return self.store.path

    def add(
        self,
        paths: str | Path | Iterable[str | Path],
        *,
        recursive: bool = True,
        workers: int | None = None,
        tags: Mapping[str, object] | None = None,
        on_progress: OnProgress | None = None,
    ) -> AddReport:
        """Add audio files, and those in folders. What is known already is left alone; see `ingest.add`."""
        return ingest.add(
            self.store, _listed(paths), recursive=recursive, workers=workers, tags=tags, on_progress=on_progress
        )

    def identify(
        self, source: str | Path | BinaryIO | np.ndarray, *, top: int = 0, sample_rate: int | None = None
    ) -> Report:
        """Name what a clip is: a file, an open binary file, or samples with their `sample_rate`.

        Samples are float, mono (n,) or with channels (n, channels). `top` asks for the most probable names
        below the threshold as well.
        """
        warnings: list[str] = []
        rate = self.store.sample_rate
        query: Iterable[np.ndarray]
        if isinstance(source, np.ndarray):
            query, name = [samples.at_rate(source, sample_rate, rate)], ""
        else:
            query, name = files.blocks(source, rate, on_warning=warnings.append), _name(source)
        report = identify.identify(query, self.store, top=top, source=name, settings=self.store.settings)
        return replace(report, warnings=(*warnings, *report.warnings))

    def scan(
        self,
        source: str | Path | BinaryIO,
        *,
        on_progress: OnScan | None = None,
        resume: Path | None = None,
        find_unknown: bool = True,
    ) -> Timeline:
        """The songs in a recording of any length, when they are heard and which part of them; see `scan.scan`.

        `resume` is a file in which is kept what was found so far: a scan that was stopped goes on there. With
        `find_unknown` music that nobody knows is remembered: it has the same number where it comes again.
        """
        return scan.scan(
            self.store, source, name=_name(source), on_progress=on_progress, resume=resume, find_unknown=find_unknown
        )

    def listen(
        self,
        source: str | BinaryIO,
        *,
        stop: threading.Event | None = None,
        raw: Raw | None = None,
        stall: float = listen.STALL,
        give_up: float | None = None,
    ) -> Iterator[Event]:
        """What is heard at a URL, or in an open file that has no end, as it happens; see `listen.listen`."""
        return listen.listen(self.store, source, stop=stop, raw=raw, stall=stall, give_up=give_up)

    def unknown(self) -> list[UnknownMusic]:
        """The music that scans have heard and that nobody knows, that which occurs oftenest first."""
        return unknown.listing(self.store)

    def forget_unknown(self, ids: int | Iterable[int]) -> None:
        """Forget unknown music: all of it, or none when an id is unknown. When it comes again, it is new."""
        unknown.forget(self.store, [ids] if isinstance(ids, int) else ids)

    def add_unknown(self, id: int, *, title: str, artists: Iterable[str] = ()) -> Recording:
        """Name unknown music: it is cut out of a file in which it was heard, and added; see `adoption.add`."""
        return adoption.add(self.store, id, title=title, artists=tuple(artists))

    def recordings(self, query: str = "") -> list[Recording]:
        """All recordings, or those with every word of `query` in title, artists or album."""
        return self.store.catalog.recordings(query)

    def recording(self, recording_id: int) -> Recording:
        """The recording with this id; RecordingNotFound when there is none."""
        return self.store.catalog.recording(recording_id)

    def edit(self, recording_id: int, **tags: object) -> Recording:
        """Change what is known of a recording: `library.edit(3, title="Sinnerman", artists=("Nina Simone",))`."""
        return self.store.catalog.edit(recording_id, tags)

    def remove(self, recording_ids: int | Iterable[int]) -> None:
        """Forget recordings: all of them, or none when an id is unknown. Their files are not touched."""
        self.store.catalog.remove([recording_ids] if isinstance(recording_ids, int) else recording_ids)

    def link(self, recording_ids: Iterable[int], work: str | None = None, *, original: int | None = None) -> str:
        """Say that recordings are of one song; returns the name of the work. See `works.link`."""
        return works.link(self.store.catalog, recording_ids, work, original)

    def unlink(self, recording_id: int) -> None:
        """Say that nobody knows of which song a recording is, whatever its tags said."""
        works.unlink(self.store.catalog, recording_id)

    def covers(self, recording_id: int) -> list[Match]:
        """What in the library is another rendition of this recording, best first.

        Those that are the very same recording come before, with kind "recording".
        """
        return within_library.renditions(self.store, recording_id)

    def explain(self, query: str | Path | int, recording_id: int) -> Explanation:
        """How a file, or a recording of the library, corresponds to another recording of it."""
        return explain.explain(self.store, query, recording_id)

    def rebuild(
        self, *, reencode: bool = False, workers: int | None = None, on_progress: OnProgress | None = None
    ) -> RebuildReport:
        """Make the index again from the catalogue.

        `reencode` first reads the files again that the present encoder has not read: needed after it changed.
        """
        report = RebuildReport(0, [])
        if reencode:
            report = ingest.reencode(self.store, workers=workers, on_progress=on_progress)
        self.store.rebuild()
        return report

    def stats(self) -> Stats:
        """What the library holds and what it takes."""
        return self.store.stats()

    def __len__(self) -> int:
        return self.store.catalog.totals().recordings

    def __bool__(self) -> bool:
        return True  # an empty library is a library

    def close(self) -> None:
        self.store.close()

    def __enter__(self) -> Library:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _listed(paths: str | Path | Iterable[str | Path]) -> Iterable[str | Path]:
    return [paths] if isinstance(paths, str | os.PathLike) else paths


def _name(source: str | Path | BinaryIO) -> str:
    return str(source) if isinstance(source, str | Path) else str(getattr(source, "name", ""))
