"""Scans of long recordings with the toy encoder: segments, gaps, interruption and unknown music."""

from __future__ import annotations

import io
import signal
import threading

import numpy as np
import pytest
from support import toy

import songprint
from songprint.config import Settings
from songprint.errors import AudioError
from songprint.fingerprint.tracks import Hit, Track
from songprint.library import Library
from songprint.scan import resuming
from songprint.scan.scan import Scanner
from songprint.types import Kind, Sound

RATE = toy.SAMPLE_RATE
SONGS = 4


@pytest.fixture
def library(tmp_path):
    """Four songs of half a minute."""
    with songprint.open(tmp_path / "library", create=True, encoder=toy.DecisiveToyEncoder()) as library:
        library.add(toy.write_songs(tmp_path / "songs", SONGS, 30.0), workers=1)
        yield library


def programme(tmp_path, *parts: np.ndarray):
    return toy.write(tmp_path / "programme.wav", np.concatenate(parts))


def titles(timeline) -> list[tuple[str, float, float]]:
    return [
        (each.recording.title, round(each.interval.start, 1), round(each.interval.end, 1)) for each in timeline.segments
    ]


def near(found: list[tuple[str, float, float]], wanted: list[tuple[str, float, float]]) -> bool:
    return len(found) == len(wanted) and all(
        one[0] == other[0] and np.allclose(one[1:], other[1:], atol=0.5)
        for one, other in zip(found, wanted, strict=True)
    )


def test_segments_have_their_times_in_the_programme_and_in_the_song(library, tmp_path):
    file = programme(tmp_path, toy.silence(7), toy.cut(1, 4, 24), toy.silence(5), toy.cut(99, 0, 12), toy.cut(3, 0, 30))
    timeline = library.scan(file)
    assert near(titles(timeline), [("Song 01", 7, 27), ("Song 03", 44, 74)]), titles(timeline)
    first = timeline.segments[0]
    assert (first.reference.start, first.reference.end) == pytest.approx((4, 24), abs=0.5)
    assert first.kind is Kind.RECORDING and first.confidence > 90 and first.speed == pytest.approx(1, abs=0.01)
    assert timeline.complete and timeline.duration == 74 and timeline.searched == SONGS
    assert timeline.source == str(file) and timeline.thresholds == {Kind.RECORDING: 50.0}
    assert [(gap.sound, round(gap.interval.start), round(gap.interval.end)) for gap in timeline.gaps] == [
        (Sound.SILENCE, 0, 7),
        (Sound.SILENCE, 27, 32),
        (Sound.MUSIC, 32, 44),
    ]


def test_a_repeated_song_has_two_segments_and_is_one_song(library, tmp_path):
    timeline = library.scan(programme(tmp_path, toy.cut(2, 5, 17), toy.silence(6), toy.cut(2, 5, 17)))
    assert near(titles(timeline), [("Song 02", 0, 12), ("Song 02", 18, 30)]), titles(timeline)
    [song] = timeline.songs
    assert song.seconds == pytest.approx(24, abs=1) and song.share == pytest.approx(24 / 30, abs=0.03)


def test_unknown_music_gives_an_empty_timeline(library, tmp_path):
    timeline = library.scan(programme(tmp_path, toy.cut(77, 0, 30)))
    assert not timeline and timeline.songs == []
    [gap] = timeline.gaps
    assert gap.interval.duration == 30


def test_segments_shorter_than_the_setting_are_left_out(library, tmp_path):
    file = programme(tmp_path, toy.silence(5), toy.cut(1, 4, 10), toy.silence(5))
    assert near(titles(library.scan(file)), [("Song 01", 5, 11)])
    strict = Settings(shortest_segment=8)
    with Library(library.path, encoder=toy.DecisiveToyEncoder(), settings=strict) as other:
        assert not other.scan(file)


def test_a_file_shorter_than_a_window_is_scanned(library, tmp_path):
    assert near(titles(library.scan(programme(tmp_path, toy.cut(1, 4, 9)))), [("Song 01", 0, 5)])


def test_an_empty_library_finds_nothing(tmp_path):
    with songprint.open(tmp_path / "empty", create=True, encoder=toy.DecisiveToyEncoder()) as library:
        assert not library.scan(programme(tmp_path, toy.cut(1, 0, 20)))


