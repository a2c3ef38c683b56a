"""Music that nobody knows, remembered: when the same recording is heard again, in this file or another, it is told.

Each stretch of unknown music is an *occurrence* and has a number; the same music has the same number. Where only a
part of what was heard before comes again, that was more than one piece of music: it is divided, and the part gets a
number of its own. A scan of the same file replaces what an earlier one said of it.

Of an occurrence its vectors are kept, two a second at a byte a number (64 B a second); of music that is heard often
those of a few occurrences, and of all together at most `MOST` seconds: then the oldest that came once is forgotten.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from sqlalchemy import Connection, delete, func, insert, select, update

from songprint.errors import UnknownMusicNotFound
from songprint.fingerprint.history import VectorHistory
from songprint.store.database import storable
from songprint.store.index import segment_ids
from songprint.store.index.exact import ExactIndex
from songprint.store.packing import quantise, restore
from songprint.store.store import Store
from songprint.store.tables import unknown_music
from songprint.store.timestamps import clock, iso
from songprint.types import Embeddings, Gap, Interval, Kind, Occurrence, Sound, UnknownMusic
from songprint.unknown import recurrence
from songprint.unknown.recurrence import Again

HOP = 0.5  # seconds between the vectors that are kept
LEAST = 5.0  # seconds: shorter music is not remembered
REST = 8.0  # seconds beside what is heard again that are still the same music: fades, talk, an edge
KEPT = 3  # occurrences of the same music of which vectors are kept
MOST = 50 * 3600.0  # seconds of vectors that are kept in all
WAIT = 60.0  # seconds to wait while another scan remembers


def numbered(
    store: Store, source: str, gaps: Iterable[Gap], history: VectorHistory, history_start: float = 0.0
) -> list[Gap]:
    """The gaps of a timeline, with the numbers of the unknown music in them; it is remembered.

    A gap in which several pieces of music follow each other may become several. The history begins `history_start`
    seconds after the source; of gaps before that it is told what was remembered of them.
    """
    source = os.path.abspath(source) if os.path.isfile(source) else source
    music = [gap.interval for gap in gaps if gap.sound is Sound.MUSIC]
    here = [interval for interval in music if interval.start >= history_start]
    stretches = [
        (interval, history.between(Interval(interval.start - history_start, interval.end - history_start)))
        for interval in here
    ]
    told = dict(zip(((each.start, each.end) for each in here), remember(store, source, stretches), strict=True))
    if len(here) < len(music):
        told |= {(each.start, each.end): _remembered(store, source, each) for each in music if each not in here}
    return [
        replace(gap, interval=heard, unknown=number)
        for gap in gaps
        for heard, number in told.get((gap.interval.start, gap.interval.end), [(gap.interval, None)])
    ]


Pieces = list[tuple[Interval, int | None]]


def remember(store: Store, source: str, stretches: Sequence[tuple[Interval, Embeddings]]) -> list[Pieces]:
    """Keep stretches of unknown music that were heard in `source`; the pieces of each, with their numbers.

    The embeddings of a stretch begin where it does. A library that cannot be written recognises what it knows, and
    gives nothing new a number; neither does a stretch get one that is too short.
    """
    if not any(interval.duration >= LEAST for interval, _ in stretches):
        return [[(interval, None)] for interval, _ in stretches]
    database = store.catalog.database
    if database.readonly:
        return [
            [(each, number if number > 0 else None) for each, number in pieces]
            for pieces in _Memory(store, source).settled(stretches)
        ]
    with database.lock("unknown", WAIT):
        memory = _Memory(store, source)
        placed = memory.settled(stretches)
        numbers = database.write(memory.write)
    return [[(interval, numbers.get(number, number) or None) for interval, number in pieces] for pieces in placed]


def listing(store: Store) -> list[UnknownMusic]:
    """All unknown music, that which occurs oftenest first."""
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
    """The unknown music of this number; UnknownMusicNotFound when there is none."""
    found = next((each for each in listing(store) if each.id == number), None)
    if found is None:
        raise UnknownMusicNotFound(f"no unknown music {number}. `songprint unknown` shows what there is")
    return found


def forget(store: Store, numbers: Iterable[int]) -> None:
    """Forget unknown music: all of these, or none when a number is unknown."""
    wanted = sorted(set(numbers))

    def work(connection: Connection) -> None:
        present = set(connection.scalars(select(unknown_music.c.number).where(unknown_music.c.number.in_(wanted))))
        for missing in sorted(set(wanted) - present):
            raise UnknownMusicNotFound(f"no unknown music {missing}. `songprint unknown` shows what there is")
        connection.execute(delete(unknown_music).where(unknown_music.c.number.in_(wanted)))

    store.catalog.database.write(work)


def _remembered(store: Store, source: str, interval: Interval) -> Pieces:
    """What is kept of an interval of a source: its pieces, or all of it without a number."""
    columns = unknown_music.c
    with store.catalog.database.reading() as connection:
        rows = connection.execute(
            select(columns.number, columns.start, columns.end)
            .where(columns.source == storable(source), columns.start < interval.end, columns.end > interval.start)
            .order_by(columns.start)
        ).all()
    edges = [interval.start, *(row.start for row in rows[1:]), interval.end]
    numbers = [row.number for row in rows] or [None]
    return [(Interval(start, end), number) for start, end, number in zip(edges, edges[1:], numbers, strict=False)]


@dataclass(frozen=True)
class _Kept:
    """An occurrence as it is kept. A number below 0 stands for one that the database will give."""

    number: int
    source: str
    interval: Interval
    vectors: np.ndarray  # (n, dim) int8, every HOP seconds; none where others of the same music have them
    heard_at: int  # milliseconds since 1970
    row: int = 0  # of the table; 0: not in it yet

    def part(self, here: Interval, number: int) -> _Kept:
        """A piece of it, in seconds from its beginning."""
        first, last = (max(0, round(place / HOP)) for place in (here.start, here.end))
        return replace(
            self,
            number=number,
            row=0,
            vectors=self.vectors[first:last],
            interval=Interval(self.interval.start + here.start, self.interval.start + here.end),
        )


class _Memory:
    """All that is remembered, in memory, while a source is told; `write` keeps what became of it."""

    def __init__(self, store: Store, source: str) -> None:
        spec = store.levels[Kind.RECORDING].spec
        self._window, self._encoder_id, self._source = spec.window, spec.id, storable(source)
        self._index = ExactIndex(spec.dim)
        self._kept: dict[int, _Kept] = {}  # by a number of our own
        self._known: dict[int, Embeddings] = {}  # the same, for those of which there are vectors
        self._gone: list[int] = []  # rows of the table
        self._counter, self._fresh = 0, 0
        with store.catalog.database.reading() as connection:
            self._now = clock(connection)
            rows = connection.execute(
                select(unknown_music).where(unknown_music.c.encoder_id == spec.id).order_by(unknown_music.c.id)
            ).all()
        for row in rows:
            vectors = np.frombuffer(row.vectors, np.int8).reshape(row.count, row.dim)
            self._keep(_Kept(row.number, row.source, Interval(row.start, row.end), vectors, row.heard_at, row.id))

    def settled(self, stretches: Sequence[tuple[Interval, Embeddings]]) -> list[Pieces]:
        """The pieces of each stretch. What an earlier scan said of this source there is replaced.

        Numbers below 0 are new; those of stretches that are too short are 0.
        """
        former = [
            key
            for key, kept in self._kept.items()
            if self._source
            and kept.source == self._source
            and any(
                min(kept.interval.end, interval.end) > max(kept.interval.start, interval.start)
                for interval, _ in stretches
            )
        ]
        placed = [self._place(interval, heard) for interval, heard in stretches]
        for key in former:
            if key in self._kept:
                self._drop(key)
        return placed

    def write(self, connection: Connection) -> dict[int, int]:
        """Bring the table into step; the numbers that the database gave for those below 0."""
        if self._gone:
            connection.execute(delete(unknown_music).where(unknown_music.c.id.in_(self._gone)))
        numbers: dict[int, int] = {}
        have_vectors = Counter(kept.number for kept in self._kept.values() if kept.row and len(kept.vectors))
        for kept in self._kept.values():
            if kept.row:
                continue
            have_vectors[kept.number] += 1
            vectors = kept.vectors if have_vectors[kept.number] <= KEPT else kept.vectors[:0]
            row = connection.execute(
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
            ).inserted_primary_key[0]
            if kept.number < 0 and kept.number not in numbers:
                numbers[kept.number] = row  # never given twice, whatever is forgotten
                connection.execute(update(unknown_music).where(unknown_music.c.id == row).values(number=row))
        _make_room(connection)
        return numbers

    def _place(self, interval: Interval, heard: Embeddings) -> Pieces:
        """Divide a stretch into what was heard before and what was not, and keep each piece."""
        if interval.duration < LEAST or not len(heard):
            return [(interval, 0)]
        found = [
            each
            for each in recurrence.find(heard, self._window, self._index, self._known)
            if each.here.duration >= LEAST
        ]
        cuts: list[tuple[Interval, int]] = []
        for match in found:
            free = _without(match, [cut for cut, _ in cuts])
            if free and match.occurrence in self._kept:
                cuts.append((free.here, self._number(free, found)))
        pieces = _filled(sorted(cuts, key=lambda cut: cut[0].start), interval.duration, self._new_number)
        every = max(1, round(HOP / heard.hop))
        whole = _Kept(0, self._source, interval, quantise(heard.vectors[::every]), self._now)
        for here, number in pieces:
            self._keep(whole.part(here, number))
        return [(Interval(interval.start + here.start, interval.start + here.end), number) for here, number in pieces]

    def _number(self, match: Again, found: Sequence[Again]) -> int:
        """The number of what is heard again. Is it a part of an occurrence, that is divided."""
        other = self._kept[match.occurrence]
        if match.there.start < REST and other.interval.duration - match.there.end < REST:
            return other.number
        number, after = self._new_number(), None
        same = [
            each
            for each in found
            if each.occurrence in self._kept
            and _alike(each.here, match.here)
            and self._kept[each.occurrence].number == other.number
        ]
        for each in {each.occurrence: each for each in (*same, match)}.values():
            kept = self._kept[each.occurrence]
            start = each.there.start if each.there.start >= REST else 0.0
            end = each.there.end if kept.interval.duration - each.there.end >= REST else kept.interval.duration
            self._drop(each.occurrence)
            self._keep(kept.part(Interval(start, end), number))
            if start:
                self._keep(kept.part(Interval(0.0, start), other.number))
            if end < kept.interval.duration:
                if start and after is None:
                    after = self._new_number()
                self._keep(kept.part(Interval(end, kept.interval.duration), after if start else other.number))
        return number

    def _new_number(self) -> int:
        self._fresh -= 1
        return self._fresh

    def _keep(self, kept: _Kept) -> None:
        self._counter += 1
        self._kept[self._counter] = kept
        if len(kept.vectors):
            made = Embeddings(restore(kept.vectors), HOP, self._encoder_id)
            self._known[self._counter] = made
            rows = np.flatnonzero(made.has_content)
            self._index.add(segment_ids(self._counter, rows), made.vectors[rows])

    def _drop(self, key: int) -> None:
        kept = self._kept.pop(key)
        if kept.row:
            self._gone.append(kept.row)
        if self._known.pop(key, None) is not None:
            self._index.remove([key])


def _alike(one: Interval, other: Interval) -> bool:
    """Whether two stretches are mostly the same."""
    shared = min(one.end, other.end) - max(one.start, other.start)
    return shared > 0.8 * max(one.duration, other.duration)


def _without(match: Again, taken: Sequence[Interval]) -> Again | None:
    """The longest part of a match that is not taken yet; None if it is too short to say anything."""
    free = [match.here]
    for cut in taken:
        free = [
            piece
            for one in free
            for piece in (Interval(one.start, min(one.end, cut.start)), Interval(max(one.start, cut.end), one.end))
            if piece.duration > 0
        ]
    longest = max(free, key=lambda piece: piece.duration, default=None)
    if longest is None or longest.duration < LEAST:
        return None
    pace = match.there.duration / match.here.duration
    start, end = (match.there.start + pace * (place - match.here.start) for place in (longest.start, longest.end))
    return replace(match, here=longest, there=Interval(start, end))


def _filled(cuts: Sequence[tuple[Interval, int]], duration: float, new_number) -> list[tuple[Interval, int]]:
    """Pieces that cover a stretch: the cuts, and between them what is new. Too little of that belongs to a cut."""
    edges, numbers = [0.0], []
    for cut, number in cuts:
        if cut.start - edges[-1] >= REST:
            numbers.append(new_number())
            edges.append(cut.start)
        numbers.append(number)
        edges.append(cut.end)
    if not cuts or duration - edges[-1] >= REST:
        numbers.append(new_number())
        edges.append(duration)
    edges[-1] = duration
    return [(Interval(start, end), number) for start, end, number in zip(edges, edges[1:], numbers, strict=False)]


def _make_room(connection: Connection) -> None:
    """Forget the oldest music that came only once, then the oldest of all, where too much is kept."""
    columns = unknown_music.c
    excess = int(connection.scalar(select(func.sum(columns.count))) or 0) * HOP - MOST
    if excess <= 0:
        return
    rows = connection.execute(select(columns.id, columns.number, columns.count).order_by(columns.id)).all()
    often = Counter(row.number for row in rows)
    gone = []
    for row in sorted(rows, key=lambda row: often[row.number] > 1):
        if excess <= 0:
            break
        gone.append(row.id)
        excess -= row.count * HOP
    connection.execute(delete(unknown_music).where(columns.id.in_(gone)))


def source_of(music: UnknownMusic) -> Occurrence:
    """The longest occurrence whose file is still there; UnknownMusicNotFound where there is none."""
    there = [each for each in music.occurrences if Path(each.source).is_file()]
    if not there:
        names = ", ".join(sorted({each.source or "a stream" for each in music.occurrences}))
        raise UnknownMusicNotFound(
            f"none of the files in which unknown music {music.id} was heard is there any more"
            f" ({names}). Put one back, or add the song from a file of its own"
        )
    return max(there, key=lambda each: each.interval.duration)
