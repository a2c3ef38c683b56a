"""Train the verifier of covers: whether what lies along a path is one song twice.

    python -m lab.data.verifier_pairs --data data --tonal data/tonal --out data/pairs
    python -m lab.train.verifier --pairs data/pairs --minutes 15 --out runs/verifier.pt

Every tenth work is held out, to see how well it learns; what it is worth is what `lab.ship.calibrate_covers` says.
"""

from __future__ import annotations

import copy
import json
import sys
import time
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lab.data.verifier_pairs import Answer, answers
from lab.models.verifier import Verifier
from lab.train import loop
from lab.train.restore import begin
from songprint.covers.verifier import PLANES

SIZES = (150, 100, 75, 50, 35, 25)  # rows (60 to 10 s): a batch is of one size, what is longer is cut
SETTLING = 20  # batches from which the normalisations of what ships learn their means


@dataclass(frozen=True)
class Recipe:
    batch: int = 96
    shortened: float = 0.3  # share of batches of which a part of each band is shown,
    backwards: float = 0.3  # of bands that run from their end to their beginning
    gone: float = 0.1  # and in which a channel is missing
    gain: tuple[float, float] = (0.7, 1.2)
    noise: float = 10.0  # highest, in LEVELS
    learning_rate: float = 2e-3
    warm_up: int = 100
    weight_decay: float = 1e-2
    averaging: float = 0.995
    seed: int = 0


def by_size(found: list[Answer]) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Bands (n, rows, WIDTH, PLANES) int8 and which are right, by their number of rows."""
    bands, right = defaultdict(list), defaultdict(list)
    for answer in found:
        for one, is_right in zip(answer.bands, answer.right, strict=True):
            for size in SIZES:
                if len(one) >= size:
                    bands[size].append(one[:size])
                    right[size].append(float(is_right))
                    break
    return {size: (np.stack(those), np.array(right[size], np.float32)) for size, those in bands.items()}


def varied(bands: np.ndarray, recipe: Recipe, rng: np.random.Generator) -> np.ndarray:
    """Other bands that are right or wrong for the same reasons: a part of each, or played backwards."""
    count, rows = bands.shape[:2]
    shorter = [size for size in SIZES if size < rows]
    if shorter and rng.random() < recipe.shortened:
        size = int(rng.choice(shorter))
        starts = rng.integers(rows - size + 1, size=count)
        bands = bands[np.arange(count)[:, None], starts[:, None] + np.arange(size)]
    backwards = (rng.random(count) < recipe.backwards)[:, None, None, None]
    return np.where(backwards, bands[:, ::-1, ::-1], bands)


def damaged(bands: np.ndarray, recipe: Recipe, rng: np.random.Generator) -> Tensor:
    """Channels that fail, or say more or less, and noise; the path itself is left."""
    count = len(bands), 1, 1, PLANES
    is_channel = np.arange(PLANES) < PLANES - 1  # the last is the path
    gains = np.where(is_channel, rng.uniform(*recipe.gain, count) * (rng.random(count) >= recipe.gone), 1)
    found = torch.from_numpy(bands).float() * torch.from_numpy(gains.astype(np.float32))
    noise = torch.from_numpy((is_channel * rng.uniform(0, recipe.noise, (len(bands), 1, 1, 1))).astype(np.float32))
    return found + torch.randn_like(found) * noise


def examine(network: Verifier, held_out: list[Answer]) -> dict[str, float]:
    """Of the questions that are answered: the share of those whose best path is right, and of those told apart from
    wrong ones at a false-accept rate of 1 %; by the network, and by the scores of the alignment."""
    network.eval()
    with torch.no_grad():
        said = [network(torch.from_numpy(np.stack(answer.bands)).float()).numpy() for answer in held_out]
    network.train()
    found = {}
    for name, scores in (("network", said), ("alignment", [np.array(answer.scores) for answer in held_out])):
        right = [np.array(answer.right) for answer in held_out]
        best = np.array(
            [
                [score[is_right].max(initial=-100), score[~is_right].max(initial=-100)]
                for score, is_right in zip(scores, right, strict=True)
            ]
        )
        known = np.array([is_right.any() for is_right in right])
        level = np.quantile(best[:, 1], 0.99)
        found |= {
            f"{name}, first": round(float((best[known, 0] > best[known, 1]).mean()), 4),
            f"{name}, at 1 %": round(float((best[known, 0] > level).mean()), 4),
        }
    return found


def main() -> None:
    parser = loop.arguments(__doc__, 15, Recipe.learning_rate, "a checkpoint, or verifier.onnx as it ships")
    parser.add_argument("--pairs", type=Path, required=True, help="what lab.data.verifier_pairs wrote")
    options = parser.parse_args()
    recipe = Recipe(learning_rate=options.rate)
    torch.set_num_threads(options.threads)
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    found = list(answers(options.pairs))
    held_out = [answer for answer in found if answer.held_out]
    bands = by_size([answer for answer in found if not answer.held_out])
    del found
    print(
        ", ".join(
            f"{len(right)} bands of {size} rows ({right.mean():.0%} right)" for size, (_, right) in bands.items()
        ),
        f"{len(held_out)} questions held out",
        sep="; ",
        file=sys.stderr,
        flush=True,
    )
    sizes = list(bands)
    shares = np.array([len(bands[size][1]) for size in sizes]) / sum(len(right) for _, right in bands.values())

    def batch() -> tuple[Tensor, Tensor]:
        those, right = bands[sizes[rng.choice(len(sizes), p=shares)]]
        chosen = rng.integers(len(right), size=recipe.batch)
        return damaged(varied(those[chosen], recipe, rng), recipe, rng), torch.from_numpy(right[chosen])

    network = Verifier()
    begin(network, options.start, (batch()[0] for _ in range(SETTLING)), network.load_state_dict)
    averaged = copy.deepcopy(network)
    optimiser = torch.optim.AdamW(network.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
    began, step, log, total = time.monotonic(), 0, [], options.minutes * 60
    while (passed := time.monotonic() - began) < total:
        shown, right = batch()
        loss = F.binary_cross_entropy_with_logits(network(shown), right)
        rate = loop.rate_at(recipe.learning_rate, recipe.warm_up, step, passed / total)
        loop.learn(optimiser, network, loss, rate, 5.0)
        step += 1
        loop.follow(averaged, network, recipe.averaging, step)
        log.append(float(loss.detach()))
        if step % 200 == 0:
            print(f"{step} {passed:.0f} s loss {np.mean(log[-200:]):.4f}", file=sys.stderr, flush=True)
        if step % 1000 == 0:
            torch.save(averaged.state_dict(), options.out)
            print(f"  held out: {examine(averaged, held_out)}", file=sys.stderr, flush=True)
    torch.save(averaged.state_dict(), options.out)
    told = {
        "steps": step,
        "minutes": options.minutes,
        "loss": round(float(np.mean(log[-200:])), 4),
        "held out": examine(averaged, held_out),
        "recipe": asdict(recipe),
    }
    print(told["held out"], file=sys.stderr)
    options.out.with_suffix(".json").write_text(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
