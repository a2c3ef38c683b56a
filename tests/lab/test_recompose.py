"""Recomposed works: pairs share their chords but not their melodies, and can be rendered."""

import numpy as np
import pytest

from lab.data import recompose, renditions, scores
from lab.data.scores import Chord, Score


@pytest.fixture
def works(random) -> list[Score]:
    """Forty songs in C, D, E ... major: one of three chords per bar, melodies of chord tones."""
    songs = []
    for number in range(40):
        tonic, chords, rows = 2 * number % 12, [], []
        for bar in range(64):
            root = int(random.choice([0, 5, 7]))
            chords.append(Chord(4.0 * bar, 4.0 * bar + 4, (root + tonic) % 12, (0, 4, 7), (root + tonic) % 12))
            rows += [
                (4.0 * bar + beat, 4.0 * bar + beat + 1, 60 + tonic + root + int(random.choice([0, 4, 7])), 90)
                for beat in range(4)
            ]
        songs.append(
            Score(
                str(number),
                np.array(rows, scores.NOTE),
                np.zeros(0, scores.NOTE),
                tuple(chords),
                4,
                100.0,
                tonic,
                False,
            )
        )
    return songs


def test_cells_are_two_bars_in_the_key_of_c(works):
    cells = recompose.cells_of(works[3])
    assert len(cells) == 32
    assert all(cell.melody["start"].min() == 0 and cell.melody["end"].max() == 8 for cell in cells)
    assert {chord.root for cell in cells for chord in cell.chords} == {0, 5, 7}
    assert all(cell.held.shape == (16, 12) and cell.held.sum() == pytest.approx(8) for cell in cells)


def test_bars_without_melody_or_chords_are_not_cells(works):
    song = works[0]
    kept = (song.melody["start"] < 80) | (song.melody["start"] >= 96)
    silent = Score("", song.melody[kept], song.accompaniment, song.chords[:48], 4, 100.0, 0, False)
    assert len(recompose.cells_of(silent)) == 24 - 2


def test_metres_and_modes_with_few_cells_are_not_used(works):
    waltz = Score("", works[0].melody, works[0].accompaniment, works[0].chords, 3, 100.0, 0, False)
    assert list(recompose.pools([*works, waltz])) == [(4, False)]


def test_a_pair_shares_its_chords_but_not_its_melody(works, random):
    cells = recompose.pools(works)[4, False]
    for _ in range(5):
        one, other = recompose.recomposed(cells, random, bar=4, minor=False, tempo=90.0, name="x")
        assert one.chords == other.chords
        assert one.beats == other.beats and one.beats % 32 == 0
        assert one.melody.tobytes() != other.melody.tobytes()
        assert 50 < np.median(one.melody["pitch"]) < 80
        held, mask = recompose.sounding(one.melody, int(one.beats)), recompose.belonging(one.chords, int(one.beats))
        assert (held * mask).sum() / held.sum() > 0.75, "the melody fits its chords"
        starts = [chord.start for chord in one.chords]
        assert starts == sorted(starts)


def test_a_section_is_repeated(works, random):
    cells = recompose.pools(works)[4, False]
    for _ in range(10):
        work, _ = recompose.recomposed(cells, random, bar=4, minor=False, tempo=90.0, name="x")
        starts = work.melody["start"]
        sections = [
            tuple(work.melody["pitch"][(starts >= at) & (starts < at + 24)])  # without its ending
            for at in range(0, int(work.beats), 32)
        ]
        assert len(set(sections)) < len(sections)


def test_a_recomposed_work_can_be_rendered(works, random):
    work, _ = recompose.recomposed(recompose.pools(works)[4, False], random, bar=4, minor=False, tempo=90.0, name="x")
    rendition = renditions.make(work, random)
    assert rendition.duration > 20
    assert rendition.parts


def test_held_out_songs_are_not_used(works, tmp_path, monkeypatch, capsys):
    scores.save(works, tmp_path / "scores.pkl")
    seen = []
    monkeypatch.setattr(recompose, "pools", lambda known, pools=recompose.pools: seen.extend(known) or pools(known))
    monkeypatch.setattr(
        "sys.argv",
        ["recompose", "--scores", str(tmp_path / "scores.pkl"), "--works", "4", "--out", str(tmp_path / "new.pkl")],
    )
    recompose.main()
    assert len(scores.load(tmp_path / "new.pkl")) == 4
    assert {song.name for song in seen} == {str(number) for number in range(40) if number % 9 and number != 17}
    assert "4 works of 1088 cells" in capsys.readouterr().err
