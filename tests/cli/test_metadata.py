"""`songprint edit` and `songprint metadata`."""

from __future__ import annotations

from contextlib import closing

import pytest
from support.commandline import assert_one_line, json_lines, run

from songprint.accounts.audit import Audit
from songprint.store.catalog import Catalog


@pytest.fixture(autouse=True)
def _library(toy_command, songs):
    run("add", *songs[:2])


def test_tags_and_user_fields_are_edited(tmp_path):
    result = run(
        "edit", 1, "--title", "Sinnerman", "--artist", "Nina Simone", "--artist", "Band", "--year", 1965,
        "--isrc", "us-ab1-65-00001", "--field", "label=Verve = Philips", "--field", "n=7", "--field", "code=007",
    )  # fmt: skip
    assert result.stdout == "edited 1: Nina Simone, Band - Sinnerman\n"
    [shown] = json_lines(run("edit", 1, "--year", "", "--field", "n=", "--json"))
    assert (shown["artists"], shown["isrc"], shown["year"]) == (["Nina Simone", "Band"], "USAB16500001", None)
    assert shown["fields"] == {"label": "Verve = Philips", "code": "007"}
    assert "field label: " in run("show", 1).stdout and '"Verve = Philips"' in run("show", 1).stdout
    with closing(Catalog(tmp_path / "library")) as catalog:
        second, first = Audit(catalog.database).entries(limit=2)
    assert (first.action, first.subject) == ("recordings.edit", "1 Sinnerman: title, year, isrc, artists, fields")
    assert second.subject == "1 Sinnerman: year, fields" and second.actor.startswith("command line, user ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "nothing to change"),
        (("--year", "MCM"), "year must be a number"),
        (("--isrc", "x"), "not an ISRC"),
        (("--field", "label"), "KEY=VALUE"),
    ],
)
def test_wrong_edits_are_refused(options, message):
    result = run("edit", 1, *options)
    assert result.exit_code == 2 and message in result.stderr


def test_an_unknown_recording_or_field_is_one_line():
    for arguments in ((99, "--title", "x"), (1, "--field", " =x")):
        result = run("edit", *arguments)
        assert result.exit_code == 2
        assert_one_line(result.stderr)


def test_metadata_is_edited_as_a_table(tmp_path):
    file = tmp_path / "songs.csv"
    assert run("metadata", "export", file).stderr == f"songprint: wrote 2 recordings to {file}\n"
    text = file.read_bytes().decode("utf-8")
    assert run("metadata", "export", "-").stdout_bytes.decode("utf-8") == text
    file.write_bytes(text.replace("Song 01", "Other").encode("utf-8"))
    dry = run("metadata", "import", file, "--dry-run")
    assert (dry.exit_code, dry.stdout) == (0, "2 Song 01: title\nwould change 1 recording (2 rows)\n")
    assert "Song 01" in run("list").stdout
    assert run("metadata", "import", file, "--quiet").stdout == ""
    assert "Other" in run("list").stdout
    assert run("metadata", "import", file).stdout == "changed 0 recordings (2 rows)\n"
    with closing(Catalog(tmp_path / "library")) as catalog:
        [entry] = [each for each in Audit(catalog.database).entries() if each.action.startswith("recordings.edit")]
    assert (entry.action, entry.subject) == ("recordings.edit_many", "1 recording: 2")
    assert entry.actor.startswith("command line, user ")


def test_wrong_rows_are_named_by_file_and_line(tmp_path):
    table = b"id;title\n1;New\n99;No\n"
    result = run("metadata", "import", "-", input=table)
    assert result.exit_code == 2
    assert result.stderr == "songprint: -:3: no recording has the id '99'\n"
    assert result.stdout == "1 Song 00: title\nnothing written: 1 row of 2 rows cannot be used\n"
    assert json_lines(run("metadata", "import", "-", "--json", input=table)) == [
        {"outcome": "changed", "line": 2, "recording_id": 1, "columns": ["title"]},
        {"outcome": "wrong", "line": 3, "reason": "no recording has the id '99'"},
        {"outcome": "finished", "rows": 2, "changed": 1, "wrong": 1, "written": False},
    ]
    assert "New" not in run("list").stdout
    for arguments in (("import", tmp_path / "none.csv"), ("export", tmp_path / "none" / "x.csv")):
        result = run("metadata", *arguments)
        assert result.exit_code == 2
        assert_one_line(result.stderr)
