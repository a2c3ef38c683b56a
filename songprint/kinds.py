"""The kinds of match. The only module that refers to all of them.

A new kind is a member of `songprint.types.Kind`, a folder with a `songprint.encoders.contract.Matcher`, and a line in
`MATCHERS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from songprint.audio import files
from songprint.audio.samples import at_rate
from songprint.config import Settings
from songprint.covers.matcher import CoverMatcher
from songprint.encoders.contract import WEIGHTS, Encoder, Matcher, load_spec
from songprint.errors import AudioError
from songprint.fingerprint.matcher import FingerprintMatcher
from songprint.store.store import Store
from songprint.types import Embeddings, Kind

# In the order in which kinds are searched and reported. The first one identifies the very recording.
MATCHERS: dict[Kind, Matcher] = {Kind.RECORDING: FingerprintMatcher(), Kind.COVER: CoverMatcher()}


def load_encoder(name: str = "fingerprint", threads: int = 1, folder: Path = WEIGHTS) -> Encoder:
    """Load an encoder that ships, by name. Raises EncoderError for an unknown name and for damaged weights."""
    return MATCHERS[load_spec(name, folder).kind].open_encoder(threads, folder)


class AudioEncoder:
    """An encoder for samples of any rate, and for files; see `songprint.encoder`."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder

    @property
    def name(self) -> str:
        """The name by which it was loaded."""
        return self.encoder.spec.name

    @property
    def sample_rate(self) -> int:
        """The sample rate of its networks, in Hz."""
        return self.encoder.spec.sample_rate

    @property
    def dim(self) -> int:
        """The number of numbers in a vector."""
        return self.encoder.spec.dim

    @property
    def hop(self) -> float:
        """Seconds between the starts of two vectors."""
        return self.encoder.spec.hop

    def __call__(self, samples: np.ndarray, *, sample_rate: int | None = None) -> Embeddings:
        """Encode samples, (n,) or (n, channels). Without `sample_rate`, that of the encoder is assumed.

        Raises AudioError for anything else, such as a path.
        """
        given: object = samples  # callers need not check types
        if isinstance(given, str | bytes | Path):
            raise AudioError(f"{given!r:.80} is no array of samples: `encode_file` encodes a file")
        rate = self.sample_rate if sample_rate is None else sample_rate
        return self.encoder.encode(at_rate(samples, rate, self.sample_rate))

    def encode_file(self, source: files.Source) -> Embeddings:
        """Encode an audio file: a path, or a file that is open in binary mode. Raises AudioError."""
        return self.encoder.encode(files.load(source, self.sample_rate))

    def __repr__(self) -> str:
        return f"<AudioEncoder {self.name!r}: {self.dim} numbers every {self.hop:g} s, from {self.sample_rate:,} Hz>"


def open_store(
    path: Path,
    *,
    create: bool = False,
    encoder: Encoder | Sequence[Encoder] | None = None,
    settings: Settings | None = None,
) -> Store:
    """Open the store of a library with all kinds; see `songprint.store.store.Store`."""
    return Store(path, MATCHERS.values(), create=create, encoder=encoder, settings=settings)
