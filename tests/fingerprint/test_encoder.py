"""The shipped encoder: its files and its vectors."""

import json

import numpy as np
import pytest

import songprint
from lab.data import degrade, synth
from lab.data.tunes import invent
from songprint.audio.samples import at_rate
from songprint.encoders.contract import WEIGHTS, load_spec
from songprint.errors import EncoderError
from songprint.fingerprint import logmel
from songprint.kinds import load_encoder

pytestmark = pytest.mark.skipif(not (WEIGHTS / "fingerprint.onnx").exists(), reason="no weights yet")
RATE = logmel.SAMPLE_RATE


@pytest.fixture(scope="module")
def encoder():
    return load_encoder()


@pytest.fixture(scope="module")
def music():
    return at_rate(synth.render(invent(5)), synth.SAMPLE_RATE, RATE)


def assert_same(found: np.ndarray, wanted: np.ndarray) -> None:
    """Equal except for integer rounding, which depends on the batch size on some processors."""
    assert found.shape == wanted.shape
    audible = wanted.any(axis=1)
    assert np.array_equal(found.any(axis=1), audible)
    assert (found * wanted).sum(axis=1)[audible].min() > 0.999


def test_one_call_encodes_audio(music):
    embeddings = songprint.encoder("fingerprint")(music)
    assert embeddings.vectors.shape == (len(embeddings), load_spec().dim)
    assert embeddings.hop == 0.5
    assert embeddings.has_content.mean() > 0.9  # the last chord fades out
    np.testing.assert_allclose(np.linalg.norm(embeddings.vectors[embeddings.has_content], axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("size", [1000, 12_345, 80_000])
def test_a_stream_gives_the_same_embeddings_as_the_whole(encoder, music, size):
    whole = encoder.encode(music)
    blocks = (music[start : start + size] for start in range(0, len(music), size))
    streamed, duration = encoder.encode_stream(blocks)
    assert duration == len(music) / RATE
    assert_same(streamed.vectors, whole.vectors)
    common = min(len(streamed.evidence), len(whole.evidence))  # the last half second may lack some
    assert common >= len(music) / RATE * logmel.FRAMES_PER_SECOND - 20
    assert (streamed.evidence[: common - 20] == whole.evidence[: common - 20]).mean() > 0.999


def test_a_recording_has_landmarks_throughout(encoder, music):
    """A frame every 1/32 s, most of them with a peak, in however many chunks the audio is read."""
    long = np.tile(music, 4)[: 75 * RATE]
    found = encoder.encode(long).evidence
    assert 75 * logmel.FRAMES_PER_SECOND - 20 < len(found) <= 75 * logmel.FRAMES_PER_SECOND
    assert 16 < (found > 0).sum() / 75 <= 64
    assert not len(encoder.encode(long, hop=0.25).evidence)


def test_rows_start_at_multiples_of_the_hop(encoder, music):
    dense, plain = encoder.encode(music, hop=0.25), encoder.encode(music)
    assert_same(dense.vectors[::2][: len(plain)], plain.vectors)


def test_a_hop_off_the_grid_is_refused(encoder, music):
    with pytest.raises(ValueError, match=r"hop=0.3 must be a positive multiple of 1/32 s"):
        encoder.encode(music, hop=0.3)


def test_silence_and_tones_give_zero_vectors(encoder):
    times = np.arange(3 * RATE) / RATE
    for samples in (np.zeros(3 * RATE, np.float32), (0.5 * np.sin(2 * np.pi * 440 * times)).astype(np.float32)):
        assert not encoder.encode(samples).has_content.any()


@pytest.mark.parametrize(("seconds", "rows"), [(0.0, 0), (0.3, 0), (0.8, 1), (1.1, 1), (2.2, 3)])
def test_short_audio(encoder, music, seconds, rows):
    assert len(encoder.encode(music[RATE : RATE + int(seconds * RATE)])) == rows


def test_noise_changes_a_vector_less_than_other_music_does(encoder, music, random):
    clean = encoder.encode(music).vectors
    noisy = encoder.encode(degrade.add_noise(music, 5, random)).vectors
    same = (clean * noisy).sum(axis=1).mean()
    other = (clean * np.roll(noisy, 20, axis=0)).sum(axis=1).mean()
    assert same > other + 0.2


def test_the_weights_are_small_enough_to_ship():
    assert (WEIGHTS / "fingerprint.onnx").stat().st_size < 12e6


def test_damaged_weights_are_refused(tmp_path):
    (tmp_path / "fingerprint.json").write_text((WEIGHTS / "fingerprint.json").read_text())
    (tmp_path / "fingerprint.onnx").write_bytes((WEIGHTS / "fingerprint.onnx").read_bytes()[:-1])
    with pytest.raises(EncoderError, match="are damaged"):
        load_encoder(folder=tmp_path)


@pytest.mark.parametrize(
    ("name", "what"), [("verifier.onnx", "networks"), ("motifs.onnx", "networks"), ("cover_cohort.npz", "cohort")]
)
def test_files_for_cover_search_are_read_late_and_checked(tmp_path, name, what):
    for file in WEIGHTS.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes()[:-1] if file.name == name else file.read_bytes())
    encoder = load_encoder("cover", folder=tmp_path)
    with pytest.raises(EncoderError, match="Reinstall Songprint"):
        getattr(encoder, what)
    (tmp_path / name).unlink()
    with pytest.raises(EncoderError, match="Reinstall Songprint"):
        getattr(encoder, what)


def test_an_unknown_encoder_is_refused():
    with pytest.raises(EncoderError, match="no encoder 'whistle'"):
        load_spec("whistle")


def test_the_spec_describes_the_training():
    spec = json.loads((WEIGHTS / "fingerprint.json").read_text())
    assert spec["training"]["steps"] > 0
    assert spec["id"] in (WEIGHTS.parents[2] / "lab" / "MODELS.md").read_text()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A checkpoint of random weights, and its network."""
    torch = pytest.importorskip("torch", reason="PyTorch is needed for training only: `make lab`")
    from lab.models.fingerprint import FingerprintNetwork

    torch.manual_seed(3)
    network = FingerprintNetwork().eval()
    for norm in network.modules():
        if isinstance(norm, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):  # like those of a trained network
            norm.weight.data.uniform_(0.5, 2)
            for values in (norm.bias.data, norm.running_mean):
                values.uniform_(-0.5, 0.5)
            norm.running_var.uniform_(0.2, 2)
    checkpoint = tmp_path_factory.mktemp("runs") / "random.pt"
    torch.save({"weights": network.state_dict()}, checkpoint)
    checkpoint.with_suffix(".json").write_text('{"steps": 0}')
    return checkpoint, network


@pytest.mark.parametrize(("int8", "least"), [(False, 0.98), (True, 0.96)])
def test_training_and_product_compute_the_same_vectors(trained, music, tmp_path, int8, least):
    """Front end and network agree after folding and quantisation."""
    import torch

    from lab.ship.export import export

    checkpoint, network = trained
    windows = logmel.normalise(logmel.windows(logmel.spectrogram(music), hop_frames=16))
    spec = export(checkpoint, windows, folder=tmp_path, int8=int8)
    assert (tmp_path / "fingerprint.onnx").stat().st_size < (6e6 if int8 else 11e6)
    product = load_encoder(folder=tmp_path).encode(music)
    assert product.encoder_id == spec.id
    with torch.no_grad():
        expected = network(torch.from_numpy(windows)).numpy()[product.has_content]
    assert product.has_content.mean() > 0.9
    got = product.vectors[product.has_content]
    assert got.shape[1] == spec.dim <= expected.shape[1]
    # the axes differ and are fewer: compare the cosines between seconds instead
    np.testing.assert_allclose(got @ got.T, expected @ expected.T, atol=1 - least)
