"""Export formats of timelines. Each is parsed by a reader that is stricter than any player."""

from __future__ import annotations

import csv
import html
import io
import json
import logging
import re
from dataclasses import replace

import pytest
from support import timelines

from songprint import formats
from songprint.errors import SongprintError
from songprint.formats import objects
from songprint.formats.entries import one_line
from songprint.types import Fields, Gap, Interval, Kind, Sound

STAMP = r"(\d{2,}):([0-5]\d):([0-5]\d)[.,](\d{3})"
TIMELINES = {"programme": timelines.programme(), "nasty": timelines.nasty(), "empty": timelines.timeline()}


def seconds(hours: str, minutes: str, whole: str, milliseconds: str = "0") -> float:
    return int(hours) * 3600 + int(minutes) * 60 + int(whole) + int(milliseconds) / 1000


def read_subtitles(text: str, separator: str) -> list[tuple[float, float, str]]:
    """Parse blocks `number, times, text` to (start, end, text). Anything else fails the test."""
    cues = []
    for position, block in enumerate(re.split(r"\n\n", text.removesuffix("\n")) if text else []):
        number, times, *lines = block.split("\n")
        assert int(number) == position + 1
        assert len(lines) == 1 and lines[0] and "-->" not in lines[0]
        found = re.fullmatch(f"{STAMP} --> {STAMP}", times)
        assert found and times.count(separator) == 2
        start, end = seconds(*found.groups()[:4]), seconds(*found.groups()[4:])
        assert start < end and (not cues or start >= cues[-1][0])
        cues.append((start, end, lines[0]))
    return cues


def read_cue(text: str) -> dict:
    """Parse a CUE sheet to the file, and for each track its texts and its start in frames."""
    lines = [line for line in text.removesuffix("\n").split("\n") if not line.startswith("REM")]
    file = re.fullmatch(r'FILE "([^"]*)" (WAVE|MP3|AIFF)', lines.pop(0))
    assert file
    tracks = []
    for line in lines:
        if found := re.fullmatch(r"  TRACK (\d\d) AUDIO", line):
            assert int(found[1]) == len(tracks) + 1 and int(found[1]) <= 99
            tracks.append({})
        elif found := re.fullmatch(r"    INDEX (0[01]) (\d{2,}):([0-5]\d):(\d\d)", line):
            assert int(found[4]) < 75
            tracks[-1][f"INDEX {found[1]}"] = (int(found[2]) * 60 + int(found[3])) * 75 + int(found[4])
        else:
            found = re.fullmatch(r'    (TITLE|PERFORMER) "([^"]{0,80})"|    (ISRC) ([A-Z0-9]{12})', line)
            assert found, line
            assert "INDEX 01" not in tracks[-1], "INDEX comes last"
            tracks[-1][found[1] or found[3]] = found[2] or found[4]
    starts = [track["INDEX 01"] for track in tracks]
    assert starts == sorted(set(starts))
    return {"file": file[1], "type": file[2], "tracks": tracks}


def read_labels(text: str) -> list[tuple[float, float, str]]:
    rows = [line.split("\t") for line in text.removesuffix("\n").split("\n")] if text else []
    return [(float(start), float(end), label) for start, end, label in rows]


@pytest.mark.parametrize("name", formats.FORMATS)
@pytest.mark.parametrize("timeline", TIMELINES.values(), ids=TIMELINES)
def test_every_format_writes_every_timeline_without_control_characters(name, timeline):
    text = formats.write(timeline, name)
    text.encode("utf-8")  # no lone surrogates
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u2028\u2029]", text if "json" not in name else "")
    assert text == "" or text.endswith("\n")


def test_an_unknown_format_is_an_error_that_lists_the_formats():
    with pytest.raises(SongprintError, match=r"no format 'xml'.*json, jsonl, csv, audacity, cue, srt, vtt, tracklist"):
        formats.write(timelines.timeline(), "xml")


def test_suffixes_and_media_types_are_well_formed():
    for form in formats.FORMATS.values():
        assert re.fullmatch(r"\.[a-z]+", form.suffix)
        assert re.fullmatch(r"[a-z]+/[a-z-]+(; charset=utf-8)?", form.media_type)


# JSON


