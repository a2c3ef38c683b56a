"""Train the fingerprint encoder.

    python -m lab.train.fingerprint --data data --noise NOISE_DIR --minutes 90 --out runs/fingerprint.pt

One process makes pairs, this one learns: two cores are well used. NT-Xent (Chen et al., 2020) at
temperature 0.05 over all pairs of a batch, bf16, cosine schedule over the given minutes, running mean of
the weights. A checkpoint is written every few minutes; `lab.ship.export` makes the ONNX file of it.
A run of 2 minutes on any folder of music shows the loss fall.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import multiprocessing
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lab.data import batches
from lab.models.fingerprint import FingerprintNetwork
from lab.train import loop
from lab.train.restore import restored_integers, settled

SETTLING = 8  # batches from which the normalisations of what ships learn their means


@dataclass(frozen=True)
class Recipe:
    """What a run is made of."""

    batch: int = 256  # pairs; more negatives are better, but a step takes longer
    temperature: float = 0.05
    learning_rate: float = 1e-3
    warm_up: int = 150  # steps
    curriculum: int = 1200  # steps until the full damage
    weight_decay: float = 1e-4
    averaging: float = 0.998  # of the running mean of the weights
    hold: int = 24  # batches kept for mixing again while the next one is made
    seed: int = 0


def contrast(clean: Tensor, damaged: Tensor, tracks: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """NT-Xent over (n, dim) pairs -> the loss, and the share of rows whose nearest is their pair.

    Other pairs of the same track are neither pulled nor pushed: they may be a loop.
    """
    count = len(clean)
    vectors, tracks = torch.cat([clean, damaged]), torch.cat([tracks, tracks])  # (2n, dim), (2n,)
    rows = torch.arange(2 * count)
    target = (rows + count) % (2 * count)
    same = tracks[:, None] == tracks
    same[rows, target] = False
    similarity = (vectors @ vectors.T / temperature).masked_fill(same, -1e9)
    return F.cross_entropy(similarity, target), (similarity.argmax(1) == target).float().mean()


def make_batches(data: Path, noise: Path, recipe: Recipe, curriculum: int, step, queue) -> None:
    """The other process: pairs as fast as they are taken."""
    torch.set_num_threads(1)
    material = batches.load_material(data, noise)
    seconds = sum(len(track) for track in material.music) / batches.RATE
    print(f"{len(material.music)} tracks, {seconds / 3600:.1f} h", file=sys.stderr)
    rng = np.random.default_rng(recipe.seed)
    while True:
        difficulty = min(1.0, 0.1 + step.value / max(curriculum, 1)) if curriculum else 1.0
        queue.put(batches.pairs(material, recipe.batch, difficulty, rng))


class Mixer:
    """Batches from the queue; while none is ready, rows of earlier ones in new company.

    Contrast depends on who else is in the batch, so a pair that is seen again among others still teaches.
    """

    def __init__(self, queue, hold: int, rng: np.random.Generator):
        self.queue, self.hold, self.rng = queue, hold, rng
        self.kept: list[tuple[np.ndarray, ...]] = []
        self.fresh = 0

    def next(self) -> tuple[np.ndarray, ...]:
        """Clean windows, damaged windows, track numbers."""
        if self.queue.empty() and len(self.kept) >= self.hold:
            return self.mixed()
        batch = self.queue.get()
        self.fresh += 1
        self.kept = [*self.kept, batch][-self.hold :]
        return batch

    def mixed(self) -> tuple[np.ndarray, ...]:
        size = len(self.kept[0][0])
        sources = self.rng.choice(len(self.kept), 4, replace=False)
        rows = [(source, self.rng.choice(size, size // 4, replace=False)) for source in sources]
        return tuple(np.concatenate([self.kept[source][part][chosen] for source, chosen in rows]) for part in range(3))


def train(data: Path, noise: Path, minutes: float, out: Path, recipe: Recipe, start: Path | None = None) -> None:
    torch.manual_seed(recipe.seed)
    torch.set_num_threads(1)
    network = FingerprintNetwork()
    shipped = start is not None and start.suffix == ".onnx"
    if shipped:
        restored_integers(network, start)
    elif start:
        network.load_state_dict(torch.load(start, weights_only=True)["weights"])
    network.stem.to(memory_format=torch.channels_last)  # a step takes a seventh less
    print(f"{sum(p.numel() for p in network.parameters()) / 1e6:.2f} M parameters", file=sys.stderr)
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)

    context = multiprocessing.get_context("spawn")
    shared_step = context.Value("i", 0)
    queue = context.Queue(maxsize=4)
    curriculum = 0 if start else recipe.curriculum  # what has learned already takes the full damage
    context.Process(
        target=make_batches, daemon=True, args=(data, noise, recipe, curriculum, shared_step, queue)
    ).start()
    mixer = Mixer(queue, recipe.hold, np.random.default_rng(recipe.seed + 1))

    if shipped:
        settled(network, (torch.from_numpy(np.concatenate(mixer.next()[:2])) for _ in range(SETTLING)))
    average = copy.deepcopy(network)
    began, step, saved, losses, hits = None, 0, 0.0, [], []
    while True:
        clean, damaged, numbers = mixer.next()
        tracks = torch.from_numpy(numbers)
        began = began or time.monotonic()
        elapsed = (time.monotonic() - began) / 60
        if elapsed > minutes:
            break
        rate = min(1, (step + 1) / recipe.warm_up) * (0.5 + 0.5 * math.cos(math.pi * elapsed / minutes))
        with loop.precision():
            vectors = network(torch.from_numpy(np.concatenate([clean, damaged])))
        loss, hit = contrast(*vectors.float().chunk(2), tracks, recipe.temperature)
        loop.learn(optimizer, network, loss, recipe.learning_rate * max(rate, 0.005), 2.0)
        step += 1
        shared_step.value = step
        losses.append(loss.item())
        hits.append(hit.item())
        loop.follow(average, network, recipe.averaging, step)
        if step % 50 == 0:
            print(
                f"step {step}  {elapsed:.1f} min  loss {np.mean(losses[-50:]):.3f}  "
                f"nearest {np.mean(hits[-50:]):.3f}  fresh {mixer.fresh / step:.2f}",
                file=sys.stderr,
            )
        if elapsed - saved > 4:
            saved = elapsed
            save(out, average, recipe, step, elapsed, losses)
    save(out, average, recipe, step, minutes, losses)


def save(out: Path, network: torch.nn.Module, recipe: Recipe, step: int, minutes: float, losses: list[float]) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = out.with_suffix(".unfinished")
    torch.save({"weights": network.state_dict(), "recipe": asdict(recipe)}, unfinished)
    unfinished.rename(out)
    log = {"steps": step, "minutes": round(minutes, 1), "loss": round(float(np.mean(losses[-200:])), 4)}
    out.with_suffix(".json").write_text(json.dumps(log))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"), help="made by lab.data.corpus and lab.data.copies")
    parser.add_argument("--noise", type=Path, required=True, help="folder of ambience recordings (.opus)")
    parser.add_argument("--minutes", type=float, default=90)
    parser.add_argument("--out", type=Path, default=Path("runs/fingerprint.pt"))
    parser.add_argument(
        "--start",
        type=Path,
        help="go on from this checkpoint, or from fingerprint.onnx as it ships, at the full damage",
    )
    parser.add_argument("--rate", type=float, default=Recipe.learning_rate, help="highest learning rate")
    options = parser.parse_args()
    train(options.data, options.noise, options.minutes, options.out, Recipe(learning_rate=options.rate), options.start)


if __name__ == "__main__":
    main()
