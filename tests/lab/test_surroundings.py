"""Programmes with every song between two surroundings, and the report on their starts and ends."""

import re
import shutil

import numpy as np
import pytest
from support import toy

from lab.data import degrade, mixing, surroundings
from lab.data.programmes import Collection, Piece
from lab.data.surroundings import SURROUNDINGS
from lab.measure import ends, timelines
from lab.measure.timelines import Outcome, Scanned
from songprint.audio import files
from songprint.types import Interval, Kind, Recording, Segment, Sound, Tags, Timeline

SPOKEN = 3  # languages


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    folder = tmp_path_factory.mktemp("material")
    pieces = [str(path) for path in toy.write_songs(folder / "music", 9, duration=45.0)]
    lines = [str(toy.write_song(folder / f"{seed}.wav", seed, duration=2.0)) for seed in range(50, 50 + SPOKEN)]
    return Collection(
        [Piece(path, path) for path in pieces[:4]],
        [Piece(path) for path in pieces[4:6]],
        [Piece(pieces[6], pieces[0], Kind.COVER), Piece(pieces[7], pieces[1], Kind.COVER)],
        {language: [line] for language, line in zip(("en", "de", "fr"), lines, strict=True)},
        pieces[8:],
    )


@pytest.fixture(scope="module")
def programme(collection):
    return make(collection)


def make(collection, condition="plain", seed=5, seconds=1800):
    return surroundings.plan(collection, seconds, condition, seed, mixing.sounding)


