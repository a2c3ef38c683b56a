"""Remember music that is not in the library, and recognise it when the same recording occurs again.

Each interval of unknown music in a scanned file is an *occurrence* with a number, and the same music has the same
number. If a part of an occurrence occurs elsewhere, the joins at the start and end of the part are examined. If the
music repeats its material across them, the part and its surroundings are one piece with one number. Otherwise, the
occurrence consists of several pieces: it is divided, and the part gets its own number. A new scan of a file replaces
the results of earlier scans of it.

The database stores vectors of an occurrence, two per second with one byte per dimension (64 bytes per second): for
frequent music those of a few occurrences, preferably long ones, and in total at most MAX_SECONDS. Beyond that, the
oldest music that occurred only once is deleted.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from sqlalchemy import Connection, delete, func, insert, select, update

from songprint.errors import UnknownMusicNotFound
from songprint.store.database import storable
from songprint.store.index import segment_ids
from songprint.store.index.exact import ExactIndex
from songprint.store.packing import quantise, restore
from songprint.store.tables import unknown_music
from songprint.store.timestamps import clock, iso
from songprint.types import Embeddings, Gap, Interval, Kind, Occurrence, Sound, UnknownMusic
from songprint.unknown import recurrence

if TYPE_CHECKING:
    from songprint.encoders.contract import History
    from songprint.store.store import Store
    from songprint.unknown.recurrence import Recurrence

HOP = 0.5  # seconds between two stored vectors
MIN_SECONDS = 5.0  # shorter music is not remembered
# Seconds before and after a recurrence that still belong to the same music: fades, speech, inexact boundaries.
MARGIN = 8.0
# Music before and after a join is one piece if it repeats its material across the join: for each vector of a side, the
# highest cosine with the other side; of these, the mean of the highest quarter. Of joins within 36 songs, 82% have a
# higher mean; of joins between two of them, 1%.
MIN_CONTINUITY = 0.78
SIDE = 30.0  # seconds on either side of a join that are compared
GUARD = 2.0  # seconds on either side of a join that are not, because joins are inexact
MAX_STORED_OCCURRENCES = 3  # occurrences of the same music whose vectors are stored
MAX_SECONDS = 50 * 3600.0  # total duration of the stored vectors
LOCK_TIMEOUT = 60.0  # seconds to wait while another scan writes

Pieces = list[tuple[Interval, int | None]]  # interval, number of the music in it


def numbered(store: Store, source: str, gaps: Iterable[Gap], history: History, history_start: float = 0.0) -> list[Gap]:
    """Remember the unknown music in the gaps of a timeline, and return the gaps with its numbers.

    A gap with several pieces of music becomes several gaps. The history starts `history_start` seconds into the source,
    if a scan was resumed; earlier gaps get the numbers that are already in the database.
    """
    source = os.path.abspath(source) if os.path.isfile(source) else source
    music = [gap.interval for gap in gaps if gap.sound is Sound.MUSIC]
    covered = [interval for interval in music if interval.start >= history_start]
    sections = [
        (interval, history.between(Interval(interval.start - history_start, interval.end - history_start)))
        for interval in covered
    ]
    pieces = dict(zip(((each.start, each.end) for each in covered), remember(store, source, sections), strict=True))
    if len(covered) < len(music):
        pieces |= {(each.start, each.end): _remembered(store, source, each) for each in music if each not in covered}
    return [
        replace(gap, interval=interval, unknown=number)
        for gap in gaps
        for interval, number in pieces.get((gap.interval.start, gap.interval.end), [(gap.interval, None)])
    ]


def remember(store: Store, source: str, sections: Sequence[tuple[Interval, Embeddings]]) -> list[Pieces]:
    """Remember sections of unknown music in `source`. Return the pieces of each section with their numbers.

    The embeddings of a section start where it does. Sections that are too short get no number; in a read-only library,
    neither does music that is new.
    """
    if not any(interval.duration >= MIN_SECONDS for interval, _ in sections):
        return [[(interval, None)] for interval, _ in sections]
    database = store.catalog.database
    if database.readonly:
        return [
            [(each, number if number > 0 else None) for each, number in pieces]
            for pieces in _Memory(store, source).place_all(sections)
        ]
    with database.lock("unknown", LOCK_TIMEOUT):
        memory = _Memory(store, source)
        placed = memory.place_all(sections)
        numbers = database.write(memory.write)
    return [[(interval, numbers.get(number, number) or None) for interval, number in pieces] for pieces in placed]


def listing(store: Store) -> list[UnknownMusic]:
    """Return all unknown music, the most frequent first."""
    columns = unknown_music.c
    with store.catalog.database.reading() as connection:
        rows = connection.execute(
            select(columns.number, columns.source, columns.start, columns.end, columns.heard_at).order_by(columns.id)
        ).all()
    groups: dict[int, list[Occurrence]] = defaultdict(list)
    for row in rows:
        groups[row.number].append(Occurrence(row.source, Interval(row.start, row.end), iso(row.heard_at, "seconds")))
    found = [UnknownMusic(number, tuple(occurrences)) for number, occurrences in groups.items()]
    return sorted(found, key=lambda each: (-len(each.occurrences), each.id))


def find(store: Store, number: int) -> UnknownMusic:
    """Return the unknown music with this number. Raises UnknownMusicNotFound."""
    found = next((each for each in listing(store) if each.id == number), None)
    if found is None:
        raise UnknownMusicNotFound(f"no unknown music {number}. `songprint unknown list --all` lists the numbers")
    return found


def forget(store: Store, numbers: Iterable[int]) -> None:
    """Forget unknown music: all given numbers, or none if one does not exist. Raises UnknownMusicNotFound."""
    wanted = sorted(set(numbers))

    def work(connection: Connection) -> None:
        present = set(connection.scalars(select(unknown_music.c.number).where(unknown_music.c.number.in_(wanted))))
        for missing in sorted(set(wanted) - present):
            raise UnknownMusicNotFound(f"no unknown music {missing}. `songprint unknown list --all` lists the numbers")
        connection.execute(delete(unknown_music).where(unknown_music.c.number.in_(wanted)))

    store.catalog.database.write(work)


def _remembered(store: Store, source: str, interval: Interval) -> Pieces:
    """Return the pieces of an interval of a source that are in the database, or the interval without a number."""
    columns = unknown_music.c
    with store.catalog.database.reading() as connection:
        rows = connection.execute(
            select(columns.number, columns.start, columns.end)
            .where(columns.source == storable(source), columns.start < interval.end, columns.end > interval.start)
            .order_by(columns.start)
        ).all()
    edges = [interval.start, *(row.start for row in rows[1:]), interval.end]
    numbers: list[int | None] = [row.number for row in rows] or [None]
    return [(Interval(start, end), number) for start, end, number in zip(edges, edges[1:], numbers, strict=False)]


@dataclass(frozen=True)
class _Kept:
    """A remembered occurrence. A negative number is provisional: the database will assign the final one."""

    number: int
    source: str
    interval: Interval
    vectors: np.ndarray  # (n, dim) int8, every HOP seconds; (0, dim) if enough other occurrences store theirs
    heard_at: int  # milliseconds since 1970
    row: int = 0  # id in the table; 0 if not stored yet
    is_former: bool = False  # found by an earlier scan of the source

    def part(self, part: Interval, number: int) -> _Kept:
        """Return a part of the occurrence. `part` is in seconds from its start."""
        first, last = (max(0, round(place / HOP)) for place in (part.start, part.end))
        return replace(
            self,
            number=number,
            row=0,
            vectors=self.vectors[first:last],
            interval=Interval(self.interval.start + part.start, self.interval.start + part.end),
        )

    def is_continuous(self, join: float, start: float, end: float) -> bool:
        """Whether the music from `start` to `join` and from `join` to `end` is one piece, without a pause at the join.

        Times are in seconds from the start of the occurrence.
        """
        rows = [
            round(place / HOP) for place in (max(start, join - SIDE), join - GUARD, join + GUARD, min(end, join + SIDE))
        ]
        first, before_join, after_join, last = np.clip(rows, 0, len(self.vectors))
        vectors = restore(self.vectors[first:last])
        has_content = np.linalg.norm(vectors, axis=1) > 0
        before, after = slice(0, max(0, before_join - first)), slice(max(0, after_join - first), None)
        if not has_content[before.stop : after.start].all():
            return False
        cosines = vectors[before][has_content[before]] @ vectors[after][has_content[after]].T
        if not cosines.size:
            return False
        return (_highest_quarter(cosines.max(axis=0)) + _highest_quarter(cosines.max(axis=1))) / 2 >= MIN_CONTINUITY


class _Memory:
    """A copy of the table in memory, in which the sections of a source are placed; `write` stores the changes."""

    def __init__(self, store: Store, source: str) -> None:
        spec = store.levels[Kind.RECORDING].spec
        self._window, self._encoder_id, self._source = spec.window, spec.id, storable(source)
        self._index = ExactIndex(spec.dim)
        self._kept: dict[int, _Kept] = {}  # by key, a running number
        self._known: dict[int, Embeddings] = {}  # vectors by the same key, if stored
        self._deleted: list[int] = []  # rows of the table
        self._renamed: dict[int, int] = {}  # numbers of music that proved to be part of other music
        self._last_key, self._last_provisional = 0, 0
        with store.catalog.database.reading() as connection:
            self._now = clock(connection)
            rows = connection.execute(
                select(unknown_music).where(unknown_music.c.encoder_id == spec.id).order_by(unknown_music.c.id)
            ).all()
        for row in rows:
            vectors = np.frombuffer(row.vectors, np.int8).reshape(-1, row.dim)
            self._keep(_Kept(row.number, row.source, Interval(row.start, row.end), vectors, row.heard_at, row.id))

    def place_all(self, sections: Sequence[tuple[Interval, Embeddings]]) -> list[list[tuple[Interval, int]]]:
        """Return the pieces of each section. They replace overlapping occurrences of earlier scans of the source.

        Numbers below 0 are provisional, and 0 stands for music that is too short.
        """
        for key, kept in self._kept.items():
            overlaps = any(
                min(kept.interval.end, interval.end) > max(kept.interval.start, interval.start)
                for interval, _ in sections
            )
            if self._source and kept.source == self._source and overlaps:
                self._kept[key] = replace(kept, is_former=True)
        placed = [self._place(interval, embeddings) for interval, embeddings in sections]
        for key in [key for key, kept in self._kept.items() if kept.is_former]:
            self._drop(key)
        return [[(part, self._current(number)) for part, number in pieces] for pieces in placed]

    def write(self, connection: Connection) -> dict[int, int]:
        """Store the changes. Return the final number for each provisional one."""
        if self._deleted:
            connection.execute(delete(unknown_music).where(unknown_music.c.id.in_(self._deleted)))
        numbers: dict[int, int] = {}
        with_vectors = self._with_vectors()
        for key, kept in self._kept.items():
            if kept.row:
                if len(kept.vectors) and key not in with_vectors:
                    emptied = update(unknown_music).where(unknown_music.c.id == kept.row)
                    connection.execute(emptied.values(count=0, vectors=b""))
                continue
            vectors = kept.vectors if key in with_vectors else kept.vectors[:0]
            inserted = connection.execute(
                insert(unknown_music).values(
                    number=numbers.get(kept.number, kept.number),
                    source=kept.source,
                    start=kept.interval.start,
                    end=kept.interval.end,
                    heard_at=kept.heard_at,
                    encoder_id=self._encoder_id,
                    count=len(vectors),
                    dim=self._index.dim,
                    vectors=vectors.tobytes(),
                )
            ).inserted_primary_key
            assert inserted is not None
            row = inserted[0]
            if kept.number < 0 and kept.number not in numbers:
                numbers[kept.number] = row  # ids are never reused, so neither are numbers
                connection.execute(update(unknown_music).where(unknown_music.c.id == row).values(number=row))
        _make_room(connection)
        return numbers

    def _with_vectors(self) -> set[int]:
        """Return the keys of the occurrences whose vectors are stored.

        The first occurrences of each number are selected. An occurrence that is longer by MARGIN replaces the shortest.
        """
        selected: dict[int, list[int]] = defaultdict(list)
        for key, kept in self._kept.items():
            if not len(kept.vectors):
                continue
            keys = selected[kept.number]
            if len(keys) >= MAX_STORED_OCCURRENCES:
                shortest = min(keys, key=lambda each: len(self._kept[each].vectors))
                if (len(kept.vectors) - len(self._kept[shortest].vectors)) * HOP < MARGIN:
                    continue
                keys.remove(shortest)
            keys.append(key)
        return {key for keys in selected.values() for key in keys}

    def _place(self, interval: Interval, embeddings: Embeddings) -> list[tuple[Interval, int]]:
        """Divide a section into recurrences and new music, and remember each piece."""
        if interval.duration < MIN_SECONDS or not len(embeddings):
            return [(interval, 0)]
        found = [
            each
            for each in recurrence.find(embeddings, self._window, self._index, self._known)
            if each.query.duration >= MIN_SECONDS
        ]
        cuts: list[tuple[Interval, int]] = []
        for match in found:
            free = _without(match, [cut for cut, _ in cuts])
            if free and match.occurrence in self._kept:
                cuts.append((free.query, self._number(free, found)))
        pieces = _filled(sorted(cuts, key=lambda cut: cut[0].start), interval.duration, self._new_number)
        every = max(1, round(HOP / embeddings.hop))
        whole = _Kept(0, self._source, interval, quantise(embeddings.vectors[::every]), self._now)
        while len(joined := self._joined(pieces, whole)) < len(
            pieces
        ):  # longer pieces can show that more is continuous
            pieces = joined
        for part, number in pieces:
            self._keep(whole.part(part, number))
        return [(Interval(interval.start + part.start, interval.start + part.end), number) for part, number in pieces]

    def _joined(self, pieces: Sequence[tuple[Interval, int]], whole: _Kept) -> list[tuple[Interval, int]]:
        """Join neighbouring pieces of a section that are one piece of music. It gets the oldest of their numbers."""
        joined = [*pieces[:1]]
        for part, number in pieces[1:]:
            before, other = joined[-1][0], self._current(joined[-1][1])
            number = self._current(number)
            if number == other:
                separate = self._is_complete(before, number) and self._is_complete(part, number)  # repeated at once
            else:
                separate = self._continues(other, "end") or self._continues(number, "start")
            if separate or not whole.is_continuous(part.start, before.start, part.end):
                joined.append((part, number))
                continue
            oldest, newest = sorted((other, number), key=lambda each: (each < 0, abs(each)))
            if newest != oldest:
                self._rename(newest, oldest)
            joined[-1] = (Interval(before.start, part.end), oldest)
        return [(part, self._current(number)) for part, number in joined]

    def _is_complete(self, part: Interval, number: int) -> bool:
        """Whether a part is about as long as the longest occurrence of this music."""
        longest = max((kept.interval.duration for kept in self._kept.values() if kept.number == number), default=0.0)
        return abs(part.duration - longest) < MARGIN

    def _continues(self, number: int, edge: Literal["start", "end"]) -> bool:
        """Whether, in another place, other music precedes or follows this one. Then the music starts or ends there."""
        opposite = "end" if edge == "start" else "start"
        current = [kept for kept in self._kept.values() if not kept.is_former]
        places = {(kept.source, round(getattr(kept.interval, edge), 2)) for kept in current if kept.number == number}
        return any(
            (kept.source, round(getattr(kept.interval, opposite), 2)) in places
            for kept in current
            if kept.number != number
        )

    def _current(self, number: int) -> int:
        while number in self._renamed:
            number = self._renamed[number]
        return number

    def _rename(self, number: int, new: int) -> None:
        self._renamed[number] = new
        for key, kept in list(self._kept.items()):
            if kept.number == number:
                self._drop(key)
                self._keep(replace(kept, number=new, row=0))

    def _number(self, match: Recurrence, found: Sequence[Recurrence]) -> int:
        """Return the number of a recurrence. If it is only a part of an occurrence, that occurrence is divided."""
        other = self._kept[match.occurrence]
        if self._part(match) == Interval(0.0, other.interval.duration):
            return other.number
        same = [
            each
            for each in found
            if each.occurrence in self._kept
            and _alike(each.query, match.query)
            and self._kept[each.occurrence].number == other.number
        ]
        if any(self._part(each) == Interval(0.0, self._kept[each.occurrence].interval.duration) for each in same):
            return other.number
        number = self._new_number()
        after: int | None = None  # number of the music after the part
        for each in {each.occurrence: each for each in (*same, match)}.values():
            kept = self._kept[each.occurrence]
            start, end = self._part(each).start, self._part(each).end
            self._drop(each.occurrence)
            self._keep(kept.part(Interval(start, end), number))
            if start:
                self._keep(kept.part(Interval(0.0, start), other.number))
            if end < kept.interval.duration:
                rest = other.number
                if start:
                    after = rest = self._new_number() if after is None else after
                self._keep(kept.part(Interval(end, kept.interval.duration), rest))
        return number

    def _part(self, match: Recurrence) -> Interval:
        """Return the piece of an occurrence that a recurrence belongs to, in seconds from the start of the occurrence.

        It ends with the occurrence where little is missing, or where the music continues as the same piece.
        """
        kept, part = self._kept[match.occurrence], match.reference
        duration = kept.interval.duration
        to_start = part.start < MARGIN or kept.is_continuous(part.start, 0.0, part.end)
        to_end = duration - part.end < MARGIN or kept.is_continuous(part.end, part.start, duration)
        return Interval(0.0 if to_start else part.start, duration if to_end else part.end)

    def _new_number(self) -> int:
        self._last_provisional -= 1
        return self._last_provisional

    def _keep(self, kept: _Kept) -> None:
        self._last_key += 1
        self._kept[self._last_key] = kept
        if len(kept.vectors):
            made = Embeddings(restore(kept.vectors), HOP, self._encoder_id)
            self._known[self._last_key] = made
            rows = np.flatnonzero(made.has_content)
            self._index.add(segment_ids(self._last_key, rows), made.vectors[rows])

    def _drop(self, key: int) -> None:
        kept = self._kept.pop(key)
        if kept.row:
            self._deleted.append(kept.row)
        if self._known.pop(key, None) is not None:
            self._index.remove([key])


def _highest_quarter(cosines: np.ndarray) -> float:
    """Return the mean of the highest quarter of the values."""
    return float(np.sort(cosines)[-max(1, round(len(cosines) / 4)) :].mean())


def _alike(one: Interval, other: Interval) -> bool:
    """Whether two intervals are mostly the same."""
    shared = min(one.end, other.end) - max(one.start, other.start)
    return shared > 0.8 * max(one.duration, other.duration)


def _without(match: Recurrence, taken: Sequence[Interval]) -> Recurrence | None:
    """Return the longest part of a recurrence outside the taken intervals, or None if it is too short."""
    free = [match.query]
    for cut in taken:
        free = [
            piece
            for one in free
            for piece in (Interval(one.start, min(one.end, cut.start)), Interval(max(one.start, cut.end), one.end))
            if piece.duration > 0
        ]
    longest = max(free, key=lambda piece: piece.duration, default=None)
    if longest is None or longest.duration < MIN_SECONDS:
        return None
    pace = match.reference.duration / match.query.duration
    start, end = (match.reference.start + pace * (place - match.query.start) for place in (longest.start, longest.end))
    return replace(match, query=longest, reference=Interval(start, end))


def _filled(
    cuts: Sequence[tuple[Interval, int]], duration: float, new_number: Callable[[], int]
) -> list[tuple[Interval, int]]:
    """Return pieces that cover a section: the cuts, and new music between them.

    Parts shorter than MARGIN belong to the neighbouring cut.
    """
    edges = [0.0]
    numbers: list[int] = []
    for cut, number in cuts:
        if cut.start - edges[-1] >= MARGIN:
            numbers.append(new_number())
            edges.append(cut.start)
        numbers.append(number)
        edges.append(cut.end)
    if not cuts or duration - edges[-1] >= MARGIN:
        numbers.append(new_number())
        edges.append(duration)
    edges[-1] = duration
    return [(Interval(start, end), number) for start, end, number in zip(edges, edges[1:], numbers, strict=False)]


def _make_room(connection: Connection) -> None:
    """If too much is stored, delete the oldest music that occurred only once, then the oldest of all."""
    columns = unknown_music.c
    excess = int(connection.scalar(select(func.sum(columns.count))) or 0) * HOP - MAX_SECONDS
    if excess <= 0:
        return
    rows = connection.execute(select(columns.id, columns.number, columns.count).order_by(columns.id)).all()
    frequency = Counter(row.number for row in rows)
    deleted = []
    for row in sorted(rows, key=lambda row: frequency[row.number] > 1):
        if excess <= 0:
            break
        deleted.append(row.id)
        excess -= row._mapping[columns.count] * HOP
    connection.execute(delete(unknown_music).where(columns.id.in_(deleted)))


def source_of(music: UnknownMusic) -> Occurrence:
    """Return the longest occurrence whose file still exists. Raises UnknownMusicNotFound."""
    existing = [each for each in music.occurrences if Path(each.source).is_file()]
    if not existing:
        names = ", ".join(sorted({each.source or "a stream" for each in music.occurrences}))
        raise UnknownMusicNotFound(
            f"none of the files with unknown music {music.id} exists any more ({names})."
            " Restore one, or add the song from another file"
        )
    return max(existing, key=lambda each: each.interval.duration)
