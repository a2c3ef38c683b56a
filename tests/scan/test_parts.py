"""Channels and audio tracks that the mono mix of the first track does not contain, in scans and identification."""

from __future__ import annotations

import numpy as np
import pytest
from support import soundfiles, toy

import songprint
from songprint.formats.objects import match_object, segment_from_object, segment_object
from songprint.scan.scan import Scanner
from songprint.types import EventType

RATE = toy.SAMPLE_RATE


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """Four songs of half a minute."""
    folder = tmp_path_factory.mktemp("parts")
    with songprint.open(folder / "library", create=True, encoder=toy.DecisiveToyEncoder()) as library:
        library.add(toy.write_songs(folder / "songs", 4, 30.0), workers=1)
        yield library


def stereo(tmp_path, left, right):
    return soundfiles.write(tmp_path / "stereo.wav", np.stack([left, right]), RATE)


def found(timeline):
    return [
        (each.recording.title, round(each.interval.start), round(each.interval.end), each.channel, each.track)
        for each in timeline.segments
    ]


def named(report):
    return [(each.recording.title, each.channel, each.track) for each in report.matches]


def noise(seconds, level=0.3):
    return np.random.default_rng(5).normal(0, level, round(seconds * RATE)).astype(np.float32)


def test_opposite_channels_are_as_loud_as_any_music(library, tmp_path):
    song = toy.cut(1, 2, 28)
    path = stereo(tmp_path, song, -song)
    assert named(library.identify(path)) == [("Song 01", "", None)]
    timeline = library.scan(path)
    assert found(timeline) == [("Song 01", 0, 26, "", None)]
    assert timeline.gaps == [], "nothing of it is silent"


def test_only_a_part_with_opposite_channels_is_scanned_again(library, tmp_path):
    usual, opposite = toy.cut(1, 0, 30), toy.cut(2, 0, 30)
    silent = toy.silence(30)
    left = np.concatenate([usual, silent, opposite])
    path = stereo(tmp_path, left, np.concatenate([usual, silent, -opposite]))
    assert found(library.scan(path)) == [("Song 01", 0, 30, "", None), ("Song 02", 60, 90, "", None)]


def test_music_beside_loud_noise_in_the_other_channel(library, tmp_path):
    path = stereo(tmp_path, 0.1 * toy.cut(3, 0, 30), noise(30))
    assert named(library.identify(path)) == [("Song 03", "left", None)]
    assert found(library.scan(path)) == [("Song 03", 0, 30, "left", None)]


def test_different_songs_left_and_right(library, tmp_path):
    path = stereo(tmp_path, toy.cut(0, 0, 30), toy.cut(1, 0, 30))
    assert {each[0] for each in named(library.identify(path))} == {"Song 00", "Song 01"}
    assert {each[0] for each in found(library.scan(path))} == {"Song 00", "Song 01"}


def test_music_in_one_surround_channel(library, tmp_path):
    channels = np.zeros((6, 30 * RATE), np.float32)
    channels[2], channels[5] = noise(30), 0.1 * toy.cut(2, 0, 30)
    path = soundfiles.write(tmp_path / "surround.flac", channels, RATE)
    assert named(library.identify(path)) == [("Song 02", "back right", None)]


def test_music_in_the_low_frequency_channel_alone(library, tmp_path):
    channels = np.zeros((6, 30 * RATE), np.float32)
    channels[3] = toy.cut(2, 0, 30)
    path = soundfiles.write(tmp_path / "low.flac", channels, RATE)
    assert named(library.identify(path)) == [("Song 02", "", None)]
    assert found(library.scan(path)) == [("Song 02", 0, 30, "", None)]


def test_a_reference_with_opposite_channels_is_found(tmp_path):
    song = toy.cut(1, 0, 30)
    with songprint.open(tmp_path / "library", create=True, encoder=toy.DecisiveToyEncoder()) as library:
        report = library.add([stereo(tmp_path, song, -song)], workers=1)
        assert report.skipped == []
        assert len(library.identify(toy.write(tmp_path / "mono.wav", toy.cut(1, 4, 20))).matches) == 1


def heard(library, path):
    """The songs that start and end in a stream."""
    with open(path, "rb", buffering=0) as file:
        events = list(library.listen(Unseekable(file)))
    return [
        (str(event.type), event.segment.recording.title, event.segment.channel)
        for event in events
        if event.segment is not None
    ], [
        (round(event.segment.interval.start), round(event.segment.interval.end))
        for event in events
        if event.type is EventType.ENDED
    ]


class Unseekable:
    """A file as a pipe."""

    def __init__(self, file):
        self.read, self.readinto, self.name = file.read, file.readinto, "pipe"

    def seekable(self):
        return False


def both(title, channel):
    return [("started", title, channel), ("ended", title, channel)]


def test_streams_with_opposite_channels_are_scanned(library, tmp_path):
    song = np.concatenate([toy.silence(25), toy.cut(1, 0, 30), toy.silence(12)])
    events, ends = heard(library, stereo(tmp_path, song, -song))
    assert events == both("Song 01", "")
    assert ends == [(25, 55)]


def test_streams_with_music_beside_loud_noise_are_scanned(library, tmp_path):
    events, ends = heard(library, stereo(tmp_path, 0.1 * toy.cut(3, 0, 30), noise(30)))
    assert events == both("Song 03", "left") and ends == [(0, 30)]