def test_a_stream_settles_each_segment_once(library):
    """Fed block by block, the scanner returns each final segment once, and the timeline contains all of them."""
    scanner = Scanner(library.store)
    samples = np.concatenate([toy.cut(1, 4, 24), toy.silence(60), toy.cut(3, 0, 30), toy.silence(60)])
    settled, seen = [], set()
    for start in range(0, len(samples), RATE):
        scanner.feed(samples[start : start + RATE])
        settled += scanner.settled()
        seen |= {each.recording.title for each in scanner.current()}
    assert [each.recording.title for each in settled] == ["Song 01", "Song 03"]
    assert seen == {"Song 01", "Song 03"}
    timeline = scanner.finish()
    assert timeline.segments == settled and near(titles(timeline), [("Song 01", 0, 20), ("Song 03", 80, 110)])


def test_a_cross_faded_song_is_settled_once(library):
    """The song that follows it begins before it ends, and keeps the scanner from settling up to its end."""
    scanner = Scanner(library.store)
    first, second, overlap = toy.cut(1, 0, 30), toy.cut(3, 0, 30), 10 * RATE
    fade = np.linspace(0, 1, overlap)
    crossed = first[-overlap:] * np.sqrt(1 - fade) + second[:overlap] * np.sqrt(fade)
    samples = np.concatenate([first[:-overlap], crossed, second[overlap:], toy.silence(40)])
    settled = []
    for start in range(0, len(samples), RATE):
        scanner.feed(samples[start : start + RATE])
        settled += scanner.settled()
    assert [each.recording.title for each in scanner.finish().segments] == ["Song 01", "Song 03"]


def test_a_song_is_current_soon_after_its_start(library):
    scanner = Scanner(library.store)
    scanner.feed(np.concatenate([toy.silence(20), toy.cut(2, 3, 13)]))
    assert [each.recording.title for each in scanner.current()] == ["Song 02"]


def test_progress_is_reported(library, tmp_path):
    steps = []
    library.scan(programme(tmp_path, toy.cut(1, 0, 30), toy.silence(220)), on_progress=steps.append)
    assert [step.seconds_done for step in steps] == sorted(step.seconds_done for step in steps)
    assert steps[-1].seconds_done == 250 and steps[-1].seconds_total == 250 and steps[-1].segments == 1


def test_the_last_phase_belongs_to_the_progress_and_final_segments_are_reported_early(library, tmp_path):
    steps = []
    library.scan(programme(tmp_path, toy.cut(1, 0, 30), toy.silence(220)), on_progress=steps.append)
    fractions = [step.fraction for step in steps]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0 and max(fractions[:-1]) < 1.0
    assert [step.finished for step in steps] == [False] * (len(steps) - 1) + [True]
    early = next(step for step in steps if step.segments)
    assert early.seconds_done < 250 and not early.timeline.complete
    assert near(titles(early.timeline), [("Song 01", 0, 30)])


class Stopping:
    """Raises SIGINT once so many seconds are scanned."""

    def __init__(self, seconds: float):
        self.seconds = seconds

    def __call__(self, step):
        if step.seconds_done >= self.seconds:
            signal.raise_signal(signal.SIGINT)


def test_an_interrupted_scan_returns_its_result_so_far_and_is_resumed(library, tmp_path):
    file = programme(
        tmp_path, toy.cut(1, 0, 20), toy.silence(100), toy.cut(2, 0, 20), toy.silence(60), toy.cut(3, 0, 20)
    )
    kept = tmp_path / "kept.json"
    first = library.scan(file, on_progress=Stopping(180), resume=kept)
    assert not first.complete and 180 <= first.duration <= 190
    assert near(titles(first), [("Song 01", 0, 20), ("Song 02", 120, 140)]), titles(first)
    assert kept.exists()
    read = []
    second = library.scan(file, on_progress=read.append, resume=kept)
    assert second.complete and not kept.exists()
    assert read[0].seconds_done > 140
    assert near(titles(second), [("Song 01", 0, 20), ("Song 02", 120, 140), ("Song 03", 200, 220)]), titles(second)
    whole = library.scan(file)
    assert near(titles(second), titles(whole))
    assert [(gap.sound, round(gap.interval.start), round(gap.interval.end)) for gap in second.gaps] == [
        (gap.sound, round(gap.interval.start), round(gap.interval.end)) for gap in whole.gaps
    ]


