"""Library: what a user holds. Each verb is a line into the modules that do the work."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from songprint import identify
from songprint.audio import samples
from songprint.audio.streams.live import Raw
from songprint.config import Settings
from songprint.covers import explain, within_library
from songprint.covers.explain import Explanation
from songprint.covers.within_library import OnCompared
from songprint.encoders.contract import Encoder
from songprint.errors import AudioError, LibraryError
from songprint.ingest import add as ingest
from songprint.ingest import sync
from songprint.ingest.add import OnProgress
from songprint.kinds import open_store
from songprint.scan import listen, scan
from songprint.scan.scan import OnProgress as OnScan
from songprint.store import merging, metadata, places, transfer, works
from songprint.store.places import Place
from songprint.store.store import Store
from songprint.store.transfer import ExportReport, ImportReport, OnTransfer
from songprint.types import (
    AddReport,
    Event,
    Match,
    MetadataReport,
    RebuildReport,
    Recording,
    Report,
    Stats,
    SyncReport,
    Timeline,
    UnknownMusic,
)
from songprint.unknown import adoption
from songprint.unknown import memory as unknown


class Library:
    """A library of recordings, in one folder. Open it with `songprint.open`.

    Several processes may open and change the same library at the same time.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        create: bool = False,
        encoder: Encoder | Sequence[Encoder] | None = None,
        settings: Settings | None = None,
    ) -> None:
        self._store = open_store(Path(path).expanduser(), create=create, encoder=encoder, settings=settings)
        self._closed = False

    @property
    def store(self) -> Store:
        """The catalogue and the indexes. Raises LibraryError if the library is closed."""
        if self._closed:
            raise LibraryError(f"the library at {self.path} is closed: open it again with songprint.open")
        return self._store

    @property
    def path(self) -> Path:
        return self._store.path

    def add(
        self,
        paths: str | Path | Iterable[str | Path],
        *,
        recursive: bool = True,
        workers: int | None = None,
        tags: Mapping[str, object] | None = None,
        fields: Mapping[str, object] | None = None,
        follow: bool = True,
        pattern: str | None = None,
        share: bool = False,
        on_progress: OnProgress | None = None,
    ) -> AddReport:
        """Add audio files, and those in folders. Sound that is in the library is not added again; see `ingest.add`."""
        return ingest.add(
            self.store,
            _listed(paths),
            recursive=recursive,
            workers=workers,
            tags=tags,
            fields=fields,
            follow=follow,
            pattern=pattern,
            share=share,
            on_progress=on_progress,
        )

    def sync(
        self,
        folders: str | Path | Iterable[str | Path] = (),
        *,
        dry_run: bool = False,
        remove_missing: bool = False,
        workers: int | None = None,
        pattern: str | None = None,
        reread: bool = False,
        on_progress: OnProgress | None = None,
    ) -> SyncReport:
        """Bring the library into step with folders, or with all folders that it follows; see `sync.sync`.

        Retagged, renamed and moved files keep their recordings; recordings whose last file is gone are marked.
        """
        return sync.sync(
            self.store,
            _listed(folders),
            dry_run=dry_run,
            remove_missing=remove_missing,
            workers=workers,
            pattern=pattern,
            reread=reread,
            on_progress=on_progress,
        )

    def files(self, recording_id: int) -> list[Place]:
        """Return the files of a recording, in the order of their paths."""
        self.recording(recording_id)
        return places.of(self.store.catalog, recording_id)

    def identify(
        self,
        source: str | Path | BinaryIO | np.ndarray,
        *,
        top: int = 0,
        sample_rate: int | None = None,
        track: int | None = None,
    ) -> Report:
        """Identify a query: a file, an open binary file, or samples with their `sample_rate`.

        Samples are float, mono (n,) or with channels (n, channels). `top` is the number of most probable matches that
        the report lists even if they are below the threshold. Of a file with several audio tracks, all are identified,
        or the one with number `track`, from 1. Raises AudioError if the source cannot be read or is nothing of these.
        """
        settings = self.store.settings
        if isinstance(source, np.ndarray):
            query = [samples.at_rate(source, sample_rate, self.store.sample_rate)]
            return identify.identify(query, self.store, top=top, settings=settings)
        _check_source(source)
        return identify.identify_file(source, self.store, top=top, name=_name(source), settings=settings, track=track)

    def scan(
        self,
        source: str | Path | BinaryIO,
        *,
        on_progress: OnScan | None = None,
        resume: Path | None = None,
        find_unknown: bool = True,
        track: int | None = None,
    ) -> Timeline:
        """Return the songs in a recording of any length, with their times and the part that is played; see `scan.scan`.

        `resume` is a file that stores the results so far, so that an interrupted scan continues from there. With
        `find_unknown`, music that is not in the library is remembered, and has the same number where it occurs again.
        Of a file with several audio tracks, all are scanned, or the one with number `track`, from 1.
        """
        _check_source(source)
        return scan.scan(
            self.store,
            source,
            name=_name(source),
            on_progress=on_progress,
            resume=resume,
            find_unknown=find_unknown,
            track=track,
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
        """Yield the events of a live stream: a URL, or an open file without an end; see `listen.listen`."""
        return listen.listen(self.store, source, stop=stop, raw=raw, stall=stall, give_up=give_up)

    def unknown(self) -> list[UnknownMusic]:
        """Return the music that scans found and that is not in the library, the most frequent first."""
        return unknown.listing(self.store)

    def forget_unknown(self, ids: int | Iterable[int]) -> None:
        """Forget unknown music: all of these, or none if one of the ids does not exist."""
        unknown.forget(self.store, [ids] if isinstance(ids, int) else ids)

    def add_unknown(self, id: int, *, title: str, artists: Iterable[str] = ()) -> Recording:
        """Add unknown music to the library, cut out of a file in which it occurs; see `adoption.add`."""
        return adoption.add(self.store, id, title=title, artists=tuple(artists))

    def recordings(self, query: str = "") -> list[Recording]:
        """Return all recordings, or those with every word of `query` in title, artists or album."""
        return self.store.catalog.recordings(query)

    def recording(self, recording_id: int) -> Recording:
        """Return the recording with this id. Raises RecordingNotFound."""
        return self.store.catalog.recording(recording_id)

    def edit(self, recording_id: int, **changes: object) -> Recording:
        """Change the tags of a recording: `library.edit(3, title="Sinnerman", artists=("Nina Simone",))`.

        `fields={"label": "Philips", "note": None}` sets one of its user fields and removes another; the others stay.
        Raises RecordingNotFound, and MetadataError for user fields that cannot be stored.
        """
        return self.store.catalog.edit(recording_id, changes)

    def export_metadata(self) -> str:
        """Return the metadata of all recordings as CSV, for spreadsheets; see `metadata.write`."""
        return metadata.write(self.store.catalog)

    def import_metadata(self, table: bytes, *, clear_empty: bool = False, dry_run: bool = False) -> MetadataReport:
        """Change the metadata of many recordings as a CSV table says: all rows, or none if one is wrong.

        Rows name recordings by id, else path, else ISRC; see `metadata.read`.
        """
        return metadata.read(self.store.catalog, table, clear_empty=clear_empty, dry_run=dry_run)

    def remove(self, recording_ids: int | Iterable[int]) -> None:
        """Remove recordings: all of these, or none if one of the ids does not exist. Their files stay."""
        self.store.catalog.remove([recording_ids] if isinstance(recording_ids, int) else recording_ids)

    def link(self, recording_ids: Iterable[int], work: str | None = None, *, original: int | None = None) -> str:
        """Link recordings of one song to a work, and return its name; see `works.link`."""
        return works.link(self.store.catalog, recording_ids, work, original)

    def unlink(self, recording_id: int) -> None:
        """Remove a recording from its work, including a work that its tags named."""
        works.unlink(self.store.catalog, recording_id)

    def covers(self, recording_id: int) -> list[Match]:
        """Return the other renditions of this recording in the library, best first.

        Duplicates of the recording come before them, with kind "recording".
        """
        return within_library.renditions(self.store, recording_id)

    def duplicates(self, on_progress: OnCompared | None = None) -> list[list[Recording]]:
        """Return groups of recordings that are the same one in several files, without pairs that are kept apart.

        `on_progress` receives how many recordings were compared, and their total.
        """
        return within_library.all_duplicates(self.store, on_progress)

    def keep_apart(self, recording_ids: Iterable[int]) -> None:
        """Remember that these recordings are no duplicates of each other; see `merging.keep_apart`."""
        merging.keep_apart(self.store.catalog, recording_ids)

    def merge(self, keep: int, others: int | Iterable[int]) -> Recording:
        """Merge recordings into the recording `keep`: their files, and the tags that it lacks; see `merging.merge`."""
        return merging.merge(self.store.catalog, keep, [others] if isinstance(others, int) else others)

    def explain(self, query: str | Path | int, recording_id: int) -> Explanation:
        """Explain how a file, or a recording of the library, corresponds to another recording of the library."""
        return explain.explain(self.store, query, recording_id)

    def rebuild(
        self, *, reencode: bool = False, workers: int | None = None, on_progress: OnProgress | None = None
    ) -> RebuildReport:
        """Build the index again from the catalogue.

        `reencode` first encodes all files again that the current encoder has not encoded, which is necessary after
        the encoder changed.
        """
        report = RebuildReport(0, [])
        if reencode:
            report = ingest.reencode(self.store, workers=workers, on_progress=on_progress)
        self.store.rebuild()
        return report

    def export_to(self, path: str | Path, on_progress: OnTransfer | None = None) -> ExportReport:
        """Write all recordings to a library file: metadata and vectors, no audio; see `transfer.export`."""
        return transfer.export(self.store, path, on_progress)

    def import_from(self, path: str | Path, on_progress: OnTransfer | None = None) -> ImportReport:
        """Add the recordings of a library file that are not in the library yet; see `transfer.import_`."""
        return transfer.import_(self.store, path, on_progress)

    def stats(self) -> Stats:
        """Return what the library contains, and the disk space that it uses."""
        return self.store.stats()

    def __len__(self) -> int:
        return self.store.catalog.totals().recordings

    def __bool__(self) -> bool:
        return True  # an empty library is a library

    def __repr__(self) -> str:
        return f"<Library {str(self.path)!r}: {'closed' if self._closed else f'{len(self):,} recordings'}>"

    def close(self) -> None:
        """Close the indexes and the database. Later calls of other methods raise LibraryError."""
        self._closed = True
        self._store.close()

    def __enter__(self) -> Library:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _listed(paths: str | Path | Iterable[str | Path]) -> Iterable[str | Path]:
    return [paths] if isinstance(paths, str | os.PathLike) else paths


def _check_source(source: object) -> None:
    """Raise AudioError for what is neither a path nor an open binary file."""
    if not isinstance(source, str | os.PathLike) and not hasattr(source, "read"):
        raise AudioError(
            f"cannot read {source!r:.80} as audio: expected a path, a file that is open in binary mode,"
            " or a NumPy array of samples with sample_rate="
        )


def _name(source: str | Path | BinaryIO) -> str:
    return str(source) if isinstance(source, str | Path) else str(getattr(source, "name", ""))
