"""Convert the fingerprint graph to 8-bit integers: a quarter of the size and the time, and nearly the same vectors.

Weights have one scale per output channel, activations one per tensor, from their ranges on real windows. The first
convolution (its input is in decibels), the last product (its output is the vector) and the normalisation stay in
floating point. Weights use 7 of the 8 bits: processors without VNNI add two products in 16 bits, and 255 * 64 * 2
just fits, so on these the graph is slower but not wrong.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from lab.data import corpus, degrade
from songprint.fingerprint import logmel

BATCH = 64
MAX_TRACKS = 256  # from which windows are taken
WINDOWS_PER_TRACK = 4  # half of them with noise
PRECISE = ("Elu", "LpNormalization")  # operators that stay in floating point


def quantise(model: onnx.ModelProto, windows: np.ndarray) -> onnx.ModelProto:
    """A graph of `lab.ship.graph` in int8; `windows (n, 128, 32)` determine the ranges of its activations."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Windows(CalibrationDataReader):
        def __init__(self) -> None:
            self._batches = _batches(windows)

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self._batches, None)

    nodes = list(model.graph.node)
    products = [node.name for node in nodes if node.op_type == "Gemm"]
    convolutions = [node.name for node in nodes if node.op_type == "Conv"]
    precise = [node.name for node in nodes if node.op_type in PRECISE] + [convolutions[0], products[-1]]
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        onnx.save(model, source)
        quantize_static(
            source,
            target,
            Windows(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=precise,
        )
        model = onnx.load(target)
    _pad_integers(model.graph)
    onnx.checker.check_model(model)
    return model


def music_windows(data: Path, seed: int = 0) -> np.ndarray:
    """(n, 128, 32) windows of the training music of `lab.data.corpus`, half of them with noise."""
    rng = np.random.default_rng(seed)
    tracks = corpus.load_tracks(data, "train")
    found = []
    for number in rng.choice(len(tracks), min(MAX_TRACKS, len(tracks)), replace=False):
        pcm = corpus.load_pcm(data, tracks[number])
        for turn in range(WINDOWS_PER_TRACK):
            start = int(rng.integers(len(pcm) - logmel.WINDOW_SAMPLES))
            samples = pcm[start : start + logmel.WINDOW_SAMPLES].astype(np.float32) / 32768
            if turn % 2 and samples.any():
                samples = degrade.add_noise(samples, rng.uniform(-5, 15), rng)
            window = logmel.windows(logmel.spectrogram(samples), hop_frames=1)
            found.append(logmel.normalise(window[logmel.has_content(window)]))
    return np.concatenate(found)


def _batches(windows: np.ndarray) -> Iterator[dict[str, np.ndarray]]:
    for start in range(0, len(windows), BATCH):
        yield {"logmel": np.ascontiguousarray(windows[start : start + BATCH])}


def _pad_integers(graph: onnx.GraphProto) -> None:
    """Replace Dequantise -> Pad -> Quantise, which the runtime does not simplify, by a Pad of integers.

    The added rows are zeros: after a ReLU the zero point is the lowest integer.
    """
    made_by = {output: node for node in graph.node for output in node.output}
    used_by = {name: node for node in graph.node for name in node.input}
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for pad in [node for node in graph.node if node.op_type == "Pad"]:
        before, after = made_by[pad.input[0]], used_by[pad.output[0]]
        assert before.op_type == "DequantizeLinear" and after.op_type == "QuantizeLinear"
        assert all(
            constants[one] == constants[other] for one, other in zip(before.input[1:], after.input[1:], strict=True)
        )
        pad.input[0] = before.input[0]
        pad.input.append(after.input[2])  # the zero point, in the type of the integers
        pad.output[0] = after.output[0]
        graph.node.remove(after)
        graph.node.remove(before)
