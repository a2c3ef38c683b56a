"""Library files: what they carry from one library to another, and which of them are refused."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from support import toy
from support.commandline import json_lines, run

import songprint
from songprint import Library
from songprint.config import Settings
from songprint.errors import EncoderChanged, LibraryError, LibraryVersionError
from songprint.store import places

ENCODER = toy.CalibratedToyEncoder()


def opened(folder: Path, database: str = "", encoder: toy.ToyEncoder = ENCODER) -> Library:
    return songprint.open(folder, create=True, encoder=encoder, settings=Settings(database=database))


@pytest.fixture
def library(tmp_path, songs) -> Iterator[Library]:
    with opened(tmp_path / "library") as library:
        library.add(songs, workers=1)
        yield library


@pytest.fixture
def exported(library, songs, tmp_path) -> Path:
    """The library of five songs, two of them linked and one removed, in a library file."""
    library.remove(2)
    library.link([1, 3], "Work", original=3)
    library.edit(4, title="Jóga", artists=("Björk", "Other"), year=1997)
    library.edit(5, fields={"rights": "Label"})
    report = library.export_to(tmp_path / "music.songprint")
    assert (report.recordings, report.size) == (4, report.path.stat().st_size)
    return report.path


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as file, file:
        file.execute(statement)


def test_a_library_moves_to_another_database_and_back(library, exported, query, tmp_path, database_url):
    with opened(tmp_path / "server", database_url) as moved:
        steps: list[tuple[int, int]] = []
        report = moved.import_from(exported, lambda done, total: steps.append((done, total)))
        assert (report.added, report.known, report.new_ids) == (4, 0, {})
        assert steps[-1] == (4, 4)
        assert moved.recordings() == library.recordings()
        assert [moved.files(each.id) for each in moved.recordings()] == [
            library.files(each.id) for each in library.recordings()
        ]
        assert places.remembered_folders(moved.store.catalog) == places.remembered_folders(library.store.catalog)
        before, after = library.identify(query), moved.identify(query)
        assert before.matches and after.matches == before.matches
        back = moved.export_to(tmp_path / "back.songprint").path
        added = moved.add(toy.write(tmp_path / "new.wav", toy.song(9)), workers=1).added
        assert [each.id for each in added] == [6]  # ids continue after those that were kept
        assert [each.id for each in moved.recordings("joga")] == [4]
    with opened(tmp_path / "again") as again:
        again.import_from(back)
        assert again.recordings() == library.recordings()
        kept, copied = (one.store.identity.embeddings_of([1, 3, 4, 5]) for one in (library, again))
        assert kept.keys() == copied.keys()
        for each, made in kept.items():
            assert np.array_equal(made.vectors, copied[each].vectors)
            assert np.array_equal(made.evidence, copied[each].evidence)


def test_an_import_skips_known_sound_and_gives_new_ids_where_ids_are_taken(exported, songs, tmp_path):
    with opened(tmp_path / "other") as other:
        other.add(toy.write(tmp_path / "other.wav", toy.song(8)), workers=1)
        other.add(songs[3], workers=1)  # recording 4 of the file
        report = other.import_from(exported)
        assert (report.added, report.known, report.new_ids) == (3, 1, {1: 3, 3: 4})
        assert other.recording(5).content_hash != other.recording(4).content_hash
        assert len(other.files(3)) == 1 and other.recording(4).original
        again = other.import_from(exported)
        assert (again.added, again.known, len(other)) == (0, 4, 5)


def test_an_interrupted_import_continues_and_keeps_ids(library, exported, tmp_path, monkeypatch):
    monkeypatch.setattr("songprint.store.transfer.AT_ONCE", 2)

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with opened(tmp_path / "other") as other:
        with pytest.raises(KeyboardInterrupt):
            other.import_from(exported, interrupt)
        assert [each.id for each in other.recordings()] == [1, 3]
        report = other.import_from(exported)
        assert (report.added, report.known, report.new_ids) == (2, 2, {})
        assert other.recordings() == library.recordings()


def test_a_path_of_another_recording_stays_with_it(exported, songs, tmp_path):
    toy.write(songs[0], toy.song(30))
    with opened(tmp_path / "other") as other:
        (present,) = other.add(songs[0], workers=1).added
        report = other.import_from(exported)
        assert [each.recording_id for each in other.files(present.id)] == [present.id]
        assert other.files(report.new_ids[1]) == [] and other.recording(report.new_ids[1]).missing_since


def test_an_export_never_replaces_a_file_and_leaves_nothing_behind_after_an_error(library, tmp_path):
    target = tmp_path / "out" / "music.songprint"
    target.parent.mkdir()

    def fail(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        library.export_to(target, fail)
    assert list(target.parent.iterdir()) == []
    target.write_text("mine")
    with pytest.raises(LibraryError, match="exists already"):
        library.export_to(target)
    assert target.read_text() == "mine"
    with pytest.raises(LibraryError, match="cannot write"):
        library.export_to(tmp_path / "missing" / "music.songprint")


def test_a_file_of_another_encoder_is_refused(exported, tmp_path):
    with opened(tmp_path / "other", encoder=toy.CalibratedToyEncoder(id="toy-2")) as other:
        with pytest.raises(EncoderChanged, match=r"encoder toy-1 .* uses toy-2.*rebuild --reencode"):
            other.import_from(exported)
        assert len(other) == 0


def test_files_of_newer_versions_are_refused(exported, tmp_path):
    with opened(tmp_path / "other") as other:
        change(exported, """UPDATE manifest SET value = '{"lyrics": "l-1"}' WHERE name = 'encoders'""")
        with pytest.raises(LibraryVersionError, match=r"kind 'lyrics'.*Upgrade"):
            other.import_from(exported)
        change(exported, "PRAGMA user_version = 2")
        with pytest.raises(LibraryVersionError, match=r"format 2.*up to 1.*Upgrade"):
            other.import_from(exported)


def test_columns_of_newer_versions_are_ignored(library, exported, tmp_path, monkeypatch):
    with closing(sqlite3.connect(exported)) as file, file:
        from songprint.store import transfer

        for recording_id, facts in file.execute("SELECT id, facts FROM recordings").fetchall():
            parsed = json.loads(facts)
            parsed["recording"]["mood"] = "calm"
            columns = ", ".join(transfer.EMBEDDING)
            rows = file.execute(f"SELECT {columns} FROM embeddings WHERE recording_id = ?", (recording_id,)).fetchall()
            changed = json.dumps(parsed)
            file.execute(
                "UPDATE recordings SET facts = ?, checksum = ? WHERE id = ?",
                (changed, transfer._checksum(changed, rows), recording_id),
            )
    with opened(tmp_path / "other") as other:
        other.import_from(exported)
        assert other.recordings() == library.recordings()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE embeddings SET vectors = zeroblob(length(vectors)) WHERE recording_id = 4",
        "UPDATE recordings SET facts = replace(facts, 'Other', 'Wrong') WHERE id = 4",
        "DELETE FROM embeddings WHERE recording_id = 4",
    ],
)
def test_a_damaged_recording_is_reported_and_those_before_it_stay(exported, tmp_path, statement):
    change(exported, statement)
    with opened(tmp_path / "other") as other:
        with pytest.raises(LibraryError, match=r"damaged: recording 4.*export it again"):
            other.import_from(exported)
        assert {each.id for each in other.recordings()} <= {1, 3}


def test_damaged_and_foreign_files_are_reported(exported, tmp_path):
    whole = exported.read_bytes()
    with opened(tmp_path / "other") as other:
        for content, message in (
            (whole[: len(whole) // 2], "damaged"),
            (b"RIFF" + bytes(5000), "not a library file"),
            (b"", "not a library file"),
        ):
            exported.write_bytes(content)
            with pytest.raises(LibraryError, match=message):
                other.import_from(exported)
        with pytest.raises(LibraryError, match="there is no file"):
            other.import_from(tmp_path / "nothing")
        change(exported.with_name("other.db"), "CREATE TABLE t (x)")
        with pytest.raises(LibraryError, match="not a library file"):
            other.import_from(exported.with_name("other.db"))
        exported.write_bytes(whole)
        change(exported, "DELETE FROM recordings WHERE id = 5")
        with pytest.raises(LibraryError, match="damaged: it has 3 recordings of 4"):
            other.import_from(exported)


@pytest.mark.usefixtures("toy_command")
def test_the_commands_export_and_import(songs, tmp_path, capsys):
    run("add", "--quiet", *songs[:2])
    target, other = tmp_path / "music.songprint", ("--library", tmp_path / "other")
    done = run("library", "export", target)
    assert done.exit_code == 0 and done.stdout.startswith(f"2 recordings exported to {target} (")
    run(*other, "add", "--quiet", songs[2])
    assert json_lines(run(*other, "library", "import", "--json", target)) == [
        {"added": 2, "known": 0, "new_ids": {"1": 2, "2": 3}}
    ]
    assert run(*other, "library", "import", target).stdout == "0 recordings added, 2 already in the library\n"
    assert run("library", "import", songs[0]).exit_code == 2
