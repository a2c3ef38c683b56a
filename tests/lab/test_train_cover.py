"""Training of the cover encoder and the tonal network: correspondences, losses, independence of the key."""

import copy
import json

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs PyTorch: make lab")

from lab.data import imagine, scores, tunes
from lab.data.takes import Take
from lab.models.cover import CoverNetwork, CoverShape, Dropout, Turning
from lab.models.tonal import TonalNetwork
from lab.ship import export, export_cover
from lab.train import cover, loop
from lab.train import tonal as train_tonal
from songprint.covers import tonal
from songprint.encoders.contract import weights_hash


def test_a_beat_is_found_wherever_it_is_played_but_not_where_it_was_cut(random):
    # beats 0 to 4, back to 2, on to 6; then a cut to 8
    take = Take(np.zeros((100, 48), np.uint8), np.array([0, 4, 4, 8, 8, 10.0]), np.array([0, 4, 2, 6, 8, 10.0]))
    assert {take.when(3, random) for _ in range(20)} == {3.0, 5.0}
    assert take.when(1, random) == 1.0
    assert take.when(9, random) == 9.0
    assert take.when(7, random) is None


def test_windows_of_a_passage_show_the_same_beats_at_any_tempo(random):
    def ramp(beats_a_second: float, seconds: float) -> Take:
        frames = np.repeat((np.arange(int(seconds * 5)) / 5 * beats_a_second)[:, None].astype(np.uint8), 48, axis=1)
        return Take(frames, np.array([0, seconds]), np.array([0, seconds * beats_a_second]))

    config = cover.Config(steps=1, jitter=0.0)
    for _ in range(10):
        windows = cover.passage([ramp(1, 100), ramp(2, 50)], 2, config, random)
        assert windows.shape == (2, 100, 48)
        assert abs(windows[0, 0, 0] - windows[1, 0, 0]) * 255 < 45  # near the end a window is moved inwards


def test_the_same_arrangement_played_and_sung_is_not_another_rendition(random):
    def take(value: int, arrangement: str) -> Take:
        return Take(np.full((500, 48), value, np.uint8), np.array([0, 100.0]), np.array([0, 100.0]), arrangement)

    takes = [take(10, "rendered 1"), take(20, "rendered 1"), take(30, "rendered 2")]
    for _ in range(20):
        windows = cover.passage(takes, 2, cover.Config(steps=1), random)
        assert round(windows[0, 0, 0] * 255) == 30 or round(windows[1, 0, 0] * 255) == 30
    assert len(cover.passage(takes[:2], 2, cover.Config(steps=1), random)) == 2, "used twice when no other take exists"


@pytest.mark.parametrize(("frames", "stride"), [(5, 2), (3, 1), (7, 1)])
def test_the_convolution_by_spectra_equals_the_exported_one(frames, stride):
    torch.manual_seed(1)
    turning, planes = Turning(4, 6, frames, stride), torch.randn(3, 4, 12, 21)
    plain = turning.layer[0](torch.cat([planes, planes[:, :, :11]], 2))
    by_spectra = turning._by_spectra(planes)
    assert torch.allclose(by_spectra, plain, atol=1e-5)
    weight = turning.layer[0].weight
    slopes = [torch.autograd.grad(given.square().sum(), weight)[0] for given in (plain, by_spectra)]
    assert torch.allclose(*slopes, rtol=1e-4, atol=1e-3)
    learning = turning.train()(planes)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.allclose(turning(planes).float(), learning, atol=0.1), "bfloat16 uses the plain convolution"


def test_dropout_zeroes_a_tenth_and_keeps_the_mean():
    torch.manual_seed(1)
    dropout, ones = Dropout(0.1), torch.ones(7, 1111, 9)
    dropped = dropout(ones)
    assert dropped.shape == ones.shape
    assert (dropped == 0).float().mean() == pytest.approx(26 / 256, abs=0.005)
    assert dropped.mean() == pytest.approx(1, abs=0.005)
    assert not torch.equal(dropped, dropout(ones))
    assert dropout.eval()(ones) is ones


def test_damage_keeps_shape_and_range(random):
    windows = random.random((32, 100, 48)).astype(np.float32)
    damaged = cover.damage(windows, random)
    assert damaged.shape == windows.shape
    assert 0 <= damaged.min() <= damaged.max() <= 1
    assert not np.array_equal(damaged, windows)


