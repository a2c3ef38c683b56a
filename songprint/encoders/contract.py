"""What an encoder is: its spec, and where the weights that ship lie.

An encoder is two files in `weights/`: the network (`NAME.onnx`) and its spec (`NAME.json`), which holds
everything that would make old vectors or thresholds useless if it changed. Training lives elsewhere
(`lab/`); nothing here needs PyTorch.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

from songprint.errors import EncoderError
from songprint.types import Kind

WEIGHTS = Path(__file__).with_name("weights")


@dataclass(frozen=True)
class EncoderSpec:
    """What an encoder is. `id` changes with every weight: vectors of two ids cannot be compared."""

    name: str
    id: str
    kind: Kind
    sample_rate: int  # Hz
    window: float  # seconds that one vector describes
    hop: float  # seconds between the vectors of a recording in the library
    query_hop: float  # seconds between the vectors of a clip: denser, for certainty
    dim: int
    calibration: dict = field(default_factory=dict)  # see songprint.confidence
    training: dict = field(default_factory=dict)  # how the weights were made
    # hashes of the networks that a search looks closer with: they may change, and vectors stay
    motifs: str = ""  # finds what moments of renditions have in common
    verifier: str = ""  # looks at alignments


def load_spec(name: str = "fingerprint", folder: Path = WEIGHTS) -> EncoderSpec:
    """The spec alone: cheap, no weights are read. Raises EncoderError for an unknown name."""
    try:
        fields = json.loads((folder / f"{name}.json").read_text())
    except FileNotFoundError as error:
        known = ", ".join(sorted(path.stem for path in folder.glob("*.json"))) or "none"
        raise EncoderError(f"no encoder {name!r} (there is: {known})") from error
    return EncoderSpec(**{**fields, "kind": Kind(fields["kind"])})


def weights_hash(network: bytes) -> str:
    """12 hex digits that name a set of weights."""
    return hashlib.sha256(network).hexdigest()[:12]
