"""The kinds of match: which encoder makes the embeddings of each. The only module that knows all of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from songprint.encoders.contract import WEIGHTS, load_spec, weights_hash
from songprint.errors import EncoderError
from songprint.fingerprint.encoder import Encoder
from songprint.types import Kind

if TYPE_CHECKING:
    from songprint.covers.encoder import CoverEncoder

# The encoder of each kind that ships. The order is that in which kinds are searched and told.
SHIPPED = {Kind.RECORDING: "fingerprint", Kind.COVER: "cover"}
NETWORKS = {Kind.RECORDING: ["fingerprint"], Kind.COVER: ["tonal", "cover"]}  # files, in the order of computing


def load_encoder(name: str = "fingerprint", threads: int = 1, folder: Path = WEIGHTS) -> Encoder | CoverEncoder:
    """Open a shipped encoder; its weights are checked against the hash in its spec.

    Raises EncoderError if the files are missing or damaged.
    """
    spec = load_spec(name, folder)
    files = [folder / f"{network}.onnx" for network in NETWORKS[spec.kind]]
    try:
        contents = [file.read_bytes() for file in files]
    except OSError as error:
        raise EncoderError(
            f"cannot read the weights of encoder {name!r}: {error.strerror}. "
            "Reinstall Songprint: pip install --force-reinstall songprint"
        ) from error
    if weights_hash(b"".join(contents)) not in spec.id:
        raise EncoderError(
            f"the weights of encoder {name!r} are damaged ({files[-1]}). "
            "Reinstall Songprint: pip install --force-reinstall songprint"
        )
    if spec.kind is Kind.COVER:
        from songprint.covers.encoder import CoverEncoder

        return CoverEncoder(spec, *contents, threads, folder)
    return Encoder(spec, *contents, threads)


def ships(name: str, folder: Path = WEIGHTS) -> bool:
    """Whether this encoder comes with this Songprint."""
    return (folder / f"{name}.json").is_file()
