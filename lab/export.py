"""Checkpoint -> `songprint/encoders/weights/NAME.onnx` and its spec `NAME.json`.

    python -m lab.export runs/fingerprint.pt

The graph is that of `lab.graph`: 8 % faster than what PyTorch's exporter makes of the network. Weights are
stored in half precision (11 MB instead of 22) and computed in single precision: on music the cosine with
PyTorch's vectors is above 0.999999; the export checks it on noise.
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

from lab import graph
from lab.network import FingerprintNetwork
from songprint.encoders import WEIGHTS, Encoder, EncoderSpec, logmel, weights_hash
from songprint.types import Kind

LARGE = 4096            # values from which a tensor is worth halving


def export(checkpoint: Path, folder: Path = WEIGHTS, name: str = "fingerprint") -> EncoderSpec:
    """Write both files; an older calibration is dropped, because it belongs to other weights."""
    state = torch.load(checkpoint, weights_only=True)
    network = FingerprintNetwork().eval()
    network.load_state_dict(state["weights"])
    model = graph.build(network)
    halve_weights(model)
    content = model.SerializeToString()
    log = json.loads(checkpoint.with_suffix(".json").read_text())
    spec = EncoderSpec(name=name, id=f"{name}-{weights_hash(content)}", kind=Kind.RECORDING,
                       sample_rate=logmel.SAMPLE_RATE, window=logmel.WINDOW_SAMPLES / logmel.SAMPLE_RATE,
                       hop=0.5, query_hop=0.25, dim=128, training={**log, "recipe": state["recipe"]})
    check(network, Encoder(spec, content))
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


def check(network: torch.nn.Module, encoder: Encoder) -> None:
    """The product's vectors are the network's, on noise-like windows."""
    windows = torch.rand(16, logmel.BANDS, logmel.WINDOW_FRAMES, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        expected = network(windows).numpy()
    got = encoder.session.run(None, {"logmel": windows.numpy()})[0]
    cosine = (expected * got).sum(axis=1).min()
    if cosine < 1 - 1e-4:
        raise SystemExit(f"the exported network differs: cosine {cosine:.6f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    options = parser.parse_args()
    spec = export(options.checkpoint)
    print(f"{spec.id}: {(WEIGHTS / 'fingerprint.onnx').stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
