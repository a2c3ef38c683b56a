"""A clip that is asked for: its embeddings, and its samples."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain

import numpy as np

from songprint.audio.sound import Sound
from songprint.fingerprint.encoder import Encoder
from songprint.types import Embeddings

SHORT = 2.0  # seconds: of a shorter clip more is taken,
SHORT_HOP = 1 / 16  # a vector every so many seconds,
SHORT_SEGMENTS = 5  # at least so many: it is laid in the middle of as much silence as they need


@dataclass(frozen=True)
class Query:
    """A clip that was heard: its embeddings, and its samples for the second witness."""

    embeddings: Embeddings
    samples: np.ndarray  # (n,) int16 at the rate of the encoder
    start: float  # seconds: where the first segment begins; below 0 where silence was put before
    duration: float  # seconds

    @classmethod
    def from_blocks(cls, blocks: Iterable[np.ndarray], encoder: Encoder, hop: float = 0.0) -> Query:
        """Encode blocks of (n,) float32 samples; see `from_sound`."""
        return cls.from_sound(Sound(blocks, encoder.spec.sample_rate), encoder, hop)

    @classmethod
    def from_sound(cls, sound: Sound, encoder: Encoder, hop: float = 0.0) -> Query:
        """Encode a query with a vector every `hop` seconds, or as often as the encoder's specification says.

        Memory: 1 kB of vectors and 16 kB of samples per second.
        """
        spec, stream = encoder.spec, sound.blocks()
        first: list[np.ndarray] = []
        count = 0
        for block in stream:
            first.append(block)
            count += len(block)
            if count >= SHORT * spec.sample_rate:
                break
        if spec.window / 2 <= count / spec.sample_rate < SHORT:
            wanted = round((spec.window + (SHORT_SEGMENTS - 1) * SHORT_HOP) * spec.sample_rate)
            before = max(0, wanted - count) // 2
            padded = np.pad(np.concatenate(first), (before, max(0, wanted - count - before)))
            embeddings, _ = encoder.encode_stream([padded], hop=SHORT_HOP)
            return cls(embeddings, sound.samples, -before / spec.sample_rate, count / spec.sample_rate)
        embeddings, duration = encoder.encode_stream(chain(first, stream), hop=hop or spec.query_hop)
        return cls(embeddings, sound.samples, 0.0, duration)

    def times(self, window: np.ndarray) -> np.ndarray:
        """(m,) seconds in the clip at which segments begin."""
        return self.start + window * self.embeddings.hop

    def between(self, first: float, last: float, sample_rate: int) -> np.ndarray:
        """The samples from `first` to `last` seconds, float32."""
        return self.samples[max(0, int(first * sample_rate)) : int(last * sample_rate)].astype(np.float32) / 32767