@pytest.mark.parametrize("timeline", TIMELINES.values(), ids=TIMELINES)
def test_json_contains_the_whole_timeline(timeline):
    text = formats.write(timeline, "json")
    read = json.loads(text)
    assert read == json.loads(objects.to_json(objects.timeline_object(timeline)))
    for segment, given in zip(read["segments"], timeline.segments, strict=True):
        assert segment["recording"]["title"] == given.recording.title


def test_timeline_json_has_these_keys():
    value = objects.timeline_object(timelines.programme())
    assert set(value) == {
        "source",
        "duration",
        "complete",
        "searched",
        "elapsed",
        "thresholds",
        "warnings",
        "segments",
        "songs",
        "gaps",
    }
    assert set(value["segments"][0]) == {
        "recording",
        "kind",
        "confidence",
        "start",
        "end",
        "reference_start",
        "reference_end",
        "speed",
        "key_shift",
        "original",
    }
    assert value["segments"][2]["original"]["title"] == "The Ash Grove"
    assert value["gaps"][1] == {"start": 260.5, "end": 300, "sound": "music", "unknown": 2}
    assert value["songs"][2] == {
        "work": "ash grove",
        "name": "Trad. - The Ash Grove",
        "original": 3,
        "segments": [2],
        "seconds": 120.0,
        "share": 0.2,
    }


def test_json_lines_start_with_the_timeline_and_continue_in_order_of_time():
    first, *rest = [json.loads(line) for line in formats.write(timelines.programme(), "jsonl").splitlines()]
    assert first["type"] == "timeline" and first["duration"] == 600 and "segments" not in first
    assert [line["start"] for line in rest] == sorted(line["start"] for line in rest)
    assert [line["type"] for line in rest] == ["gap", "segment", "segment", "gap", "segment", "gap", "gap", "gap"]
    assert rest[1]["recording"]["title"] == "Greensleeves" and rest[3]["unknown"] == 2


# CSV


@pytest.mark.parametrize("timeline", TIMELINES.values(), ids=TIMELINES)
def test_csv_has_one_row_per_segment_and_gap(timeline):
    rows = list(csv.DictReader(io.StringIO(formats.write(timeline, "csv"), newline=""), strict=True))
    assert len(rows) == len(timeline.segments) + len(timeline.gaps)
    assert all(None not in row and None not in row.values() for row in rows)
    songs = [row for row in rows if row["kind"] in ("recording", "cover")]
    for row, segment in zip(songs, timeline.segments, strict=True):
        assert row["title"].removeprefix("'" if not segment.recording.title.startswith("'") else "") == one_line(
            segment.recording.title
        )
        assert (float(row["start"]), float(row["end"])) == (segment.interval.start, segment.interval.end)
        assert int(row["recording_id"]) == segment.recording.id


def test_line_breaks_in_titles_do_not_break_csv_rows():
    text = formats.write(timelines.nasty(), "csv")
    assert text.count("\r\n") == len(timelines.NASTY) + 1 and "\n" not in text.replace("\r\n", "")


def test_no_text_in_a_csv_file_starts_a_formula():
    for row in csv.DictReader(io.StringIO(formats.write(timelines.nasty(), "csv"), newline="")):
        for column in ("title", "artists", "album", "isrc", "song", "work"):
            assert not re.match(r"\s*[=+\-@＝＋－＠]", row[column])


def test_csv_has_a_column_for_each_user_field():
    one, other = (replace(timelines.recording(number), fields=Fields(fields)) for number, fields in enumerate(FIELDS))
    text = formats.write(timelines.timeline(timelines.segment(0, 9, one), timelines.segment(9, 20, other)), "csv")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [(row["field:label"], row["field:live"], row["field:n"]) for row in rows if row["kind"] == "recording"] == [
        ("'=Verve", "true", ""),
        ("", "", "7"),
    ]


FIELDS = ({"label": "=Verve", "live": True}, {"n": 7})


def test_csv_contains_the_class_of_each_gap_and_the_number_of_unknown_music():
    rows = list(csv.DictReader(io.StringIO(formats.write(timelines.programme(), "csv"), newline="")))
    assert [(row["kind"], row["unknown"]) for row in rows] == [
        ("speech", ""),
        ("recording", ""),
        ("recording", ""),
        ("music", "2"),
        ("cover", ""),
        ("silence", ""),
        ("music", ""),
        ("other", ""),
    ]
    assert rows[4]["title"] == "The Ash Grove (live)" and rows[4]["song"] == "Trad. - The Ash Grove"
    assert rows[2]["from"] == "00:02:10.000" and rows[2]["speed"] == "1.04"


