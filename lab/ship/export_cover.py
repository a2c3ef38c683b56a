"""Export the networks of the cover kind to `songprint/encoders/weights/`.

    python -m lab.ship.export_cover tonal runs/tonal/fifth.pt                         # tonal.onnx
    python -m lab.ship.export_cover cover runs/cover/seventh.pt --tonal data/tonal    # cover.onnx, and cover.json
    python -m lab.ship.export_cover motifs runs/motifs/second.pt                      # motifs.onnx
    python -m lab.ship.export_cover verifier runs/verifier/third.pt                   # verifier.onnx

`cover.json` is the spec of the encoder. Every export removes its calibration. After the tonal network has changed,
the cover network must be trained again: it was trained on the output of the other one.
"""

from __future__ import annotations

import io
import json
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from lab import program
from lab.data.render_covers import split_of
from lab.models.cover import CoverNetwork, CoverShape
from lab.models.motifs import MotifNetwork
from lab.models.tonal import Exported, TonalNetwork
from lab.models.verifier import Verifier
from lab.ship.export import reduced
from lab.train.loop import load_weights
from songprint.covers import tonal
from songprint.covers.verifier import PLANES, WIDTH
from songprint.encoders.contract import WEIGHTS, EncoderSpec, weights_hash
from songprint.encoders.runtime import open_network
from songprint.types import Kind

WINDOW, HOP = 20.0, 5.0  # seconds
ENERGY = 0.998  # share of the squared length of the vectors that the exported axes contain
MAX_TAKES = 400  # from which the axes are computed
SEARCH_NETWORKS = ("motifs", "verifier")  # used by the search alone: vectors do not depend on them
MAX_DIFFERENCE = 1e-3  # between an output of the runtime and of PyTorch


def to_onnx(
    network: nn.Module, example: torch.Tensor, name_in: str, name_out: str, dynamic: dict[str, dict[int, str]]
) -> bytes:
    """The network as a graph. Exits when their outputs differ."""
    network.eval()
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the newer exporter, which needs another package
        torch.onnx.export(
            network,
            (example,),
            file,
            dynamo=False,
            opset_version=17,
            input_names=[name_in],
            output_names=[name_out],
            dynamic_axes=dynamic,
        )
    content = file.getvalue()
    session = open_network(content)
    with torch.no_grad():
        difference = np.abs(network(example).numpy() - session.run(None, {name_in: example.numpy()})[0]).max()
    if difference > MAX_DIFFERENCE:
        raise SystemExit(f"the exported network differs by {difference:.4f}")
    return content


def export_tonal(checkpoint: Path, folder: Path = WEIGHTS) -> None:
    network = TonalNetwork()
    network.load_state_dict(load_weights(checkpoint))
    content = to_onnx(
        Exported(network.eval()),
        torch.randn(1, 2, tonal.BINS, 120),
        "planes",
        "activations",
        {"planes": {3: "spectra"}, "activations": {1: "frames"}},
    )
    (folder / "tonal.onnx").write_bytes(content)
    print(f"tonal.onnx: {weights_hash(content)}, {len(content) / 1e6:.1f} MB")
    if (folder / "cover.onnx").exists():
        renew_spec(folder)
        print("Next: train the cover network again (lab.train.cover), then calibrate (lab.ship.calibrate_covers)")


def write_spec(folder: Path, spec: dict) -> None:
    """Write the spec with an id made from both networks in the folder."""
    both = (folder / "tonal.onnx").read_bytes() + (folder / "cover.onnx").read_bytes()
    spec = spec | {"id": f"cover-{weights_hash(both)}"}
    (folder / "cover.json").write_text(json.dumps(spec, indent=1) + "\n")
    print(f"{spec['id']}: {spec['dim']} dimensions, {len(both) / 1e6:.1f} MB")


def renew_spec(folder: Path, **changed: str) -> None:
    """Update the spec after a network has changed: the calibration is removed."""
    spec = json.loads((folder / "cover.json").read_text()) | changed
    write_spec(folder, {name: value for name, value in spec.items() if name != "calibration"})


