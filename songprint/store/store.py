"""The store: the catalogue and the levels of an open library, kept in step.

The catalogue is the truth. `refresh` brings the index of each level into step with it and costs next to nothing while
nothing has changed. Several processes can therefore search while another one adds, and a crash cannot leave the two
different.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from songprint.config import Settings
from songprint.encoders.contract import Encoder, Matcher, ships
from songprint.errors import EncoderError, LibraryError
from songprint.store import level
from songprint.store.catalog import Catalog
from songprint.store.duplicates import same_recording
from songprint.store.level import Level
from songprint.types import Kind, Stats


class Store:
    """An open library from the inside: `catalog`, `settings`, and `levels`, one for each kind of match.

    `matchers` are all kinds of match, in the order in which they are searched (`songprint.kinds`). The
    first identifies the very recording; its embeddings also detect copies of a recording.

    `encoder` replaces the encoders that ship: one, or one for each kind. They must be picklable if several processes
    are to add files.
    """

    def __init__(
        self,
        path: Path,
        matchers: Iterable[Matcher],
        *,
        create: bool = False,
        encoder: Encoder | Sequence[Encoder] | None = None,
        settings: Settings | None = None,
    ) -> None:
        self.path = Path(path)
        self.settings = settings or Settings()
        given = _by_kind(encoder)
        used = [
            matcher
            for matcher in matchers
            if matcher.kind in self.settings.kinds and (matcher.kind in given if given else ships(matcher.encoder_name))
        ]
        self.catalog = Catalog(
            self.path, create=create, busy_timeout=self.settings.busy_timeout, database=self.settings.database
        )
        self.levels: Mapping[Kind, Level] = {
            matcher.kind: Level(matcher, self.catalog, self.settings, given.get(matcher.kind)) for matcher in used
        }

    @property
    def identity(self) -> Level:
        """The level of the first kind, which identifies the very recording."""
        return next(iter(self.levels.values()))

    @property
    def sample_rate(self) -> int:
        """The sample rate that every encoder expects, in Hz."""
        return self.identity.spec.sample_rate

    @property
    def encoders(self) -> dict[Kind, Encoder]:
        """The encoders in use, loaded."""
        return {kind: each.encoder for kind, each in self.levels.items()}

    def check_encoders(self) -> None:
        """Raise EncoderChanged if the library was made with another encoder than the one in use."""
        state = self.catalog.state()
        for each in self.levels.values():
            each.check_encoder(state)

    def refresh(self) -> None:
        """Bring every index into step with what this and other processes have added and removed."""
        state = self.catalog.state()
        for each in self.levels.values():
            each.refresh(state)

    def copies(self, recording_ids: Collection[int], of: Collection[int]) -> set[int]:
        """Return those recordings that are the same recording as one of `of`, in another file, encoding or master.

        They are compared by the stored embeddings of the first kind.
        """
        if not recording_ids or not of:
            return set()
        stored = self.identity.embeddings_of({*recording_ids, *of})
        originals = [stored[each] for each in of if each in stored]
        return {
            each
            for each in recording_ids
            if each in stored and any(same_recording(original, stored[each]) for original in originals)
        }

    def lacking(self, kind: Kind) -> int:
        """Count the recordings without embeddings of this kind, as of the last `refresh`. They cannot be found."""
        return max(each.searchable for each in self.levels.values()) - self.levels[kind].searchable

    def tidy(self) -> None:
        """Write the files of the indexes if many vectors are not in them. Adding calls this from time to time."""
        self.catalog.database.checkpoint()
        state, totals = self.catalog.state(), self.catalog.totals()
        for each in self.levels.values():
            each.tidy(state, totals.segments.get(each.kind, 0))

    def rebuild(self) -> None:
        """Build every index again from the catalogue. Raises LibraryError if this process may not."""
        self.catalog.recount()
        state = self.catalog.state()
        for each in self.levels.values():
            if not each.rebuild(state):
                raise LibraryError(
                    f"cannot rebuild the index of {self.path}: the library is read-only, or"
                    " another process is rebuilding it now"
                )
        level.delete_other_indexes(self.catalog, state, self.settings)

    @contextmanager
    def exclusive(self) -> Iterator[bool]:
        """True inside for one process at a time, on all machines. It may rewrite what is derived from the catalogue."""
        with self.catalog.database.lock("rebuild") as of_all, level.exclusive_here(self.catalog) as of_this_machine:
            yield of_all and of_this_machine

    def stats(self) -> Stats:
        """Return what the library contains and takes. Loads neither encoders nor vectors."""
        state, totals = self.catalog.state(), self.catalog.totals()
        levels = tuple(each.stats(state, totals) for each in self.levels.values())
        return Stats(
            path=str(self.path),
            database=self._database_in_words(),
            recordings=totals.recordings,
            duration=totals.duration,
            catalogue_bytes=self.catalog.database.bytes_on_disk,
            levels=levels,
            schema_version=state.schema_version,
        )

    def _database_in_words(self) -> str:
        database = self.catalog.database
        return f"{database.product} at {database.name}" if self.settings.database else database.product

    def close(self) -> None:
        """Close the indexes and the catalogue."""
        for each in self.levels.values():
            each.close()
        self.catalog.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _by_kind(given: Encoder | Sequence[Encoder] | None) -> dict[Kind, Encoder]:
    several = given if isinstance(given, Sequence) else [] if given is None else [given]
    found = {encoder.spec.kind: encoder for encoder in several}
    if several and Kind.RECORDING not in found:
        raise EncoderError(
            "an encoder of kind 'recording' is needed; an encoder of covers is only used in addition to it"
        )
    rates = {encoder.spec.sample_rate for encoder in several}
    if len(rates) > 1:
        raise EncoderError(f"encoders of one library need the same sample rate; these have {sorted(rates)} Hz")
    return found


def incomplete(store: Store) -> Iterable[str]:
    """Yield warnings about recordings that cannot be found, as of the last `refresh`."""
    for kind in store.levels:
        if lacking := store.lacking(kind):
            yield (
                f"{lacking:,} recordings of the library cannot be found as {kind}s: they have no embeddings"
                " of this kind. `songprint rebuild --reencode` reads their files again"
            )
        level = store.levels[kind]
        if level.searched < level.searchable:
            yield (
                f"only {level.searched:,} of {level.searchable:,} recordings were searched for {kind}s, because the"
                " index on this machine does not contain the others yet. `songprint rebuild` writes it now"
            )
