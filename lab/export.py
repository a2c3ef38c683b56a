"""Checkpoint -> `songprint/encoders/weights/NAME.onnx` and its spec `NAME.json`.

    python -m lab.export runs/fingerprint.pt --int8 data
    python -m lab.export runs/fingerprint.pt

The graph is that of `lab.graph`. The first command computes in 8-bit integers, with the ranges of the music in
`data` (see `lab.corpus`): 3.4 times as fast as the second, 5.7 MB. On damaged seconds of music that was never
trained on, its vectors have a cosine of 0.9998 with the exact ones, and as many nearest neighbours are right.
The second stores weights in half precision (11 MB) and computes in single: cosine above 0.999999.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from lab import graph, quantise
from lab.network import FingerprintNetwork
from songprint.encoders import WEIGHTS, Encoder, EncoderSpec, logmel, weights_hash
from songprint.types import Kind

LARGE = 4096            # values from which a tensor is worth halving
EXACT = 1 - 1e-4        # mean cosine with PyTorch's vectors that an export must reach,
ROUNDED = 1 - 2e-3      # and in int8


def export(checkpoint: Path, folder: Path = WEIGHTS, name: str = "fingerprint",
           windows: np.ndarray | None = None) -> EncoderSpec:
    """Write both files; an older calibration is dropped, because it belongs to other weights.

    With `windows (n, 128, 32)` of music, whose ranges are typical, the network is quantised to int8.
    """
    state = torch.load(checkpoint, weights_only=True)
    network = FingerprintNetwork().eval()
    network.load_state_dict(state["weights"])
    model = graph.build(network)
    if windows is None:
        halve_weights(model)
    else:
        model = quantise.quantised(model, windows)
    content = model.SerializeToString()
    log = json.loads(checkpoint.with_suffix(".json").read_text())
    spec = EncoderSpec(name=name, id=f"{name}-{weights_hash(content)}", kind=Kind.RECORDING,
                       sample_rate=logmel.SAMPLE_RATE, window=logmel.WINDOW_SAMPLES / logmel.SAMPLE_RATE,
                       hop=0.5, query_hop=0.25, dim=128, training={**log, "recipe": state["recipe"]})
    check(network, Encoder(spec, content), windows)
    (folder / f"{name}.onnx").write_bytes(content)
    (folder / f"{name}.json").write_text(json.dumps(asdict(spec), indent=1) + "\n")
    return spec


def halve_weights(model: onnx.ModelProto) -> None:
    """Store large float tensors as float16 behind a Cast, which the runtime folds away on loading."""
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and np.prod(tensor.dims) >= LARGE:
            name = tensor.name
            half = numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), f"{name}.half")
            tensor.CopyFrom(half)
            casts.append(helper.make_node("Cast", [half.name], [name], to=TensorProto.FLOAT))
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(casts + nodes)


def check(network: torch.nn.Module, encoder: Encoder, windows: np.ndarray | None) -> None:
    """The product's vectors are the network's, on the windows or on noise."""
    if windows is None:
        windows = np.random.default_rng(0).random((16, logmel.BANDS, logmel.WINDOW_FRAMES), np.float32) * 2 - 1
        needed = EXACT
    else:
        windows, needed = windows[:256], ROUNDED
    with torch.no_grad():
        expected = network(torch.from_numpy(windows)).numpy()
    got = encoder.session.run(None, {"logmel": windows})[0]
    cosine = (expected * got).sum(axis=1).mean()
    if cosine < needed:
        raise SystemExit(f"the exported network differs: cosine {cosine:.6f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--int8", type=Path, metavar="DATA", help="compute in 8-bit integers; folder of lab.corpus")
    options = parser.parse_args()
    spec = export(options.checkpoint, windows=quantise.music_windows(options.int8) if options.int8 else None)
    print(f"{spec.id}: {(WEIGHTS / 'fingerprint.onnx').stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
