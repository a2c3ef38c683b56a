"""Training of the motif network: corresponding rows, keys, losses."""

import json

import numpy as np
import pytest
from support import tonal

torch = pytest.importorskip("torch", reason="training needs PyTorch: make lab")

from lab.data.takes import Take
from lab.models.motifs import MotifNetwork, Round
from lab.train import loop, motifs
from lab.train.motifs import FRAMES, ROWS, Config, Excerpts
from songprint.covers.rows import MOTIFS
from songprint.encoders.contract import WEIGHTS

SLOWER = 0.8


def takes(seed: int, *, arrangement: str = "") -> list[Take]:
    """A song, and the same slower and five semitones higher."""
    song = tonal.Song(seed)
    found = []
    for number, how in enumerate(({}, {"tempo": SLOWER, "key": 5})):
        frames = song.frames(seed=number, **how)
        found.append(
            Take(
                frames,
                np.array([0, len(frames) / 5]),
                np.array([0, 4.0 * tonal.BEATS]),
                arrangement or f"rendered {number}",
                f"song {seed}",
            )
        )
    return found


def sides(seeds: range, random: np.random.Generator) -> tuple[Excerpts, Excerpts]:
    drawn = [motifs.pair(takes(seed), 2.0, random) for seed in seeds]
    return tuple(Excerpts.of([one[side] for one in drawn]) for side in (0, 1))


def test_transposition_rotates_the_rows_and_changes_nothing_else(random):
    network = MotifNetwork().eval()
    frames = torch.from_numpy(random.random((2, 50, 48), np.float32))
    higher = frames.unflatten(2, (4, 12)).roll(3, 3).flatten(2)
    with torch.no_grad():
        rows, raised = network(frames), network(higher)
    assert rows.shape == (2, 25, MOTIFS, 12)
    assert torch.allclose(rows.roll(3, 3), raised, atol=1e-5)
    assert rows.flatten(2).norm(dim=2).numpy() == pytest.approx(1, abs=0.05)


def test_the_convolution_by_matrix_products_equals_the_exported_one():
    torch.manual_seed(1)
    around, planes = Round(6, 8), torch.rand(3, 6, 12, 14)
    weight = around.deep.weight
    plain = around.deep(torch.cat([planes, planes[:, :, :11]], 2))
    as_products = around._by_products(planes)
    assert torch.allclose(as_products, plain, atol=1e-5)
    slopes = [torch.autograd.grad(given.square().sum(), weight)[0] for given in (plain, as_products)]
    assert torch.allclose(*slopes, rtol=1e-4, atol=1e-3)


def test_rows_correspond_when_they_have_the_same_beat():
    beats = np.arange(ROWS, dtype=np.float32)[None]
    # twice as fast, begins later, ends sooner
    other = np.where(beats < 40, beats * 2 + 10, np.nan).astype(np.float32)
    same, known, near = motifs.corresponding(beats, other)
    assert known[0].tolist() == [beat >= 10 and beat % 2 == 0 for beat in range(ROWS)]
    assert same[0, [10, 12, 30]].tolist() == [0, 1, 10]
    assert near[0, 20].nonzero().ravel().tolist() == [5]
    assert not near[0, :, 40:].any()


def test_the_key_between_two_renditions_is_found(random):
    first, second = sides(range(6), random)
    assert first.frames.shape == (6, FRAMES, 48) and second.beats.shape == (6, ROWS)
    same, known, _ = motifs.corresponding(first.beats, second.beats)
    assert known.float().mean() > 0.5
    keys = motifs.key_between(first.frames, second.frames, same, known)
    slower = [
        np.nanmean(np.diff(one)) > np.nanmean(np.diff(other))
        for one, other in zip(first.beats, second.beats, strict=True)
    ]  # the second is the slower one
    assert keys.tolist() == [7 if is_slower else 5 for is_slower in slower]


def test_takes_of_one_arrangement_are_not_paired(random):
    assert motifs.pair(takes(1, arrangement="rendered 0"), 2.0, random) is None


def test_training_steps_reduce_the_loss(random, tmp_path):
    torch.manual_seed(0)
    network, config = MotifNetwork(), Config(steps=1, works=8)
    optimiser = torch.optim.AdamW(network.parameters(), 3e-3)
    first, second = sides(range(8), random)
    losses = []
    for _ in range(12):
        loss, *shares = motifs.contrast(network, first, second, config.own)
        assert all(0 <= share <= 1 for share in shares)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.5


@pytest.mark.parametrize("start", [None, WEIGHTS / "motifs.onnx"])
def test_training_writes_weights_and_a_log(start, tmp_path, monkeypatch):
    monkeypatch.setattr(motifs, "load_works", lambda folder, split: {"song": [takes(seed) for seed in range(4)]})
    trainer = motifs.Trainer(Config(steps=3, works=4, settling=1), tmp_path)
    loop.train(trainer, tmp_path / "motifs.pt", start)
    log = json.loads((tmp_path / "motifs.json").read_text())
    assert log["steps"] == 3 and set(log["held out"]) == {"nearest", "nearest of the same work"}
    MotifNetwork().load_state_dict(loop.load_weights(tmp_path / "motifs.pt"))