def test_the_loss_is_small_when_renditions_are_similar_and_works_differ():
    vectors = torch.eye(6).repeat_interleave(2, 0)
    labels = torch.arange(6).repeat_interleave(2)
    good, nearest = cover.contrast(vectors, labels, 0.07)
    bad, _ = cover.contrast(vectors, labels.roll(1), 0.07)
    assert nearest == 1
    assert good < 0.01 < 5 < bad


def test_a_cover_vector_does_not_depend_on_the_key():
    network = CoverNetwork(CoverShape(convolutions=(4, 4, 4), width=16, layers=1, dim=8)).eval()
    frames = torch.rand(2, 100, 48)
    turned = frames.reshape(2, 100, 4, 12).roll(5, 3).reshape(2, 100, 48)
    with torch.no_grad():
        assert torch.allclose(network(frames), network(turned), atol=1e-5)


def test_the_tonal_network_is_equivariant_to_transposition():
    network = TonalNetwork(width=8).eval()
    planes = torch.zeros(1, 2, tonal.BINS, 40)
    planes[:, :, 90:140] = torch.randn(1, 2, 50, 40)
    moved = planes.roll(tonal.BINS_A_SEMITONE * 2, 2)
    with torch.no_grad():
        notes, same = (network(each)[0][:, :, 20:60] for each in (planes, moved))
    assert torch.allclose(notes[:, :, :-2], same[:, :, 2:], atol=0.5)


def test_added_layers_have_no_effect_at_first():
    network, planes = TonalNetwork(width=8).eval(), torch.randn(1, 2, tonal.BINS, 40)
    before = {name: values for name, values in network.state_dict().items() if not name.startswith("around.")}
    again = TonalNetwork(width=8).eval()
    loop.take_over(again, before, train_tonal.LATER)
    with torch.no_grad():
        wanted = network(planes)[1]
        assert torch.allclose(again(planes)[1], wanted, atol=1e-6)
        torch.nn.init.constant_(again.around[0].mix[1].weight, 100.0)
        assert not torch.allclose(again(planes)[1], wanted, atol=1e-2), "trained layers have an effect"
    with pytest.raises(ValueError, match="of another shape: stem"):
        loop.take_over(
            again, {name: values for name, values in before.items() if "stem.0" not in name}, train_tonal.LATER
        )


def test_one_part_of_the_tonal_network_is_trained_alone():
    torch.manual_seed(2)
    network, planes = TonalNetwork(width=8), torch.randn(2, 2, tonal.BINS, 40)
    before = copy.deepcopy(network.state_dict())
    train_tonal.train_only(network, "chord")
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=0.1)
    loop.learn(optimiser, network, network(planes)[1].square().sum(), 0.1, 1.0)
    moved = {
        name.split(".")[0] for name, values in network.state_dict().items() if not torch.equal(values, before[name])
    }
    assert moved == {"chord"}


def test_an_unaccompanied_melody_is_labelled_as_having_no_harmony(tmp_path):
    silent = np.zeros((10, 84), np.uint8)
    np.savez(
        tmp_path / "00001-00.npz",
        samples=np.zeros(16000, np.int16),
        harmony=silent[:, :12],
        **dict.fromkeys(("notes", "bass", "melody"), silent),
    )
    piece = train_tonal.rendered_piece(tmp_path / "00001-00.npz")
    labels = train_tonal.excerpt(piece, 10, None, np.random.default_rng(1))[1]
    assert (labels["harmony"] == 0).all(), "-1 would be unknown"


def test_labels_are_transposed_with_the_spectrogram(random):
    spectrogram = np.zeros((400, tonal.BINS), np.uint8)
    spectrogram[:, 100:103] = 180
    notes = np.zeros((200, tonal.SEMITONES), np.uint8)
    notes[:, 33] = 255  # bins 99 to 101
    piece = train_tonal.Piece(spectrogram, notes, notes, notes, notes[:, :12])
    for _ in range(20):
        planes, labels = train_tonal.excerpt(piece, 50, None, random)
        assert planes.shape == (2, tonal.BINS, 100)
        loudest = planes[1].mean(axis=1).argmax()
        assert abs(loudest / tonal.BINS_A_SEMITONE - labels["notes"][10].argmax()) < 1.5


