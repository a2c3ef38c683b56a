"""Exported graphs are loaded into networks for further training, and compute the same function."""

import numpy as np
import onnxruntime
import pytest

torch = pytest.importorskip("torch", reason="training needs PyTorch: make lab")
pytest.importorskip("onnx", reason="exporting needs onnx: make lab")

from lab.models.cover import CoverNetwork, CoverShape
from lab.models.fingerprint import FingerprintNetwork, Shape
from lab.models.tonal import Exported, TonalNetwork
from lab.ship.export_cover import to_onnx
from lab.train import loop
from lab.train.restore import restore, restore_integers, settle
from songprint.covers import tonal
from songprint.encoders.contract import WEIGHTS
from songprint.fingerprint import logmel
from songprint.kinds import load_encoder

SHAPE = CoverShape(convolutions=(4, 4, 4), width=16, layers=2, dim=24)


def trained(network):
    """The network with normalisations that differ from their initial state."""
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if "running_var" in name:
                value.uniform_(0.5, 2)
            elif value.dtype.is_floating_point and value.ndim == 1:
                value.normal_(0.2, 0.3)
    return network.eval()


def exported(network, example, path):
    any_number = {} if isinstance(network, Exported) else {"in": {0: "windows"}, "out": {0: "windows"}}
    path.write_bytes(to_onnx(network, example, "in", "out", any_number))
    return path


@pytest.fixture()
def windows():
    return torch.rand(2, SHAPE.frames, tonal.COLUMNS)


def test_a_cover_network_is_restored_from_its_graph(windows, tmp_path):
    network = trained(CoverNetwork(SHAPE))
    graph = exported(network, windows, tmp_path / "cover.onnx")
    again = CoverNetwork(SHAPE)
    restore(again, graph)
    with torch.no_grad():
        assert torch.allclose(network(windows), again.eval()(windows), atol=1e-4)


def test_training_starts_from_a_graph_or_from_an_earlier_stage(windows, tmp_path):
    network = trained(CoverNetwork(SHAPE))
    graph = exported(network, windows, tmp_path / "cover.onnx")
    torch.save({"weights": network.state_dict()}, tmp_path / "cover.pt")
    trainer = loop.Trainer()
    trainer.config, trainer.draw = loop.Config(1, 1e-3, settling=1), lambda rng, step: [windows.numpy()]
    for start in (graph, tmp_path / "cover.pt"):
        again = CoverNetwork(SHAPE)
        trainer.start_from(again, start)
        with torch.no_grad():
            assert torch.allclose(network(windows), again.eval()(windows), atol=1e-3)


def test_axes_that_the_export_left_out_are_restored_near_zero(windows, tmp_path):
    network = trained(CoverNetwork(CoverShape(convolutions=(4, 4, 4), width=16, layers=2, dim=8)))
    graph = exported(network, windows, tmp_path / "cover.onnx")
    again = CoverNetwork(SHAPE)
    restore(again, graph)
    with torch.no_grad():
        vectors = again.eval()(windows)
    assert torch.allclose(network(windows), vectors[:, :8], atol=1e-2)
    assert 0 < vectors[:, 8:].abs().max() < 0.05


def test_a_restored_tonal_network_gives_the_same_output_in_training(tmp_path):
    network = trained(TonalNetwork(width=8))
    planes = torch.randn(1, 2, tonal.BINS, 40)
    graph = exported(Exported(network), planes, tmp_path / "tonal.onnx")
    again = TonalNetwork(width=8)
    restore(again, graph, "network.")
    with torch.no_grad():
        wanted = network(planes)[1]
        assert torch.allclose(wanted, again.eval()(planes)[1], atol=1e-3)
        settle(again, [planes])
        assert torch.allclose(wanted, again.eval()(planes)[1], atol=1e-3)
        assert torch.allclose(wanted, again.train()(planes)[1], atol=1e-3), "on the batch that it was settled with"


def test_layers_missing_in_the_graph_are_left_as_they_are(tmp_path):
    before = TonalNetwork(width=8)
    before.around = before.around[:3]
    before = trained(before)
    planes = torch.randn(1, 2, tonal.BINS, 40)
    graph = exported(Exported(before), planes, tmp_path / "tonal.onnx")
    again = TonalNetwork(width=8)
    assert len(again.around) > 3
    with pytest.raises(ValueError, match="it lacks around"):
        restore(again, graph, "network.")
    restore(again, graph, "network.", later="around.")
    with torch.no_grad():
        assert torch.allclose(before(planes)[1], again.eval()(planes)[1], atol=1e-3), "they have no effect"


def test_the_graph_of_another_network_raises_an_error(windows, tmp_path):
    graph = exported(trained(CoverNetwork(SHAPE)), windows, tmp_path / "cover.onnx")
    with pytest.raises(ValueError, match="another network"):
        restore(TonalNetwork(width=8), graph, "network.")


def test_settling_does_not_change_the_output(windows):
    network = trained(CoverNetwork(SHAPE))
    with torch.no_grad():
        before = network(windows)
    settle(network, [torch.rand(8, SHAPE.frames, tonal.COLUMNS)])
    with torch.no_grad():
        assert np.allclose(before, network.eval()(windows), atol=1e-4)


def test_the_shipped_fingerprint_network_is_restored():
    spec = load_encoder("fingerprint").spec
    network = FingerprintNetwork()
    restore_integers(network, WEIGHTS / "fingerprint.onnx")
    windows = np.random.default_rng(1).uniform(-1, 1, (20, logmel.BANDS, logmel.WINDOW_FRAMES)).astype(np.float32)
    session = onnxruntime.InferenceSession(WEIGHTS / "fingerprint.onnx", providers=["CPUExecutionProvider"])
    shipped = session.run(None, {"logmel": windows})[0]
    settle(network, [torch.from_numpy(windows)])
    with torch.no_grad():
        vectors = network.eval()(torch.from_numpy(windows)).numpy()
    assert vectors.shape == (20, 128)
    cosines = (vectors[:, : spec.dim] * shipped).sum(axis=1)
    assert cosines.min() > 0.97, "only the rounding of the integers differs"


def test_a_fingerprint_network_of_another_shape_raises_an_error():
    with pytest.raises(ValueError, match="another network"):
        restore_integers(FingerprintNetwork(Shape(hidden=64)), WEIGHTS / "fingerprint.onnx")
