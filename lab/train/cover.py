"""Train the cover encoder: `python -m lab.train cover` (see lab/recipes/cover.toml).

A batch contains several renditions of the same passage of many works. The beats of the scores give exact
correspondences: a window covers 20 s of one rendition and 20 s of another, whatever their tempi. The loss increases
the similarity of every pair of renditions against all windows of other works (Khosla et al., "Supervised contrastive
learning", NeurIPS 2020, with a softmax for each positive alone).
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab.data.takes import Take, any_tempo, split_of_take
from lab.models.cover import CoverNetwork, CoverShape
from lab.train import loop
from songprint.covers.tonal import CHANNELS, COLUMNS, FRAMES_PER_SECOND

T = TypeVar("T")
Works = Mapping[str, list[list[Take]]]  # the takes of each work, by kind

WINDOW = 20.0  # seconds
PASSAGES = 6  # of each held-out work
ATTEMPTS = 4  # to draw a passage that several versions of a work contain


@dataclass(frozen=True)
class Mixture(loop.Config):
    """The works of a batch by kind. The remaining ones are songs (rendered and imagined scores)."""

    works: int = 96
    real: float = 0.25  # share of real tracks
    tune: float = 0.17  # share of tunes from tune books
    recomposed: float = 0.25  # share of recomposed works
    version: float = 0.0  # share of works in versions that different people made


@dataclass(frozen=True)
class Config(Mixture):
    learning_rate: float = 1.5e-3
    renditions: int = 3  # of each work in a batch
    mirrored: float = 0.15  # share of works that are reversed in time, and of those reversed in pitch
    temperature: float = 0.07
    jitter: float = 2.5  # seconds by which two windows of a passage may be apart


class Trainer(loop.Trainer):
    """`tonal` is the folder that lab.data.cover_features and lab.data.imagine wrote."""

    def __init__(self, config: Config, tonal: Path) -> None:
        self.config = config
        self.works = load_works(tonal, "train")
        self.held_out = load_works(tonal, "calibration").get("song", [])
        frames = sum(len(take.frames) for pool in self.works.values() for takes in pool for take in takes)
        counts = ", ".join(f"{len(pool)} {kind}" for kind, pool in self.works.items())
        loop.report(f"{counts}: {frames / FRAMES_PER_SECOND / 3600:.1f} h")

    def network(self) -> CoverNetwork:
        return CoverNetwork(CoverShape())

    def load(self, network: CoverNetwork, weights: dict[str, Tensor]) -> None:
        add_layers(network, weights)

    def prepare(self, network: nn.Module) -> Callable[..., Any]:
        """Compile the network where that pays: a step takes a third less time."""
        if not (loop.SIXTEEN_BITS and shutil.which("g++")):
            return network
        assert isinstance(network, CoverNetwork)
        network.turning.to(memory_format=torch.channels_last)
        return torch.compile(network)

    def draw(self, rng: np.random.Generator, step: int) -> tuple[np.ndarray, np.ndarray]:
        config = self.config
        kept = draw_works(self.works, config, lambda takes: passage(takes, config.renditions, config, rng), rng)
        labels = np.repeat(np.arange(len(kept)), config.renditions)
        return damage(np.concatenate([mirrored(windows, config.mirrored, rng) for windows in kept]), rng), labels

    def loss(self, network: Any, batch: tuple[np.ndarray, np.ndarray]) -> tuple[Tensor, dict[str, float]]:
        windows, labels = batch
        with loop.precision():
            vectors = network(torch.from_numpy(windows))
        loss, nearest = contrast(vectors.float(), torch.from_numpy(labels), self.config.temperature)
        return loss, {"nearest": float(nearest)}

    def examine(self, network: nn.Module) -> Mapping[str, Any]:
        return examine(network, self.held_out, self.config) if self.held_out else {}


def load_works(folder: Path, split: str) -> Works:
    """The takes of each work of a split by kind: `song` (rendered and imagined) and, in training, `real`, `tune`,
    `recomposed` and `version`.

    Recomposed works keep their order: two neighbours share their chords.
    """
    works: dict[str, dict[int, list[Take]]] = defaultdict(lambda: defaultdict(list))
    for path in sorted(folder.glob("*-*-??.npz")):
        if split_of_take(path) == split:
            take = Take.load(path)
            if len(take.frames) > WINDOW * FRAMES_PER_SECOND:
                kind, number = take.work.split()
                works[kind][int(number)].append(take)
    return {kind: [takes for takes in found.values() if len(takes) > 1] for kind, found in works.items()}


def passage(takes: list[Take], count: int, config: Config, rng: np.random.Generator) -> np.ndarray | None:
    """Windows (count, frames, 48) float32 of one passage in several takes; None when too few takes contain it."""
    for _ in range(ATTEMPTS):  # a version may contain passages that no other one has
        first = takes[rng.integers(len(takes))]
        latest = len(first.frames) / FRAMES_PER_SECOND - WINDOW
        beat = first.beat_at(rng.uniform(0, max(latest, 0.1)))
        if any(other.arrangement != first.arrangement and other.when(beat, rng) is not None for other in takes):
            break
    order = rng.permutation(len(takes))
    windows, used = [], set()
    for turn, i in enumerate([*order, *rng.permutation(len(takes))]):  # with too few takes, some are used twice
        if turn < len(order) and takes[i].arrangement in used:
            continue
        at = takes[i].when(beat, rng)
        if at is not None:
            used |= {takes[i].arrangement} - {""}
            windows.append(window(takes[i], at + rng.uniform(-config.jitter, config.jitter), rng))
        if len(windows) == count:
            return np.stack(windows)
    return None


def window(take: Take, second: float, rng: np.random.Generator) -> np.ndarray:
    """The 20 s from `second` on at a slightly changed tempo, (frames, 48) float32 0..1."""
    count = round(WINDOW * FRAMES_PER_SECOND)
    tempo = any_tempo(rng)
    start = np.clip(second * FRAMES_PER_SECOND, 0, max(0, len(take.frames) - count * tempo))
    return take.frames_at(start + np.arange(count) * tempo)


def mirrored(windows: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Reverse all renditions of a passage (n, frames, 48) in time or in pitch, each with probability `share`.

    The result is a passage of another work.
    """
    planes = windows.reshape(*windows.shape[:2], CHANNELS, 12)
    if rng.random() < share:
        planes = planes[:, ::-1]
    if rng.random() < share:
        planes = planes[:, :, :, ::-1]
    return planes.reshape(windows.shape)