def test_saved_states_are_valid_for_the_same_audio_and_library_only(library, tmp_path):
    kept = tmp_path / "kept.json"
    file = programme(tmp_path, toy.cut(1, 0, 20), toy.silence(160))
    library.scan(file, on_progress=Stopping(170), resume=kept)
    programme(tmp_path, toy.cut(2, 0, 20), toy.silence(160))
    assert near(titles(library.scan(file, resume=kept)), [("Song 02", 0, 20)])

    library.scan(file, on_progress=Stopping(170), resume=kept)
    library.remove(library.recordings("Song 02")[0].id)
    assert titles(library.scan(file, resume=kept)) == []

    kept.write_text("{not JSON")
    assert titles(library.scan(file, resume=kept)) == []


def test_the_state_file_depends_on_the_source_and_the_library(library, tmp_path):
    one, other = (resuming.file_of(library.store, tmp_path / name) for name in ("a.mp3", "b.mp3"))
    assert one != other and one.parent == library.path / "scans"


def test_an_open_file_is_scanned(library, tmp_path):
    file = programme(tmp_path, toy.cut(1, 0, 20))
    assert near(titles(library.scan(io.BytesIO(file.read_bytes()))), [("Song 01", 0, 20)])


def test_a_truncated_file_has_a_timeline_and_a_warning(library, tmp_path):
    file = programme(tmp_path, toy.cut(1, 0, 30), toy.silence(30))
    file.write_bytes(file.read_bytes()[: 40 * 2 * RATE])
    timeline = library.scan(file)
    assert near(titles(timeline), [("Song 01", 0, 30)])
    assert timeline.warnings and "40" in timeline.warnings[0]


def test_a_file_without_audio_is_an_error(library, tmp_path):
    file = tmp_path / "notes.mp3"
    file.write_text("no music")
    with pytest.raises(AudioError, match=r"notes\.mp3"):
        library.scan(file)


def test_a_second_ctrl_c_interrupts_immediately(library, tmp_path):
    def impatient(step):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        library.scan(programme(tmp_path, toy.cut(1, 0, 30)), on_progress=impatient)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_scan_works_in_a_thread(library, tmp_path):
    file, found = programme(tmp_path, toy.cut(1, 0, 20)), []
    thread = threading.Thread(target=lambda: found.append(library.scan(file)))
    thread.start()
    thread.join()
    assert near(titles(found[0]), [("Song 01", 0, 20)])


def test_the_same_unknown_music_has_the_same_number_in_all_files(library, tmp_path):
    monday = programme(
        tmp_path,
        toy.cut(99, 0, 20),
        toy.silence(5),
        toy.cut(1, 0, 20),
        toy.silence(5),
        toy.cut(98, 0, 20),
        toy.silence(5),
        toy.cut(99, 0, 20),
    )
    music = [gap for gap in library.scan(monday).gaps if gap.sound is Sound.MUSIC]
    first, other, again = [gap.unknown for gap in music]
    assert first == again != other
    tuesday = toy.write(tmp_path / "tuesday.wav", np.concatenate([toy.silence(5), toy.cut(98, 0, 20)]))
    assert library.scan(tuesday).gaps[-1].unknown == other
    assert [(each.id, len(each.occurrences)) for each in library.unknown()] == [(first, 2), (other, 2)]
    assert [gap.unknown for gap in library.scan(tuesday, find_unknown=False).gaps] == [None, None]


def test_scanning_a_file_again_adds_no_occurrence(library, tmp_path):
    file = programme(tmp_path, toy.cut(99, 0, 20), toy.silence(5))
    assert library.scan(file).gaps[0].unknown == library.scan(file).gaps[0].unknown
    assert [len(each.occurrences) for each in library.unknown()] == [1]


def test_unknown_music_that_was_added_is_identified(library, tmp_path):
    file = programme(tmp_path, toy.silence(5), toy.cut(99, 0, 20), toy.silence(5))
    number = library.scan(file).gaps[1].unknown
    library.add_unknown(number, title="Found")
    assert near(titles(library.scan(file)), [("Found", 5, 25)])
    assert library.unknown() == []


def test_a_track_of_simultaneous_hits_follows_the_most_confident_one():
    """Searching the last seconds early gives such hits, and no line fits them."""
    confident, uncertain = (
        Hit(7, 10.0, 18.0, place, speed, 0.0, 0.9, logit)
        for place, speed, logit in ((30.0, 1.04, 5.0), (30.2, 1.0, 1.0))
    )
    track = Track((uncertain, confident, uncertain, uncertain))
    assert track.speed == 1.04
    assert track.places(np.array([14.0, 15.0])) == pytest.approx([30.0, 31.04], abs=0.3)