def test_a_part_of_a_stream_ends_when_the_mix_contains_everything_again(library, tmp_path):
    usual, opposite, silent = toy.cut(2, 0, 15), toy.cut(1, 0, 20), toy.silence(10)
    left = np.concatenate([usual, silent, opposite, silent, usual])
    right = np.concatenate([usual, silent, -opposite, silent, usual])
    _, ends = heard(library, stereo(tmp_path, left, right))
    assert ends == [(0, 15), (25, 45), (55, 70)]


def test_songs_in_both_channels_of_a_stream_are_reported_once(library, tmp_path):
    events, _ = heard(library, stereo(tmp_path, toy.cut(0, 0, 30), toy.cut(1, 0, 30)))
    assert sorted(each[:2] for each in events) == [
        ("ended", "Song 00"),
        ("ended", "Song 01"),
        ("started", "Song 00"),
        ("started", "Song 01"),
    ]


def test_usual_stereo_and_mono_streams_need_one_scanner(library, tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr("songprint.scan.listen.Scanner", lambda store: made.append(1) or Scanner(store))
    song = toy.cut(1, 0, 30)
    wide = song + noise(30, 0.1 * float(song.std()))
    assert heard(library, stereo(tmp_path, song, wide))[1] == [(0, 30)]
    assert heard(library, toy.write(tmp_path / "song.wav", song))[1] == [(0, 30)]
    assert len(made) == 2


@pytest.mark.parametrize("first", [None, toy.silence(30)], ids=["empty", "silent"])
def test_a_reference_is_read_from_the_first_track_that_is_not_silent(tmp_path, first):
    film = soundfiles.write_tracks(tmp_path / "film.mkv", [first, toy.cut(1, 0, 30)], RATE)
    silent = soundfiles.write_tracks(tmp_path / "silent.mkv", [toy.silence(30), toy.silence(30)], RATE)
    with songprint.open(tmp_path / "library", create=True, encoder=toy.DecisiveToyEncoder()) as library:
        report = library.add([film, silent], workers=1)
        assert [each.reason for each in report.skipped] == ["silent: nothing to recognise in it"]
        assert [added.duration for added in report.added] == [pytest.approx(30, abs=0.1)]
        assert len(library.identify(toy.write(tmp_path / "mono.wav", toy.cut(1, 4, 20))).matches) == 1


def test_all_audio_tracks_are_examined(library, tmp_path):
    tracks = [None, toy.cut(1, 0, 30), np.concatenate([toy.cut(1, 0, 30), toy.cut(2, 0, 30)])]
    path = soundfiles.write_tracks(tmp_path / "film.mkv", tracks, RATE)
    report = library.identify(path)
    assert named(report) == [("Song 01", "", 2), ("Song 02", "", 3)]
    assert [warning.split(":")[0] for warning in report.warnings] == ["audio track 1"]
    assert match_object(report.matches[0])["track"] == 2
    timeline = library.scan(path)
    assert found(timeline) == [("Song 01", 0, 30, "", 2), ("Song 02", 30, 60, "", 3)]
    assert timeline.duration == 60
    assert segment_from_object(segment_object(timeline.segments[0])).track == 2
    assert named(library.identify(path, track=3)) == [("Song 01", "", 3), ("Song 02", "", 3)]
    assert found(library.scan(path, track=2)) == [("Song 01", 0, 30, "", 2)]


def test_the_progress_of_a_scan_covers_all_tracks_and_channels(library, tmp_path):
    song, other = toy.cut(1, 0, 30), toy.cut(2, 0, 30)
    tracks = [np.concatenate(each) for each in ([song, other], [other, song], [song, song])]
    path = soundfiles.write_tracks(tmp_path / "film.mkv", tracks, RATE)
    for file, seconds in ((path, 180), (stereo(tmp_path, song, 0.1 * noise(30)), 60)):
        steps = []
        library.scan(file, on_progress=steps.append)
        done, fractions = [step.work[0] for step in steps[:-1]], [step.fraction for step in steps]
        assert done == sorted(done) and len(set(done)) >= 5
        assert done[-1] == pytest.approx(seconds, abs=1) == steps[-2].work[1]
        assert fractions == sorted(fractions) and fractions[-1] == 1.0
        assert all(step.seconds_done <= 60.1 for step in steps), "never more than the file has"
    assert {len(step.timeline.segments) for step in steps} == {0, 1}
    library.scan(path, on_progress=steps.append)
    assert steps[-2].segments > 1, "with those of the tracks before"


def test_a_silent_first_track_is_not_the_answer(library, tmp_path):
    path = soundfiles.write_tracks(tmp_path / "film.mkv", [toy.silence(30), toy.cut(1, 0, 30)], RATE)
    assert named(library.identify(path)) == [("Song 01", "", 2)]
    assert found(library.scan(path)) == [("Song 01", 0, 30, "", 2)]


def test_music_of_one_track_has_no_keys_for_parts(library, tmp_path):
    report = library.identify(toy.write(tmp_path / "song.wav", toy.cut(1, 0, 20)))
    assert {"track", "channel"}.isdisjoint(match_object(report.matches[0]))
