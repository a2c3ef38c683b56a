"""Train the sound classifier: `python -m lab.train sounds` (see lab/recipes/sounds.toml).

The network is small; computing the features of the clips takes most of the time.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lab.data import sound_clips
from lab.data.sound_clips import Material
from lab.models.sounds import SoundNetwork
from lab.train import loop
from songprint.scan import sounds


@dataclass(frozen=True)
class Config(loop.Config):
    learning_rate: float = 5e-3
    warm_up: int = 1
    weight_decay: float = 0.02
    averaging: float = 0.0
    clips: int = 1500  # of each class
    batch: int = 1024  # seconds


class Trainer(loop.Trainer):
    """`data` is the folder of lab.data.corpus and lab.data.copies, `noise` one of ambience recordings (.opus)."""

    def __init__(
        self, config: Config, data: Path | None = None, noise: Path | None = None, material: Material | None = None
    ) -> None:
        self.config = config
        if material is None:
            assert data and noise, "data and noise, or material"
            material = sound_clips.training(data, noise)
        self.features, self.labels = examples(material, config.clips, config.seed)

    def network(self) -> SoundNetwork:
        network = SoundNetwork()
        network.mean.copy_(torch.from_numpy(self.features.mean(axis=0)))
        network.scale.copy_(torch.from_numpy(self.features.std(axis=0) + 0.05))
        return network

    def draw(self, rng: np.random.Generator, step: int) -> tuple[np.ndarray, np.ndarray]:
        rows = rng.integers(len(self.features), size=self.config.batch)
        return self.features[rows], self.labels[rows]

    def loss(self, network: Any, batch: tuple[np.ndarray, np.ndarray]) -> tuple[Tensor, dict[str, float]]:
        features, labels = batch
        logits = network(torch.from_numpy(features))
        return F.cross_entropy(logits, torch.from_numpy(labels), label_smoothing=0.02), {}


def examples(material: Material, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The features (n, 3 FEATURES) float32 and classes (n,) of the audible seconds of `count` clips of each class."""
    rng = np.random.default_rng(seed + 1)
    rows, labels = [], []
    for number, (name, samples) in enumerate(sound_clips.clips(material, count, seed), 1):
        context, audible = sound_clips.described(samples, rng)
        rows.append(context[audible])
        labels.append(np.full(int(audible.sum()), sounds.CLASSES.index(sound_clips.label(name))))
        if number % 500 == 0:
            loop.report(f"{number} of {3 * count} clips")
    return np.concatenate(rows).astype(np.float32), np.concatenate(labels)
