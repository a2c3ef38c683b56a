"""Samples -> embeddings: the neural encoders that ship with Songprint.

An encoder is two files in `weights/`: the network (`NAME.onnx`) and its spec (`NAME.json`), which holds
everything that would make old vectors or thresholds useless if it changed. Training lives elsewhere
(`lab/`); nothing here needs PyTorch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from songprint.encoders.cover import CoverEncoder

from songprint.encoders import landmarks, logmel
from songprint.encoders.runtime import open_network
from songprint.errors import EncoderError
from songprint.types import Embeddings, Kind

WEIGHTS = Path(__file__).with_name("weights")
# The encoder of each kind that ships. The order is that in which kinds are searched and told.
SHIPPED = {Kind.RECORDING: "fingerprint", Kind.COVER: "cover"}
NETWORKS = {Kind.RECORDING: ["fingerprint"], Kind.COVER: ["tonal", "cover"]}     # files, in the order of computing
BATCH = 32                              # windows per run of the network: fits the second-level cache
SHORTEST_SAMPLES = logmel.WINDOW_SAMPLES // 2   # less sound than half a window is not worth a guess


@dataclass(frozen=True)
class EncoderSpec:
    """What an encoder is. `id` changes with every weight: vectors of two ids cannot be compared."""

    name: str
    id: str
    kind: Kind
    sample_rate: int                # Hz
    window: float                   # seconds that one vector describes
    hop: float                      # seconds between the vectors of a recording in the library
    query_hop: float                # seconds between the vectors of a clip: denser, for certainty
    dim: int
    calibration: dict = field(default_factory=dict)     # see songprint.confidence
    training: dict = field(default_factory=dict)        # how the weights were made
    # hashes of the networks that a search looks closer with: they may change, and vectors stay
    motifs: str = ""                # finds what moments of renditions have in common
    verifier: str = ""              # looks at alignments


class Encoder:
    """An ONNX network with its front end. Holds a session of onnxruntime; safe to use from threads."""

    def __init__(self, spec: EncoderSpec, network: bytes, threads: int = 1):
        self.spec = spec
        self.session = open_network(network, threads)

    def encode(self, samples: np.ndarray, hop: float | None = None) -> Embeddings:
        """(n,) float32 mono at `spec.sample_rate` -> one row per window, every `hop` seconds.

        `hop` is a multiple of 1/32 s; `spec.hop` when not given. Only whole windows count, except that a
        clip shorter than one window is filled up with silence if it is at least half as long.
        """
        return self.encode_stream([samples], hop)[0]

    def encode_stream(self, blocks: Iterable[np.ndarray], hop: float | None = None) -> tuple[Embeddings, float]:
        """Blocks of samples, one after the other -> embeddings of the whole, and its length in seconds.

        Without `hop` they are made as for the library: every `spec.hop` seconds, and the landmarks with them.
        Memory does not grow with the length, but for the vectors (1 kB per second of sound).
        """
        wants_landmarks = hop is None
        hop = self.spec.hop if hop is None else hop
        hop_frames = round(hop * logmel.FRAMES_PER_SECOND)
        if hop_frames < 1 or abs(hop_frames / logmel.FRAMES_PER_SECOND - hop) > 1e-9:
            raise ValueError(f"hop={hop} must be a positive multiple of 1/{logmel.FRAMES_PER_SECOND} s")
        counter = _Counter(blocks)
        vectors, peaks, tail = [np.zeros((0, self.spec.dim), np.float32)], landmarks.Collector(), None
        for stretch in _stretches(counter, hop_frames * logmel.FRAME_HOP_SAMPLES):
            power = logmel.power(stretch)
            vectors.append(self._vectors(logmel.mel(power), hop_frames))
            if wants_landmarks:
                own = hop_frames * len(vectors[-1])
                peaks.add(power[:own])
                tail = power[own:]          # the next stretch begins with it, if there is one
        if tail is not None:
            peaks.add(tail)
        return (Embeddings(np.concatenate(vectors), hop, self.spec.id, peaks.landmarks()),
                counter.samples / self.spec.sample_rate)

    def _vectors(self, decibels: np.ndarray, hop_frames: int) -> np.ndarray:
        """(frames, 128) dBFS -> (windows, dim) float32; rows of zeros where nothing can be recognised."""
        windows = logmel.windows(decibels, hop_frames)                              # (n, 128, 32)
        vectors = np.zeros((len(windows), self.spec.dim), np.float32)
        heard = np.flatnonzero(logmel.heard(windows))
        for start in range(0, len(heard), BATCH):
            rows = heard[start:start + BATCH]
            vectors[rows] = self.session.run(None, {"logmel": logmel.normalise(windows[rows])})[0]
        return vectors


class _Counter:
    """Counts the samples that pass."""

    def __init__(self, blocks: Iterable[np.ndarray]):
        self.blocks, self.samples = blocks, 0

    def __iter__(self) -> Iterator[np.ndarray]:
        for block in self.blocks:
            self.samples += len(block)
            yield np.asarray(block, dtype=np.float32)


def _stretches(blocks: Iterable[np.ndarray], hop_samples: int, length: int = 30 * logmel.SAMPLE_RATE
               ) -> Iterator[np.ndarray]:
    """Blocks of any length -> stretches whose windows, one after the other, are those of the whole.

    Neighbouring stretches overlap by what a window needs beyond its hop.
    """
    waiting: list[np.ndarray] = []
    count, first = 0, True
    for block in blocks:
        waiting.append(block)
        count += len(block)
        if count >= length + logmel.WINDOW_SAMPLES:
            samples = np.concatenate(waiting)
            windows = (len(samples) - logmel.WINDOW_SAMPLES) // hop_samples + 1
            yield samples[:(windows - 1) * hop_samples + logmel.WINDOW_SAMPLES]
            waiting, first = [samples[windows * hop_samples:]], False
            count = len(waiting[0])
    samples = np.concatenate(waiting) if waiting else np.zeros(0, np.float32)
    if first and SHORTEST_SAMPLES <= len(samples) < logmel.WINDOW_SAMPLES:
        samples = np.pad(samples, (0, logmel.WINDOW_SAMPLES - len(samples)))
    if len(samples) >= logmel.WINDOW_SAMPLES:
        yield samples


def load_encoder(name: str = "fingerprint", threads: int = 1, folder: Path = WEIGHTS) -> Encoder | CoverEncoder:
    """Open a shipped encoder; its weights are checked against the hash in its spec.

    Raises EncoderError if the files are missing or damaged.
    """
    spec = load_spec(name, folder)
    files = [folder / f"{network}.onnx" for network in NETWORKS[spec.kind]]
    try:
        contents = [file.read_bytes() for file in files]
    except OSError as error:
        raise EncoderError(f"cannot read the weights of encoder {name!r}: {error.strerror}. "
                           "Reinstall Songprint: pip install --force-reinstall songprint") from error
    if weights_hash(b"".join(contents)) not in spec.id:
        raise EncoderError(f"the weights of encoder {name!r} are damaged ({files[-1]}). "
                           "Reinstall Songprint: pip install --force-reinstall songprint")
    if spec.kind is Kind.COVER:
        from songprint.encoders.cover import CoverEncoder
        return CoverEncoder(spec, *contents, threads, folder)
    return Encoder(spec, *contents, threads)


def load_spec(name: str = "fingerprint", folder: Path = WEIGHTS) -> EncoderSpec:
    """The spec alone: cheap, no weights are read. Raises EncoderError for an unknown name."""
    try:
        fields = json.loads((folder / f"{name}.json").read_text())
    except FileNotFoundError as error:
        known = ", ".join(sorted(path.stem for path in folder.glob("*.json"))) or "none"
        raise EncoderError(f"no encoder {name!r} (there is: {known})") from error
    return EncoderSpec(**{**fields, "kind": Kind(fields["kind"])})


def ships(name: str, folder: Path = WEIGHTS) -> bool:
    """Whether this encoder comes with this Songprint."""
    return (folder / f"{name}.json").is_file()


def weights_hash(network: bytes) -> str:
    """12 hex digits that name a set of weights."""
    return hashlib.sha256(network).hexdigest()[:12]
