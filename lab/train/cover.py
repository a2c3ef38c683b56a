"""Train the cover encoder: vectors of a passage that its other renditions share.

    python -m lab.data.cover_features --data data --covers data/covers --out data/tonal
    python -m lab.data.imagine --scores data/pop909.pkl --covers data/covers --tonal data/tonal
    python -m lab.data.imagine --scores data/tunes.pkl --kind tune --takes 2 ...
    python -m lab.data.imagine --scores data/recomposed.pkl --kind recomposed --takes 3 ...
    python -m lab.train.cover --tonal data/tonal --minutes 40 --out runs/cover.pt

Each batch has some renditions of the same passage of many works. Passages correspond exactly, because the beats
of the score are known; a window is 20 s of one rendition and 20 s of the other, whatever their tempi. The loss pulls
every pair of renditions together against all windows of other works (Khosla et al., "Supervised contrastive
learning", NeurIPS 2020, a softmax for each positive alone).
"""

from __future__ import annotations

import copy
import json
import shutil
import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lab.data.takes import Take, any_tempo, split_of_take
from lab.models.cover import CoverNetwork, CoverShape
from lab.train import loop
from lab.train.restore import begin
from songprint.covers.tonal import CHANNELS, COLUMNS, FRAMES_PER_SECOND

T = TypeVar("T")

WINDOW = 20.0  # seconds
PASSAGES = 6  # of each held-out work
SETTLING = 10  # batches from which the normalisations of what ships learn their means


@dataclass(frozen=True)
class Recipe:
    works: int = 96  # in a batch
    renditions: int = 3  # of each
    real: float = 0.25  # share of works that are real tracks
    tune: float = 0.17  # of works out of tune books
    recomposed: float = 0.25  # of works that were recomposed; the others are songs that were rendered
    mirrored: float = 0.15  # of works that are played backwards, and of those turned upside down
    temperature: float = 0.07
    jitter: float = 2.5  # seconds by which two windows of a passage may be apart
    learning_rate: float = 1.5e-3
    warm_up: int = 100
    weight_decay: float = 1e-3
    averaging: float = 0.998
    seed: int = 0


def load_works(folder: Path, split: str) -> dict[str, list[list[Take]]]:
    """The takes of each work of the split, by kind: `song` (rendered and imagined), and for training `real` tracks,
    `tune` and `recomposed`. The recomposed ones are in their order: each has its chords from the one beside it."""
    works: dict[str, dict[int, list[Take]]] = defaultdict(lambda: defaultdict(list))
    for path in sorted(folder.glob("*-*-??.npz")):
        if split_of_take(path) == split:
            take = Take.load(path)
            if len(take.frames) > WINDOW * FRAMES_PER_SECOND:
                kind, number = take.work.split()
                works[kind][int(number)].append(take)
    return {kind: [takes for takes in found.values() if len(takes) > 1] for kind, found in works.items()}


def passage(takes: list[Take], count: int, recipe: Recipe, rng: np.random.Generator) -> np.ndarray | None:
    """Windows (count, frames, 48) float32 of one passage in several takes; None where a try fails."""
    first = takes[rng.integers(len(takes))]
    latest = len(first.frames) / FRAMES_PER_SECOND - WINDOW
    beat = first.beat_at(rng.uniform(0, max(latest, 0.1)))
    order = rng.permutation(len(takes))
    windows, heard = [], set()
    for turn, i in enumerate([*order, *rng.permutation(len(takes))]):  # too few: some twice, damaged anew
        if turn < len(order) and takes[i].arrangement in heard:
            continue
        at = takes[i].when(beat, rng)
        if at is not None:
            heard |= {takes[i].arrangement} - {""}
            windows.append(window(takes[i], at + rng.uniform(-recipe.jitter, recipe.jitter), rng))
        if len(windows) == count:
            return np.stack(windows)
    return None


def window(take: Take, second: float, rng: np.random.Generator) -> np.ndarray:
    """The 20 s from `second` on, played a little faster or slower, (frames, 48) float32 0..1."""
    count = round(WINDOW * FRAMES_PER_SECOND)
    tempo = any_tempo(rng)
    start = np.clip(second * FRAMES_PER_SECOND, 0, max(0, len(take.frames) - count * tempo))
    return take.frames_at(start + np.arange(count) * tempo)


