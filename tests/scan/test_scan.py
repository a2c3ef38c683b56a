"""Long recordings with the toy encoder: what is heard when, in one reading, and after an interruption."""

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


def told(timeline) -> list[tuple[str, float, float]]:
    return [
        (each.recording.title, round(each.interval.start, 1), round(each.interval.end, 1)) for each in timeline.segments
    ]


def near(found: list[tuple[str, float, float]], wanted: list[tuple[str, float, float]]) -> bool:
    return len(found) == len(wanted) and all(
        one[0] == other[0] and np.allclose(one[1:], other[1:], atol=0.5)
        for one, other in zip(found, wanted, strict=True)
    )


def test_songs_are_told_with_when_they_are_heard_and_which_part_of_them(library, tmp_path):
    file = programme(tmp_path, toy.silence(7), toy.cut(1, 4, 24), toy.silence(5), toy.cut(99, 0, 12), toy.cut(3, 0, 30))
    timeline = library.scan(file)
    assert near(told(timeline), [("Song 01", 7, 27), ("Song 03", 44, 74)]), told(timeline)
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


def test_a_repeated_song_gives_segments_and_one_song(library, tmp_path):
    timeline = library.scan(programme(tmp_path, toy.cut(2, 5, 17), toy.silence(6), toy.cut(2, 5, 17)))
    assert near(told(timeline), [("Song 02", 0, 12), ("Song 02", 18, 30)]), told(timeline)
    [song] = timeline.songs
    assert song.seconds == pytest.approx(24, abs=1) and song.share == pytest.approx(24 / 30, abs=0.03)


def test_unknown_music_gives_an_empty_timeline(library, tmp_path):
    timeline = library.scan(programme(tmp_path, toy.cut(77, 0, 30)))
    assert not timeline and timeline.songs == []
    [gap] = timeline.gaps
    assert gap.interval.duration == 30


def test_what_is_shorter_than_the_setting_is_not_told(library, tmp_path):
    file = programme(tmp_path, toy.silence(5), toy.cut(1, 4, 10), toy.silence(5))
    assert near(told(library.scan(file)), [("Song 01", 5, 11)])
    picky = Settings(shortest_segment=8)
    with Library(library.path, encoder=toy.DecisiveToyEncoder(), settings=picky) as other:
        assert not other.scan(file)


def test_a_file_shorter_than_a_window_is_scanned_too(library, tmp_path):
    assert near(told(library.scan(programme(tmp_path, toy.cut(1, 4, 9)))), [("Song 01", 0, 5)])


def test_an_empty_library_finds_nothing(tmp_path):
    with songprint.open(tmp_path / "empty", create=True, encoder=toy.DecisiveToyEncoder()) as library:
        assert not library.scan(programme(tmp_path, toy.cut(1, 0, 20)))


def test_a_stream_settles_what_is_over_and_forgets_it(library):
    """Told block by block; what was settled comes once, and the whole is that of the file."""
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
    assert timeline.segments == settled and near(told(timeline), [("Song 01", 0, 20), ("Song 03", 80, 110)])


def test_a_song_is_current_soon_after_it_began(library):
    scanner = Scanner(library.store)
    scanner.feed(np.concatenate([toy.silence(20), toy.cut(2, 3, 13)]))
    assert [each.recording.title for each in scanner.current()] == ["Song 02"]


def test_progress_is_told(library, tmp_path):
    steps = []
    library.scan(programme(tmp_path, toy.cut(1, 0, 30), toy.silence(220)), on_progress=steps.append)
    assert [step.seconds_done for step in steps] == sorted(step.seconds_done for step in steps)
    assert steps[-1].seconds_done == 250 and steps[-1].seconds_total == 250 and steps[-1].segments == 1


class Stopping:
    """Ctrl-C after so many seconds."""

    def __init__(self, seconds: float):
        self.seconds = seconds

    def __call__(self, step):
        if step.seconds_done >= self.seconds:
            signal.raise_signal(signal.SIGINT)


