"""Peak search: queries in loud noise, compared with all landmarks of a library."""

import errno
from dataclasses import replace

import numpy as np
import pytest

from lab.data import degrade
from songprint.confidence import Calibration
from songprint.errors import EncoderError
from songprint.fingerprint import evidence, landmarks, logmel, peak_search
from songprint.fingerprint import identify as recordings
from songprint.fingerprint.align import LineAlignment
from songprint.fingerprint.candidates import WindowAlignments
from songprint.fingerprint.identify import windows_of
from songprint.fingerprint.logmel import SAMPLE_RATE
from songprint.fingerprint.peak_files import PairIndex
from songprint.fingerprint.peak_index import PeakIndex, Peaks
from songprint.fingerprint.peak_search import NO_EVIDENCE, PARAMETERS, LargePeakIndex, LibraryPeaks, PeakSearch
from songprint.fingerprint.query import Query
from songprint.identify import identify
from songprint.kinds import load_encoder
from songprint.store.level import threshold_of
from songprint.types import Kind, Tags


def noisy(samples, decibels, seed=3):
    return degrade.add_noise(samples, decibels, np.random.default_rng(seed)).astype(np.float32)


def searched(store, samples, leave_out=()):
    """The verified alignments with the features of the peak search, by recording."""
    exact = store.levels[Kind.RECORDING]
    query = Query.from_blocks([samples], exact.encoder)
    (window,) = windows_of(query)
    near = recordings.neighbours(query, exact, window, leave_out)
    lines = WindowAlignments(query, exact, window, near, exact.embeddings_of)
    return {verified.line.recording_id: verified for verified in lines.with_peak_search(lines.verified(), leave_out)}


def line_at(recording_id, offset):
    return LineAlignment(recording_id, 1.0, offset, np.ones(20), np.arange(20), 0, 20)


def cut(tune, start, seconds):
    return tune[int(start * SAMPLE_RATE) : int((start + seconds) * SAMPLE_RATE)]


def test_the_correct_recording_has_more_peaks_than_any_other(band, tunes):
    alignments = searched(band, noisy(cut(tunes[3], 12, 5), 0))
    best = next(iter(alignments.values()))
    assert best.line.recording_id == 4, "best first"
    assert best.features["everywhere"] > 3
    assert all(other.features["everywhere"] < 1 for other in list(alignments.values())[1:])


def test_a_drone_leads_over_others_but_not_over_itself(band, tunes, encoder):
    """Steady tones match at any position."""
    time = np.arange(40 * SAMPLE_RATE) / SAMPLE_RATE
    drone = sum(
        0.05 * np.sin(2 * np.pi * hertz * time * (1 + 1e-4 * number))
        for number, hertz in enumerate((220, 331, 447, 563, 884, 1310))
    ).astype(np.float32)
    band.catalog.add(
        tags=Tags(title="Drone"),
        duration=40.0,
        source="drone",
        content_hash="d" * 32,
        embeddings={Kind.RECORDING: encoder.encode(drone)},
    )
    band.refresh()
    exact = band.levels[Kind.RECORDING]
    query = noisy(cut(drone, 7, 5), 10)
    view = PeakSearch(query, 0.0, exact.companion(LibraryPeaks).index())
    stored = exact.embeddings_of([8, 4])
    plain = landmarks.Verification()
    features = view.features(line_at(8, 7.0), plain, stored[8].evidence, ())
    assert features["everywhere"] > 3 > 2 > features["nearby"]
    features = PeakSearch(noisy(cut(tunes[3], 12, 5), 10), 0.0, exact.companion(LibraryPeaks).index()).features(
        line_at(4, 12.0), plain, stored[4].evidence, ()
    )
    assert features["nearby"] > 3


def test_unrelated_recordings_have_no_lead(band, tunes):
    for verified in searched(band, noisy(cut(tunes[3], 12, 5), 0), leave_out={4}).values():
        assert verified.line.recording_id != 4
        assert verified.features["everywhere"] < 2
        assert verified.features["clearly"] >= 0


@pytest.mark.parametrize(("tempo", "pitch"), [(1.04, 1.04), (1.0, 2 ** (1 / 12)), (1.06, 1.0)])
def test_changes_of_speed_and_pitch_are_undone(band, tunes, tempo, pitch):
    changed = degrade.stretch(cut(tunes[2], 8, 8), SAMPLE_RATE, tempo, pitch)
    assert searched(band, noisy(changed, 10))[3].features["everywhere"] > 3


def test_duplicates_are_no_rivals(band, tunes):
    alignments = searched(band, noisy(cut(tunes[1], 10, 5), 5))
    assert alignments[2].features["everywhere"] > 3
    assert alignments[7].features["everywhere"] > 3


