"""Export the sound classifier to `songprint/encoders/weights/sounds.npz`, and measure it.

    python -m lab.ship.export_sounds runs/sounds/only.pt
    python -m lab.ship.export_sounds --measure --data data --noise NOISE      # the shipped weights on held-out clips

Held out are Dutch speech, other kinds of noise, and the music of --test (default: the calibration packages).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from lab import program
from lab.data import corpus, sound_clips
from lab.models.sounds import SoundNetwork
from lab.train.loop import load_weights
from songprint.scan import sounds
from songprint.types import Sound

MUSIC_FIRST = 1.0  # added to the log-likelihood of music: most of a typical long recording is music


def weights(network: SoundNetwork) -> dict[str, np.ndarray]:
    """The arrays that `songprint.scan.sounds.Network` reads."""
    favoured = torch.tensor([MUSIC_FIRST * (each is Sound.MUSIC) for each in sounds.CLASSES])
    arrays = {
        "mean": network.mean,
        "scale": network.scale,
        "first": network.first.weight.T,
        "first_bias": network.first.bias,
        "second": network.second.weight.T,
        "second_bias": network.second.bias + favoured,
    }
    return {name: values.detach().numpy().astype(np.float32) for name, values in arrays.items()}


def export(checkpoint: Path, file: Path = sounds.FILE) -> None:
    network = SoundNetwork()
    network.load_state_dict(load_weights(checkpoint))
    np.savez_compressed(file, **weights(network))  # type: ignore[arg-type]
    print(f"{file.name}: {file.stat().st_size} bytes")


def main() -> None:
    parser = program.parser(__doc__, data=program.DATA, noise=None)
    parser.add_argument("checkpoint", type=Path, nargs="?", help="to export")
    parser.add_argument("--measure", action="store_true", help="print a table of the shipped weights")
    parser.add_argument("--test", type=Path, nargs="+", default=[], help="folders of music")
    options = parser.parse_args()
    if options.checkpoint:
        export(options.checkpoint)
    if options.measure:
        folders = options.test or [options.data / "packages" / name for name in corpus.PACKAGES["calibration"]]
        with np.load(sounds.FILE) as file:
            network = sounds.Network({name: file[name] for name in file.files})
        print(sound_clips.measure(network, sound_clips.held_out(options.data, options.noise, folders), 400, 100))


if __name__ == "__main__":
    main()
