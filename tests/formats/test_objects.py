"""JSON: the keys are a public contract, so the tests list them."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
from support.children import environment
from support.reports import MATCH, RECORDING, report

from songprint.formats import objects
from songprint.types import (
    AddReport,
    Fields,
    Kind,
    KnownFile,
    LevelStats,
    RebuildReport,
    SkippedFile,
    Stats,
)


def test_a_report_has_these_keys():
    value = objects.report_object(report(warnings=("the file ends early",)))
    assert set(value) == {
        "source",
        "duration",
        "matches",
        "songs",
        "candidates",
        "thresholds",
        "searched",
        "elapsed",
        "reason",
        "warnings",
    }
    assert value["elapsed"] == 0.123
    assert value["songs"] == [{"work": "", "name": "Anon, Other - Greensleeves", "original": 7, "matches": [0]}]
    assert value["warnings"] == ["the file ends early"]


def test_a_match_has_these_keys_and_rounded_times():
    match = objects.match_object(MATCH)
    recording = match.pop("recording")
    assert match == {
        "original": None,
        "kind": "recording",
        "confidence": 98.765,
        "query": {"start": 0.0, "end": 8.0},
        "reference": {"start": 42.312, "end": 50.3},
        "speed": 1.04,
        "key_shift": 0.0,
        "agreeing": 15,
        "score": 0.8123,
        "sections": [{"query": {"start": 0.0, "end": 8.0}, "reference": {"start": 42.312, "end": 50.3}}],
    }
    assert recording == {
        "id": 7,
        "title": "Greensleeves",
        "artists": ["Anon", "Other"],
        "album": "Old",
        "isrc": "GBXXX0000001",
        "track": 2,
        "year": 1580,
        "work": "",
        "musicbrainz_recording_id": "",
        "musicbrainz_release_id": "",
        "duration": 185.123,
        "source": "/music/greensleeves.flac",
        "content_hash": "abc",
        "added_at": "2026-01-01T00:00:00Z",
        "missing_since": "",
        "fields": {},
    }


def test_no_match_is_an_empty_list_with_a_reason():
    value = objects.report_object(report(matches=[], reason="silence", candidates=[MATCH]))
    assert value["matches"] == []
    assert value["reason"] == "silence"
    assert value["candidates"][0]["recording"]["id"] == 7


def test_adding_yields_an_object_for_each_file_and_one_for_the_totals():
    added = AddReport([RECORDING], [KnownFile("b.mp3", 7)], [SkippedFile("c.mp3", "it is text")], 185.1, 2.0)
    lines = list(objects.add_objects(added))
    assert [line["outcome"] for line in lines] == ["added", "known", "skipped", "finished"]
    assert lines[1] == {"outcome": "known", "path": "b.mp3", "recording_id": 7}
    assert lines[2] == {"outcome": "skipped", "path": "c.mp3", "reason": "it is text"}
    assert lines[3]["added"] == lines[3]["known"] == lines[3]["skipped"] == 1


def test_rebuilding_reports_files_that_could_not_be_read():
    lines = list(objects.rebuild_objects(RebuildReport(4, [SkippedFile("c.mp3", "it is gone")])))
    assert lines[0] == {"outcome": "skipped", "path": "c.mp3", "reason": "it is gone"}
    assert lines[1] == {"outcome": "finished", "reencoded": 4, "skipped": 1}


def test_statistics_have_these_keys():
    level = LevelStats(Kind.RECORDING, 1, 360, 800, 70, "exact", "fingerprint-abc", 30)
    stats = Stats("lib", 1, 185.12345, 1000, (level,), 1)
    value = json.loads(objects.to_json(objects.stats_object(stats)))
    assert (value["duration"], value["index_bytes"]) == (185.123, 70)
    assert value["companion_bytes"] == 30
    assert set(value) == {*Stats.__dataclass_fields__, "index_bytes", "companion_bytes"}
    assert value["levels"] == [
        {
            "kind": "recording",
            "recordings": 1,
            "segments": 360,
            "catalogue_bytes": 800,
            "index_bytes": 70,
            "index": "exact",
            "encoder_id": "fingerprint-abc",
            "companion_bytes": 30,
        }
    ]


@pytest.mark.parametrize("name", ["plain.mp3", "Für Elise 茉莉花.flac", "odd\udcff\udce9.mp3", 'quote".wav', "a\nb"])
def test_any_file_name_becomes_one_line_of_json_in_utf_8(name):
    line = objects.to_json({"source": name})
    assert "\n" not in line
    assert json.loads(line.encode("utf-8")) == {"source": name}


def test_the_contract_needs_no_pydantic():
    """The command line is installed without the server's packages."""
    program = "import sys; sys.modules['pydantic'] = None; from songprint.formats import objects, schema"
    subprocess.run([sys.executable, "-c", program], check=True, env=environment(), timeout=60)


def test_user_fields_come_back_and_are_no_places():
    recording = replace(RECORDING, fields=Fields({"source": "/label/archive 7", "id": 7, "live": True}))
    value = objects.recording_object(recording)
    assert value["fields"] == {"source": "/label/archive 7", "id": 7, "live": True}
    assert objects.without_places(value)["fields"] == value["fields"]
    assert objects.recording_from_object(value).fields == recording.fields
    old = {key: each for key, each in value.items() if key != "fields"}  # a result of an older version
    assert objects.recording_from_object(old).fields == {}
