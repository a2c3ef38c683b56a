"""The log of changes: an index reads what is newer, and compares everything where the log does not show that."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from support import toy

from songprint.config import Settings
from songprint.kinds import open_store
from songprint.store import changes, merging
from songprint.store.store import Store
from songprint.types import Embeddings, Kind, Tags


@pytest.fixture
def store(tmp_path, database_url):
    """An empty store on each kind of database."""
    settings = Settings(database=database_url)
    with open_store(tmp_path / "library", create=True, encoder=toy.ToyEncoder(), settings=settings) as store:
        yield store


def add(store: Store, seed: int) -> int:
    return store.catalog.add(
        tags=Tags(title=f"Song {seed}"),
        duration=5.0,
        source=f"/{seed}.wav",
        content_hash=str(seed),
        embeddings={Kind.RECORDING: toy.ToyEncoder().encode(toy.song(seed, 5.0))},
    ).id


def changed_since(store: Store, mark: changes.Mark) -> set[int] | None:
    found = store.catalog.changes_since(mark)
    return None if found is None else set(found.recording_ids)


def test_the_log_contains_added_removed_and_merged_recordings(store):
    first, second = add(store, 1), add(store, 2)
    mark = store.catalog.mark()
    assert changed_since(store, mark) == set()
    third = add(store, 3)
    assert changed_since(store, mark) == {third}
    store.catalog.remove([first])
    merging.merge(store.catalog, third, [second])
    store.catalog.edit(third, {"title": "edited"})
    assert changed_since(store, mark) == {first, second, third}
    latest = store.catalog.changes_since(mark).mark
    assert latest == store.catalog.mark() and changed_since(store, latest) == set()


def test_a_known_sound_changes_no_recording(store):
    first = add(store, 1)
    mark = store.catalog.mark()
    merging.merge(store.catalog, add(store, 2), [first])
    changed = changed_since(store, mark)
    mark = store.catalog.mark()
    store.catalog.add(tags=Tags(), duration=5.0, source="/", content_hash="1", embeddings={})
    assert store.catalog.mark().revision > mark.revision
    assert changed and changed_since(store, mark) == set()


def test_another_encoder_changes_everything(store):
    recording = add(store, 1)
    mark = store.catalog.mark()
    vectors = toy.ToyEncoder("toy-2").encode(toy.song(1, 5.0))
    store.catalog.add_embeddings(recording, {Kind.RECORDING: Embeddings(vectors.vectors, 0.5, "toy-2")})
    assert changed_since(store, mark) == {recording}
    store.catalog.adopt(Kind.RECORDING, "toy-2")
    assert changed_since(store, mark) is None


def execute(store: Store, statement: str) -> None:
    with store.catalog.database.writing() as connection:
        connection.execute(text(statement))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE library SET revision = revision + 1",  # by an older version, which does not write the log
        "UPDATE library SET revision = revision - 3",  # a restored database
        "UPDATE changes SET token = 5 WHERE revision <= 2",  # a restored database that has grown since
        "DELETE FROM changes WHERE revision <= 2",
    ],
)
def test_where_the_log_does_not_reach_everything_is_compared(store, statement):
    for seed in range(2):
        add(store, seed)
    store.refresh()
    mark = store.catalog.mark()
    assert mark.revision == 2
    ids = {1, 2, add(store, 2), add(store, 3)}
    execute(store, statement)
    assert changed_since(store, mark) is None
    store.refresh()
    assert store.identity.index.recording_ids() == ids and store.identity.searched == 4
    ids.add(add(store, 4))
    store.refresh()
    assert store.identity.index.recording_ids() == ids and store.identity.searched == 5


def test_old_rows_are_removed(store, monkeypatch):
    monkeypatch.setattr(changes, "KEPT", 3)
    monkeypatch.setattr(changes, "PRUNE_INTERVAL", 5)
    for seed in range(10):
        add(store, seed)
    with store.catalog.database.reading() as connection:
        assert connection.execute(text("SELECT min(revision) FROM changes")).scalar_one() == 7


def test_many_changes_are_not_read_from_the_log(store, monkeypatch):
    monkeypatch.setattr(changes, "MAX_ROWS", 3)
    mark = store.catalog.mark()
    ids = [add(store, seed) for seed in range(3)]
    assert changed_since(store, mark) is None  # the row of `mark` counts too
    store.catalog.remove(ids)
    assert changed_since(store, mark) is None


def test_a_change_lists_only_the_changed_recordings(store, monkeypatch):
    first = add(store, 1)
    store.refresh()
    listed = []
    searched = store.catalog.searched
    monkeypatch.setattr(store.catalog, "searched", lambda kind, ids=None: listed.append(ids) or searched(kind, ids))
    with open_store(store.path, encoder=toy.ToyEncoder(), settings=store.settings) as other:
        second = add(other, 2)
        other.catalog.remove([first])
    store.refresh()
    assert listed == [{first, second}]
    assert store.identity.index.recording_ids() == {second} and store.identity.searched == 1


def test_a_refresh_that_failed_is_repeated(store, monkeypatch):
    first = add(store, 1)
    store.refresh()
    second = add(store, 2)
    with monkeypatch.context() as patched, pytest.raises(OSError, match="broken"):
        patched.setattr(store.identity.index, "add", lambda ids, vectors: (_ for _ in ()).throw(OSError("broken")))
        store.refresh()
    store.refresh()
    assert store.identity.index.recording_ids() == {first, second}
