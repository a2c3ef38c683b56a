"""Tonal frames of the training music, computed with the shipped tonal network, as input of the cover encoder.

    python -m lab.data.cover_features --data data --covers data/covers --out data/tonal

writes `rendered-WWWWW-KK.npz` for every rendition of `lab.data.render_covers`, with `frames`, `seconds` and `beats`
(beat `beats[i]` of the score is played at `seconds[i]`). For every real training track it writes `real-NNNNN-KK.npz`
in the same form, with seconds of the track as beats: unchanged, stretched (`lab.data.copies`), and disguised (another
key and tone colour, over the rhythm of another track).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np

from lab import program
from lab.data import copies
from lab.data.corpus import SAMPLE_RATE, VERSIONS, Track, load_pcm, load_tracks
from lab.data.render_covers import split_of
from songprint.covers import tonal
from songprint.encoders.contract import WEIGHTS
from songprint.encoders.runtime import open_network

LONGEST = 150.0  # seconds used of a real track
DISGUISE = 7.0  # decibels; change of tone colour of a disguised track


@cache
def network() -> Callable[[np.ndarray], np.ndarray]:
    """Return the shipped tonal network in the form that `tonal.frames` expects."""
    session = open_network((WEIGHTS / "tonal.onnx").read_bytes())
    return lambda planes: session.run(None, {"planes": planes})[0]


def frames(samples: np.ndarray) -> np.ndarray:
    """Compute the tonal frames of (n,) int16 at 8 kHz."""
    return tonal.frames([np.asarray(samples, np.float32) / 32767], network())[0]


def _rendered(job: tuple[Path, Path]) -> float:
    source, target = job
    with np.load(source) as file:
        found = frames(file["samples"])
        np.savez_compressed(target, frames=found, seconds=file["seconds"], beats=file["beats"])
    return len(found) / tonal.FRAMES_PER_SECOND


def _real(job: tuple[Path, Track, int, Path]) -> float:
    """Write one take: 0 is the unchanged track, 1 its stretched copy, 2 the disguised track."""
    data, track, number, target = job
    samples = load_pcm(data, track)[: int(LONGEST * SAMPLE_RATE)]
    copied = sources = np.array([0.0, len(samples) / SAMPLE_RATE])
    if number == 1:
        table = [
            (start, source, length, tempo)
            for source, start, length, tempo in copies.blocks(track.id, len(load_pcm(data, track)))
            if source < len(samples)
        ]
        samples = load_pcm(data, track, ".stretched")[: table[-1][0] + table[-1][2]]
        copied = np.array([time for start, _, length, _ in table for time in (start, start + length - 1)]) / SAMPLE_RATE
        sources = (
            np.array([time for _, source, length, tempo in table for time in (source, source + (length - 1) * tempo)])
            / SAMPLE_RATE
        )
    if number < 2:
        found = frames(samples)
    else:
        from lab.train.tonal import disguised, shifted  # imports PyTorch, which only disguised tracks need

        rng = np.random.default_rng([track.id, number])
        others = [other for other in load_tracks(data, "train") if other.path]
        other = load_pcm(data, others[rng.integers(len(others))])
        decibels, behind = (
            tonal.spectrogram(np.asarray(part, np.float32) / 32767)
            for part in (samples, np.resize(other, len(samples)))
        )
        decibels = shifted(disguised(decibels, behind, rng, DISGUISE), int(rng.integers(-15, 16)), -90.0)
        found = tonal.read(decibels.astype(np.float32)[: len(decibels) // 2 * 2], network())
    np.savez_compressed(target, frames=found, seconds=copied, beats=sources)
    return len(found) / tonal.FRAMES_PER_SECOND


def main() -> None:
    parser = program.parser(
        __doc__, "covers", "out", data=program.DATA, splits="train,calibration", processes=program.CORES
    )
    parser.add_argument(
        "--real-takes",
        type=int,
        default=3,
        choices=(0, 1, 2, 3),
        help="takes of each real track; lab.ship.calibrate_covers needs only one",
    )
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    versions = {name for pair in VERSIONS for name in pair}
    rendered = [
        (path, options.out / f"rendered-{path.name}")
        for path in sorted(options.covers.glob("?????-??.npz"))
        if split_of(int(path.stem[:5])) in options.splits.split(",")
    ]
    real = [
        (options.data, track, number, options.out / f"real-{track.id:05d}-{number:02d}.npz")
        for track in load_tracks(options.data, "train")
        if track.path and track.name not in versions
        for number in range(options.real_takes)
    ]
    for function, jobs in ((_rendered, rendered), (_real, real)):
        program.run_jobs(function, [job for job in jobs if not job[-1].exists()], options.processes)


if __name__ == "__main__":
    main()