def export_motifs(checkpoint: Path, folder: Path = WEIGHTS) -> None:
    network = MotifNetwork()
    network.load_state_dict(load_weights(checkpoint))
    content = to_onnx(
        network, torch.rand(1, 150, tonal.COLUMNS), "frames", "rows", {"frames": {1: "frames"}, "rows": {1: "rows"}}
    )
    write_search_network("motifs", content, folder)


def export_verifier(checkpoint: Path, folder: Path = WEIGHTS) -> None:
    network = Verifier()
    network.load_state_dict(load_weights(checkpoint))
    content = to_onnx(
        network,
        20 * torch.randn(2, 75, WIDTH, PLANES),
        "bands",
        "log_odds",
        {"bands": {0: "paths", 1: "rows"}, "log_odds": {0: "paths"}},
    )
    write_search_network("verifier", content, folder)


def write_search_network(name: str, content: bytes, folder: Path) -> None:
    """Write a network of the search, and its hash into the spec; the calibration is removed."""
    (folder / f"{name}.onnx").write_bytes(content)
    renew_spec(folder, **{name: weights_hash(content)})
    print(f"{name}.onnx: {len(content) / 1e6:.2f} MB. Next: calibrate (lab.ship.calibrate_covers)")


def training_windows(folder: Path, shape: CoverShape) -> torch.Tensor:
    """Windows (n, frames, 48) of real tracks and of rendered training works."""
    paths = [
        path
        for path in sorted([*folder.glob("real-*.npz"), *folder.glob("rendered-*.npz")])
        if path.stem.startswith("real") or split_of(int(path.stem.split("-")[1])) == "train"
    ]
    if not paths:
        raise SystemExit(f"{folder} has no takes. Run lab.data.cover_features.")
    windows = []
    for path in paths[:: max(1, len(paths) // MAX_TAKES)]:
        with np.load(path) as file:
            frames = file["frames"]
        starts = range(0, len(frames) - shape.frames + 1, shape.frames)
        windows += [frames[start : start + shape.frames] for start in starts]
    return torch.from_numpy(np.stack(windows).astype(np.float32) / 255)


def export_cover(checkpoint: Path, takes: Path, folder: Path = WEIGHTS) -> None:
    """Write the network and the spec, without a calibration."""
    shape = CoverShape()
    network = CoverNetwork(shape)
    network.load_state_dict(load_weights(checkpoint))
    network.leave = reduced(network.eval(), network.leave, training_windows(takes, shape), ENERGY)
    content = to_onnx(
        network,
        torch.rand(2, shape.frames, tonal.COLUMNS),
        "frames",
        "vectors",
        {"frames": {0: "windows"}, "vectors": {0: "windows"}},
    )
    networks: dict[str, Any] = {
        name: weights_hash(file.read_bytes()) for name in SEARCH_NETWORKS if (file := folder / f"{name}.onnx").exists()
    }
    spec = EncoderSpec(
        name="cover",
        id="",
        kind=Kind.COVER,
        sample_rate=tonal.SAMPLE_RATE,
        window=WINDOW,
        hop=HOP,
        query_hop=HOP,
        dim=network.leave.out_features,
        training=json.loads(checkpoint.with_suffix(".json").read_text()),
        **networks,
    )
    (folder / "cover.onnx").write_bytes(content)
    write_spec(folder, asdict(spec))


def main() -> None:
    parser = program.parser(__doc__, tonal=program.DATA / "tonal")
    parser.add_argument("network", choices=["tonal", "cover", *SEARCH_NETWORKS])
    parser.add_argument("checkpoint", type=Path)
    options = parser.parse_args()
    exports = {"tonal": export_tonal, "motifs": export_motifs, "verifier": export_verifier}
    if options.network in exports:
        exports[options.network](options.checkpoint)
    else:
        export_cover(options.checkpoint, options.tonal)


if __name__ == "__main__":
    main()
