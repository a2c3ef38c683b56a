"""Repeated works of the training set are found, and different works are not reported."""

from dataclasses import replace

import numpy as np
import pytest

from lab.data import render_covers, repeats, scores, tunes
from songprint.kinds import load_encoder
from songprint.types import Embeddings


@pytest.fixture
def works() -> list[scores.Score]:
    return [scores.from_tune(tunes.invent(seed)) for seed in range(12)]


def test_a_melody_in_another_key_with_some_other_notes_is_the_same(works, random):
    melody = works[3].melody.copy()
    melody["pitch"] += 5
    melody["pitch"][random.integers(0, len(melody), 3)] += 2
    again = replace(works[3], name="again", melody=melody, tempo=140.0)
    ((share, one, other),) = repeats.same_tunes([*works, again])
    assert (one, other) == (3, 12)
    assert share > 0.3


def test_different_melodies_are_not_reported(works):
    assert repeats.same_tunes(works) == []


def test_scales_are_ignored(works):
    rows = [(beat, beat + 1, 48 + beat % 40, 90) for beat in range(80)]
    scale = replace(works[0], melody=np.array(rows, scores.NOTE))
    assert repeats.phrases(scale) == set()
    assert repeats.same_tunes([scale, replace(scale, tempo=80.0)]) == []


def test_a_track_in_another_key_is_the_same_piece(random):
    encoder = load_encoder("cover")

    def track(frames: np.ndarray) -> Embeddings:
        return Embeddings(encoder.embed(frames), encoder.spec.hop, encoder.spec.id, frames)

    played = [np.repeat(np.where(random.random((100, 48)) < 0.2, 220, 5).astype(np.uint8), 3, axis=0) for _ in range(5)]
    raised = np.roll(played[2].reshape(-1, 4, 12), 4, axis=2).reshape(-1, 48)
    ((score, one, other),) = repeats.same_pieces([track(frames) for frames in [*played, raised]])
    assert (one, other) == (2, 5)
    assert score > 8


def test_repeated_songs_belong_to_no_split():
    splits = [render_covers.split_of(work) for work in range(908)]
    assert {work for work, split in enumerate(splits) if split == "repeated"} == render_covers.REPEATED
    assert {"train", "calibration", "test", "repeated"} == set(splits)


def test_missing_options_are_an_error(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["repeats"])
    with pytest.raises(SystemExit):
        repeats.main()
    assert "--scores FILE" in capsys.readouterr().err


def test_pairs_are_printed_by_name(works, tmp_path, monkeypatch, capsys):
    scores.save([*works, replace(works[1], name="again")], tmp_path / "scores.pkl")
    monkeypatch.setattr("sys.argv", ["repeats", "--scores", str(tmp_path / "scores.pkl")])
    repeats.main()
    assert capsys.readouterr().out == "1.00\t1 Invention 1\t12 again\n"
