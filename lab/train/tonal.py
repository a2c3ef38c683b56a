"""Train the tonal network: what is played, from a spectrogram.

    python -m lab.data.render_covers ...         (see there)
    python -m lab.data.teacher --data data --out data/crema
    python -m lab.train.tonal --data data --covers data/covers --crema data/crema --minutes 30 \\
        --start songprint/encoders/weights/tonal.onnx --out runs/tonal.pt

Rendered music has exact labels: the notes, the lowest, the tune, the chord. Real music has what a teacher hears in it
(`lab.data.teacher`); with `--along data/along` it is also sung over (`lab.data.sing_along`). Most of each batch is rendered.
Spectrograms are mixed with other sounds, transposed and coloured as they are drawn.
"""

from __future__ import annotations

import copy
import json
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lab.data import perform
from lab.data.corpus import Track, load_pcm, load_tracks
from lab.data.render_covers import is_sung, rendition_of, split_of
from lab.data.teacher import HOP_SAMPLES, SAMPLE_RATE
from lab.models.tonal import TonalNetwork
from lab.train import loop
from lab.train.restore import begin
from songprint.covers import tonal

STEPS_A_DB = 2  # of stored spectrograms: half a decibel
LABELS = tonal.SEMITONES
LATER = "around."  # layers that the networks before had not: silent until they have learned
SETTLING = 20  # batches from which the normalisations of what ships learn their means


@dataclass(frozen=True)
class Recipe:
    batch: int = 12  # excerpts
    frames: int = 50  # of each: 10 s
    learning_rate: float = 2e-3
    warm_up: int = 100  # steps
    weight_decay: float = 1e-3
    averaging: float = 0.998
    real: float = 0.4  # share of real music
    width: int = 40
    seed: int = 0


@dataclass(frozen=True)
class Piece:
    """A spectrogram (spectra, 246) uint8 and its labels, 5 a second; None where nobody knows."""

    spectrogram: np.ndarray
    notes: np.ndarray | None  # (frames, 82) uint8
    bass: np.ndarray | None
    melody: np.ndarray | None
    harmony: np.ndarray | None  # (frames, 12) uint8; all zeros where a tune is alone


def stored(samples: np.ndarray) -> np.ndarray:
    """Samples (n,) int16 -> the spectrogram in half decibels above -90, uint8."""
    decibels = tonal.spectrogram(samples.astype(np.float32) / 32767)
    return ((decibels + 90) * STEPS_A_DB).round().clip(0, 255).astype(np.uint8)


def rendered_piece(path: Path) -> Piece:
    with np.load(path) as file:
        return Piece(
            stored(file["samples"]), *(file[name][:, :LABELS] for name in ("notes", "bass", "melody")), file["harmony"]
        )


def harmony_from(taught: np.ndarray, start: float, frames: int) -> np.ndarray:
    """What the teacher hears in each frame from second `start` of a track on, (frames, 12) uint8."""
    times = start + (np.arange(frames) + 0.5) / tonal.FRAMES_PER_SECOND
    return taught[np.clip((times * SAMPLE_RATE / HOP_SAMPLES).round().astype(int), 0, len(taught) - 1)]


