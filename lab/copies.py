"""Time-stretched copies of the training music, made once: what is too slow to do for every pair.

    python -m lab.copies --out data

A copy is stretched block by block (30 s) by factors that follow from the track's id. Read at another
speed it gives any mix of tempo and pitch: a block stretched by T and read T times slower is a pure
change of pitch.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from lab import corpus, degrade

BLOCK_SAMPLES = 30 * corpus.SAMPLE_RATE
MOST = 0.12                 # about two semitones


def blocks(track_id: int, count: int) -> list[tuple[int, int, int, float]]:
    """(source start, copy start, copy length, tempo) of each block, all in samples but the last."""
    rng = np.random.default_rng([7, track_id])
    table, start = [], 0
    for source in range(0, count - BLOCK_SAMPLES // 2, BLOCK_SAMPLES):
        tempo = float(np.exp(rng.uniform(-MOST, MOST)))
        length = round(min(BLOCK_SAMPLES, count - source) / tempo)
        table.append((source, start, length, tempo))
        start += length
    return table


def make(job: tuple[Path, corpus.Track]) -> None:
    out, track = job
    target = out / "pcm" / f"{track.id:05d}.stretched.npy"
    if target.exists():
        return
    samples = np.asarray(corpus.load_pcm(out, track)).astype(np.float32) / 32768
    parts = []
    for source, _, length, tempo in blocks(track.id, len(samples)):
        part = degrade.stretch(samples[source:source + BLOCK_SAMPLES], corpus.SAMPLE_RATE, tempo=tempo)
        parts.append(np.pad(part, (0, max(0, length - len(part))))[:length])
    np.save(target, (np.clip(np.concatenate(parts), -1, 1) * 32767).astype(np.int16))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("data"))
    options = parser.parse_args()
    jobs = [(options.out, track) for track in corpus.load_tracks(options.out, "train")]
    with ProcessPoolExecutor() as pool:
        for number, _ in enumerate(pool.map(make, jobs, chunksize=8), 1):
            if number % 100 == 0 or number == len(jobs):
                print(f"{number}/{len(jobs)} tracks", file=sys.stderr)


if __name__ == "__main__":
    main()