def test_recordings_that_the_index_misses_are_found(band, tunes, monkeypatch):
    """Simulates an index search that misses the recording."""
    search = recordings.neighbours

    def missing(query, exact, window, leave_out):
        return search(query, exact, window, {4})

    samples = noisy(cut(tunes[3], 12, 5), 5)
    monkeypatch.setattr(recordings, "neighbours", missing)
    alignments = searched(band, samples)
    assert alignments[4].features["everywhere"] > 3
    assert alignments[4].line.offset == pytest.approx(12, abs=0.2)


def test_too_few_peaks_give_no_evidence(band, tunes):
    exact = band.levels[Kind.RECORDING]
    silent = PeakSearch(np.zeros(5 * SAMPLE_RATE, np.float32), 0.0, exact.companion(LibraryPeaks).index())
    found = next(iter(searched(band, cut(tunes[3], 12, 5)).values()))
    landmarks = exact.embeddings_of([4])[4].evidence
    assert silent.features(found.line, found.verification, landmarks, ()) == NO_EVIDENCE
    assert silent.candidates([]) == []
    assert PARAMETERS.min_peaks > 1


def test_the_peaks_follow_the_library(band, tunes, encoder):
    exact = band.levels[Kind.RECORDING]
    assert exact.companion(LibraryPeaks).index().recording_ids == set(range(1, 8))
    assert exact.companion(LibraryPeaks).index() is exact.companion(LibraryPeaks).index()
    band.catalog.remove([3])
    band.catalog.add(
        tags=Tags(title="New"),
        duration=9.0,
        source="new",
        content_hash="f" * 32,
        embeddings={Kind.RECORDING: encoder.encode(cut(tunes[0], 5, 9))},
    )
    assert exact.companion(LibraryPeaks).index().recording_ids == set(range(1, 8)), "as of the last refresh"
    band.refresh()
    assert exact.companion(LibraryPeaks).index().recording_ids == {1, 2, 4, 5, 6, 7, 8}


def test_large_libraries_without_pairs_on_disk_use_no_peak_search(band, tunes, monkeypatch):
    exact = band.levels[Kind.RECORDING]
    query = Query.from_blocks([cut(tunes[3], 12, 5)], exact.encoder)
    assert recordings.uses_peak_search(query, exact)
    monkeypatch.setattr(peak_search, "PARAMETERS", replace(PARAMETERS, max_hours=0.01))
    assert not exact.companion(LibraryPeaks).usable
    assert not recordings.uses_peak_search(query, exact)
    report = identify([cut(tunes[3], 12, 5)], band)
    assert [match.recording.id for match in report.matches] == [4]
    assert report.thresholds[Kind.RECORDING] == threshold_of(exact, band.settings)


def test_long_queries_use_no_peak_search(band, tunes):
    exact = band.levels[Kind.RECORDING]
    assert not recordings.uses_peak_search(Query.from_blocks([cut(tunes[3], 0, 20)], exact.encoder), exact)


def test_only_uncertain_queries_use_peak_search(band, tunes, monkeypatch):
    exact = band.levels[Kind.RECORDING]
    calls = []
    whole = WindowAlignments.with_peak_search
    monkeypatch.setattr(WindowAlignments, "with_peak_search", lambda *arguments: calls.append(1) or whole(*arguments))
    report = identify([cut(tunes[3], 12, 5)], band)
    assert [match.recording.id for match in report.matches] == [4]
    assert not calls
    report = identify([noisy(cut(tunes[3], 12, 5), -12)], band)
    assert calls
    assert report.thresholds[Kind.RECORDING] == threshold_of(exact, band.settings, "peak_search")
    assert identify([np.zeros(5 * SAMPLE_RATE, np.float32)], band).matches == []


def test_a_calibration_contains_the_case_of_peak_search():
    values = {"features": ["score"], "weights": [1.0], "bias": 0.0, "thresholds": {"0.01": 50.0}}
    assert Calibration.from_spec(values).peak_search is None
    both = Calibration.from_spec(values | {"everywhere": values | {"thresholds": {"0.01": 60.0}}})
    assert both.threshold(0.01) == 50
    assert both.peak_search.threshold(0.01) == 60
    shipped = Calibration.from_spec(load_encoder().spec.calibration)
    assert set(shipped.peak_search.features) == set(evidence.PEAK_SEARCH_FEATURES)
    with pytest.raises(EncoderError, match="another version"):
        replace(both, features=("clearly",)).logit({"score": 1.0})


@pytest.fixture
def large(band, monkeypatch):
    """A level of recordings whose landmarks are searched by pairs on disk, as in a large library."""
    monkeypatch.setattr(peak_search, "PARAMETERS", replace(PARAMETERS, max_hours=0.01, max_recent_hours=0.002))
    band.rebuild()
    return band.levels[Kind.RECORDING]


