"""Train the fingerprint encoder: `python -m lab.train fingerprint` (see lab/recipes/fingerprint.toml).

NT-Xent loss (Chen et al., "A simple framework for contrastive learning of visual representations", ICML 2020)
over pairs of a clean and a damaged window (`lab.data.batches`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lab.data import batches
from lab.models.fingerprint import FingerprintNetwork
from lab.train import loop
from lab.train.restore import restore_integers

Batch = tuple[np.ndarray, np.ndarray, np.ndarray]  # clean windows, damaged windows, numbers of the tracks


@dataclass(frozen=True)
class Config(loop.Config):
    learning_rate: float = 1e-3
    warm_up: int = 150
    weight_decay: float = 1e-4
    max_gradient_norm: float = 2.0
    settling: int = 8
    batch: int = 256  # pairs; more negatives are better, but a step takes longer
    temperature: float = 0.05
    curriculum: int = 1200  # steps until the full damage; 0 starts with it, for weights that were trained before
    memory: int = 24  # batches that are kept for mixing
    mixed: int = 1  # mixed batches after each new one: a new batch takes longer to make than to learn from


class Mixer:
    """New batches, and between them `mixed` batches whose rows come from the latest `memory` new ones.

    The loss depends on the other pairs of the batch, so pairs remain useful in new company. The batch of a step
    depends on the step alone.
    """

    def __init__(self, make: Callable[[np.random.Generator, int], Batch], config: Config) -> None:
        self._make, self._config = make, config
        self._kept: OrderedDict[int, Batch] = OrderedDict()

    def is_new(self, step: int) -> bool:
        return step < self._config.memory or step % (self._config.mixed + 1) == 0

    def batch(self, rng: np.random.Generator, step: int) -> Batch:
        if self.is_new(step):
            return self._new(step)
        latest = [number for number in range(step - 1, -1, -1) if self.is_new(number)][: self._config.memory]
        sources = rng.choice(latest, min(4, len(latest)), replace=False)
        share = self._config.batch // len(sources)
        rows = [(self._new(int(source)), rng.choice(self._config.batch, share, replace=False)) for source in sources]
        clean, damaged, tracks = (np.concatenate([batch[part][chosen] for batch, chosen in rows]) for part in range(3))
        return clean, damaged, tracks

    def _new(self, step: int) -> Batch:
        if step not in self._kept:
            self._kept[step] = self._make(np.random.default_rng([self._config.seed, step, 1]), step)
            while len(self._kept) > self._config.memory + 1:
                self._kept.popitem(last=False)
        return self._kept[step]


class Trainer(loop.Trainer):
    """`data` is the folder of lab.data.corpus and lab.data.copies, `noise` one of ambience recordings (.opus)."""

    def __init__(self, config: Config, data: Path, noise: Path) -> None:
        self.config = config
        self.material = batches.load_material(data, noise)
        hours = sum(len(track) for track in self.material.music) / batches.RATE / 3600
        loop.report(f"{len(self.material.music)} tracks, {hours:.1f} h")
        self.mixer = Mixer(self._pairs, config)

    def network(self) -> FingerprintNetwork:
        network = FingerprintNetwork()
        network.stem.to(memory_format=torch.channels_last)  # a step takes a seventh less time
        return network

    def restore(self, network: FingerprintNetwork, graph: Path) -> None:
        restore_integers(network, graph)

    def inputs(self, rng: np.random.Generator) -> np.ndarray:
        return np.concatenate(self._pairs(rng, self.config.steps)[:2])

    def draw(self, rng: np.random.Generator, step: int) -> Batch:
        return self.mixer.batch(rng, step)

    def loss(self, network: Any, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        clean, damaged, tracks = batch
        with loop.precision():
            vectors = network(torch.from_numpy(np.concatenate([clean, damaged])))
        one, other = vectors.float().chunk(2)
        loss, nearest = contrast(one, other, torch.from_numpy(tracks), self.config.temperature)
        return loss, {"nearest": float(nearest)}

    def _pairs(self, rng: np.random.Generator, step: int) -> Batch:
        curriculum = self.config.curriculum
        difficulty = min(1.0, 0.1 + step / curriculum) if curriculum else 1.0
        return batches.pairs(self.material, self.config.batch, difficulty, rng)


def contrast(clean: Tensor, damaged: Tensor, tracks: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """NT-Xent over (n, dim) pairs: the loss, and the share of rows whose nearest vector is the other of the pair.

    Other pairs of the same track are ignored: they may be the same sound, in a loop.
    """
    count = len(clean)
    vectors, tracks = torch.cat([clean, damaged]), torch.cat([tracks, tracks])  # (2n, dim), (2n,)
    rows = torch.arange(2 * count)
    target = (rows + count) % (2 * count)
    same = tracks[:, None] == tracks
    same[rows, target] = False
    similarity = (vectors @ vectors.T / temperature).masked_fill(same, -1e9)
    return F.cross_entropy(similarity, target), (similarity.argmax(1) == target).float().mean()