def real_piece(job: tuple[Path, Track, Path]) -> Piece | None:
    data, track, crema = job
    path = crema / f"{track.id:05d}.npy"
    if not path.exists():
        return None
    taught = np.load(path)
    heard = min(track.duration, len(taught) * HOP_SAMPLES / SAMPLE_RATE)
    spectrogram = stored(np.asarray(load_pcm(data, track)[: int(heard * tonal.SAMPLE_RATE)]))
    return Piece(spectrogram, None, None, None, harmony_from(taught, 0.0, len(spectrogram) // tonal.SPECTRA_A_FRAME))


def sung_piece(job: tuple[Path, Track, Path]) -> Piece | None:
    """A track that somebody sings along with: the tune is known as well."""
    along, track, crema = job
    path = along / f"{track.id:05d}.npz"
    if not path.exists():
        return None
    with np.load(path) as file:
        melody = file["melody"][:, :LABELS]
        return Piece(
            stored(file["samples"]),
            None,
            None,
            melody,
            harmony_from(np.load(crema / path.with_suffix(".npy").name), float(file["start"]), len(melody)),
        )


def load_pieces(
    data: Path, covers: Path, crema: Path, along: Path | None, renditions: int
) -> tuple[list[Piece], list[Piece], dict[str, list[Piece]]]:
    """Rendered pieces to train on, real ones, and those never trained on: rendered ones of other works, with other
    soundfonts and voices, as they are `played` and `sung`, and other real tracks, `along` which somebody sings."""
    paths = sorted(covers.glob("?????-??.npz"))
    train = [path for path in paths if split_of(int(path.stem[:5])) == "train" and rendition_of(path) < renditions]
    held = [path for path in paths if split_of(int(path.stem[:5])) == "calibration" and rendition_of(path) == 1]
    tracks = [track for track in load_tracks(data, "train") if track.path]
    with ProcessPoolExecutor(2) as pool:
        real = list(pool.map(real_piece, [(data, track, crema) for track in tracks], chunksize=4))
        if along:
            real += pool.map(sung_piece, [(along, track, crema) for track in tracks], chunksize=4)
        exam: dict[str, list[Piece]] = {}
        for path, piece in zip(held, pool.map(rendered_piece, held, chunksize=4), strict=True):
            exam.setdefault("sung" if is_sung(path) else "played", []).append(piece)
        if along:
            others = [track for track in load_tracks(data, "calibration") if track.path]
            pieces = pool.map(sung_piece, [(along, track, crema) for track in others], chunksize=4)
            exam["along"] = [piece for piece in pieces if piece]
        rendered = list(pool.map(rendered_piece, train, chunksize=8))
    return rendered, [piece for piece in real if piece], exam


def excerpt(
    piece: Piece, frames: int, mixed: Piece | None, rng: np.random.Generator
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Planes (2, 246, spectra) and labels with pitch classes moved along; labels nobody knows are -1."""
    rate = tonal.SPECTRA_A_FRAME
    first = int(rng.integers(max(1, len(piece.spectrogram) // rate - frames)))

    def cut(values: np.ndarray, start: int, count: int) -> np.ndarray:
        part = values[start : start + count]
        return np.pad(part, ((0, count - len(part)), (0, 0)))

    decibels = cut(piece.spectrogram, first * rate, frames * rate) / STEPS_A_DB - 90.0
    other = None
    if mixed is not None:
        start = int(rng.integers(max(1, len(mixed.spectrogram) - frames * rate)))
        other = cut(mixed.spectrogram, start, frames * rate) / STEPS_A_DB - 90.0
    decibels = disguised(decibels, other, rng)
    bins = int(rng.integers(-18, 19))  # thirds of a semitone
    semitones = round(bins / tonal.BINS_A_SEMITONE)
    decibels = shifted(decibels, bins, -90.0)
    labels = {}
    for name in ("notes", "bass", "melody"):
        values = getattr(piece, name)
        labels[name] = (
            np.full((frames, LABELS), -1.0)
            if values is None
            else shifted(cut(values, first, frames) / 255, semitones, 0.0)
        ).astype(np.float32)
    labels["harmony"] = (
        np.full((frames, 12), -1.0)
        if piece.harmony is None
        else np.roll(cut(piece.harmony, first, frames) / 255, semitones, axis=1)
    ).astype(np.float32)
    return tonal.normalise(decibels.astype(np.float32)), labels


def disguised(
    decibels: np.ndarray, other: np.ndarray | None, rng: np.random.Generator, colour: float = 4.0
) -> np.ndarray:
    """A spectrogram in another tone, with the rhythm of another under it, or noise. `colour` in decibels."""
    if other is not None:  # whatever is tonal in it is smeared
        other = tonal.smoothed(other, 19, axis=1) - rng.uniform(3, 25)
        decibels = 10 * np.log10(10 ** (decibels / 10) + 10 ** (other / 10))
    decibels = decibels + np.interp(np.arange(tonal.BINS), np.linspace(0, tonal.BINS, 8), rng.normal(0, colour, 8))
    if rng.random() < 0.3:
        decibels = np.maximum(decibels, decibels.max() - rng.uniform(35, 70) + rng.normal(0, 3, decibels.shape))
    return decibels


def shifted(values: np.ndarray, steps: int, fill: float) -> np.ndarray:
    """Along the second axis, what comes in being `fill`."""
    moved = np.full_like(values, fill)
    if steps >= 0:
        moved[:, steps:] = values[:, : values.shape[1] - steps]
    else:
        moved[:, :steps] = values[:, -steps:]
    return moved


def batch(
    rendered: list[Piece], real: list[Piece], recipe: Recipe, rng: np.random.Generator
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    drawn = []
    for _ in range(recipe.batch):
        pool = real if real and rng.random() < recipe.real else rendered
        mixed = real[rng.integers(len(real))] if real and rng.random() < 0.3 else None
        drawn.append(excerpt(pool[rng.integers(len(pool))], recipe.frames, mixed, rng))
    return (
        np.stack([planes for planes, _ in drawn]),
        {name: np.stack([labels[name] for _, labels in drawn]) for name in drawn[0][1]},
    )


def make_batches(rendered: list[Piece], real: list[Piece], recipe: Recipe, queue: multiprocessing.Queue) -> None:
    """Fill the queue with batches, for ever."""
    rng = np.random.default_rng(recipe.seed)
    while True:
        queue.put(batch(rendered, real, recipe, rng))


def keep_all_but(network: TonalNetwork, part: str) -> None:
    """Let one part of the network alone learn; of all else the normalisations do not move either."""
    network.requires_grad_(False).eval()
    getattr(network, part).requires_grad_(True).train()


def losses(pitches: Tensor, classes: Tensor, labels: dict[str, Tensor]) -> dict[str, Tensor]:
    """Binary cross entropy of each output where its label is known, in nats a pitch."""
    found = {}
    for i, name in enumerate(("notes", "bass", "melody")):
        target = labels[name].transpose(1, 2)  # (n, 82, frames)
        found[name] = _entropy(pitches[:, i], target)
        padded = F.pad(target, (0, 0, 0, 84 - LABELS), value=-1.0)  # not 0: what is unknown stays unknown
        folded = padded.reshape(len(padded), 7, 12, -1).amax(1)
        found[f"{name} class"] = _entropy(classes[:, {"notes": 3, "bass": 1, "melody": 2}[name]], folded)
    found["harmony"] = _entropy(classes[:, 0], labels["harmony"].transpose(1, 2))
    return found


def _entropy(logits: Tensor, target: Tensor) -> Tensor:
    known = (target >= 0).float()
    each = F.binary_cross_entropy_with_logits(logits.float(), target.clamp(0, 1), reduction="none")
    return (each * known).sum() / known.sum().clamp(min=1)


WEIGHTS = {
    "notes": 3.0,
    "bass": 2.0,
    "melody": 4.0,
    "notes class": 1.0,
    "bass class": 1.0,
    "melody class": 2.5,
    "harmony": 1.5,
}


def main() -> None:
    parser = loop.arguments(__doc__, 30, Recipe.learning_rate, "a checkpoint, or tonal.onnx as it ships")
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--covers", type=Path, required=True, help="what lab.data.render_covers wrote")
    parser.add_argument("--crema", type=Path, required=True, help="what lab.data.teacher wrote")
    parser.add_argument("--along", type=Path, help="what lab.data.sing_along wrote")
    parser.add_argument("--renditions", type=int, default=2, help="of each work, to learn from")
    parser.add_argument("--only", choices=("chord",), help="all else of the network stays as it is")
    options = parser.parse_args()
    recipe = Recipe(learning_rate=options.rate)
    torch.set_num_threads(options.threads)
    torch.manual_seed(recipe.seed)
    began = time.monotonic()
    rendered, real, held = load_pieces(options.data, options.covers, options.crema, options.along, options.renditions)
    print(
        f"{len(rendered)} rendered, {len(real)} real, {sum(map(len, held.values()))} held out; "
        f"{time.monotonic() - began:.0f} s",
        file=sys.stderr,
    )
    queue, maker = loop.maker(make_batches, rendered, real, recipe)
    network = TonalNetwork(recipe.width).to(memory_format=torch.channels_last)
    begin(
        network,
        options.start,
        (torch.from_numpy(queue.get()[0]) for _ in range(SETTLING)),
        lambda weights: loop.take_over(network, weights, LATER),
        "network.",
        LATER,
    )
    averaged = copy.deepcopy(network)
    if options.only:
        keep_all_but(network, options.only)
    optimiser = torch.optim.AdamW(network.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
    exams = {
        name: [excerpt(piece, 2 * recipe.frames, None, np.random.default_rng(i)) for i, piece in enumerate(pieces)]
        for name, pieces in held.items()
    }

    def marks() -> dict[str, dict[str, float]]:
        return {name: examine(averaged, exam) for name, exam in exams.items()}

    print(f"held out, before: {marks()}", file=sys.stderr, flush=True)
    total, step, log = options.minutes * 60, 0, []
    for passed, (planes, labels) in loop.within(total, queue):
        planes = torch.from_numpy(planes).to(memory_format=torch.channels_last)
        with loop.precision():
            pitches, classes = network(planes)
        parts = losses(pitches, classes, {name: torch.from_numpy(values) for name, values in labels.items()})
        loss = sum(WEIGHTS[name] * part for name, part in parts.items())
        rate = loop.rate_at(recipe.learning_rate, recipe.warm_up, step, passed / total)
        loop.learn(optimiser, network, loss, rate, 5.0)
        step += 1
        loop.follow(averaged, network, recipe.averaging, step)
        log.append({name: float(part.detach()) for name, part in parts.items()})
        if step % 50 == 0:
            means = {name: round(float(np.mean([row[name] for row in log[-50:]])), 3) for name in log[-1]}
            print(f"{step} {passed:.0f} s {means}", file=sys.stderr, flush=True)
        if step % 400 == 0:
            torch.save(averaged.state_dict(), options.out)
            print(f"  held out: {marks()}", file=sys.stderr, flush=True)
    torch.save(averaged.state_dict(), options.out)
    options.out.with_suffix(".json").write_text(
        json.dumps({"steps": step, "minutes": options.minutes, "held out": marks(), "recipe": asdict(recipe)}, indent=1)
    )
    maker.terminate()


def examine(network: TonalNetwork, exam: list) -> dict[str, float]:
    """Average precision of pitch classes over the held-out excerpts."""
    network.eval()
    scores: dict[str, list[float]] = {}
    with torch.no_grad(), loop.precision():
        for planes, labels in exam:
            classes = network(torch.from_numpy(planes)[None])[1][0].float().numpy()  # (4, 12, frames)
            targets = {
                name: perform.folded(np.pad(labels[name], ((0, 0), (0, perform.SEMITONES - LABELS)))).T
                for name in ("bass", "melody", "notes")
            } | {"harmony": labels["harmony"].T}
            for i, name in enumerate(("harmony", "bass", "melody", "notes")):
                target = targets[name] > 0.5
                if target.any() and (labels[name] >= 0).all():
                    scores.setdefault(name, []).append(average_precision(classes[i].ravel(), target.ravel()))
    network.train()
    return {name: round(float(np.mean(values)), 3) for name, values in scores.items()}


def average_precision(values: np.ndarray, right: np.ndarray) -> float:
    order = np.argsort(-values)
    hits = right[order]
    return float((np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits].mean())


if __name__ == "__main__":
    main()