def test_unknown_labels_do_not_contribute_to_the_loss():
    unknown = {name: torch.full((2, 50, tonal.SEMITONES), -1.0) for name in ("notes", "bass", "melody")}
    unknown["harmony"] = torch.full((2, 50, 12), -1.0)
    found = train_tonal.losses(torch.full((2, 3, tonal.SEMITONES, 50), 5.0), torch.full((2, 4, 12, 50), 5.0), unknown)
    assert {name: float(loss) for name, loss in found.items() if loss} == {}


def test_the_running_mean_converges_and_the_learning_rate_rises_and_falls():
    averaged, network = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)
    for step in range(1, 3000):
        loop.follow(averaged, network, 0.99, step)
    assert torch.allclose(averaged.weight, network.weight)
    rates = [loop.rate_at(1.0, 5, step, step / 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert max(rates) == 1
    assert rates[-1] < 0.02


def imaginary(random, count: int) -> list[imagine.Example]:
    """Takes in which a network detects what is played, fainter, and the fifth above it."""
    takes = []
    for _ in range(count):
        played = (random.random((300, 4, 12)) < 0.2).astype(np.float32)
        found = np.maximum(0.8 * played, 0.4 * np.roll(played, 7, axis=2)) * random.uniform(0.9, 1, played.shape)
        takes.append(imagine.Example(played.reshape(300, 48), found.reshape(300, 48).astype(np.float32)))
    return takes


def test_a_listener_learns_the_errors_of_the_tonal_network(random):
    takes = imaginary(random, 20)
    listener = imagine.teach(takes, passes=20)
    fresh = imaginary(random, 1)[0]
    predicted = 1 / (1 + np.exp(-imagine.expected(listener, fresh.played)))
    assert np.abs(predicted - fresh.found).mean() < 0.5 * np.abs(fresh.played - fresh.found).mean()
    off = imagine.errors(listener, takes)
    frames = imagine.imagined(listener, off, fresh.played, random)
    assert frames.shape == fresh.played.shape and frames.dtype == np.uint8
    near = np.corrcoef(frames.ravel(), fresh.found.ravel())[0, 1]
    assert 0.5 < near < 0.999, "similar to the expected output, but not the same"


def test_imagined_takes_have_the_form_of_rendered_ones(tmp_path, random):
    score = scores.from_tune(tunes.TUNES[0], times=4)
    takes = imaginary(random, 4)
    listener = imagine.teach(takes, passes=1)
    torch.save({"weights": listener.state_dict(), "errors": imagine.errors(listener, takes)}, tmp_path / "listener.pt")

    def take(number: int) -> float:
        return imagine.imagine((tmp_path, "imagined", score, 1, number, tmp_path / "listener.pt", 0))

    seconds = [take(0), take(1)]
    assert take(1) == 0, "it exists already"
    (takes,) = cover.load_works(tmp_path, "train")["song"]
    assert [len(take.frames) / 5 for take in takes] == pytest.approx(seconds, abs=0.2)
    assert all(take.when(take.beats[2] + 0.5, random) == pytest.approx(take.seconds[2:4].mean()) for take in takes)


def write_take(folder, name: str, frames: int = 150) -> None:
    np.savez(
        folder / f"{name}.npz",
        frames=np.zeros((frames, 48), np.uint8),
        seconds=np.array([0, frames / 5]),
        beats=np.array([0, frames / 5]),
    )


def test_works_without_rendered_takes_are_used_for_training_only(tmp_path):
    for name in ("rendered-00000", "imagined-00001", "tune-00000", "tune-00009", "real-00003", "recomposed-00002"):
        write_take(tmp_path, f"{name}-00")
        write_take(tmp_path, f"{name}-01")
    write_take(tmp_path, "tune-00002-00")  # has no other take
    write_take(tmp_path, "tune-00003-00", 60)  # 12 s
    write_take(tmp_path, "tune-00003-01", 60)
    training_works = cover.load_works(tmp_path, "train")
    assert {kind: len(pool) for kind, pool in training_works.items() if pool} == {
        "song": 1,
        "tune": 2,
        "real": 1,
        "recomposed": 1,
    }
    assert {kind: len(pool) for kind, pool in cover.load_works(tmp_path, "test").items()} == {"song": 1}


def test_a_passage_is_one_that_other_versions_contain(random):
    def take(value: int, beats: tuple[float, ...], arrangement: str) -> Take:
        seconds = np.linspace(0, 100, len(beats))
        return Take(np.full((500, 48), value, np.uint8), seconds, np.array(beats), arrangement)

    # only a quarter of the second version is in the first
    takes = [take(10, (0, 25), "a"), take(20, (0, 100), "b")]
    drawn = [cover.passage(takes, 2, cover.Config(steps=1), random) for _ in range(60)]
    both = sum(windows is not None and windows[0, 0, 0] != windows[1, 0, 0] for windows in drawn)
    assert both > 50


def test_a_batch_contains_both_works_of_a_pair_that_shares_its_chords(random):
    works = {kind: [[f"{kind} {number}"] for number in range(40)] for kind in ("song", "real", "tune", "recomposed")}
    config = cover.Config(steps=1, works=20, real=0.25, tune=0.2, recomposed=0.3)
    drawn = [takes[0].split() for takes in cover.choose_works(works, config, random)]
    assert [sum(kind == name for name, _ in drawn) for kind in works] == [5, 5, 4, 6]
    pairs = [int(number) // 2 for name, number in drawn if name == "recomposed"]
    assert len(set(pairs)) == 3 and all(pairs.count(pair) == 2 for pair in pairs)
    assert len({tuple(row) for row in drawn}) == 20
    few = cover.choose_works({"song": works["song"]}, config, random)
    assert len(few) == 20, "songs fill the batch"


def test_all_renditions_of_a_work_are_reversed_alike(random):
    windows = random.random((3, 100, 48)).astype(np.float32)
    assert np.array_equal(cover.mirrored(windows, 0.0, random), windows)
    planes, turned = (each.reshape(3, 100, 4, 12) for each in (windows, cover.mirrored(windows, 1.0, random)))
    assert np.array_equal(turned[:, 3, :, 4], planes[:, 96, :, 7])


def test_a_deeper_network_starts_with_the_function_of_a_shallower_one():
    shape = {"convolutions": (4, 4, 4), "width": 16, "dim": 8}
    small, large = (CoverNetwork(CoverShape(layers=layers, **shape)).eval() for layers in (1, 3))
    cover.add_layers(large, small.state_dict())
    frames = torch.rand(2, 100, 48)
    with torch.no_grad():
        assert torch.allclose(small(frames), large(frames), atol=1e-6)
    with pytest.raises(ValueError, match="of another shape: blocks"):
        cover.add_layers(small, large.state_dict())


def test_reduced_vectors_keep_their_similarities(tmp_path, random):
    for number in range(4):
        frames = (255 * random.random((400, 48))).astype(np.uint8)
        np.savez(tmp_path / f"real-{number:05d}-00.npz", frames=frames)
    windows = export_cover.training_windows(tmp_path, CoverShape())
    assert windows.shape == (16, 100, 48)
    network = CoverNetwork(CoverShape(convolutions=(4, 4, 4), width=16, layers=1, dim=64)).eval()
    with torch.no_grad():
        before = network(windows)
        network.leave = export.reduced(network, network.leave, windows, export_cover.ENERGY)
        after = network(windows)
    assert after.shape == (16, network.leave.out_features)
    assert network.leave.out_features <= 16, "sixteen vectors span at most sixteen axes"
    assert torch.allclose(before @ before.T, after @ after.T, atol=5e-3)


def test_an_export_without_takes_reports_the_missing_command(tmp_path):
    with pytest.raises(SystemExit, match="has no takes"):
        export_cover.training_windows(tmp_path, CoverShape())


def test_a_new_tonal_network_gives_the_encoder_a_new_id_and_removes_its_calibration(tmp_path, capsys):
    (tmp_path / "cover.onnx").write_bytes(b"of before")
    spec = {"name": "cover", "id": "cover-before", "dim": 8, "calibration": {"weights": [1]}, "training": {"steps": 5}}
    (tmp_path / "cover.json").write_text(json.dumps(spec))
    torch.save({"weights": TonalNetwork().state_dict()}, tmp_path / "tonal.pt")
    export_cover.export_tonal(tmp_path / "tonal.pt", tmp_path)
    now = json.loads((tmp_path / "cover.json").read_text())
    both = (tmp_path / "tonal.onnx").read_bytes() + b"of before"
    assert now == {"name": "cover", "id": f"cover-{weights_hash(both)}", "dim": 8, "training": {"steps": 5}}
    assert "lab.train.cover" in capsys.readouterr().out