def damage(windows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Imitate errors of the front end and choices of arrangers, in windows (n, frames, 48)."""
    count, length, _ = windows.shape
    planes = windows.reshape(count, length, CHANNELS, 12)

    def some(share: float) -> np.ndarray:
        return np.less(rng.random(count), share)

    planes = planes ** np.where(some(0.6), rng.uniform(0.5, 1.6, count), 1)[:, None, None, None]
    gains = np.where(rng.random((count, CHANNELS)) < 0.5, rng.uniform(0.4, 1.3, (count, CHANNELS)), 1)
    gone = np.where(some(0.35), rng.integers(0, CHANNELS, count), -1)  # a channel without content
    gains *= np.arange(CHANNELS) != gone[:, None]
    planes = planes * gains[:, None, :, None]
    other = rng.permutation(count)  # another song in the background
    behind = np.where(some(0.15), rng.uniform(0.1, 0.4, count), 0)
    turned = np.roll(planes[other], int(rng.integers(12)), axis=3)
    planes = np.maximum(planes, turned * behind[:, None, None, None])
    noise = np.where(some(0.4), rng.uniform(0, 0.25, count), 0)[:, None, None, None]
    planes = planes + noise * rng.random(planes.shape, np.float32) ** 2
    share = np.where(some(0.3), rng.uniform(0, 0.2, count), 0)[:, None, None, None]
    planes = np.where(rng.random(planes.shape, np.float32) < share, 0, planes)
    for i in np.flatnonzero(some(0.25)):  # a break, applause, speech
        start = rng.integers(length)
        planes[i, start : start + rng.integers(5, 25)] *= rng.uniform(0, 0.4)
    for i in np.flatnonzero(some(0.15)):  # a short query, repeated to fill the window
        kept = int(rng.integers(0.4 * length, length))
        planes[i] = np.resize(planes[i, :kept], planes[i].shape)
    return planes.clip(0, 1).reshape(count, length, COLUMNS).astype(np.float32)


def choose_works(works: Works, mixture: Mixture, rng: np.random.Generator) -> list[list[Take]]:
    """The works of a batch; recomposed works come in pairs that share their chords."""
    chosen = []
    for kind in ("real", "tune", "recomposed", "version"):
        share = getattr(mixture, kind)
        pool, count = works.get(kind, []), round(mixture.works * share)
        if kind == "recomposed":
            pairs = rng.permutation(len(pool) // 2)[: count // 2]
            chosen += [pool[2 * i + twin] for i in pairs for twin in (0, 1)]
        else:
            chosen += [pool[i] for i in rng.permutation(len(pool))[:count]]
    songs = works["song"]
    return chosen + [songs[i] for i in rng.permutation(len(songs))[: mixture.works - len(chosen)]]


def draw_works(
    works: Works, mixture: Mixture, draw: Callable[[list[Take]], T | None], rng: np.random.Generator
) -> list[T]:
    """Draw from each work of a batch. Draws that fail are replaced by songs, because batches have one size."""
    kept = [drawn for takes in choose_works(works, mixture, rng) if (drawn := draw(takes)) is not None]
    songs = works["song"]
    while len(kept) < mixture.works:
        drawn = draw(songs[rng.integers(len(songs))])
        kept += [] if drawn is None else [drawn]
    return kept


def contrast(vectors: Tensor, labels: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """The loss over (n, dim), and the share of windows whose nearest window is of the same work."""
    similarity = (vectors @ vectors.T / temperature).fill_diagonal_(-1e4)
    same = labels[:, None] == labels[None]
    positive = same.clone().fill_diagonal_(False)
    others = torch.logsumexp(similarity.masked_fill(same, -1e4), 1, keepdim=True)
    # a softmax for each positive alone: otherwise the nearest positive would hide the others
    each = F.softplus(others - similarity)
    nearest = labels[similarity.argmax(1)] == labels
    return (each * positive).sum() / positive.sum(), nearest.float().mean()


def examine(network: nn.Module, works: list[list[Take]], config: Config) -> dict[str, float]:
    """How often the nearest window of another take is the same passage, among passages of held-out works."""
    rng = np.random.default_rng(1)
    drawn = [passage(takes, 2, config, rng) for takes in works for _ in range(PASSAGES)]
    kept = [windows for windows in drawn if windows is not None]
    with loop.evaluating(network):
        vectors = [network(torch.from_numpy(np.stack([windows[k] for windows in kept]))) for k in (0, 1)]
    similarity = vectors[0] @ vectors[1].T
    ranks = (similarity >= similarity.diag()[:, None]).sum(1).float()
    return {
        "nearest": round(float((ranks == 1).float().mean()), 4),
        "reciprocal rank": round(float((1 / ranks).mean()), 4),
    }


def add_layers(network: CoverNetwork, weights: dict[str, Tensor]) -> None:
    """Load the weights of a network of as many layers or fewer; additional layers have no effect at first."""
    for layer in {int(name.split(".")[1]) for name in loop.take_over(network, weights, "blocks.")}:
        for last in (network.blocks[layer].join, network.blocks[layer].feed[-1]):
            torch.nn.init.zeros_(last.weight)
            torch.nn.init.zeros_(last.bias)
