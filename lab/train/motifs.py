"""Train the motif network: `python -m lab.train motifs` (see lab/recipes/motifs.toml).

A batch contains an excerpt of many works in two renditions each, in their own keys and tempi. The beats of the score
give the corresponding rows. The loss makes a row more similar to its counterpart than to all other rows of the same
work and of all other works (van den Oord, Li and Vinyals, "Representation learning with contrastive predictive
coding", 2018).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab.data.takes import Take, any_tempo
from lab.models.motifs import MotifNetwork
from lab.train import loop
from lab.train.cover import Mixture, damage, draw_works, load_works
from lab.train.restore import restore
from songprint.covers.rows import FAINTEST, POOLED
from songprint.covers.tonal import CHANNELS, FRAMES_PER_SECOND, PITCH_CLASSES

FRAMES = 120  # tonal frames of an excerpt: 24 s
ROWS = FRAMES // POOLED
SAME = 0.6  # beats by which two corresponding rows may differ
NEAR = 2.0  # beats up to which two rows neither correspond nor differ
PASSAGES = 6  # of each held-out work
SCALE = "sharp"  # the weight that is trained but not exported


@dataclass(frozen=True)
class Config(Mixture):
    learning_rate: float = 3e-3
    averaging: float = 0.995
    checkpoint_every: int = 400
    works: int = 40
    jitter: float = 3.0  # seconds by which the two excerpts of a passage may be apart
    own: float = 1.5  # added to the log-sum of the rows of the same work, which therefore count 4.5 times


class Trainer(loop.Trainer):
    """`tonal` is the folder that lab.data.cover_features and lab.data.imagine wrote."""

    def __init__(self, config: Config, tonal: Path) -> None:
        self.config = config
        self.works = load_works(tonal, "train")
        self.held_out = load_works(tonal, "calibration").get("song", [])

    def network(self) -> MotifNetwork:
        return MotifNetwork()

    def restore(self, network: MotifNetwork, graph: Path) -> None:
        restore(network, graph, later=SCALE)

    def inputs(self, rng: np.random.Generator) -> np.ndarray:
        return self.draw(rng, 0)[0].frames

    def draw(self, rng: np.random.Generator, step: int) -> tuple[Excerpts, Excerpts]:
        jitter = self.config.jitter
        pairs = draw_works(self.works, self.config, lambda takes: pair(takes, jitter, rng), rng)
        first, second = (Excerpts.of([pair[side] for pair in pairs]) for side in (0, 1))
        return Excerpts(damage(first.frames, rng), first.beats), Excerpts(damage(second.frames, rng), second.beats)

    def loss(self, network: Any, batch: tuple[Excerpts, Excerpts]) -> tuple[Tensor, dict[str, float]]:
        loss, among_all, among_own = contrast(network, *batch, self.config.own)
        return loss, {"nearest": float(among_all), "nearest of its work": float(among_own)}

    def examine(self, network: nn.Module) -> Mapping[str, Any]:
        return examine(network, self.held_out, self.config) if self.held_out else {}


@dataclass(frozen=True)
class Excerpts:
    """Excerpts of several takes, and the beat of each row."""

    frames: np.ndarray  # (n, FRAMES, 48) float32 0..1
    beats: np.ndarray  # (n, ROWS) float32; NaN after the end of the take

    @classmethod
    def of(cls, those: list[tuple[np.ndarray, np.ndarray]]) -> Excerpts:
        return cls(*map(np.stack, zip(*those, strict=True)))


def excerpt(take: Take, second: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """24 s from `second` on at a slightly changed tempo: frames, and the beats of the rows."""
    tempo, last = any_tempo(rng), len(take.frames) - 1
    at = np.clip(second * FRAMES_PER_SECOND, 0, max(0, last - FRAMES * tempo)) + np.arange(FRAMES) * tempo
    middles = (at.clip(max=last - 1e-3).reshape(ROWS, POOLED).mean(axis=1) + 0.5) / FRAMES_PER_SECOND
    beats = np.interp(middles, take.seconds, take.beats)
    beats[at[::POOLED] >= last] = np.nan
    return take.frames_at(at), beats.astype(np.float32)


def pair(takes: list[Take], jitter: float, rng: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray]] | None:
    """A passage in two renditions of a work; None when the second one lacks it."""
    first = takes[rng.integers(len(takes))]
    second = rng.uniform(0, max((len(first.frames) - FRAMES) / FRAMES_PER_SECOND, 0.1))
    beat = first.beat_at(second)
    for i in rng.permutation(len(takes)):
        other = takes[i]
        if other is first or "" != other.arrangement == first.arrangement:
            continue
        at = other.when(beat, rng)
        if at is not None:
            return [excerpt(first, second, rng), excerpt(other, at + rng.uniform(-jitter, jitter), rng)]
    return None


def corresponding(first: np.ndarray, second: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
    """Match the rows of two renditions by their beats, (n, ROWS) each.

    Returns (n, ROWS) the row of the second that corresponds to each row of the first, (n, ROWS) whether there is one,
    and (n, ROWS, ROWS) which pairs are too near to count as different.
    """
    apart = np.abs(first[:, :, None] - second[:, None])
    apart = np.where(np.isnan(apart), np.inf, apart)
    return (
        torch.from_numpy(apart.argmin(axis=2)),
        torch.from_numpy(apart.min(axis=2) < SAME),
        torch.from_numpy(apart < NEAR),
    )


def key_between(first: np.ndarray, second: np.ndarray, same: Tensor, known: Tensor) -> Tensor:
    """Semitones by which to raise each excerpt of the second to the key of the first.

    Corresponding rows are most similar in that key.
    """

    def centred(frames: np.ndarray) -> Tensor:
        rows = torch.sqrt(torch.from_numpy(frames)).reshape(len(frames), ROWS, POOLED, CHANNELS, PITCH_CLASSES).mean(2)
        rows = rows - rows.mean(3, keepdim=True)
        return rows / (rows.flatten(2).norm(dim=2)[:, :, None, None] + FAINTEST)

    one = centred(first) * known[:, :, None, None]
    other = centred(second).gather(1, same[:, :, None, None].expand(-1, -1, CHANNELS, PITCH_CLASSES))
    return torch.stack([(one * other.roll(key, 3)).sum((1, 2, 3)) for key in range(PITCH_CLASSES)], 1).argmax(1)


def contrast(network: Any, first: Excerpts, second: Excerpts, own: float) -> tuple[Tensor, Tensor, Tensor]:
    """The loss, and the share of rows nearest to their counterpart, among all rows and among those of their work."""
    count = len(first.frames)
    same, known, near = corresponding(first.beats, second.beats)
    keys = key_between(first.frames, second.frames, same, known).tolist()
    rows = network(torch.from_numpy(np.concatenate([first.frames, second.frames])))
    # negatives of other works keep the keys that they happen to be in
    raised = torch.stack([one.roll(key, 2) for one, key in zip(rows[count:], keys, strict=True)])
    alike = network.sharp.exp() * torch.einsum("nid,mjd->nimj", rows[:count].flatten(2), raised.flatten(2))
    each = torch.arange(count)
    positive = alike[each, :, each].gather(2, same[:, :, None])[:, :, 0]
    hidden = torch.zeros(alike.shape, dtype=torch.bool)
    hidden[each, :, each] = near
    others = alike.masked_fill(hidden, -1e4)
    of_work = others[each, :, each]
    everything = others.flatten(2)
    loss = F.softplus(torch.logaddexp(everything.logsumexp(2), of_work.logsumexp(2) + own) - positive)
    return (
        loss[known].mean(),
        (positive > everything.amax(2))[known].float().mean(),
        (positive > of_work.amax(2))[known].float().mean(),
    )


def examine(network: nn.Module, works: list[list[Take]], config: Config) -> dict[str, float]:
    """How often rows of held-out works are nearest to their counterpart."""
    rng = np.random.default_rng(1)
    pairs = [found for takes in works for _ in range(PASSAGES) if (found := pair(takes, config.jitter, rng))]
    with loop.evaluating(network):
        shares = [
            contrast(
                network,
                Excerpts.of([pairs[i][0] for i in batch]),
                Excerpts.of([pairs[i][1] for i in batch]),
                config.own,
            )
            for batch in np.array_split(np.arange(len(pairs)), -(-len(pairs) // config.works))
        ]
    _, among_all, among_own = np.mean([[float(value) for value in row] for row in shares], axis=0)
    return {"nearest": round(float(among_all), 4), "nearest of the same work": round(float(among_own), 4)}