def test_songs_and_surroundings_alternate_and_all_surroundings_occur(programme):
    kinds = [item.what in SURROUNDINGS for item in programme.items]
    assert kinds == [True, False] * (len(kinds) // 2) + [True]
    assert {item.what for item in programme.items if item.what in SURROUNDINGS} == set(SURROUNDINGS)
    assert {item.what for item in programme.items} - set(SURROUNDINGS) == {"song", "cover"}
    assert {item.language for item in programme.items if item.what == "speech"} == {"en", "de", "fr"}
    assert {sound for _, sound in programme.sounds} == {Sound.SILENCE, Sound.SPEECH, Sound.OTHER}


def test_the_same_seed_gives_the_same_programme(collection):
    assert make(collection) == make(collection)
    assert make(collection) != make(collection, seed=6)


def test_levels_span_forty_decibels_and_lengths_start_at_five_seconds(programme):
    levels = [surroundings.REFERENCE_LEVEL + item.level for item in programme.items if "other song" not in item.what]
    assert min(levels) < -40 and max(levels) > -20
    assert all(5 <= item.duration <= 120 for item in programme.items)


def test_only_another_song_overlaps_its_neighbours(programme):
    for one, other in zip(programme.items, programme.items[1:], strict=False):
        crossed = "other song" in (one.what, other.what)
        assert (other.start < one.end) == crossed
        if crossed:
            assert abs(one.level - other.level) <= 3


def test_neighbours_are_not_the_same_song_and_another_part_is_another_part(programme):
    for one, other in zip(programme.items, programme.items[1:], strict=False):
        if other.what == "other part":
            assert other.path == one.path
            assert abs(other.begin - one.begin) >= 10 and abs(other.begin - one.begin - one.duration) >= 10
        elif one.what != "other part":
            assert one.path != other.path or not one.path


def test_a_collection_without_speech_noise_unknown_music_and_covers_has_fewer_surroundings(collection):
    programme = make(Collection(collection.known))
    found = {item.what for item in programme.items if item.what in SURROUNDINGS}
    assert found == set(SURROUNDINGS) - {"noise", "unknown", "speech", "other cover"}


@pytest.mark.parametrize("condition", ["plain", "speed +4%"])
def test_the_audio_has_the_true_times_and_levels(collection, condition, tmp_path):
    programme = make(collection, condition, seconds=600)
    rate = 8000
    samples = files.load(mixing.write(programme, collection.speech, tmp_path), rate)
    assert len(samples) / rate == pytest.approx(programme.duration, abs=0.1)
    sampled = 0
    for item in programme.items:
        if item.what in ("silence", "dither", "white noise", "pink noise", "applause"):
            start, end = item.start / programme.speed + 0.5, item.end / programme.speed - 0.5
            level = 20 * np.log10(degrade.rms(samples[round(start * rate) : round(end * rate)]))
            if item.what in ("silence", "dither"):
                assert level < -85
            else:  # less at half the sample rate
                assert -12 < level - (surroundings.REFERENCE_LEVEL + item.level) < 1, item
            sampled += 1
    assert sampled >= 2


@pytest.mark.parametrize("name", list(surroundings.NOISES))
def test_noises_last_and_differ(name):
    one, other = (surroundings.NOISES[name](16_000, 22_050, np.random.default_rng(seed)) for seed in (1, 2))
    assert one.shape == (16_000,) and one.dtype == np.float32
    assert min(degrade.rms(part) for part in np.split(one, 8)) > 0.2 * degrade.rms(one)
    assert not np.allclose(one, other)


def test_mains_hum_is_narrow_and_tape_hiss_rises():
    def share_below(name, hertz):
        power = np.abs(np.fft.rfft(surroundings.NOISES[name](22_050, 22_050, np.random.default_rng(1)))) ** 2
        return power[:hertz].sum() / power.sum()

    assert share_below("mains hum", 1000) > 0.99
    assert share_below("tape hiss", 1000) < 0.03 < share_below("white noise", 1000) < share_below("pink noise", 1000)


def segment(part, *, longer=0.0, earlier=0.0):
    recording = Recording(1, Tags(title=part.song), 45.0, part.song, "")
    interval = Interval(part.interval.start - earlier, part.interval.end + longer)
    return Segment(recording, part.kind, 99.0, interval, part.reference)


def outcome(programme, segments):
    timeline = Timeline(segments, [], programme.duration, {Kind.RECORDING: 50.0}, 4, programme.duration / 100)
    return Outcome(programme, Scanned(timeline, 250.0, timeline.duration / 50))


def text(programme, segments):
    return timelines.text("command", 4, [outcome(programme, segments)], by_surrounding=True)


def rows(text, start):
    return [
        [cell.strip() for cell in row.split("|")]
        for row in re.findall(rf"^\| {re.escape(start)}([^\n]*) \|$", text, re.MULTILINE)
    ]


def test_a_perfect_timeline_has_no_errors(programme):
    report = text(programme, [segment(part) for part in programme.songs])
    assert rows(report, "recordings")[0][2:6] == ["0.00", "0.00", "0.00", "0"]
    assert all(
        row[-8] == row[-4] == "0" for name in SURROUNDINGS.values() for row in rows(report, name) if len(row) > 8
    )
    assert "| digital silence | " in report and "| speech (de) | " in report
    assert {row[2] for name in SURROUNDINGS.values() for row in rows(report, name) if len(row) == 4} == {"0.0"}
    assert "the same song: 0." in report


def test_an_end_that_runs_into_applause_is_counted_there_and_is_the_worst(programme):
    join = next(
        join
        for join in surroundings.joins(programme)
        if join.surrounding == "applause" and join.at_end and join.part.kind == Kind.RECORDING
    )
    faulty = [segment(part, longer=4.25 * (part == join.part)) for part in programme.songs]
    report = text(programme, faulty)
    excess = join.part.interval.end + 4.25 - join.part.audible.end
    (applause,) = [row for row in rows(report, "applause | recordings")]
    assert applause[2:6] == ["1", *3 * [f"{excess:.2f}"]] and applause[6] == "0"
    assert rows(report, "recordings")[0][5] == "1"
    assert [row[2:] for row in rows(report, "applause") if len(row) == 4] == [[f"{excess:.1f}", "0.0"]]
    worst = rows(report, f"end {excess:.2f} s too long")[0]
    assert worst[2] == ends.clock(join.part.interval.end) and "applause" in worst[5]


def test_a_late_start_is_too_short(programme):
    part = next(part for part in programme.songs if part.kind == Kind.RECORDING)
    report = text(programme, [segment(each, earlier=-1.5 * (each == part)) for each in programme.songs])
    assert re.search(r"^\| start 1\.50 s too short \|", report, re.MULTILINE)
    assert rows(report, "recordings")[0][10:] == ["1", "1.50", "1.50", "1.50"]


def test_segments_of_one_song_that_overlap_are_counted(programme):
    part = programme.songs[0]
    report = text(programme, [segment(part), segment(part, longer=5.0)])
    assert "Segments that overlap another one of the same song: 1." in report


def test_songs_that_are_not_found_have_no_ends(programme):
    assert list(ends.measured(outcome(programme, []))) == []


def test_a_programme_is_planned_scanned_and_kept(collection, tmp_path):
    scanned = []

    def scan(path):
        scanned.append(path)
        return Scanned(Timeline([], [], 60.0, {}, 3, 1.0), 100.0, 2.0)

    outcomes = timelines.measure(collection, ["plain"], 60, 1, tmp_path / "made", scan, surroundings.plan)
    assert scanned == [outcomes[0].path] and outcomes[0].path.exists()
    assert outcomes[0].programme.items[0].what in SURROUNDINGS
    assert "| **all** | both |" in timelines.text("command", 3, outcomes, by_surrounding=True)


@pytest.mark.skipif(not shutil.which("espeak-ng"), reason="eSpeak NG is not installed")
def test_speech_is_synthesised_in_three_languages(tmp_path):
    found = surroundings.synthesise_speech(tmp_path)
    assert list(found) == ["en", "de", "fr"]
    assert all(files.probe(path).duration > 1 for paths in found.values() for path in paths)


def test_without_espeak_there_is_no_speech(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert surroundings.synthesise_speech(tmp_path) == {}


def test_music_that_is_too_short_is_an_error(tmp_path):
    path = str(toy.write_song(tmp_path / "short.wav", 1, duration=3.0))
    with pytest.raises(ValueError, match="too few files that are long enough"):
        make(Collection([Piece(path, path)]))
