"""Stretched and coded copies of the training music, made once because they are too slow to make for every pair.

    python -m lab.data.copies --out data

A copy is stretched in blocks of 30 s by random factors derived from the track id. Read at another speed, it gives any
combination of tempo and pitch: a block stretched by T and read T times slower differs in pitch only. Every second
block is also encoded with a lossy codec at the low bit rates of calls, messages and streams; the delay of the codec is
removed.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lab import program
from lab.data import corpus, degrade

BLOCK_SAMPLES = 30 * corpus.SAMPLE_RATE
MOST = 0.12  # largest natural logarithm of the factor: about two semitones
# Codec and bits/s.
CODECS = [
    ("libmp3lame", 8_000),
    ("libmp3lame", 16_000),
    ("libmp3lame", 24_000),
    ("libopus", 6_000),
    ("libopus", 9_000),
    ("libopus", 14_000),
    ("aac", 8_000),
    ("aac", 14_000),
    ("libopencore_amrnb", 4_750),
    ("libopencore_amrnb", 7_400),
    ("libopencore_amrnb", 12_200),
]


def blocks(track_id: int, count: int) -> list[tuple[int, int, int, float]]:
    """Return (source start, copy start, copy length, tempo) of each block; times in samples."""
    rng = np.random.default_rng([7, track_id])
    table: list[tuple[int, int, int, float]] = []
    start = 0
    for source in range(0, count - BLOCK_SAMPLES // 2, BLOCK_SAMPLES):
        tempo = float(np.exp(rng.uniform(-MOST, MOST)))
        length = round(min(BLOCK_SAMPLES, count - source) / tempo)
        table.append((source, start, length, tempo))
        start += length
    return table


def coded_blocks(track_id: int, count: int) -> list[tuple[int, int, int, tuple[str, int]]]:
    """Return (source start, copy start, length, (codec, bit rate)) of each coded block; times in samples."""
    rng = np.random.default_rng([8, track_id])
    sources = range(int(rng.integers(2)) * BLOCK_SAMPLES, count - BLOCK_SAMPLES // 2, 2 * BLOCK_SAMPLES)
    lengths = [min(BLOCK_SAMPLES, count - source) for source in sources]
    starts = np.cumsum([0, *lengths])
    return [
        (source, int(start), length, CODECS[rng.integers(len(CODECS))])
        for source, start, length in zip(sources, starts, lengths, strict=False)
    ]


def make(job: tuple[Path, corpus.Track]) -> None:
    """Make the missing copies of one track."""
    out, track = job
    samples = np.asarray(corpus.load_pcm(out, track)).astype(np.float32) / 32768
    for suffix, copy in ((".stretched", stretched), (".coded", coded)):
        target = out / "pcm" / f"{track.id:05d}{suffix}.npy"
        if not target.exists():
            np.save(target, (np.clip(copy(samples, track.id), -1, 1) * 32767).astype(np.int16))


def stretched(samples: np.ndarray, track_id: int) -> np.ndarray:
    """Stretch all blocks of a track and concatenate them."""
    parts = []
    for source, _, length, tempo in blocks(track_id, len(samples)):
        part = degrade.stretch(samples[source : source + BLOCK_SAMPLES], corpus.SAMPLE_RATE, tempo=tempo)
        parts.append(np.pad(part, (0, max(0, length - len(part))))[:length])
    return np.concatenate(parts)


def coded(samples: np.ndarray, track_id: int) -> np.ndarray:
    """Encode and decode the coded blocks of a track and concatenate them."""
    parts = [
        degrade.code(samples[source : source + length], corpus.SAMPLE_RATE, *codec)
        for source, _, length, codec in coded_blocks(track_id, len(samples))
    ]
    return np.concatenate([np.zeros(0, np.float32), *parts])


def main() -> None:
    options = program.parser(__doc__, out=program.DATA).parse_args()
    jobs = [(options.out, track) for track in corpus.load_tracks(options.out, "train")]
    list(program.in_processes(make, jobs, "tracks"))


if __name__ == "__main__":
    main()
