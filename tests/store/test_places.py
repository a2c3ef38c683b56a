"""Files as facts about recordings, on every kind of database."""

from __future__ import annotations

import os
from functools import partial

import pytest
from support import recordings

from songprint.audio.files import file_path, stored_path
from songprint.store import places
from songprint.types import FileState, Kind, Tags

STATE = FileState(size=5_000_000_000, modified=1_796_000_000_123_456_789)


def add(catalog, random, path: str, **tags: str) -> int:
    """Add a recording whose file is at `path`, and return its id."""
    attach = partial(places.attach, path=path, state=STATE, tags=Tags(title=path, **tags))
    vectors = recordings.Embeddings(recordings.unit_vectors(random), hop=0.5, encoder_id="toy-1")
    return catalog.add(
        tags=Tags(title=path, **tags),
        duration=5.0,
        source=stored_path(path),
        content_hash=f"sound:{path!a}",
        embeddings={Kind.RECORDING: vectors},
        attach=attach,
    ).id


def test_places_are_found_in_their_folder_only(catalog, random):
    for path in ("/music/a/1.flac", "/music/a/b/2.flac", "/music/ab/3.flac", "/Music/a/4.flac", "/music/a_/5.flac"):
        add(catalog, random, path)
    assert places.under(catalog, ["/music/a"]).keys() == {"/music/a/1.flac", "/music/a/b/2.flac"}
    assert places.under(catalog, ["/music/a_", "/music/ab/3.flac"]).keys() == {"/music/a_/5.flac", "/music/ab/3.flac"}
    [place] = places.at(catalog, ["/music/ab/3.flac", "/gone"]).values()
    assert (place.state, place.tags.title, place.missing_since) == (STATE, "/music/ab/3.flac", "")


def test_a_file_that_moves_takes_its_recording_with_it(catalog, random):
    one = add(catalog, random, "/music/1.flac")
    places.assign(catalog, one, "/music/new.flac", STATE, Tags(title="New"), moved_from="/music/1.flac")
    [place] = places.of(catalog, one)
    assert place.path == catalog.recording(one).source == "/music/new.flac"
    assert catalog.recording(one).title == "New"


def test_a_recording_without_a_file_is_missing_until_it_has_one(catalog, random):
    one, two = add(catalog, random, "/music/1.flac"), add(catalog, random, "/music/2.flac")
    places.mark_missing(catalog, ["/music/1.flac", "/music/unknown.flac"])
    assert places.missing(catalog) == [one] and catalog.recording(one).missing_since
    places.assign(catalog, two, "/music/1.flac", STATE, Tags(title="/music/2.flac"))
    assert [place.path for place in places.of(catalog, two)] == ["/music/1.flac", "/music/2.flac"]
    assert places.of(catalog, one) == [] and places.missing(catalog) == [one]
    places.assign(catalog, one, "/music/3.flac", STATE, Tags(title="/music/1.flac"))
    assert places.missing(catalog) == [] and catalog.recording(one).source == "/music/3.flac"


def test_removing_a_recording_removes_its_places(catalog, random):
    one = add(catalog, random, "/music/1.flac")
    catalog.remove([one])
    assert places.everywhere(catalog) == []
    assert add(catalog, random, "/music/1.flac") != one


def test_folders_are_remembered_once(catalog):
    places.remember_folder(catalog, "/music", recursive=True)
    places.remember_folder(catalog, "/music", recursive=False)
    assert places.remembered_folders(catalog) == {"/music": False}


@pytest.mark.parametrize(
    "name", [b"J\xf3ga.wav", "Jo\u0301ga.wav".encode(), "音.wav".encode("shift-jis"), "\uf7f3.wav".encode()]
)
def test_every_file_name_comes_back_byte_by_byte(name, tmp_path, catalog, random):
    path = os.fsdecode(os.path.join(os.fsencode(tmp_path), name))
    with open(path, "wb"):
        pass
    one = add(catalog, random, path)
    assert os.path.basename(os.fsencode(places.of(catalog, one)[0].path)) == name
    assert os.path.basename(os.fsencode(file_path(catalog.recording(one).source))) == name
