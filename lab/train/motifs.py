"""Train the motif network: what a moment has in common with the same moment of other renditions.

    python -m lab.data.cover_features ...; python -m lab.data.imagine ...       (see lab.train.cover)
    python -m lab.train.motifs --tonal data/tonal --minutes 40 --out runs/motifs.pt

Each batch has a stretch in two renditions of many works, in their own keys and tempos. The beats of the score tell
which row of one is which row of the other; a row is to be more like that one than like all others, of the same work
and of every other one (noise-contrastive estimation: van den Oord, Li and Vinyals, 2018).
"""

from __future__ import annotations

import copy
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lab.data.takes import Take, any_tempo
from lab.models.motifs import MotifNetwork
from lab.train import loop
from lab.train.cover import Recipe as Mixture
from lab.train.cover import damage, drawn, load_works
from lab.train.restore import begin
from songprint.covers.rows import FAINTEST, POOLED
from songprint.covers.tonal import CHANNELS, FRAMES_PER_SECOND, PITCH_CLASSES

FRAMES = 120  # of a stretch: 24 s
ROWS = FRAMES // POOLED
SAME = 0.6  # beats by which two rows that are the same may differ
NEAR = 2.0  # beats up to which one is neither the same nor another
PASSAGES = 6  # of each held-out work
SHARP = "sharp"  # is learned, but not exported
SETTLING = 10  # batches from which the normalisations of what ships learn their means


@dataclass(frozen=True)
class Recipe:
    works: int = 40  # in a batch, of the kinds that `lab.train.cover` mixes
    jitter: float = 3.0  # seconds by which two stretches of a passage may be apart
    own: float = 1.5  # what the logarithm of all rows of the same work is raised by
    learning_rate: float = 3e-3
    warm_up: int = 100
    weight_decay: float = 1e-3
    averaging: float = 0.995
    seed: int = 0


@dataclass(frozen=True)
class Stretches:
    """Stretches of several takes, and which beat is played in each row."""

    frames: np.ndarray  # (n, FRAMES, 48) float32 0..1
    beats: np.ndarray  # (n, ROWS) float32; nan where the take is over

    @classmethod
    def of(cls, those: list[tuple[np.ndarray, np.ndarray]]) -> Stretches:
        return cls(*map(np.stack, zip(*those, strict=True)))


def stretch(take: Take, second: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """24 s from `second` on, played a little faster or slower: frames, and the beats of the rows."""
    tempo, last = any_tempo(rng), len(take.frames) - 1
    at = np.clip(second * FRAMES_PER_SECOND, 0, max(0, last - FRAMES * tempo)) + np.arange(FRAMES) * tempo
    middles = (at.clip(max=last - 1e-3).reshape(ROWS, POOLED).mean(axis=1) + 0.5) / FRAMES_PER_SECOND
    beats = np.interp(middles, take.seconds, take.beats)
    beats[at[::POOLED] >= last] = np.nan
    return take.frames_at(at), beats.astype(np.float32)


def pair(takes: list[Take], jitter: float, rng: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray]] | None:
    """A passage in two renditions of a work; None where a try fails."""
    first = takes[rng.integers(len(takes))]
    second = rng.uniform(0, max((len(first.frames) - FRAMES) / FRAMES_PER_SECOND, 0.1))
    beat = first.beat_at(second)
    for i in rng.permutation(len(takes)):
        other = takes[i]
        if other is first or "" != other.arrangement == first.arrangement:
            continue
        at = other.when(beat, rng)
        if at is not None:
            return [stretch(first, second, rng), stretch(other, at + rng.uniform(-jitter, jitter), rng)]
    return None


def batch(works: dict[str, list[list[Take]]], recipe: Recipe, rng: np.random.Generator) -> tuple[Stretches, Stretches]:
    """A passage of so many works, in two renditions each."""
    kept = drawn(works, Mixture(works=recipe.works), lambda takes: pair(takes, recipe.jitter, rng), rng)
    sides = [Stretches.of([one[side] for one in kept]) for side in (0, 1)]
    first, second = (Stretches(damage(side.frames, rng), side.beats) for side in sides)
    return first, second


def make_batches(tonal: Path, recipe: Recipe, queue) -> None:
    """The other process: batches as fast as they are taken."""
    works = load_works(tonal, "train")
    rng = np.random.default_rng(recipe.seed)
    while True:
        queue.put(batch(works, recipe, rng))


