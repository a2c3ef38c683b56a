"""The table of metadata: written for spreadsheets, read back whole or not at all."""

from __future__ import annotations

import csv
import io
from contextlib import closing

import pytest
from support import timelines
from support.recordings import add

from songprint.errors import MetadataError
from songprint.store import metadata
from songprint.store.catalog import Catalog

HEADER = "id,path,title,artists,album,isrc,track,year,work,original"


@pytest.fixture
def catalog(tmp_path, random):
    """Three recordings: two with the same ISRC, and one with user fields."""
    with closing(Catalog(tmp_path / "library", create=True)) as catalog:
        add(catalog, random, "One", artists=("Band", "日本"), isrc="USAB16500001", track=3, year=1965, work="W")
        add(catalog, random, "=Two", artists=("Band",), isrc="USAB16500001", work="W")
        add(catalog, random, "Three", isrc="DEA123456789")
        catalog.edit(3, {"fields": {"label": "Verve", "code": "007", "id": "7", "n": 7, "live": True}})
        yield catalog


def read(catalog: Catalog, *lines: str, **options: bool):
    return metadata.read(catalog, "\r\n".join(lines).encode(), **options)


def wrong(catalog: Catalog, *lines: str) -> list[tuple[int, str]]:
    before = catalog.recordings()
    report = read(catalog, *lines)
    assert catalog.recordings() == before and not report.written
    return [(each.line, each.reason) for each in report.wrong]


def test_the_table_has_a_row_per_recording_and_a_column_per_user_field(catalog):
    text = metadata.write(catalog)
    assert text.startswith(f"\ufeff{HEADER},field:code,field:id,field:label,field:live,field:n\r\n")
    one, two, three = csv.DictReader(io.StringIO(text, newline=""))
    assert (one["title"], one["artists"], one["track"], one["work"], one["original"]) == (
        "One",
        "Band; 日本",
        "3",
        "W",
        "false",
    )
    assert two["title"] == "'=Two"
    cells = [three[f"field:{name}"] for name in ("label", "code", "id", "n", "live")]
    assert cells == ["Verve", "007", '"7"', "7", "true"]


def test_reading_back_changes_nothing(catalog, random):
    for title in (*timelines.NASTY[:20], "'=quoted", "''+", "'", '""'):
        nasty = add(catalog, random, title, artists=(title, "a;b"), album=title, isrc="old form", year=2)
        catalog.edit(nasty.id, {"fields": {"note": title}})
    before = catalog.recordings()
    for clear_empty in (False, True):
        report = metadata.read(catalog, metadata.write(catalog).encode(), clear_empty=clear_empty)
        assert (report.wrong, report.changed, report.rows) == ([], [], len(before))
    assert catalog.recordings() == before


def test_a_table_restores_everything_in_an_empty_copy(catalog):
    table = metadata.write(catalog).encode()
    before = catalog.recordings()
    tags = {"title": "x", "artists": (), "album": "y", "isrc": "", "track": None, "year": None, "work": ""}
    catalog.edit_many({each.id: {**tags, "fields": None} for each in before})
    assert len(metadata.read(catalog, table, clear_empty=True).changed) == 3
    after = catalog.recordings()
    assert after == before
    assert {name: type(value) for name, value in after[2].fields.items()} == {
        name: type(value) for name, value in before[2].fields.items()
    }


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_delimiters_and_encodings_of_spreadsheets_are_recognised(catalog, delimiter, encoding):
    rows = [["ID", "Title", "Artists", "field:版权"], ["1", "Eins, zwei", "茉莉; Band"], ["", "", "", ""]]
    content = "\r\n".join(delimiter.join(f'"{cell}"' for cell in row) for row in rows).encode(encoding)
    report = metadata.read(catalog, content)
    assert [(each.line, each.recording_id, each.columns) for each in report.changed] == [(2, 1, ("title", "artists"))]
    assert catalog.recording(1).name == "茉莉, Band - Eins, zwei"


def test_rows_name_recordings_by_id_else_path_else_isrc(library):
    one, two, three = library.recordings()[:3]
    library.edit(three.id, isrc="DEA123456789")
    report = library.import_metadata(
        f"id,path,isrc,album\n{one.id},/elsewhere,,A\n,{two.source},,B\n,,de-a12-34-56789,C\n".encode()
    )
    assert [(each.recording_id, each.columns) for each in report.changed] == [
        (one.id, ("album",)),
        (two.id, ("album",)),
        (three.id, ("album",)),
    ]
    assert [each.tags.album for each in library.recordings()[:3]] == ["A", "B", "C"]


