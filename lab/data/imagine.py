"""Renditions that were never sounded: scores -> what the tonal network would hear in them.

    python -m lab.data.cover_features ...        (see there)
    python -m lab.data.imagine --scores data/pop909.pkl --covers data/covers --tonal data/tonal --takes 8

Rendering a whole song and hearing it takes seconds, deciding what is played in it a tenth of one. So a small
network, the listener, learns from the takes that were rendered what the tonal network makes of notes that are
known. Its errors, cut from the same takes, are laid over what it says of other takes: `imagined-WWWWW-KK.npz`,
of whole works, in the form of `lab.data.cover_features`. What was learned is kept in `listener.pt`, also for works of which
no take was rendered (`--kind`); delete it when the tonal network is another one.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab.data import perform, renditions, scores
from lab.data.processes import run_jobs
from lab.data.render_covers import LABELS_PER_SECOND, split_of
from lab.data.scores import Score
from lab.models.cover import Turning
from songprint.covers.tonal import CHANNELS, COLUMNS

TAUGHT = 300  # takes that the listener learns from
LONGEST = 400  # frames of a take in one batch
UNSOUNDED = ("tune", "recomposed")  # kinds of works of which no take was rendered: all are for the training
FAINTEST = 0.01  # activation that is told from nothing: an error is measured between the log-odds of two


class Listener(nn.Module):
    """What is played, (n, 4, 12, frames) -> log-odds of what the tonal network says is. The same in all keys."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            Turning(CHANNELS, 32, 7, 1), nn.Conv2d(32, 32, 1), nn.ReLU(), nn.Conv2d(32, CHANNELS, 1)
        )

    def forward(self, played: Tensor) -> Tensor:
        return self.layers(played)


@dataclass(frozen=True)
class Heard:
    """A take that was rendered: what is played in it, and what the tonal network made of that."""

    played: np.ndarray  # (frames, 48) 0..1
    found: np.ndarray  # (frames, 48) 0..1


def planes(labels: dict[str, np.ndarray]) -> np.ndarray:
    """What `perform.heard` tells -> (frames, 48): harmony, bass, melody, all notes."""
    return np.concatenate(
        [labels["harmony"], *(perform.folded(labels[name]) for name in ("bass", "melody", "notes"))], axis=1
    )


