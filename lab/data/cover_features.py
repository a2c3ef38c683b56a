"""Sound -> tonal frames, by the network that ships: what the cover encoder learns from.

    python -m lab.data.cover_features --data data --covers data/covers --out data/tonal

writes `rendered-WWWWW-KK.npz` (`frames`, and `seconds`, `beats`: which beat of the score is played when) for every
rendition of `lab.data.render_covers`, and in the same form, with seconds of the track as beats, `real-NNNNN-KK.npz` for
every real training track: as it is, stretched (`lab.data.copies`), and in disguise: another key and tone, with
the rhythm of another track under it.
"""

from __future__ import annotations

import argparse
import os
from functools import cache
from pathlib import Path

import numpy as np

from lab.data import copies
from lab.data.corpus import SAMPLE_RATE, VERSIONS, Track, load_pcm, load_tracks
from lab.data.processes import run_jobs
from lab.data.render_covers import split_of
from songprint.covers import tonal
from songprint.encoders.contract import WEIGHTS

LONGEST = 150.0  # seconds of a real track
DISGUISE = 7.0  # decibels by which its tone changes


@cache
def network():
    """The tonal network that ships, as `tonal.frames` wants it."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        (WEIGHTS / "tonal.onnx").read_bytes(), options, providers=["CPUExecutionProvider"]
    )
    return lambda planes: session.run(None, {"planes": planes})[0]


def frames(samples: np.ndarray) -> np.ndarray:
    """(n,) int16 at 8 kHz -> tonal frames."""
    return tonal.frames([np.asarray(samples, np.float32) / 32767], network())[0]


def _rendered(job: tuple[Path, Path]) -> float:
    source, target = job
    with np.load(source) as file:
        found = frames(file["samples"])
        np.savez_compressed(target, frames=found, seconds=file["seconds"], beats=file["beats"])
    return len(found) / tonal.FRAMES_PER_SECOND


def _real(job: tuple[Path, Track, int, Path]) -> float:
    """Take 0 is the track, 1 its stretched copy, 2 the track in disguise."""
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
        from lab.train.tonal import disguised, shifted  # with PyTorch, which nothing else here needs

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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--covers", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--splits", default="train,calibration", help="of the rendered works")
    parser.add_argument(
        "--real-takes",
        type=int,
        default=3,
        choices=(0, 1, 2, 3),
        help="of each real track; one is enough for lab.ship.calibrate_covers",
    )
    parser.add_argument("--processes", type=int, default=os.cpu_count())
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
        run_jobs(function, [job for job in jobs if not job[-1].exists()], options.processes)


if __name__ == "__main__":
    main()
