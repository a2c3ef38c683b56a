"""Covers in long recordings, with toy encoders: their intervals, and their precedence below recordings."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
from support import toy

import songprint
from songprint.covers import tracker
from songprint.covers.tracker import CoverTracker, WindowMatch, _Passage
from songprint.scan.scan import Scanner
from songprint.types import Interval, Kind, Section

RATE = toy.SAMPLE_RATE


@pytest.fixture
def library(tmp_path):
    """Three songs of a minute and a half."""
    with songprint.open(
        tmp_path / "library", create=True, encoder=[toy.DecisiveToyEncoder(), toy.CalibratedToyCoverEncoder()]
    ) as library:
        library.add(
            [toy.write(tmp_path / "songs" / f"Tune {seed}.wav", toy.tune(seed, 90.0)) for seed in (1, 2, 3)], workers=1
        )
        yield library


def cover(seed: int) -> np.ndarray:
    """Another rendition, three semitones higher."""
    return toy.tune(seed, 90.0, key=3, sound=2)


def found(timeline) -> list[tuple[str, str]]:
    return [(each.recording.title, str(each.kind)) for each in timeline.segments]


def test_a_cover_is_reported_with_its_key_and_interval(library, tmp_path):
    file = toy.write(tmp_path / "programme.wav", np.concatenate([toy.silence(40), cover(1), toy.silence(40)]))
    [segment] = library.scan(file).segments
    assert (segment.recording.title, segment.kind, segment.key_shift) == ("Tune 1", Kind.COVER, 3)
    assert segment.interval.start == pytest.approx(40, abs=5) and segment.interval.end == pytest.approx(130, abs=5)
    assert segment.reference.start == pytest.approx(0, abs=5) and segment.reference.end == pytest.approx(90, abs=5)


def test_a_cover_does_not_run_across_silence(library, tmp_path):
    half = 45 * RATE
    first, second = np.split(cover(1), [half])
    parts = [toy.silence(20), first, toy.silence(12), second, toy.silence(20)]
    segments = library.scan(toy.write(tmp_path / "programme.wav", np.concatenate(parts))).segments
    assert [each.recording.title for each in segments] == ["Tune 1", "Tune 1"]
    for segment, (start, end) in zip(segments, [(20, 65), (77, 122)], strict=True):
        assert (segment.interval.start, segment.interval.end) == pytest.approx((start, end), abs=4)
        assert segment.reference.start == pytest.approx(start - 20 if start == 20 else 45, abs=5)


def test_a_cover_longer_than_the_longest_passage_is_one_segment(tmp_path, monkeypatch):
    monkeypatch.setattr(tracker, "PARAMETERS", replace(tracker.PARAMETERS, max_passage=150.0))
    seconds = 1.4 * tracker.PARAMETERS.max_passage
    with songprint.open(
        tmp_path / "library", create=True, encoder=[toy.DecisiveToyEncoder(), toy.CalibratedToyCoverEncoder()]
    ) as library:
        library.add(
            [toy.write(tmp_path / "songs" / f"Tune {seed}.wav", toy.tune(seed, seconds)) for seed in (1, 2)], workers=1
        )
        file = toy.write(
            tmp_path / "programme.wav",
            np.concatenate([toy.silence(40), toy.tune(1, seconds, key=3, sound=2), toy.silence(40)]),
        )
        [segment] = library.scan(file).segments
    assert segment.recording.title == "Tune 1"
    assert segment.interval.start == pytest.approx(40, abs=5) and segment.interval.end == pytest.approx(
        40 + seconds, abs=5
    )
    assert segment.reference.end == pytest.approx(seconds, abs=5)


def test_a_passage_is_extended_only_while_its_log_odds_grow(library, monkeypatch):
    """The first extension contains more of the song, the second one another song."""
    covers = CoverTracker(library.store.levels[Kind.COVER])
    logits = {(100, 160): 5.0, (100, 190): 7.0, (100, 220): -2.0}

    def search(start, end, recordings=()):
        section = Section(Interval(start + 20, end), Interval(0.0, end - start - 20))
        return [WindowMatch(1, Interval(start, end), (section,), 3, 1.0, logits[start, end])]

    monkeypatch.setattr(covers, "_search", search)
    monkeypatch.setattr(
        covers, "_passages", lambda exact, until, growing: [_Passage(100, 160, Interval(0, 400), {1: 6.0})]
    )
    [match] = covers._classified([], 400.0)
    assert match.interval == Interval(120, 190) and match.logit == 6.0  # limited to that of the windows


def test_a_recording_is_not_reported_as_its_own_cover(library, tmp_path):
    file = toy.write(tmp_path / "programme.wav", np.concatenate([toy.tune(2, 90.0), toy.silence(5), cover(3)]))
    assert found(library.scan(file)) == [("Tune 2", "recording"), ("Tune 3", "cover")]


def test_a_cover_is_not_reported_where_a_recording_of_its_work_is_present(library, tmp_path):
    library.link([library.recordings("Tune 1")[0].id, library.recordings("Tune 2")[0].id])
    both = 0.7 * toy.tune(1, 90.0) + 0.3 * cover(2)
    timeline = library.scan(toy.write(tmp_path / "programme.wav", both))
    assert found(timeline) == [("Tune 1", "recording")]


def test_a_stream_settles_covers(library):
    scanner = Scanner(library.store)
    samples = np.concatenate([cover(1), toy.silence(200), cover(2), toy.silence(60)])
    settled = []
    for start in range(0, len(samples), 10 * RATE):
        scanner.feed(samples[start : start + 10 * RATE])
        settled += scanner.settled()
    assert [each.recording.title for each in settled] == ["Tune 1"]
    assert 90 < scanner.settled_until < 300
    assert found(scanner.finish()) == [("Tune 1", "cover"), ("Tune 2", "cover")]


def test_covers_are_not_searched_if_the_settings_exclude_them(library, tmp_path):
    file = toy.write(tmp_path / "programme.wav", cover(1))
    with songprint.open(
        library.path, encoder=toy.DecisiveToyEncoder(), settings=songprint.config.Settings(kinds=("recording",))
    ) as other:
        assert found(other.scan(file)) == []


def test_an_error_of_the_cover_tracker_ends_the_scan(library, tmp_path, monkeypatch):
    def broken(self, blocks):
        raise RuntimeError("no memory")

    monkeypatch.setattr(toy.ToyCoverEncoder, "frames", broken)
    with pytest.raises(RuntimeError, match="no memory"):
        library.scan(toy.write(tmp_path / "programme.wav", np.concatenate([cover(1)] * 3)))


def test_a_failed_scan_ends_its_threads(library, tmp_path):
    def failing(step):
        raise RuntimeError("cancelled")

    before = set(threading.enumerate())
    with pytest.raises(RuntimeError, match="cancelled"):
        library.scan(toy.write(tmp_path / "programme.wav", cover(1)), on_progress=failing)
    assert set(threading.enumerate()) <= before


def test_windows_and_frames_of_a_scan_are_computed_once_and_only_outside_known_recordings(
    library, tmp_path, monkeypatch
):
    from songprint.covers import encoder

    searched: list[tuple[float, float]] = []
    search, frames, minutes = CoverTracker._search, encoder._Portion.frames, set()

    def counting(self, start, end, recordings=()):
        if not recordings and (start, end) not in searched:
            searched.append((start, end))
        return search(self, start, end, recordings)

    def noting(self, encoder):
        minutes.add(self.first)
        return frames(self, encoder)

    monkeypatch.setattr(CoverTracker, "_search", counting)
    monkeypatch.setattr(encoder._Portion, "frames", noting)
    song = toy.tune(1, 90.0)
    file = toy.write(tmp_path / "programme.wav", np.concatenate([song, toy.tune(2, 90.0), toy.silence(60), song, song]))
    library.scan(file)
    assert len(minutes) <= 3  # of seven minutes; the rest is explained by recordings
    assert all(start >= 170 and end <= 250 for start, end in searched)


def test_a_passage_that_cannot_be_accepted_is_not_compared(library, monkeypatch):
    covers = CoverTracker(library.store.levels[Kind.COVER], lambda segment: segment.confidence > 90)
    monkeypatch.setattr(covers, "_best_in", lambda part, passage: pytest.fail("it was compared"))
    [first, *_] = library.recordings()
    monkeypatch.setattr(
        covers, "_passages", lambda exact, until, growing: [_Passage(100, 160, Interval(0, 400), {first.id: 1.0})]
    )
    assert covers._classified([], 400.0) == []


def test_windows_that_continue_after_the_end_are_searched_when_they_are_complete():
    """Otherwise the seconds at the end would be searched again with those that follow."""
    free = Interval(276.7, 345.0)
    complete = tracker._complete_windows(free)
    assert complete == [Interval(276.7, 330.0)]
    assert all(window in tracker._windows(Interval(276.7, end)) for window in complete for end in (390.0, 480.0))
    assert not tracker._complete_windows(Interval(276.7, 300.0))
