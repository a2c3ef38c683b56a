"""Simulated renditions: tonal frames predicted from scores without audio.

    python -m lab.data.cover_features ...        (see there)
    python -m lab.data.imagine --scores data/pop909.pkl --covers data/covers --tonal data/tonal --takes 8

Rendering a whole song and computing its tonal frames takes seconds; planning the rendition takes a tenth of a second. A
small network, the listener, learns from rendered takes what the tonal network outputs for known notes. Its errors on
these takes are added to its predictions for other takes. The result is `imagined-WWWWW-KK.npz`, for whole works, in the
form of `lab.data.cover_features`. The trained listener is saved as `listener.pt` and is also used for works without
rendered takes (`--kind`); delete it after a change of the tonal network.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab import program
from lab.data import perform, renditions, scores
from lab.data.render_covers import LABELS_PER_SECOND, split_of
from lab.data.scores import Score
from lab.models.cover import Turning
from songprint.covers.tonal import CHANNELS, COLUMNS

TAUGHT = 300  # takes used to train the listener
LONGEST = 400  # frames used of a take in one step
UNRENDERED = ("tune", "recomposed")  # kinds of works without rendered takes; all belong to the training split
FAINTEST = 0.01  # activations are limited to this and 1 minus this before conversion to log-odds


class Listener(nn.Module):
    """Predict the output of the tonal network: notes (n, 4, 12, frames) -> log-odds. Equivariant to transposition."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            Turning(CHANNELS, 32, 7, 1), nn.Conv2d(32, 32, 1), nn.ReLU(), nn.Conv2d(32, CHANNELS, 1)
        )

    def forward(self, played: Tensor) -> Tensor:
        predicted: Tensor = self.layers(played)
        return predicted


@dataclass(frozen=True)
class Example:
    """A rendered take: its notes, and the output of the tonal network."""

    played: np.ndarray  # (frames, 48) 0..1
    found: np.ndarray  # (frames, 48) 0..1


def planes(labels: dict[str, np.ndarray]) -> np.ndarray:
    """Convert the labels of `perform.labels` to (frames, 48): harmony, bass, melody, all notes."""
    return np.concatenate(
        [labels["harmony"], *(perform.folded(labels[name]) for name in ("bass", "melody", "notes"))], axis=1
    )


def load_examples(covers: Path, tonal: Path, most: int = TAUGHT) -> list[Example]:
    """Load at most `most` training takes, spread over all works."""
    paths = [
        path
        for path in sorted(covers.glob("?????-??.npz"))
        if split_of(int(path.stem[:5])) == "train" and (tonal / f"rendered-{path.name}").exists()
    ]
    examples = []
    for path in paths[:: max(1, len(paths) // most)]:
        with np.load(path) as labels, np.load(tonal / f"rendered-{path.name}") as file:
            played = planes({name: labels[name] for name in ("harmony", "bass", "melody", "notes")})
            count = min(len(played), len(file["frames"]))
            examples.append(Example(played[:count] / np.float32(255), file["frames"][:count] / np.float32(255)))
    return examples


def tensor(frames: np.ndarray) -> Tensor:
    """(frames, 48) -> (1, 4, 12, frames)."""
    return torch.from_numpy(frames.T.reshape(1, CHANNELS, 12, -1).astype(np.float32))


def teach(examples: list[Example], passes: int = 6, seed: int = 0) -> Listener:
    """Train a listener that predicts the output of the tonal network for these takes."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    listener = Listener()
    optimiser = torch.optim.AdamW(listener.parameters())
    for number in range(passes):
        losses = []
        for group in optimiser.param_groups:
            group["lr"] = 5e-3 * (1 - number / passes)
        for i in rng.permutation(len(examples)):
            take = examples[i]
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
    """Convert activations to log-odds."""
    found = found.clip(FAINTEST, 1 - FAINTEST)
    return np.log(found / (1 - found))


def expected(listener: Listener, played: np.ndarray) -> np.ndarray:
    """Predict the log-odds for played notes: (frames, 48) -> (frames, 48)."""
    with torch.no_grad():
        return np.asarray(listener(tensor(played))[0].reshape(COLUMNS, -1).T.numpy())


def errors(listener: Listener, examples: list[Example]) -> list[np.ndarray]:
    """Return the difference between output and prediction for each take, (frames, 48) log-odds."""
    return [(log_odds(take.found) - expected(listener, take.played)).astype(np.float16) for take in examples]


def imagined(listener: Listener, off: list[np.ndarray], played: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Simulate the output of the tonal network for played notes: (frames, 48) -> (frames, 48) uint8."""
    predicted = expected(listener, played)
    added: list[np.ndarray] = []  # errors of other takes, one after the other, transposed
    while sum(len(each) for each in added) < len(predicted):
        taken = off[rng.integers(len(off))].astype(np.float32).reshape(-1, CHANNELS, 12)
        added.append(np.roll(taken, int(rng.integers(12)), axis=2).reshape(-1, COLUMNS))
    predicted = predicted * rng.uniform(0.7, 1.2) + rng.uniform(0.4, 1.2) * np.concatenate(added)[: len(predicted)]
    return (255 / (1 + np.exp(-predicted))).round().astype(np.uint8)


@cache
def _model(file: Path) -> tuple[Listener, list[np.ndarray]]:
    """Load the listener and its errors once per process."""
    torch.set_num_threads(1)
    kept = torch.load(file, weights_only=False)
    listener = Listener()
    listener.load_state_dict(kept["weights"])
    return listener.eval(), kept["errors"]


def imagined_by(model: Path, played: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """As `imagined`, with the listener that `main` saved as `model`."""
    return imagined(*_model(model), played, rng)


def imagine(job: tuple[Path, str, Score, int, int, Path, int]) -> float:
    """Write one take of one work and return its seconds. Existing files are kept."""
    out, kind, score, work, number, model, seed = job
    path = out / f"{kind}-{work:05d}-{number:02d}.npz"
    if path.exists():
        return 0.0
    rng = np.random.default_rng([seed, work, number, 1])
    rendition = renditions.make(score, rng, boldness=0.3 if number == 0 else 1.0)
    frames = imagined_by(model, planes(perform.labels(rendition, LABELS_PER_SECOND)), rng)
    np.savez_compressed(path, frames=frames, seconds=rendition.seconds, beats=rendition.beats)
    return rendition.duration


def main() -> None:
    parser = program.parser(__doc__, "scores", "covers", "tonal", processes=program.CORES, seed=0)
    parser.add_argument(
        "--kind",
        choices=("imagined", *UNRENDERED),
        default="imagined",
        help="kind of works: those that were rendered (of which only the training split is used), or works from tune"
        " books or recomposed works, which have no rendered takes",
    )
    parser.add_argument("--takes", type=int, default=8, help="takes of each work")
    options = parser.parse_args()
    model = options.tonal / "listener.pt"
    if not model.exists():
        examples = load_examples(options.covers, options.tonal)
        listener = teach(examples)
        torch.save({"weights": listener.state_dict(), "errors": errors(listener, examples)}, model)
    jobs = [
        (options.tonal, options.kind, score, work, number, model, options.seed)
        for number in range(options.takes)
        for work, score in enumerate(scores.load(options.scores))
        if options.kind in UNRENDERED or split_of(work) == "train"
    ]
    program.run_jobs(imagine, jobs, options.processes)


if __name__ == "__main__":
    main()
