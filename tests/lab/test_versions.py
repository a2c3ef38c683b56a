"""Versions of songs that different people made: roles of tracks, chords, common time lines, splits."""

import numpy as np
import pytest

from lab.data import scores, versions
from lab.data.renditions import Part
from lab.data.scores import NOTE
from lab.data.takes import Take
from lab.data.versions import Version


def notes(*rows: tuple[float, float, int]) -> np.ndarray:
    return np.array([(*row, 90) for row in rows], NOTE)


def tune(pitches: list[int], first: float = 0.0, step: float = 0.5) -> np.ndarray:
    return notes(*((first + i * step, first + (i + 1) * step, pitch) for i, pitch in enumerate(pitches)))


def version(work: str, kind: str, path: str = "") -> Version:
    return Version(path or f"songs/{work}_{kind}.mid", work, kind, (Part("melody", 0, 0.0, tune([60] * 8)),), 60.0)


def test_the_highest_notes_of_a_part_are_its_tune():
    played = notes((0, 1, 60), (0, 1, 72), (1, 2, 64), (1, 3, 76), (2, 3, 62), (3, 4, 74))
    assert played["pitch"][versions.highest(played)].tolist() == [72, 76, 74]


def test_a_track_of_single_notes_in_the_range_of_voices_is_the_melody():
    melody, low = tune([60, 64, 67, 72] * 20), tune([36, 43] * 40)
    chords = np.sort(np.concatenate([tune([pitch] * 80) for pitch in (52, 55, 59)]), order="start")
    parts = versions._parts(
        [("piano", 0, False, chords), ("", 33, False, low), ("", 73, False, melody), ("", 0, True, low)], None
    )
    assert {part.role: part.program for part in parts} == {"melody": 73, "chords": 0, "bass": 33, "drums": 0}
    known = versions._parts([("a", 0, False, melody), ("b", 40, False, melody)], 1)
    assert [(part.role, part.program) for part in known if part.role == "melody"] == [("melody", 40)]


def test_without_a_tune_the_highest_notes_of_a_piano_are_the_melody():
    chords = np.sort(np.concatenate([tune([pitch] * 40) for pitch in (50, 57, 65)]), order="start")
    parts = {part.role: part for part in versions._parts([("", 0, False, chords)], None)}
    assert set(parts["melody"].notes["pitch"]) == {65} and set(parts["chords"].notes["pitch"]) == {50, 57}


def test_chords_are_estimated_from_all_notes():
    c_major, a_minor = ((0.0, 4.0), (60, 64, 67, 36)), ((4.0, 8.0), (57, 60, 64, 33))
    played = notes(*((*when, pitch) for when, chord in (c_major, a_minor) for pitch in chord))
    chords = versions.chords_of(played, 8.0)
    at = {time: set(chords["pitch"][chords["start"] == time].tolist()) for time in (1.0, 5.0)}
    assert at == {1.0: {0, 4, 7}, 5.0: {9, 0, 4}}
    assert not len(versions.chords_of(notes(), 8.0))


def test_versions_that_agree_with_no_other_one_are_separated():
    linked = np.zeros((5, 5), bool)
    for i, j in ((0, 2), (2, 4)):
        linked[i, j] = linked[j, i] = True
    assert versions._groups(linked) == [[0, 2, 4], [1], [3]]


def test_a_time_line_leads_to_the_same_beat_in_the_anchor(random):
    piece = np.stack([np.arange(10, 50, 0.4), 2 + 1.25 * np.arange(10, 50, 0.4)], axis=1)
    seconds, beats = versions.time_line(80.0, [piece], own=False, number=1)
    own = versions.time_line(100.0, [], own=True, number=0)
    frames = np.zeros((500, 48), np.uint8)
    take, anchor = Take(frames, np.array(seconds), np.array(beats)), Take(frames, *map(np.array, own))
    for second in (11.0, 30.0, 49.0):
        found = anchor.when(take.beat_at(second), random)
        assert found == pytest.approx(2 + 1.25 * second, abs=0.05)
    for second in (5.0, 70.0):  # only this version contains these
        assert anchor.when(take.beat_at(second), random) is None
        assert take.when(take.beat_at(second), random) == pytest.approx(second)


def test_the_exam_has_two_sorts_of_works_and_shares_none_with_training():
    works = {
        f"w{number}": [version(f"w{number}", "arrangement"), version(f"w{number}", kind, f"songs/{number}b.mid")]
        for number in range(400)
        for kind in (["lead", "arrangement", "tune"][number % 3],)
    }
    splits = versions.split(works)
    exam = [works[work] for work, name in splits.items() if name == "exam"]
    assert [sum(versions.sort_of(those) == sort for those in exam) for sort in versions.SORTS] == [100, 100]
    assert splits == versions.split(dict(reversed(works.items()))), "the order makes no difference"
    assert [each.kind for each in versions.pair_of(works["w0"])] == ["lead", "arrangement"]


def test_versions_can_be_saved(tmp_path):
    versions.save([version("w1", "lead")], tmp_path / "versions.pkl")
    (loaded,) = versions.load(tmp_path / "versions.pkl")
    assert loaded.work == "w1" and np.array_equal(loaded.parts[0].notes, tune([60] * 8))
    assert loaded.rendition.duration == 60.0


def test_works_are_read_from_midi_files(tmp_path):
    pretty_midi = pytest.importorskip("pretty_midi", reason="reading MIDI files needs the requirements of the lab")
    midi = pretty_midi.PrettyMIDI()
    track = pretty_midi.Instrument(73, name="melody")
    track.notes = [pretty_midi.Note(90, 60 + i % 12, i * 0.5, i * 0.5 + 0.5) for i in range(80)]
    midi.instruments.append(track)
    midi.write(str(tmp_path / "a.mid"))
    (tmp_path / "b.mid").write_bytes(b"MThd and no more")
    head = "path\twork\tkind\tmelody_track\n"
    (tmp_path / "works.tsv").write_text(head + 'a.mid\tw1\tlead\t0\nb.mid\tw1\tlead\t"\n')
    jobs = versions.read_works(tmp_path)
    found = versions.read(jobs[0])
    assert found is not None and found.parts[0].role == "melody" and found.duration == pytest.approx(40.5)
    assert versions.read(jobs[1]) is None


def test_tunes_that_are_versions_of_one_work_are_not_taught_as_strangers():
    def score(name: str) -> scores.Score:
        return scores.Score(name, tune([60]), notes(), (), 4, 100.0, 0, False)

    rows = [
        {"repository": "music21", "work": "w1", "original_path": "airdsAirs/book3.abc#0588 Nos Calen"},
        {"repository": "music21", "work": "s2", "original_path": "airdsAirs/book3.abc#0001 Alone"},
    ]
    tunes = [score(f"airdsAirs/book3/{number} {title}") for number, title in ((7, "Nos Calen"), (8, "Alone"))]
    assert [each.name for each in scores.strangers(tunes, rows)] == ["airdsAirs/book3/8 Alone"]