def load_heard(covers: Path, tonal: Path, most: int = TAUGHT) -> list[Heard]:
    """Some of the training takes, spread over all works."""
    paths = [
        path
        for path in sorted(covers.glob("?????-??.npz"))
        if split_of(int(path.stem[:5])) == "train" and (tonal / f"rendered-{path.name}").exists()
    ]
    heard = []
    for path in paths[:: max(1, len(paths) // most)]:
        with np.load(path) as labels, np.load(tonal / f"rendered-{path.name}") as file:
            played = planes({name: labels[name] for name in ("harmony", "bass", "melody", "notes")})
            count = min(len(played), len(file["frames"]))
            heard.append(Heard(played[:count] / np.float32(255), file["frames"][:count] / np.float32(255)))
    return heard


def tensor(frames: np.ndarray) -> Tensor:
    """(frames, 48) -> (1, 4, 12, frames)."""
    return torch.from_numpy(frames.T.reshape(1, CHANNELS, 12, -1).astype(np.float32))


def teach(heard: list[Heard], passes: int = 6, seed: int = 0) -> Listener:
    """A listener that says of these takes what the tonal network said."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    listener = Listener()
    optimiser = torch.optim.AdamW(listener.parameters())
    for number in range(passes):
        losses = []
        for group in optimiser.param_groups:
            group["lr"] = 5e-3 * (1 - number / passes)
        for i in rng.permutation(len(heard)):
            take = heard[i]
            start = int(rng.integers(max(1, len(take.played) - LONGEST)))
            played, found = (tensor(frames[start : start + LONGEST]) for frames in (take.played, take.found))
            loss = F.binary_cross_entropy_with_logits(listener(played), found)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(float(loss.detach()))
        print(f"pass {number + 1}: {np.mean(losses):.4f}", file=sys.stderr, flush=True)
    return listener.eval()


def log_odds(found: np.ndarray) -> np.ndarray:
    found = found.clip(FAINTEST, 1 - FAINTEST)
    return np.log(found / (1 - found))


def expected(listener: Listener, played: np.ndarray) -> np.ndarray:
    """(frames, 48) played -> (frames, 48) log-odds."""
    with torch.no_grad():
        return listener(tensor(played))[0].reshape(COLUMNS, -1).T.numpy()


def errors(listener: Listener, heard: list[Heard]) -> list[np.ndarray]:
    """By how much the tonal network was off what was to be expected, take by take, (frames, 48) log-odds."""
    return [(log_odds(take.found) - expected(listener, take.played)).astype(np.float16) for take in heard]


def imagined(listener: Listener, off: list[np.ndarray], played: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(frames, 48) played -> (frames, 48) uint8 as the tonal network might hear it."""
    said = expected(listener, played)
    laid = []  # the errors of other takes, one after the other, in another key
    while sum(map(len, laid)) < len(said):
        taken = off[rng.integers(len(off))].astype(np.float32).reshape(-1, CHANNELS, 12)
        laid.append(np.roll(taken, int(rng.integers(12)), axis=2).reshape(-1, COLUMNS))
    said = said * rng.uniform(0.7, 1.2) + rng.uniform(0.4, 1.2) * np.concatenate(laid)[: len(said)]
    return (255 / (1 + np.exp(-said))).round().astype(np.uint8)


@cache
def _model(file: Path) -> tuple[Listener, list[np.ndarray]]:
    """The listener and its errors, once in each process."""
    torch.set_num_threads(1)
    kept = torch.load(file, weights_only=False)
    listener = Listener()
    listener.load_state_dict(kept["weights"])
    return listener.eval(), kept["errors"]


def imagine(job: tuple[Path, str, Score, int, int, Path, int]) -> float:
    """One take of one work -> its seconds; what is there already is left."""
    out, kind, score, work, number, model, seed = job
    path = out / f"{kind}-{work:05d}-{number:02d}.npz"
    if path.exists():
        return 0.0
    rng = np.random.default_rng([seed, work, number, 1])
    rendition = renditions.make(score, rng, boldness=0.3 if number == 0 else 1.0)
    listener, off = _model(model)
    frames = imagined(listener, off, planes(perform.heard(rendition, LABELS_PER_SECOND)), rng)
    np.savez_compressed(path, frames=frames, seconds=rendition.seconds, beats=rendition.beats)
    return rendition.duration


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scores", type=Path, required=True)
    parser.add_argument("--covers", type=Path, required=True, help="what lab.data.render_covers wrote")
    parser.add_argument(
        "--tonal", type=Path, required=True, help="what lab.data.cover_features wrote; takes are put there"
    )
    parser.add_argument(
        "--kind",
        choices=("imagined", *UNSOUNDED),
        default="imagined",
        help="whether the works are those that were rendered (only those of the training are taken), "
        "or of tune books or recomposed, of which no take was",
    )
    parser.add_argument("--takes", type=int, default=8, help="of each work")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    model = options.tonal / "listener.pt"
    if not model.exists():
        heard = load_heard(options.covers, options.tonal)
        listener = teach(heard)
        torch.save({"weights": listener.state_dict(), "errors": errors(listener, heard)}, model)
    jobs = [
        (options.tonal, options.kind, score, work, number, model, options.seed)
        for number in range(options.takes)
        for work, score in enumerate(scores.load(options.scores))
        if options.kind in UNSOUNDED or split_of(work) == "train"
    ]
    run_jobs(imagine, jobs, options.processes)


if __name__ == "__main__":
    main()