def test_an_interrupted_scan_gives_what_it_found_and_goes_on_there(library, tmp_path):
    file = programme(
        tmp_path, toy.cut(1, 0, 20), toy.silence(100), toy.cut(2, 0, 20), toy.silence(60), toy.cut(3, 0, 20)
    )
    kept = tmp_path / "kept.json"
    first = library.scan(file, on_progress=Stopping(180), resume=kept)
    assert not first.complete and 180 <= first.duration <= 190
    assert near(told(first), [("Song 01", 0, 20), ("Song 02", 120, 140)]), told(first)
    assert kept.exists()
    read = []
    second = library.scan(file, on_progress=read.append, resume=kept)
    assert second.complete and not kept.exists()
    assert read[0].seconds_done > 140
    assert near(told(second), [("Song 01", 0, 20), ("Song 02", 120, 140), ("Song 03", 200, 220)]), told(second)
    whole = library.scan(file)
    assert near(told(second), told(whole))
    assert [(gap.sound, round(gap.interval.start), round(gap.interval.end)) for gap in second.gaps] == [
        (gap.sound, round(gap.interval.start), round(gap.interval.end)) for gap in whole.gaps
    ]


def test_what_was_kept_counts_for_the_same_sound_and_library_alone(library, tmp_path):
    kept = tmp_path / "kept.json"
    file = programme(tmp_path, toy.cut(1, 0, 20), toy.silence(160))
    library.scan(file, on_progress=Stopping(170), resume=kept)
    programme(tmp_path, toy.cut(2, 0, 20), toy.silence(160))
    assert near(told(library.scan(file, resume=kept)), [("Song 02", 0, 20)])

    library.scan(file, on_progress=Stopping(170), resume=kept)
    library.remove(library.recordings("Song 02")[0].id)
    assert told(library.scan(file, resume=kept)) == []

    kept.write_text("{not JSON")
    assert told(library.scan(file, resume=kept)) == []


def test_where_a_scan_is_kept_depends_on_file_and_library(library, tmp_path):
    one, other = (resuming.file_of(library.store, tmp_path / name) for name in ("a.mp3", "b.mp3"))
    assert one != other and one.parent == library.path / "scans"


def test_an_open_file_is_scanned(library, tmp_path):
    file = programme(tmp_path, toy.cut(1, 0, 20))
    assert near(told(library.scan(io.BytesIO(file.read_bytes()))), [("Song 01", 0, 20)])


def test_a_file_that_breaks_off_gives_the_timeline_until_there_and_a_warning(library, tmp_path):
    file = programme(tmp_path, toy.cut(1, 0, 30), toy.silence(30))
    file.write_bytes(file.read_bytes()[: 40 * 2 * RATE])
    timeline = library.scan(file)
    assert near(told(timeline), [("Song 01", 0, 30)])
    assert timeline.warnings and "40" in timeline.warnings[0]


def test_no_sound_is_an_error_in_one_line(library, tmp_path):
    file = tmp_path / "notes.mp3"
    file.write_text("no music")
    with pytest.raises(AudioError, match=r"notes\.mp3"):
        library.scan(file)


def test_another_ctrl_c_ends_it_at_once(library, tmp_path):
    def impatient(step):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        library.scan(programme(tmp_path, toy.cut(1, 0, 30)), on_progress=impatient)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_scan_in_a_thread_is_a_scan(library, tmp_path):
    file, found = programme(tmp_path, toy.cut(1, 0, 20)), []
    thread = threading.Thread(target=lambda: found.append(library.scan(file)))
    thread.start()
    thread.join()
    assert near(told(found[0]), [("Song 01", 0, 20)])


def test_unknown_music_has_the_same_number_wherever_it_comes_again(library, tmp_path):
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


def test_scanning_the_same_file_again_is_no_other_occurrence(library, tmp_path):
    file = programme(tmp_path, toy.cut(99, 0, 20), toy.silence(5))
    assert library.scan(file).gaps[0].unknown == library.scan(file).gaps[0].unknown
    assert [len(each.occurrences) for each in library.unknown()] == [1]


def test_unknown_music_that_was_named_is_found_from_then_on(library, tmp_path):
    file = programme(tmp_path, toy.silence(5), toy.cut(99, 0, 20), toy.silence(5))
    number = library.scan(file).gaps[1].unknown
    library.add_unknown(number, title="Found")
    assert near(told(library.scan(file)), [("Found", 5, 25)])
    assert library.unknown() == []


def test_hits_at_the_very_same_moment_make_a_course():
    """As when the last seconds are looked at out of turn: no line goes through them, and the best one counts."""
    sure, unsure = (
        Hit(7, 10.0, 18.0, place, speed, 0.0, 0.9, logit)
        for place, speed, logit in ((30.0, 1.04, 5.0), (30.2, 1.0, 1.0))
    )
    track = Track((unsure, sure, unsure, unsure))
    assert track.speed == 1.04
    assert track.places(np.array([14.0, 15.0])) == pytest.approx([30.0, 31.04], abs=0.3)
