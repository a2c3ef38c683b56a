"""Chords of real music, detected by crema's network, as targets of the tonal network. Used in the lab only.

    pip install --no-deps crema==0.2.0
    python -m lab.data.teacher --data data --out data/crema

writes `NNNNN.npy` for each real track of training and calibration: (frames, 12) uint8, 255 times the probability that a
pitch class belongs to the chord, at 44100 / 4096 frames per second. The network (McFee & Bello, "Structured training
for large-vocabulary chord recognition", ISMIR 2017; ISC licence) runs in PyTorch with the weights of its wheel, without
TensorFlow and without unpickling.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lab import program
from lab.data.corpus import Track, load_tracks
from songprint.audio import files

if TYPE_CHECKING:
    import torch

SAMPLE_RATE = 44100
HOP_SAMPLES = 4096
BINS, BINS_AN_OCTAVE = 216, 36
UNITS = 128
EPSILON = 1e-3  # constant of batch normalisation in Keras


def pitch_classes(samples: np.ndarray) -> np.ndarray:
    """Compute the probabilities of pitch classes C to B: samples (n,) at 44.1 kHz -> (frames, 12) float32."""
    import librosa
    import torch
    import torch.nn.functional as F

    weights = _weights()
    planes = []
    for harmonic in (1, 2):
        transform = librosa.cqt(
            samples,
            sr=SAMPLE_RATE,
            hop_length=HOP_SAMPLES,
            n_bins=BINS,
            fmin=librosa.note_to_hz("C1") * harmonic,
            bins_per_octave=BINS_AN_OCTAVE,
        )
        planes.append(librosa.amplitude_to_db(np.abs(transform), ref=np.max).T)

    def normalised(values: torch.Tensor, layer: str) -> torch.Tensor:
        mean, variance, gain, bias = (
            weights[f"{layer}/{name}:0"] for name in ("moving_mean", "moving_variance", "gamma", "beta")
        )
        return (values - mean) / torch.sqrt(variance + EPSILON) * gain + bias

    with torch.no_grad():
        values = normalised(torch.tensor(np.stack(planes, -1), dtype=torch.float32), "batch_normalization_1")
        kernel = weights["conv2d_1/kernel:0"].permute(3, 2, 0, 1)  # (1, 2, 5, 5): time, frequency
        values = F.relu(F.conv2d(values.permute(2, 0, 1)[None], kernel, weights["conv2d_1/bias:0"], padding=2))[0, 0]
        values = normalised(values[..., None], "batch_normalization_2")[..., 0]  # (frames, 216)
        values = F.relu(values @ weights["conv2d_2/kernel:0"][0, :, 0, :] + weights["conv2d_2/bias:0"])
        values = _recurrent(normalised(values, "batch_normalization_3"), weights, 1)
        values = _recurrent(normalised(values, "batch_normalization_4"), weights, 2)
        probabilities = torch.sigmoid(values @ weights["chord_pitch/kernel:0"] + weights["chord_pitch/bias:0"])
        return np.asarray(probabilities.numpy())


def _recurrent(values: torch.Tensor, weights: dict[str, torch.Tensor], number: int) -> torch.Tensor:
    """Apply a bidirectional GRU layer of Keras: gates z, r, h, reset before the product, hard sigmoids."""
    import torch

    directions = []
    for direction in ("forward", "backward"):
        kernel, inner, bias = (
            weights[f"bidirectional_{number}/{direction}_gru_{number}/{name}:0"]
            for name in ("kernel", "recurrent_kernel", "bias")
        )
        inputs = values @ kernel + bias
        rows = inputs.flip(0) if direction == "backward" else inputs
        states = torch.from_numpy(_gru(rows.numpy(), inner.numpy()))
        directions.append(states.flip(0) if direction == "backward" else states)
    return torch.cat(directions, 1)


def _gru(inputs: np.ndarray, inner: np.ndarray) -> np.ndarray:
    gates, candidate = np.ascontiguousarray(inner[:, : 2 * UNITS]), np.ascontiguousarray(inner[:, 2 * UNITS :])
    state, states = np.zeros(UNITS, np.float32), np.empty((len(inputs), UNITS), np.float32)
    for i, row in enumerate(inputs):
        both = np.clip(0.2 * (row[: 2 * UNITS] + state @ gates) + 0.5, 0, 1)
        update, reset = both[:UNITS], both[UNITS:]
        state = update * state + (1 - update) * np.tanh(row[2 * UNITS :] + (reset * state) @ candidate)
        states[i] = state
    return states


@cache
def _weights() -> dict[str, torch.Tensor]:
    """Read the weights from the wheel of crema."""
    import h5py
    import torch

    package = find_spec("crema")
    if package is None or package.origin is None:
        raise SystemExit("crema is not installed: pip install --no-deps crema==0.2.0")
    folder = Path(package.origin).parent
    found: dict[str, torch.Tensor] = {}

    def keep(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            found[name.split("/", 1)[1]] = torch.tensor(item[()].astype(np.float32))

    with h5py.File(folder / "models" / "chord" / "model.h5") as file:
        file["model_weights"].visititems(keep)
    return found


def _detect(job: tuple[Path, Track, float]) -> float:
    import torch

    torch.set_num_threads(1)
    out, track, seconds = job
    path = out / f"{track.id:05d}.npy"
    if not path.exists():
        samples = files.load(track.path, SAMPLE_RATE, duration=seconds)
        np.save(path, (pitch_classes(samples) * 255).round().astype(np.uint8))
    return min(track.duration, seconds)


def main() -> None:
    parser = program.parser(__doc__, "out", data=program.DATA, splits="train,calibration", processes=2)
    parser.add_argument("--seconds", type=float, default=120, help="length used of each track")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    tracks = [track for split in options.splits.split(",") for track in load_tracks(options.data, split) if track.path]
    program.run_jobs(_detect, [(options.out, track, options.seconds) for track in tracks], options.processes)


if __name__ == "__main__":
    main()
