"""Export the fingerprint network to `songprint/encoders/weights/fingerprint.onnx` and its spec `fingerprint.json`.

    python -m lab.ship.export runs/fingerprint/third.pt --data data
    python -m lab.ship.export runs/fingerprint/third.pt --data data --float

The graph is that of `lab.ship.graph`; the 128 numbers of the network are projected on fewer axes. By default the graph
computes in 8-bit integers, whose ranges come from the music in `data`: 3.4 times as fast as --float and 5.7 MB. On
damaged windows of unseen music its vectors have a mean cosine of 0.9998 with the exact ones, and as many nearest
neighbours are correct. With --float weights are stored in half precision (11 MB) and computed with in single
precision: cosine above 0.999999.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from lab import program
from lab.models.fingerprint import FingerprintNetwork
from lab.ship import graph, quantise
from lab.train.loop import load_weights
from songprint.encoders.contract import WEIGHTS, EncoderSpec, weights_hash
from songprint.fingerprint import logmel
from songprint.fingerprint.encoder import Encoder
from songprint.types import Kind

MIN_HALVED = 4096  # values; smaller tensors stay in single precision
EXACT = 1 - 1e-4  # mean cosine with PyTorch's vectors that a float export must reach
ROUNDED = 1 - 2e-3  # the same for an int8 export
ENERGY = 0.995  # share of the squared length of the vectors that the exported axes contain


def export(
    checkpoint: Path, windows: np.ndarray, folder: Path = WEIGHTS, name: str = "fingerprint", int8: bool = True
) -> EncoderSpec:
    """Write both files, without a calibration: an earlier one belongs to other weights.

    `windows (n, 128, 32)` are of music: they determine the axes, and the ranges of the integers.
    """
    network = FingerprintNetwork().eval()
    network.load_state_dict(load_weights(checkpoint))
    last = network.head[-1]
    assert isinstance(last, nn.Linear)
    last = reduced(network, last, torch.from_numpy(windows), ENERGY)
    network.head[-1] = last
    model = graph.build(network)
    if int8:
        model = quantise.quantise(model, windows)
    else:
        halve_weights(model)
    content = model.SerializeToString()
    spec = EncoderSpec(
        name=name,
        id=f"{name}-{weights_hash(content)}",
        kind=Kind.RECORDING,
        sample_rate=logmel.SAMPLE_RATE,
        window=logmel.WINDOW_SAMPLES / logmel.SAMPLE_RATE,
        hop=0.5,
        query_hop=0.125,
        dim=last.out_features,
        training=json.loads(checkpoint.with_suffix(".json").read_text()),
    )
    check(network, Encoder(spec, content), windows, ROUNDED if int8 else EXACT)
    (folder / f"{name}.onnx").write_bytes(content)
    (folder / f"{name}.json").write_text(json.dumps(asdict(spec), indent=1) + "\n")
    return spec


def reduced(network: nn.Module, last: nn.Linear, windows: Tensor, energy: float) -> nn.Linear:
    """The last layer `last` of the network, projected on the main axes of the vectors of `windows`.

    The axes go through the origin and contain `energy` of the squared length, so cosines hardly change. Their
    number is a multiple of 8.
    """
    with torch.no_grad():
        vectors = torch.cat([network(part) for part in windows.split(256)])
        _, lengths, axes = torch.linalg.svd(vectors, full_matrices=False)
        contained = torch.cumsum(lengths**2, 0) / (lengths**2).sum()
        dim = min(len(axes), -(-int((contained < energy).sum() + 1) // 8) * 8)
        reduced = nn.Linear(last.in_features, dim)
        reduced.weight.copy_(axes[:dim] @ last.weight)
        reduced.bias.copy_(axes[:dim] @ last.bias)
    return reduced


def halve_weights(model: onnx.ModelProto) -> None:
    """Store large float tensors as float16 with a Cast, which the runtime removes when it loads the graph."""
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and np.prod(tensor.dims) >= MIN_HALVED:
            name = tensor.name
            half = numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), f"{name}.half")
            tensor.CopyFrom(half)
            casts.append(helper.make_node("Cast", [half.name], [name], to=TensorProto.FLOAT))
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(casts + nodes)


def check(network: nn.Module, encoder: Encoder, windows: np.ndarray, needed: float) -> None:
    """Compare the vectors of the product with those of the network; exits when they differ."""
    with torch.no_grad():
        expected = network(torch.from_numpy(windows[:256])).numpy()
    got = encoder.session.run(None, {"logmel": windows[:256]})[0]
    cosine = (expected * got).sum(axis=1).mean()
    if cosine < needed:
        raise SystemExit(f"the exported network differs: cosine {cosine:.6f}")


def main() -> None:
    parser = program.parser(__doc__, data=program.DATA)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--float", action="store_true", help="compute in floating point")
    options = parser.parse_args()
    spec = export(options.checkpoint, quantise.music_windows(options.data), int8=not options.float)
    print(f"{spec.id}: {spec.dim} dimensions, {(WEIGHTS / 'fingerprint.onnx').stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
