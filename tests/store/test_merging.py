"""Duplicates: finding groups, keeping them apart, merging them, and what a merge keeps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support import toy
from support.commandline import json_lines, run

import songprint
from songprint import Library
from songprint.accounts.audit import Audit
from songprint.errors import LibraryConflict, RecordingNotFound
from songprint.jobs.verdicts import CORRECT, GAP, Verdicts
from songprint.store.catalog import Catalog
from songprint.store.merging import apart, keep_apart, merge
from songprint.types import Embeddings, Kind, KnownFile, Tags


def write_copies(folder: Path) -> list[Path]:
    """Songs 1 and 2, and song 1 again: softer, and softer still."""
    return [
        toy.write(folder / name, np.float32(volume) * toy.song(number))
        for name, number, volume in (("a.wav", 1, 1.0), ("b.wav", 2, 1.0), ("c.wav", 1, 0.6), ("d.wav", 1, 0.3))
    ]


@pytest.fixture
def copies(tmp_path) -> list[Path]:
    (tmp_path / "copies").mkdir()
    return write_copies(tmp_path / "copies")


@pytest.fixture
def library(tmp_path, copies):
    with songprint.open(tmp_path / "library", create=True, encoder=toy.CalibratedToyEncoder()) as library:
        for path in copies:
            library.add(path, workers=1)
        yield library


def groups(library: Library) -> list[list[int]]:
    return [[each.id for each in group] for group in library.duplicates()]


def test_duplicates_are_grouped_and_decided_pairs_do_not_come_again(library):
    steps = []
    assert [[each.id for each in group] for group in library.duplicates(lambda *step: steps.append(step))] == [
        [1, 3, 4]
    ]
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
    library.keep_apart([1, 3])
    assert groups(library) == [[1, 3, 4]]  # 4 is still undecided
    library.keep_apart([1, 4])
    assert groups(library) == [[3, 4]]
    library.keep_apart([4, 3, 1])
    assert groups(library) == [] and apart(library.store.catalog) == {(1, 3), (1, 4), (3, 4)}
    library.remove(4)
    assert apart(library.store.catalog) == {(1, 3)}


def test_linked_recordings_are_versions_and_no_longer_duplicates(library):
    library.link([1, 3, 4], "Song")
    assert groups(library) == []


def test_a_merged_recording_receives_files_and_missing_tags(library, copies):
    library.edit(1, artists=("Singer",), fields={"owner": "us"})
    library.edit(3, artists=("Other",), album="Album", year=1999, work="Work", fields={"owner": "they", "code": 7})
    library.store.catalog.assign([3], "Work", 3)
    merged = library.merge(1, [4, 3])
    assert merged == library.recording(1) and merged.source == str(copies[0])
    tags = merged.tags
    assert (tags.artists, tags.album, tags.year, tags.work) == (("Singer",), "Album", 1999, "Work")
    assert merged.original and dict(merged.fields) == {"owner": "us", "code": 7}
    assert [each.path for each in library.files(1)] == [str(copies[0]), str(copies[2]), str(copies[3])]
    assert [each.id for each in library.recordings()] == [1, 2] and groups(library) == []
    (match,) = library.identify(copies[3]).matches
    assert match.recording.id == 1


def test_files_of_merged_recordings_stay_with_the_recording_that_is_kept(library, copies, tmp_path):
    library.merge(1, [3, 4])
    again = toy.write(tmp_path / "again.wav", np.float32(0.6) * toy.song(1))
    report = library.add([*copies, again], workers=1)
    assert report.added == [] and len(library) == 2
    assert [each.path for each in library.files(1)] == sorted(map(str, (copies[0], copies[2], copies[3], again)))
    copies[0].unlink()
    library.sync([copies[0].parent], workers=1)
    kept = library.recording(1)
    assert not kept.missing_since and kept.source in [str(each.path) for each in library.files(1)]
    library.merge(2, [1])  # sounds that were merged into 1 now belong to 2
    assert library.add(copies[2:], workers=1).added == [] and len(library) == 1
    library.remove(2)
    assert len(library.add(copies[2], workers=1).added) == 1


def test_a_merge_survives_a_move_to_another_library(library, copies, tmp_path):
    library.merge(1, [3])
    library.keep_apart([1, 4])
    path = library.export_to(tmp_path / "music.songprint").path
    with songprint.open(tmp_path / "other", create=True, encoder=toy.CalibratedToyEncoder()) as other:
        other.add(toy.write(tmp_path / "x.wav", toy.song(9)), workers=1)
        assert other.import_from(path).new_ids == {1: 2, 2: 3}
        assert apart(other.store.catalog) == {(2, 4)} and groups(other) == []
        assert other.add(copies[2], workers=1).added == []


def test_decisions_follow_a_merge(library):
    library.keep_apart([1, 3])
    library.merge(4, [3])
    assert apart(library.store.catalog) == {(1, 4)} and groups(library) == []
    library.merge(1, [4])
    assert apart(library.store.catalog) == set()


def added(catalog: Catalog, number: int) -> int:
    made = Embeddings(np.eye(4, dtype=np.float32), 1.0, "e-1")
    recording = catalog.add(
        tags=Tags(title=str(number)),
        duration=4.0,
        source=f"/{number}",
        content_hash=f"hash-{number}",
        embeddings={Kind.RECORDING: made},
    )
    return recording.id


def test_merging_works_in_every_database(catalog):
    one, two, three = (added(catalog, number) for number in range(3))
    Verdicts(catalog.database).record("job", GAP, 0, CORRECT, recording_id=three)
    keep_apart(catalog, [two, three])
    merge(catalog, one, [three])
    assert [each.id for each in catalog.recordings()] == [one, two]
    assert apart(catalog) == {(one, two)}
    assert [each.recording_id for each in Verdicts(catalog.database).of_job("job")] == [one]
    assert catalog.known("hash-2") == one
    known = catalog.add(tags=Tags(), duration=4.0, source="/x", content_hash="hash-2", embeddings={})
    assert known == KnownFile("/x", one)
    catalog.identify_by_sound("hash-2", "sound")
    assert (catalog.known("hash-2"), catalog.known("sound")) == (None, one)


def test_wrong_decisions_change_nothing(library):
    before = library.recordings()
    for wrong in ([1], [], range(1, 200)):
        with pytest.raises(LibraryConflict, match="needs 2 to 100 recordings"):
            library.keep_apart(wrong)
    with pytest.raises(RecordingNotFound, match="no recording 99"):
        library.keep_apart([1, 99])
    for keep, others in ((1, []), (1, [1, 3])):
        with pytest.raises(LibraryConflict, match="at least one other"):
            library.merge(keep, others)
    for keep, others in ((1, [3, 99]), (99, [1])):
        with pytest.raises(RecordingNotFound, match="no recording 99"):
            library.merge(keep, others)
    assert library.recordings() == before and apart(library.store.catalog) == set()


@pytest.mark.usefixtures("toy_command")
def test_the_commands_list_keep_and_merge(copies, tmp_path):
    for path in copies:
        run("add", "--quiet", path)
    (group,) = json_lines(run("duplicates", "--json"))
    assert [each["id"] for each in group["recordings"]] == [1, 3, 4]
    assert [line.split()[0] for line in run("duplicates", "list").stdout.splitlines()] == ["1", "3", "4"]
    assert run("merge", 1, 3).stdout == "merged 3 into 1: a\n"
    assert run("duplicates", "keep", 4, 1).stdout == "kept 1, 4\n"
    done = run("duplicates")
    assert (done.exit_code, done.stdout) == (1, "") and "no duplicates" in done.stderr
    assert run("merge", 1, 99).exit_code == 2
    with songprint.open(tmp_path / "library", encoder=toy.ToyEncoder()) as library:
        noted = [(each.action, each.subject) for each in Audit(library.store.catalog.database).entries()]
    assert noted[:2] == [("duplicates.keep", "1, 4"), ("recordings.merge", "1 a: 3")]
