"""Works: recordings linked as one song, and the original of each work."""

from __future__ import annotations

import numpy as np
import pytest

from songprint.errors import LibraryError, RecordingNotFound
from songprint.store import works
from songprint.store.catalog import Catalog
from songprint.types import Embeddings, Kind, Recording, Tags


def add(catalog: Catalog, title: str, **tags) -> Recording:
    made = Embeddings(np.eye(4, dtype=np.float32), 0.5, "toy-1")
    number = len(catalog.recordings())
    return catalog.add(
        tags=Tags(title, **tags),
        duration=3,
        source=f"/{number}.wav",
        content_hash=str(number),
        embeddings={Kind.RECORDING: made},
    )


def test_linked_recordings_share_a_work_named_after_the_original(catalog):
    first, second, other = add(catalog, "Hello", year=2015), add(catalog, "Hello (live)"), add(catalog, "Bye")
    assert works.link(catalog, [second.id, first.id]) == "Hello"
    assert [each.id for each in catalog.recordings_of(["Hello"])] == [first.id, second.id]
    assert catalog.recording(other.id) == other
    works.unlink(catalog, second.id)
    assert catalog.recording(second.id).tags.work == ""


def test_two_songs_with_the_same_title_are_different_works(catalog):
    ids = [add(catalog, "Hello").id for _ in range(4)]
    assert works.link(catalog, ids[:2]) == "Hello"
    assert works.link(catalog, ids[2:]) == "Hello (2)"


def test_a_new_recording_joins_the_existing_work(catalog):
    known, new = add(catalog, "Song", work="T0345246801"), add(catalog, "Same song")
    assert works.link(catalog, [new.id, known.id]) == "T0345246801"
    other = add(catalog, "Other", work="T9999999999")
    with pytest.raises(
        LibraryError, match=r"different works: 2 belongs to 'T0345246801'; 3 belongs to 'T9999999999'.*--work"
    ):
        works.link(catalog, [new.id, other.id])
    assert works.link(catalog, [new.id, other.id], "T9999999999") == "T9999999999"
    assert catalog.recording(known.id).tags.work == "T0345246801"


def test_the_original_is_the_marked_recording_or_the_earliest_or_the_first(catalog):
    plain, late, early = add(catalog, "A"), add(catalog, "B", year=1999), add(catalog, "C", year=1965)
    assert works.original_of([plain]) == plain
    assert works.original_of([plain, late, early]) == early
    name = works.link(catalog, [plain.id, late.id, early.id])
    assert works.originals(catalog, [name, "", "unknown"])[name].id == early.id
    for chosen in (plain.id, late.id):
        works.link(catalog, [chosen], name, original=chosen)
        assert works.originals(catalog, [name])[name].id == chosen
    works.unlink(catalog, late.id)
    assert works.originals(catalog, [name])[name].id == early.id


def test_invalid_links_are_refused(catalog):
    first, second = add(catalog, "A").id, add(catalog, "B").id
    with pytest.raises(LibraryError, match="at least two recordings"):
        works.link(catalog, [first, first])
    with pytest.raises(LibraryError, match="name of a work must not be empty"):
        works.link(catalog, [first, second], " ")
    with pytest.raises(LibraryError, match="the original, 99, must be one"):
        works.link(catalog, [first, second], original=99)
    for wrong in (lambda: works.link(catalog, [first, 99]), lambda: works.unlink(catalog, 99)):
        with pytest.raises(RecordingNotFound, match="99"):
            wrong()
    assert catalog.recording(first).tags.work == ""