def corresponding(first: np.ndarray, second: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
    """Beats (n, ROWS) of both -> (n, ROWS) the row of the second that each of the first is, whether it is one at all,
    and (n, ROWS, ROWS) which are too near to be others."""
    apart = np.abs(first[:, :, None] - second[:, None])
    apart = np.where(np.isnan(apart), np.inf, apart)
    return (
        torch.from_numpy(apart.argmin(axis=2)),
        torch.from_numpy(apart.min(axis=2) < SAME),
        torch.from_numpy(apart < NEAR),
    )


def key_between(first: np.ndarray, second: np.ndarray, same: Tensor, known: Tensor) -> Tensor:
    """By how many semitones to raise each of the second to be in the key of the first: what sounds in rows that
    correspond is most alike then."""

    def sounds(frames: np.ndarray) -> Tensor:
        rows = torch.sqrt(torch.from_numpy(frames)).reshape(len(frames), ROWS, POOLED, CHANNELS, PITCH_CLASSES).mean(2)
        rows = rows - rows.mean(3, keepdim=True)
        return rows / (rows.flatten(2).norm(dim=2)[:, :, None, None] + FAINTEST)

    one = sounds(first) * known[:, :, None, None]
    other = sounds(second).gather(1, same[:, :, None, None].expand(-1, -1, CHANNELS, PITCH_CLASSES))
    return torch.stack([(one * other.roll(key, 3)).sum((1, 2, 3)) for key in range(PITCH_CLASSES)], 1).argmax(1)


def contrast(network: MotifNetwork, first: Stretches, second: Stretches, own: float) -> tuple[Tensor, Tensor, Tensor]:
    """The loss, and the share of rows that are more like the same one than like all others, and all of their work."""
    count = len(first.frames)
    same, known, near = corresponding(first.beats, second.beats)
    keys = key_between(first.frames, second.frames, same, known).tolist()
    rows = network(torch.from_numpy(np.concatenate([first.frames, second.frames])))
    # works in the keys that they happen to be in are others, too
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


def examine(network: MotifNetwork, works: list[list[Take]], recipe: Recipe) -> dict[str, float]:
    """How often rows of held-out works are most like the same one."""
    rng = np.random.default_rng(1)
    kept = [one for takes in works for _ in range(PASSAGES) if (one := pair(takes, recipe.jitter, rng))]
    network.eval()
    with torch.no_grad():
        told = [
            contrast(network, *(Stretches.of([kept[i][side] for i in those]) for side in (0, 1)), recipe.own)
            for those in np.array_split(np.arange(len(kept)), -(-len(kept) // recipe.works))
        ]
    network.train()
    _, among_all, among_own = np.mean([[float(value) for value in row] for row in told], axis=0)
    return {"of all": round(float(among_all), 4), "of the same work": round(float(among_own), 4)}


def main() -> None:
    parser = loop.arguments(__doc__, 40, Recipe.learning_rate, "a checkpoint, or motifs.onnx as it ships")
    parser.add_argument(
        "--tonal", type=Path, required=True, help="what lab.data.cover_features and lab.data.imagine wrote"
    )
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    options = parser.parse_args()
    recipe = Recipe(learning_rate=options.rate, seed=options.seed)
    torch.set_num_threads(options.threads)
    torch.manual_seed(recipe.seed)
    queue, maker = loop.maker(make_batches, options.tonal, recipe)
    network = MotifNetwork()
    begin(
        network,
        options.start,
        (torch.from_numpy(queue.get()[0].frames) for _ in range(SETTLING)),
        network.load_state_dict,
        later=SHARP,
    )
    averaged = copy.deepcopy(network)
    optimiser = torch.optim.AdamW(network.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
    exam = load_works(options.tonal, "calibration")["song"]
    print(f"held out, before: {examine(averaged, exam, recipe)}", file=sys.stderr, flush=True)
    total, step, log = options.minutes * 60, 0, []
    for passed, (first, second) in loop.within(total, queue):
        loss, among_all, among_own = contrast(network, first, second, recipe.own)
        rate = loop.rate_at(recipe.learning_rate, recipe.warm_up, step, passed / total)
        loop.learn(optimiser, network, loss, rate, 5.0)
        step += 1
        loop.follow(averaged, network, recipe.averaging, step)
        log.append((float(loss.detach()), float(among_all), float(among_own)))
        if step % 50 == 0:
            means = np.mean(log[-50:], axis=0)
            print(
                f"{step} {passed:.0f} s loss {means[0]:.3f} nearest {means[1]:.3f}, of its work {means[2]:.3f}",
                file=sys.stderr,
                flush=True,
            )
        if step % 400 == 0:
            torch.save(averaged.state_dict(), options.out)
            print(f"  held out: {examine(averaged, exam, recipe)}", file=sys.stderr, flush=True)
    torch.save(averaged.state_dict(), options.out)
    told = {
        "steps": step,
        "minutes": options.minutes,
        "loss": round(float(np.mean([row[0] for row in log[-100:]])), 4),
        "held out": examine(averaged, exam, recipe),
        "recipe": asdict(recipe),
    }
    print(told["held out"], file=sys.stderr)
    options.out.with_suffix(".json").write_text(json.dumps(told, indent=1))
    maker.terminate()


if __name__ == "__main__":
    main()