def test_stats_contain_the_size_of_the_peak_files(band, monkeypatch):
    assert band.stats().companion_bytes == 0
    monkeypatch.setattr(peak_search, "PARAMETERS", replace(PARAMETERS, max_hours=0.01, max_recent_hours=0.002))
    band.rebuild()
    folder = band.levels[Kind.RECORDING].folder / peak_search.FOLDER
    arrays = [path for path in folder.rglob("*") if path.suffix == ".npy"]
    assert band.stats().companion_bytes == sum(path.stat().st_size for path in arrays) > 1000


def test_large_libraries_are_searched_by_pairs(large, band, tunes):
    index = large.companion(LibraryPeaks).index()
    assert isinstance(index, LargePeakIndex)
    assert index is large.companion(LibraryPeaks).index()
    assert index.recording_ids == set(range(1, 8))
    best = next(iter(searched(band, noisy(cut(tunes[3], 12, 5), 0)).values()))
    assert best.line.recording_id == 4
    assert best.features["everywhere"] > 3


def test_pairs_find_recordings_that_the_index_misses(large, band, tunes, monkeypatch):
    search = recordings.neighbours
    monkeypatch.setattr(recordings, "neighbours", lambda query, level, window, _: search(query, level, window, {4}))
    alignments = searched(band, noisy(cut(tunes[3], 12, 5), 5))
    assert alignments[4].features["everywhere"] > 3
    assert alignments[4].line.offset == pytest.approx(12, abs=0.2)


def test_pairs_count_as_all_positions_do(large, band, tunes, monkeypatch):
    """The count of the best position is the same; the lead differs by the count of the rival."""
    pairs = large.companion(LibraryPeaks).index()
    monkeypatch.setattr(peak_search, "PARAMETERS", PARAMETERS)
    everywhere = LibraryPeaks(large).index()
    assert isinstance(everywhere, PeakIndex)
    for number, start, snr in ((0, 5, 5), (2, 20, 0), (4, 11, 0)):
        peaks = Peaks(landmarks.of_power(logmel.power(noisy(cut(tunes[number], start, 5), snr))))
        one, other = (index.best(peaks, 1)[0] for index in (pairs, everywhere))
        assert (one.recording_id, one.count) == (other.recording_id, other.count)
        assert one.offset == pytest.approx(other.offset)
        rival = max(place.count for place in everywhere.best(peaks, 5) if place.recording_id != one.recording_id)
        assert rival / 1.5 < pairs.chance(peaks) < 1.5 * rival


def test_unknown_music_has_no_lead_in_a_large_library(large, band, tunes):
    for verified in searched(band, noisy(cut(tunes[3], 12, 5), 0), leave_out={4}).values():
        assert verified.line.recording_id != 4
        assert verified.features["everywhere"] < 2


def test_chance_grows_with_the_query(large, tunes):
    index = large.companion(LibraryPeaks).index()
    counts = [
        index.chance(Peaks(landmarks.of_power(logmel.power(cut(tunes[3], 12, seconds))))) for seconds in (2, 5, 15)
    ]
    assert counts == sorted(counts)
    assert counts[0] > 0
    assert PeakIndex().chance(Peaks(np.ones((9, 2), np.uint8))) == 0


def test_pairs_follow_the_library(large, band, tunes, encoder, monkeypatch):
    def add(title, samples):
        return band.catalog.add(
            tags=Tags(title=title),
            duration=len(samples) / SAMPLE_RATE,
            source=title,
            content_hash=title[0] * 32,
            embeddings={Kind.RECORDING: encoder.encode(samples)},
        ).id

    peaks = large.companion(LibraryPeaks)
    assert peaks.index().recording_ids == set(range(1, 8))
    band.catalog.remove([3])
    small = add("a short one", cut(tunes[0], 5, 6))
    assert 3 in peaks.index().recording_ids, "as of the last refresh"
    band.refresh()
    assert peaks.index().recording_ids == {1, 2, 4, 5, 6, 7, small}
    parts = peaks._opened().index().parts
    band.tidy()
    assert peaks._opened().index().parts == parts, "little is new"
    more = add("b long one", cut(tunes[1], 2, 25))
    band.refresh()
    assert more not in peaks.index().recording_ids, "too much to read for a query"
    band.tidy()
    assert peaks._opened().index().parts[0] is parts[0], "the large part is kept"
    assert peaks.index().recording_ids == {1, 2, 4, 5, 6, 7, small, more}
    band.catalog.remove([1, 2])
    band.refresh()
    band.tidy()
    assert peaks._opened().index().recording_ids == {4, 5, 6, 7, small, more}, "many are removed"
    monkeypatch.setattr(peak_search, "PARAMETERS", PARAMETERS)
    band.rebuild()
    assert not peaks._opened().folder.exists()
    assert isinstance(peaks.index(), PeakIndex)


def test_a_full_disk_leaves_the_library_usable(large, band, monkeypatch, caplog):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(peak_search.PairFiles, "replace", full)
    monkeypatch.setattr(peak_search.PairFiles, "index", lambda self: PairIndex())
    band.tidy()
    assert "is full" in caplog.text
