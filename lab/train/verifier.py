"""Train the verifier of covers: `python -m lab.train verifier` (see lab/recipes/verifier.toml).

The verifier classifies the band along the path of an alignment (`songprint.covers.verifier`). The examples come from
`lab.data.verifier_pairs`; every tenth work is held out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab.data.verifier_pairs import Answer, answers
from lab.models.verifier import Verifier
from lab.train import loop
from songprint.covers.verifier import PLANES

SIZES = (150, 100, 75, 50, 35, 25)  # rows (60 to 10 s); a batch has one size, and longer bands are cut


@dataclass(frozen=True)
class Config(loop.Config):
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    averaging: float = 0.995
    settling: int = 20
    checkpoint_every: int = 1000
    batch: int = 96
    shortened: float = 0.3  # share of batches that show a part of each band
    backwards: float = 0.3  # share of bands that are reversed
    gone: float = 0.1  # share of channels that are silenced
    gain: tuple[float, float] = (0.7, 1.2)  # of a channel
    noise: float = 10.0  # highest deviation of the noise, in LEVELS


class Trainer(loop.Trainer):
    """`pairs` is the folder that lab.data.verifier_pairs wrote."""

    def __init__(self, config: Config, pairs: Path) -> None:
        self.config = config
        found = list(answers(pairs))
        self.held_out = [answer for answer in found if answer.held_out]
        self.bands = by_size([answer for answer in found if not answer.held_out])
        self.sizes = list(self.bands)
        counts = np.array([len(self.bands[size][1]) for size in self.sizes])
        self.shares = counts / counts.sum()
        sizes = ", ".join(
            f"{len(right)} bands of {size} rows ({right.mean():.0%} correct)" for size, (_, right) in self.bands.items()
        )
        loop.report(f"{sizes}; {len(self.held_out)} queries held out")

    def network(self) -> Verifier:
        return Verifier()

    def draw(self, rng: np.random.Generator, step: int) -> tuple[np.ndarray, np.ndarray]:
        bands, right = self.bands[self.sizes[rng.choice(len(self.sizes), p=self.shares)]]
        chosen = rng.integers(len(right), size=self.config.batch)
        return damaged(varied(bands[chosen], self.config, rng), self.config, rng), right[chosen]

    def loss(self, network: Any, batch: tuple[np.ndarray, np.ndarray]) -> tuple[Tensor, dict[str, float]]:
        bands, right = batch
        return F.binary_cross_entropy_with_logits(network(torch.from_numpy(bands)), torch.from_numpy(right)), {}

    def examine(self, network: nn.Module) -> Mapping[str, Any]:
        return examine(network, self.held_out) if self.held_out else {}


def by_size(found: list[Answer]) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Bands (n, rows, WIDTH, PLANES) int8 and which of them are correct, by number of rows."""
    bands, right = defaultdict(list), defaultdict(list)
    for answer in found:
        for one, is_right in zip(answer.bands, answer.correct, strict=True):
            for size in SIZES:
                if len(one) >= size:
                    bands[size].append(one[:size])
                    right[size].append(float(is_right))
                    break
    return {size: (np.stack(those), np.array(right[size], np.float32)) for size, those in bands.items()}


def varied(bands: np.ndarray, config: Config, rng: np.random.Generator) -> np.ndarray:
    """Shortened or reversed bands: they stay correct or wrong."""
    count, rows = bands.shape[:2]
    shorter = [size for size in SIZES if size < rows]
    if shorter and rng.random() < config.shortened:
        size = int(rng.choice(shorter))
        starts = rng.integers(rows - size + 1, size=count)
        bands = bands[np.arange(count)[:, None], starts[:, None] + np.arange(size)]
    backwards = np.less(rng.random((count, 1, 1, 1)), config.backwards)
    return np.where(backwards, bands[:, ::-1, ::-1], bands)


def damaged(bands: np.ndarray, config: Config, rng: np.random.Generator) -> np.ndarray:
    """Bands with silenced, amplified and noisy channels, float32; the path itself is unchanged."""
    count = len(bands), 1, 1, PLANES
    is_channel = np.arange(PLANES) < PLANES - 1  # the last plane is the path
    gains = np.where(is_channel, rng.uniform(*config.gain, count) * (rng.random(count) >= config.gone), 1)
    noise = is_channel * rng.uniform(0, config.noise, (len(bands), 1, 1, 1)).astype(np.float32)
    noisy: np.ndarray = bands * gains.astype(np.float32) + rng.standard_normal(bands.shape, np.float32) * noise
    return noisy


def examine(network: nn.Module, held_out: list[Answer]) -> dict[str, float]:
    """Share of held-out queries whose best path is correct, and recall at a false-accept rate of 1%.

    Both by the network and by the score of the alignment.
    """
    with loop.evaluating(network):
        logits = [network(torch.from_numpy(np.stack(answer.bands)).float()).numpy() for answer in held_out]
    correct = [np.array(answer.correct) for answer in held_out]
    known = np.array([is_correct.any() for is_correct in correct])
    found: dict[str, float] = {}
    for name, scores in (("network", logits), ("alignment", [np.array(answer.scores) for answer in held_out])):
        best = np.array(
            [
                [score[is_correct].max(initial=-100), score[~is_correct].max(initial=-100)]
                for score, is_correct in zip(scores, correct, strict=True)
            ]
        )
        level = np.quantile(best[:, 1], 0.99)
        found |= {
            f"{name}, first": round(float((best[known, 0] > best[known, 1]).mean()), 4),
            f"{name}, recall at FAR 1%": round(float((best[known, 0] > level).mean()), 4),
        }
    return found