def test_wrong_rows_are_named_and_nothing_is_written(catalog):
    assert wrong(
        catalog,
        "id,path,isrc,title,year,track,original,field:label",
        "1,,,Eins,,,,",
        '99,,,"several\nlines",,,,',
        "x,,,,,,,",
        ",/nowhere,,,,,,",
        ",,USAB16500001,,,,,",
        ",,GBXXX0000001,,,,,",
        ",,,Title,,,,",
        "2,,no isrc,,,,,",
        "3,,,,12,,,",
        "1,,,Again,,,,",
        "3,,,,,,maybe,,",
        "3,,,,,,,,,too,many",
    ) == [
        (3, "no recording has the id '99'"),
        (5, "the id 'x' is not a number"),
        (6, "no recording has the path '/nowhere'"),
        (7, "several recordings have the isrc 'USAB16500001': 1, 2. Give the id or the path"),
        (8, "no recording has the isrc 'GBXXX0000001'"),
        (9, "it names no recording: id, path and isrc are empty"),
        (10, "'no isrc' is not an ISRC, such as USAB16500001"),
        (11, "year must be a number from 1000 to 2999, not '12'"),
        (12, "recording 1 is also in line 2"),
        (13, "recording 3 is also in line 11"),
        (14, "it has 11 cells, and the header has 8"),
    ]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("1,,,0,,", "track must be a number from 1 to 99999, not '0'"),
        ("1,,,,maybe,", "original must be true or false, not 'maybe'"),
        ("3,,,,true,", "a recording without a work cannot be its original"),
        (f"1,{'x' * 1001},,,,", "title can have at most 1,000 characters, not 1,001"),
        (f"1,,{'x' * 501},,,", "an artist can have at most 500 characters, not 501"),
        (f"1,,{'a;' * 101},,,", "a recording can have at most 100 artists, not 101"),
        (f"1,,,,,{'x' * 1001}", "the user field 'label' can have at most 1,000 characters, not 1,001"),
        ('1,"x"y,,,,', "it is not CSV: "),
    ],
)
def test_wrong_values_are_refused(catalog, row, reason):
    [(line, found)] = wrong(catalog, "id,title,artists,track,original,field:label", row)
    assert line == 2 and found.startswith(reason)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"\r\n\r\n", "it is empty"),
        (b"title,year\nOne,1965", "needs a column that names the recording"),
        (b"id,titel\n1,One", "no column 'titel'.*title, artists"),
        (b"id,title,Title\n1,One,Two", "two columns 'title'"),
        (b"id,field:\n1,One", "name of a user field"),
        ("id,title\n1,Größe".encode("latin-1"), "not UTF-8"),
    ],
)
def test_other_files_are_refused(catalog, content, reason):
    with pytest.raises(MetadataError, match=reason):
        metadata.read(catalog, content)


def test_empty_cells_change_nothing_unless_that_is_requested(catalog):
    row = ("id,artists,track,work,field:n,field:none", "1,,,,,", "3,,,,,")
    assert read(catalog, *row).changed == []
    report = read(catalog, *row, clear_empty=True)
    assert [each.columns for each in report.changed] == [("artists", "track", "work"), ("field:n",)]
    one, _, three = catalog.recordings()
    assert (one.artists, one.tags.track, one.tags.work, one.tags.year) == ((), None, "", 1965)
    assert three.fields == {"label": "Verve", "code": "007", "id": "7", "live": True}


def test_a_dry_run_reports_changes_and_writes_nothing(catalog):
    report = read(catalog, "id,title,field:label", "1,Eins,Philips", dry_run=True)
    assert [each.columns for each in report.changed] == [("title", "field:label")] and not report.written
    assert catalog.recording(1).title == "One"


def test_spreadsheets_may_write_booleans_in_capitals(catalog):
    table = metadata.write(catalog).replace("true", "TRUE").replace("false", "FALSE")
    assert metadata.read(catalog, table.encode()).wrong == [] and catalog.recording(3).fields["live"] is True


def test_the_mark_of_an_original_moves_within_its_work(catalog):
    assert read(catalog, "id,original", "1,true", "2,").wrong == []
    assert [each.original for each in catalog.recordings()] == [True, False, False]
    read(catalog, "id,original,work", "1,,", "2,true,")
    assert [each.original for each in catalog.recordings()] == [False, True, False]
    read(catalog, "id,original,work", "2,true,V")
    assert (catalog.recording(2).tags.work, catalog.recording(2).original) == ("V", True)
    assert wrong(catalog, "id,original,work", "1,true,V", "2,true,V") == [(3, "line 2 has the original of 'V' too")]