# Audacity labels and the tracklist


@pytest.mark.parametrize("timeline", TIMELINES.values(), ids=TIMELINES)
def test_audacity_labels_have_start_end_and_text(timeline):
    labels = read_labels(formats.write(timeline, "audacity"))
    assert len(labels) == len(timeline.segments) + len(timeline.gaps)
    assert all(start <= end and label for start, end, label in labels)


def test_audacity_labels_distinguish_songs_covers_and_gaps():
    assert [label for _, _, label in read_labels(formats.write(timelines.programme(), "audacity"))] == [
        "[speech]",
        "Anon - Greensleeves (98%)",
        "Simon, Garfunkel - Scarborough Fair (98%)",
        "[unknown music 2]",
        "Trad. - The Ash Grove (cover) (71%)",
        "[silence]",
        "[unknown music]",
        "[other sound]",
    ]


def test_a_tracklist_has_one_line_per_song_and_unknown_music():
    assert formats.write(timelines.programme(), "tracklist") == (
        "00:00:20 Anon - Greensleeves\n"
        "00:02:10 Simon, Garfunkel - Scarborough Fair\n"
        "00:04:20 [unknown music 2]\n"
        "00:05:00 Trad. - The Ash Grove (cover)\n"
        "00:07:10 [unknown music]\n"
    )


@pytest.mark.parametrize(
    "start, shown",
    [(0.0, "00:00:00"), (199.9999, "00:03:20"), (59.9, "00:00:59"), (36_000.0, "10:00:00"), (360_000.0, "100:00:00")],
)
def test_tracklist_times_are_rounded_down_to_seconds(start, shown):
    assert formats.write(timelines.timeline(timelines.segment(start, start + 9)), "tracklist").split(" ")[0] == shown


def test_line_breaks_in_titles_do_not_break_tracklist_lines():
    lines = formats.write(timelines.nasty(), "tracklist").splitlines()
    assert len(lines) == len(timelines.NASTY)
    assert all(re.match(r"\d\d:\d\d:\d\d \S", line) for line in lines)


def test_a_recording_without_tags_is_labelled_with_its_id():
    nameless = timelines.recording(7, " \n", ())
    assert formats.write(timelines.timeline(timelines.segment(0, 9, nameless)), "tracklist") == "00:00:00 recording 7\n"


# CUE


@pytest.mark.parametrize("timeline", [TIMELINES["programme"], TIMELINES["nasty"]], ids=["programme", "nasty"])
def test_a_cue_sheet_is_valid(timeline):
    sheet = read_cue(formats.write(timeline, "cue"))
    assert sheet["file"] == "mix.mp3" and sheet["type"] == "MP3"
    assert len(sheet["tracks"]) == len(timeline.segments) + len(timeline.gaps)


def test_a_cue_sheet_has_one_track_per_song_and_gap():
    tracks = read_cue(formats.write(timelines.programme(), "cue"))["tracks"]
    assert tracks[0] == {"TITLE": "[speech]", "INDEX 01": 0}
    assert tracks[2] == {
        "TITLE": "Scarborough Fair",
        "PERFORMER": "Simon, Garfunkel",
        "ISRC": "USAB16700001",
        "INDEX 01": 130 * 75,
    }
    assert tracks[3] == {"TITLE": "[unknown music 2]", "INDEX 01": round(260.5 * 75)}
    assert tracks[4] == {"TITLE": "The Ash Grove (cover)", "PERFORMER": "Trad.", "INDEX 01": 300 * 75}


def test_simultaneous_songs_start_one_frame_apart_in_a_cue_sheet():
    mashed = timelines.timeline(*(timelines.segment(1.0, 60 + each, timelines.recording(each)) for each in (1, 2, 3)))
    assert [track["INDEX 01"] for track in read_cue(formats.write(mashed, "cue"))["tracks"]] == [75, 76, 77]


def test_the_part_before_the_first_track_is_its_pregap():
    late = timelines.timeline(timelines.segment(59.999, 90))
    assert "    INDEX 00 00:00:00\n    INDEX 01 01:00:00\n" in formats.write(late, "cue")


def test_cue_sheets_count_hours_in_minutes():
    late = timelines.timeline(timelines.segment(36_000.5, 36_100), duration=36_200.0)
    assert "INDEX 01 600:00:38\n" in formats.write(late, "cue")