def mirrored(windows: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """All renditions of a passage (n, frames, 48) backwards, or upside down, at times: the tune of another work."""
    planes = windows.reshape(*windows.shape[:2], CHANNELS, 12)
    if rng.random() < share:
        planes = planes[:, ::-1]
    if rng.random() < share:
        planes = planes[:, :, :, ::-1]
    return planes.reshape(windows.shape)


def damage(windows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What front-ends get wrong and arrangers leave out, over (n, frames, 48)."""
    count, length, _ = windows.shape
    planes = windows.reshape(count, length, CHANNELS, 12)

    def some(share: float) -> np.ndarray:
        return rng.random(count) < share

    planes = planes ** np.where(some(0.6), rng.uniform(0.5, 1.6, count), 1)[:, None, None, None]
    gains = np.where(rng.random((count, CHANNELS)) < 0.5, rng.uniform(0.4, 1.3, (count, CHANNELS)), 1)
    gone = np.where(some(0.35), rng.integers(0, CHANNELS, count), -1)  # a channel that fails
    gains *= np.arange(CHANNELS) != gone[:, None]
    planes = planes * gains[:, None, :, None]
    other = rng.permutation(count)  # another song behind
    behind = np.where(some(0.15), rng.uniform(0.1, 0.4, count), 0)
    turned = np.roll(planes[other], int(rng.integers(12)), axis=3)
    planes = np.maximum(planes, turned * behind[:, None, None, None])
    noise = np.where(some(0.4), rng.uniform(0, 0.25, count), 0)[:, None, None, None]
    planes = planes + noise * rng.random(planes.shape, np.float32) ** 2
    share = np.where(some(0.3), rng.uniform(0, 0.2, count), 0)[:, None, None, None]
    planes = np.where(rng.random(planes.shape, np.float32) < share, 0, planes)
    for i in np.flatnonzero(some(0.25)):  # a break, applause, talk
        start = rng.integers(length)
        planes[i, start : start + rng.integers(5, 25)] *= rng.uniform(0, 0.4)
    for i in np.flatnonzero(some(0.15)):  # a short clip, repeated
        kept = int(rng.integers(0.4 * length, length))
        planes[i] = np.resize(planes[i, :kept], planes[i].shape)
    return planes.clip(0, 1).reshape(count, length, COLUMNS).astype(np.float32)


def chosen(works: dict[str, list[list[Take]]], recipe: Recipe, rng: np.random.Generator) -> list[list[Take]]:
    """The works of a batch; of those recomposed always two that have their chords in common."""
    drawn = []
    for kind, share in (("real", recipe.real), ("tune", recipe.tune), ("recomposed", recipe.recomposed)):
        pool, count = works.get(kind, []), round(recipe.works * share)
        if kind == "recomposed":
            pairs = rng.permutation(len(pool) // 2)[: count // 2]
            drawn += [pool[2 * i + twin] for i in pairs for twin in (0, 1)]
        else:
            drawn += [pool[i] for i in rng.permutation(len(pool))[:count]]
    songs = works["song"]
    return drawn + [songs[i] for i in rng.permutation(len(songs))[: recipe.works - len(drawn)]]


def drawn(
    works: dict[str, list[list[Take]]], recipe: Recipe, draw: Callable[[list[Take]], T | None], rng: np.random.Generator
) -> list[T]:
    """What is drawn of the works of a batch. A try may fail: batches of one size are learned from faster."""
    kept = [one for takes in chosen(works, recipe, rng) if (one := draw(takes)) is not None]
    songs = works["song"]
    while len(kept) < recipe.works:
        one = draw(songs[rng.integers(len(songs))])
        kept += [] if one is None else [one]
    return kept


def make_batches(tonal: Path, recipe: Recipe, queue) -> None:
    """The other process: batches as fast as they are taken."""
    works = load_works(tonal, "train")
    frames = sum(len(take.frames) for pool in works.values() for takes in pool for take in takes)
    print(
        ", ".join(f"{len(pool)} {kind}" for kind, pool in works.items()),
        f"{frames / FRAMES_PER_SECOND / 3600:.0f} h",
        sep=": ",
        file=sys.stderr,
        flush=True,
    )
    rng = np.random.default_rng(recipe.seed)
    while True:
        kept = drawn(works, recipe, lambda takes: passage(takes, recipe.renditions, recipe, rng), rng)
        labels = np.repeat(np.arange(len(kept)), recipe.renditions)
        queue.put((damage(np.concatenate([mirrored(windows, recipe.mirrored, rng) for windows in kept]), rng), labels))


def contrast(vectors: Tensor, labels: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Loss over (n, dim), and the share of windows whose nearest is of the same work."""
    similarity = (vectors @ vectors.T / temperature).fill_diagonal_(-1e4)
    same = labels[:, None] == labels[None]
    positive = same.clone().fill_diagonal_(False)
    others = torch.logsumexp(similarity.masked_fill(same, -1e4), 1, keepdim=True)
    # each positive against all others alone: the nearest positive may not hide the rest
    each = F.softplus(others - similarity)
    nearest = labels[similarity.argmax(1)] == labels
    return (each * positive).sum() / positive.sum(), nearest.float().mean()


def examine(network: CoverNetwork, works: list[list[Take]], recipe: Recipe) -> dict[str, float]:
    """How well the passages of held-out works are told apart: the nearest window of another take is the right one."""
    rng = np.random.default_rng(1)
    drawn = [passage(takes, 2, recipe, rng) for takes in works for _ in range(PASSAGES)]
    kept = [windows for windows in drawn if windows is not None]
    network.eval()
    with torch.no_grad():
        vectors = [network(torch.from_numpy(np.stack([windows[k] for windows in kept]))) for k in (0, 1)]
    network.train()
    similarity = vectors[0] @ vectors[1].T
    ranks = (similarity >= similarity.diag()[:, None]).sum(1).float()
    return {
        "nearest": round(float((ranks == 1).float().mean()), 4),
        "reciprocal rank": round(float((1 / ranks).mean()), 4),
    }


def begin_with(network: CoverNetwork, weights: dict[str, Tensor]) -> None:
    """Take over the weights of a network of as many layers or fewer: those that it lacks do nothing at first."""
    for layer in {int(name.split(".")[1]) for name in loop.take_over(network, weights, "blocks.")}:
        for last in (network.blocks[layer].join, network.blocks[layer].feed[-1]):
            torch.nn.init.zeros_(last.weight)
            torch.nn.init.zeros_(last.bias)


def main() -> None:
    parser = loop.arguments(__doc__, 40, Recipe.learning_rate, "a checkpoint, or cover.onnx as it ships")
    parser.add_argument("--tonal", type=Path, required=True, help="what lab.data.cover_features wrote")
    options = parser.parse_args()
    recipe, shape = Recipe(learning_rate=options.rate), CoverShape()
    torch.set_num_threads(options.threads)
    torch.manual_seed(recipe.seed)
    queue, maker = loop.maker(make_batches, options.tonal, recipe)
    network = CoverNetwork(shape)
    begin(
        network,
        options.start,
        (torch.from_numpy(queue.get()[0]) for _ in range(SETTLING)),
        lambda checkpoint: begin_with(network, checkpoint["weights"]),
    )
    averaged = copy.deepcopy(network)
    optimiser = torch.optim.AdamW(network.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
    exam = load_works(options.tonal, "calibration")["song"]
    compiled = network
    if loop.SIXTEEN_BITS and shutil.which("g++"):  # a third faster, once it is compiled
        network.turning.to(memory_format=torch.channels_last)
        compiled = torch.compile(network)
    total, step, log = options.minutes * 60, 0, []
    for passed, (windows, labels) in loop.within(total, queue):
        with loop.precision():
            vectors = compiled(torch.from_numpy(windows))
        loss, nearest = contrast(vectors.float(), torch.from_numpy(labels), recipe.temperature)
        rate = loop.rate_at(recipe.learning_rate, recipe.warm_up, step, passed / total)
        loop.learn(optimiser, network, loss, rate, 5.0)
        step += 1
        loop.follow(averaged, network, recipe.averaging, step)
        log.append((float(loss.detach()), float(nearest)))
        if step % 50 == 0:
            means = np.mean(log[-50:], axis=0)
            print(f"{step} {passed:.0f} s loss {means[0]:.3f} nearest {means[1]:.3f}", file=sys.stderr, flush=True)
        if step % 200 == 0:
            save(options.out, averaged, shape, recipe, step)
            print(f"  held out: {examine(averaged, exam, recipe)}", file=sys.stderr, flush=True)
    save(options.out, averaged, shape, recipe, step)
    options.out.with_suffix(".json").write_text(
        json.dumps(
            {
                "steps": step,
                "minutes": options.minutes,
                "loss": round(float(np.mean([row[0] for row in log[-100:]])), 4),
                "held out": examine(averaged, exam, recipe),
                "recipe": asdict(recipe),
            },
            indent=1,
        )
    )
    maker.terminate()


def save(path: Path, network: CoverNetwork, shape: CoverShape, recipe: Recipe, step: int) -> None:
    torch.save({"weights": network.state_dict(), "shape": asdict(shape), "recipe": asdict(recipe), "step": step}, path)


if __name__ == "__main__":
    main()
