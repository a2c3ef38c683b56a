"""A query: its embeddings and its samples."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from songprint.audio.sound import Sound
from songprint.fingerprint.parameters import DEFAULT

if TYPE_CHECKING:
    from songprint.fingerprint.encoder import Encoder
    from songprint.types import Embeddings

PARAMETERS = DEFAULT.query


@dataclass(frozen=True)
class Query:
    """The embeddings of a query, and its samples, which landmark verification needs."""

    embeddings: Embeddings
    samples: np.ndarray  # (n,) int16 at the encoder's rate
    start: float  # seconds at which the first segment begins; negative if silence was put in front
    duration: float  # seconds

    @classmethod
    def from_blocks(cls, blocks: Iterable[np.ndarray], encoder: Encoder, hop: float = 0.0) -> Query:
        """Encode blocks of (n,) float32 samples; see `from_sound`."""
        return cls.from_sound(Sound(blocks, encoder.spec.sample_rate), encoder, hop)

    @classmethod
    def from_sound(cls, sound: Sound, encoder: Encoder, hop: float = 0.0) -> Query:
        """Encode a query with a vector every `hop` seconds (default: the encoder's `query_hop`).

        A query shorter than PARAMETERS.short gets more vectors, and is padded with silence on both sides to fit them.
        Memory: 1 kB of vectors and 16 kB of samples per second.
        """
        spec, stream = encoder.spec, sound.blocks()
        first: list[np.ndarray] = []
        count = 0
        for block in stream:
            first.append(block)
            count += len(block)
            if count >= PARAMETERS.short * spec.sample_rate:
                break
        if spec.window / 2 <= count / spec.sample_rate < PARAMETERS.short:
            wanted = round((spec.window + (PARAMETERS.short_segments - 1) * PARAMETERS.short_hop) * spec.sample_rate)
            before = max(0, wanted - count) // 2
            padded = np.pad(np.concatenate(first), (before, max(0, wanted - count - before)))
            embeddings, _ = encoder.encode_stream([padded], hop=PARAMETERS.short_hop)
            return cls(embeddings, sound.samples, -before / spec.sample_rate, count / spec.sample_rate)
        embeddings, duration = encoder.encode_stream(chain(first, stream), hop=hop or spec.query_hop)
        return cls(embeddings, sound.samples, 0.0, duration)

    def times(self, window: np.ndarray) -> np.ndarray:
        """(m,) row numbers of segments -> (m,) seconds at which they begin."""
        return self.start + window * self.embeddings.hop

    def between(self, first: float, last: float, sample_rate: int) -> np.ndarray:
        """The samples from `first` to `last` seconds, float32."""
        return self.samples[max(0, int(first * sample_rate)) : int(last * sample_rate)].astype(np.float32) / 32767