def test_beyond_99_tracks_the_shortest_gaps_are_omitted_first_with_a_warning(caplog):
    songs = [
        timelines.segment(start, start + 10 + start / 2000, timelines.recording(each + 1, f"Song {each}"))
        for each, start in enumerate(range(0, 2000, 20))
    ]
    gaps = tuple(Gap(Interval(20.0 * each + 12, 20.0 * each + 20), Sound.MUSIC) for each in range(100))
    with caplog.at_level(logging.WARNING):
        text = formats.write(timelines.timeline(*songs, gaps=gaps, duration=2000.0), "cue")
    titles = [track["TITLE"] for track in read_cue(text)["tracks"]]
    assert titles == [f"Song {each}" for each in range(1, 100)]  # song 0 is the shortest
    warning = "101 of 200 tracks are omitted: a CUE sheet allows 99"
    assert warning in caplog.text and text.startswith(f'REM COMMENT "{warning}"\n')


def test_a_long_title_is_cut_with_an_ellipsis_before_the_mark_of_a_cover():
    long = timelines.timeline(timelines.segment(0, 9, timelines.recording(1, "x" * 200), Kind.COVER))
    [track] = read_cue(formats.write(long, "cue"))["tracks"]
    assert track["TITLE"].endswith("x… (cover)") and len(track["TITLE"]) == 80


@pytest.mark.parametrize(
    "source, line",
    [
        ("/a/b/show.wav", 'FILE "show.wav" WAVE'),
        ("show.AIFF", 'FILE "show.AIFF" AIFF'),
        ("show.flac", 'FILE "show.flac" WAVE'),
        ("-", 'FILE "audio" WAVE'),
        ("", 'FILE "audio" WAVE'),
        ('a "b".mp3', "FILE \"a 'b'.mp3\" MP3"),
    ],
)
def test_a_cue_sheet_names_the_file_without_its_folder(source, line):
    assert formats.write(timelines.timeline(timelines.segment(0, 9), source=source), "cue").startswith(line + "\n")


# SubRip and WebVTT


@pytest.mark.parametrize("timeline", TIMELINES.values(), ids=TIMELINES)
def test_subtitles_are_valid(timeline):
    music = len(timeline.segments) + sum(gap.sound == Sound.MUSIC for gap in timeline.gaps)
    srt = read_subtitles(formats.write(timeline, "srt"), ",")
    header, _, body = formats.write(timeline, "vtt").partition("\n\n")
    vtt = read_subtitles(body, ".")
    assert header.rstrip() == "WEBVTT"
    assert len(srt) == len(vtt) == music
    assert [cue[:2] for cue in srt] == [cue[:2] for cue in vtt]


def test_subtitles_show_titles_without_interpreting_markup():
    for (_, _, text), (_, _, shown), title in zip(
        read_subtitles(formats.write(timelines.nasty(), "vtt").partition("\n\n")[2], "."),
        read_subtitles(formats.write(timelines.nasty(), "srt"), ","),
        timelines.NASTY,
        strict=True,
    ):
        assert not re.search(r"[<>]|&(?!(amp|lt|gt);)", text)
        assert one_line(title) in html.unescape(text)
        assert not re.search(r"[<>{}]", shown)
    assert "‹b›bold‹/b› & ‹script›" in formats.write(timelines.nasty(), "srt")


def test_unknown_music_has_subtitles_unlike_speech_and_silence():
    cues = read_subtitles(formats.write(timelines.programme(), "srt"), ",")
    assert cues == [
        (20, 140, "Anon - Greensleeves"),
        (130, 260.5, "Simon, Garfunkel - Scarborough Fair"),
        (260.5, 300, "[unknown music 2]"),
        (300, 420, "Trad. - The Ash Grove (cover)"),
        (430, 590, "[unknown music]"),
    ]


@pytest.mark.parametrize("start", [0.0, 0.0004, 0.0005, 1.0015, 59.9996, 3599.9999, 359_999.9999])
def test_an_empty_segment_becomes_a_subtitle_of_one_millisecond(start):
    [(begins, ends, _)] = read_subtitles(formats.write(timelines.timeline(timelines.segment(start, start)), "srt"), ",")
    assert begins == pytest.approx(start, abs=0.0006) and ends - begins == pytest.approx(0.001)
