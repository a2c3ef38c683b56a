"""The examples of the verifier of covers, its training and its export."""

import json
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
from support import tonal

torch = pytest.importorskip("torch", reason="training needs PyTorch: make lab")

from lab.data import verifier_pairs
from lab.data.takes import Take
from lab.data.verifier_pairs import Answer, Job, Library, Worker
from lab.models.motifs import MotifNetwork
from lab.models.verifier import Verifier
from lab.ship import export_cover
from lab.train import loop, verifier
from lab.train.verifier import SIZES, Config, by_size, damaged, examine, varied
from songprint.covers.search import NONE
from songprint.covers.verifier import PLANES, WIDTH
from songprint.encoders.contract import weights_hash

PATH = PLANES - 1


class ConstantEncoder:
    """Replaces the cover encoder: all its vectors are equal, so every recording is a candidate."""

    spec = SimpleNamespace(hop=5.0, id="constant")
    networks = NONE

    def embed(self, frames: np.ndarray) -> np.ndarray:
        return np.full((max(1, len(frames) // 25 - 3), 4), 0.5, np.float32)


def take(seed: int, work: str, arrangement: str = "rendered 0", beats: tuple[float, float] = (0, 128)) -> Take:
    frames = tonal.Song(seed).frames(seed=seed)
    return Take(frames, np.array([0, len(frames) / 5]), np.array(beats), arrangement, work)


def searched(query: Take, library: list[Take]) -> Answer | None:
    Worker.libraries, Worker.networks = {"all": Library(library, ConstantEncoder())}, NONE
    return verifier_pairs.search_library(
        Job(
            "all",
            verifier_pairs.embedded(query.frames[:150], ConstantEncoder()),
            query.work,
            query.arrangement,
            query.between(0, 150),
        )
    )


def test_only_paths_through_the_same_song_are_correct():
    others = [take(seed, f"song {seed}") for seed in range(2, 9)]
    answer = searched(take(1, "song 1", "rendered 1"), [*others, take(1, "song 1")])
    assert sum(answer.correct) == 1 and len(answer.correct) > 2
    assert answer.scores[answer.correct.index(True)] == max(answer.scores)
    assert {band.shape for band in answer.bands} == {(75, WIDTH, PLANES)}


def test_queries_without_a_counterpart_in_another_take_are_left_out():
    others = [take(seed, f"song {seed}") for seed in range(2, 5)]
    assert searched(take(1, "song 1", "rendered 1"), [*others, take(1, "song 1", beats=(200, 328))]) is None
    assert searched(take(1, "song 1", "rendered 0"), [*others, take(1, "song 1")]) is None


def test_a_take_reports_the_beats_of_an_excerpt():
    one = Take(np.zeros((100, 48), np.uint8), np.array([0, 10, 10, 20.0]), np.array([0, 20, 0, 20.0]))
    assert one.between(0, 26) == set(range(11)) and one.between(60, 71) == set(range(4, 9))
    assert one.all_beats == set(range(20))


def bands(count: int, rows: int, random: np.random.Generator) -> list[np.ndarray]:
    return list(random.integers(-60, 60, (count, rows, WIDTH, PLANES)).astype(np.int8))


def test_bands_are_grouped_by_size_and_short_ones_are_left_out(random):
    found = by_size(
        [
            Answer("song 1", [*bands(2, 80, random), *bands(1, 10, random)], [True, False, True], [1.0] * 3),
            Answer("song 2", bands(1, 75, random), [False], [1.0]),
        ]
    )
    assert {size: (those.shape, right.tolist()) for size, (those, right) in found.items()} == {
        75: ((3, 75, WIDTH, PLANES), [1, 0, 0])
    }


def test_bands_are_shortened_and_reversed(random):
    shown = np.stack(bands(20, 75, random))
    np.testing.assert_array_equal(varied(shown, Config(steps=1, shortened=0, backwards=0), random), shown)
    np.testing.assert_array_equal(
        varied(shown, Config(steps=1, shortened=0, backwards=1), random), shown[:, ::-1, ::-1]
    )
    short = varied(shown, Config(steps=1, shortened=1, backwards=0), random)
    assert short.shape[0] == 20 and short.shape[1] in SIZES and short.shape[1] < 75
    starts = {
        next(at for at in range(76) if np.array_equal(shown[i, at : at + short.shape[1]], short[i])) for i in range(20)
    }
    assert len(starts) > 3
    assert varied(shown[:, :25], Config(steps=1, shortened=1), random).shape[1] == 25, (
        "the smallest size is not shortened"
    )


def test_damage_does_not_change_the_path(random):
    shown = np.stack(bands(40, 25, random))
    found = damaged(shown, Config(steps=1, gone=0.5), random)
    np.testing.assert_array_equal(found[..., PATH], shown[..., PATH])
    assert np.abs(found[..., :PATH] - shown[..., :PATH]).max() > 10
    assert any(np.corrcoef(found[i, ..., 0].ravel(), shown[i, ..., 0].ravel())[0, 1] < 0.1 for i in range(40))


def test_the_verifier_learns_to_detect_a_diagonal(random, tmp_path):
    answers = []
    for number in range(60):
        shown, right = bands(4, 25, random), [True, False, False, False]
        shown[0][:, WIDTH // 2, :PATH] = 100
        answers.append(Answer(f"song {number}", shown, right, random.random(4).tolist()))
    (tmp_path / "pairs-00-000060.pkl").write_bytes(pickle.dumps([vars(answer) for answer in answers]))
    log = loop.train(verifier.Trainer(Config(steps=60, warm_up=1), tmp_path), tmp_path / "verifier.pt")
    assert json.loads((tmp_path / "verifier.json").read_text()) == json.loads(json.dumps(log))
    assert log["steps"] == 60 and set(log["held out"]) == set(examine(Verifier(), answers))
    network = Verifier()
    network.load_state_dict(loop.load_weights(tmp_path / "verifier.pt"))
    network.eval()
    with torch.no_grad():
        logits = network(torch.from_numpy(np.stack([answers[0].bands[0], answers[0].bands[1]])).float())
    assert logits[0] > logits[1]


def test_a_stage_starts_from_the_weights_of_an_earlier_one(random, tmp_path):
    torch.save({"weights": Verifier().state_dict()}, tmp_path / "first.pt")
    answers = [Answer(f"song {number}", bands(2, 25, random), [True, False], [0.0, 0.0]) for number in range(60)]
    (tmp_path / "pairs-00-000060.pkl").write_bytes(pickle.dumps([vars(answer) for answer in answers]))
    trainer = verifier.Trainer(Config(steps=2, learning_rate=0), tmp_path)
    log = loop.train(trainer, tmp_path / "second.pt", tmp_path / "first.pt")
    first, second = (loop.load_weights(tmp_path / name) for name in ("first.pt", "second.pt"))
    assert log["config"]["learning_rate"] == 0
    assert all(torch.allclose(first[name], second[name]) for name in first if name.endswith(("weight", "bias")))


def test_exporting_a_search_network_keeps_the_encoder_id_and_removes_the_calibration(tmp_path, capsys):
    torch.save({"weights": Verifier().state_dict()}, tmp_path / "verifier.pt")
    torch.save({"weights": MotifNetwork().state_dict()}, tmp_path / "motifs.pt")
    for name in ("tonal", "cover"):
        (tmp_path / f"{name}.onnx").write_bytes(name.encode())
    spec = {"id": f"cover-{weights_hash(b'tonalcover')}", "dim": 8, "calibration": {"bias": 1}}
    (tmp_path / "cover.json").write_text(json.dumps(spec))
    export_cover.export_verifier(tmp_path / "verifier.pt", tmp_path)
    export_cover.export_motifs(tmp_path / "motifs.pt", tmp_path)
    now = json.loads((tmp_path / "cover.json").read_text())
    assert now == {
        "id": spec["id"],
        "dim": 8,
        **{name: weights_hash((tmp_path / f"{name}.onnx").read_bytes()) for name in ("verifier", "motifs")},
    }
    assert "lab.ship.calibrate_covers" in capsys.readouterr().out
