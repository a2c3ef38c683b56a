"""Train the tonal network: `python -m lab.train tonal` (see lab/recipes/tonal.toml).

The network predicts notes, bass, melody and harmony from a spectrogram. Rendered music has exact labels; real music
has the chords of a teacher (`lab.data.teacher`), and the melody of a voice that was added (`lab.data.sing_along`).
Spectrograms are mixed with other sounds, transposed and coloured as they are drawn.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.metrics import average_precision_score
from torch import Tensor, nn

from lab.data import perform
from lab.data.corpus import Track, load_pcm, load_tracks
from lab.data.render_covers import is_sung, rendition_of, split_of
from lab.data.teacher import HOP_SAMPLES, SAMPLE_RATE
from lab.models.tonal import TonalNetwork
from lab.train import loop
from lab.train.restore import restore
from songprint.covers import tonal

STEPS_A_DB = 2  # of stored spectrograms: half a decibel
LABELS = tonal.SEMITONES
LATER = "around."  # layers that earlier networks lack; they have no effect until they are trained
OUTPUTS = ("harmony", "bass", "melody", "notes")  # of `classes`, in this order
WEIGHTS = {  # of the losses
    "notes": 3.0,
    "bass": 2.0,
    "melody": 4.0,
    "notes class": 1.0,
    "bass class": 1.0,
    "melody class": 2.5,
    "harmony": 1.5,
}


@dataclass(frozen=True)
class Config(loop.Config):
    learning_rate: float = 2e-3
    settling: int = 20
    checkpoint_every: int = 400
    batch: int = 12  # excerpts
    frames: int = 50  # of each: 10 s
    renditions: int = 2  # of each work used for training, played and sung
    real: float = 0.4  # share of real music
    mixed: float = 0.3  # share of excerpts with another piece in the background
    width: int = 40  # planes of the network
    only: str = ""  # the only part of the network to train, `chord`; empty for all


class Trainer(loop.Trainer):
    """`data`: lab.data.corpus; `covers`: lab.data.render_covers; `crema`: lab.data.teacher; `along`:
    lab.data.sing_along."""

    def __init__(self, config: Config, data: Path, covers: Path, crema: Path, along: Path) -> None:
        self.config = config
        self.rendered, self.real, held_out = load_pieces(data, covers, crema, along, config.renditions)
        self.exams = {
            name: [excerpt(piece, 2 * config.frames, None, np.random.default_rng(i)) for i, piece in enumerate(pieces)]
            for name, pieces in held_out.items()
        }
        held = sum(map(len, held_out.values()))
        loop.report(f"{len(self.rendered)} rendered pieces, {len(self.real)} real ones, {held} held out")

    def network(self) -> TonalNetwork:
        return TonalNetwork(self.config.width).to(memory_format=torch.channels_last)

    def restore(self, network: TonalNetwork, graph: Path) -> None:
        restore(network, graph, "network.", LATER)

    def load(self, network: TonalNetwork, weights: dict[str, Tensor]) -> None:
        loop.take_over(network, weights, LATER)

    def prepare(self, network: nn.Module) -> Callable[..., Any]:
        if self.config.only:
            train_only(network, self.config.only)
        return network

    def draw(self, rng: np.random.Generator, step: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        return batch(self.rendered, self.real, self.config, rng)

    def loss(self, network: Any, batch: tuple[np.ndarray, dict[str, np.ndarray]]) -> tuple[Tensor, dict[str, float]]:
        planes, labels = batch
        with loop.precision():
            pitches, classes = network(torch.from_numpy(planes).to(memory_format=torch.channels_last))
        parts = losses(pitches, classes, {name: torch.from_numpy(values) for name, values in labels.items()})
        total = torch.stack([WEIGHTS[name] * part for name, part in parts.items()]).sum()
        return total, {name: float(part.detach()) for name, part in parts.items()}

    def examine(self, network: nn.Module) -> Mapping[str, Any]:
        return {name: examine(network, exam) for name, exam in self.exams.items()}


@dataclass(frozen=True)
class Piece:
    """A spectrogram (spectra, 246) uint8 and its labels, 5 per second; None where they are unknown."""

    spectrogram: np.ndarray
    notes: np.ndarray | None  # (frames, 82) uint8
    bass: np.ndarray | None
    melody: np.ndarray | None
    harmony: np.ndarray | None  # (frames, 12) uint8; all zeros where a melody is unaccompanied


def stored(samples: np.ndarray) -> np.ndarray:
    """Samples (n,) int16 -> the spectrogram in half decibels above -90 dB, uint8."""
    decibels = tonal.spectrogram(samples.astype(np.float32) / 32767)
    return ((decibels + 90) * STEPS_A_DB).round().clip(0, 255).astype(np.uint8)


def rendered_piece(path: Path) -> Piece:
    with np.load(path) as file:
        notes, bass, melody = (file[name][:, :LABELS] for name in ("notes", "bass", "melody"))
        return Piece(stored(file["samples"]), notes, bass, melody, file["harmony"])


def harmony_from(taught: np.ndarray, start: float, frames: int) -> np.ndarray:
    """The teacher's chords in each frame from second `start` of a track on, (frames, 12) uint8."""
    times = start + (np.arange(frames) + 0.5) / tonal.FRAMES_PER_SECOND
    return taught[np.clip((times * SAMPLE_RATE / HOP_SAMPLES).round().astype(int), 0, len(taught) - 1)]


def real_piece(job: tuple[Path, Track, Path]) -> Piece | None:
    data, track, crema = job
    path = crema / f"{track.id:05d}.npy"
    if not path.exists():
        return None
    taught = np.load(path)
    duration = min(track.duration, len(taught) * HOP_SAMPLES / SAMPLE_RATE)
    spectrogram = stored(np.asarray(load_pcm(data, track)[: int(duration * tonal.SAMPLE_RATE)]))
    return Piece(spectrogram, None, None, None, harmony_from(taught, 0.0, len(spectrogram) // tonal.SPECTRA_A_FRAME))


def sung_piece(job: tuple[Path, Track, Path]) -> Piece | None:
    """A track with an added voice, whose melody is known."""
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
    """Rendered pieces and real pieces for training, and held-out pieces by kind.

    Held-out pieces are rendered works of other scores, soundfonts and voices (`played` and `sung`), and other real
    tracks with an added voice (`along`).
    """
    paths = sorted(covers.glob("?????-??.npz"))
    train = [path for path in paths if split_of(int(path.stem[:5])) == "train" and rendition_of(path) < renditions]
    held = [path for path in paths if split_of(int(path.stem[:5])) == "calibration" and rendition_of(path) == 1]
    tracks = [track for track in load_tracks(data, "train") if track.path]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
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
    """Planes (2, 246, spectra) and labels, transposed alike; unknown labels are -1."""
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
    """A spectrogram with another tone colour, with the rhythm of `other` mixed in, and sometimes noise.

    `colour` is the deviation of the equaliser in decibels.
    """
    if other is not None:  # smoothing over frequency removes what is tonal
        other = tonal.smoothed(other, 19, axis=1) - rng.uniform(3, 25)
        decibels = 10 * np.log10(10 ** (decibels / 10) + 10 ** (other / 10))
    decibels = decibels + np.interp(np.arange(tonal.BINS), np.linspace(0, tonal.BINS, 8), rng.normal(0, colour, 8))
    if rng.random() < 0.3:
        decibels = np.maximum(decibels, decibels.max() - rng.uniform(35, 70) + rng.normal(0, 3, decibels.shape))
    return decibels


def shifted(values: np.ndarray, steps: int, fill: float) -> np.ndarray:
    """Move the values along the second axis; `fill` replaces what is missing."""
    moved = np.full_like(values, fill)
    if steps >= 0:
        moved[:, steps:] = values[:, : values.shape[1] - steps]
    else:
        moved[:, :steps] = values[:, -steps:]
    return moved


def batch(
    rendered: list[Piece], real: list[Piece], config: Config, rng: np.random.Generator
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    drawn = []
    for _ in range(config.batch):
        pool = real if real and rng.random() < config.real else rendered
        mixed = real[rng.integers(len(real))] if real and rng.random() < config.mixed else None
        drawn.append(excerpt(pool[rng.integers(len(pool))], config.frames, mixed, rng))
    return (
        np.stack([planes for planes, _ in drawn]),
        {name: np.stack([labels[name] for _, labels in drawn]) for name in drawn[0][1]},
    )


def train_only(network: TonalNetwork, part: str) -> None:
    """Train one part of the network only; normalisations of the other parts do not change either."""
    network.requires_grad_(False).eval()
    getattr(network, part).requires_grad_(True).train()


def losses(pitches: Tensor, classes: Tensor, labels: dict[str, Tensor]) -> dict[str, Tensor]:
    """Binary cross entropy of each output where its label is known, in nats per pitch."""
    found = {}
    for i, name in enumerate(("notes", "bass", "melody")):
        target = labels[name].transpose(1, 2)  # (n, 82, frames)
        found[name] = _entropy(pitches[:, i], target)
        padded = F.pad(
            target, (0, 0, 0, 84 - LABELS), value=-1.0
        )  # -1, because 0 would turn unknown labels into known ones
        folded = padded.reshape(len(padded), 7, 12, -1).amax(1)
        found[f"{name} class"] = _entropy(classes[:, OUTPUTS.index(name)], folded)
    found["harmony"] = _entropy(classes[:, 0], labels["harmony"].transpose(1, 2))
    return found


def _entropy(logits: Tensor, target: Tensor) -> Tensor:
    known = (target >= 0).float()
    each = F.binary_cross_entropy_with_logits(logits.float(), target.clamp(0, 1), reduction="none")
    return (each * known).sum() / known.sum().clamp(min=1)


def examine(network: nn.Module, exam: list[tuple[np.ndarray, dict[str, np.ndarray]]]) -> dict[str, float]:
    """Average precision of pitch classes over held-out excerpts."""
    scores: dict[str, list[float]] = {}
    with loop.evaluating(network), loop.precision():
        for planes, labels in exam:
            classes = network(torch.from_numpy(planes)[None])[1][0].float().numpy()  # (4, 12, frames)
            targets = {
                name: perform.folded(np.pad(labels[name], ((0, 0), (0, perform.SEMITONES - LABELS)))).T
                for name in ("bass", "melody", "notes")
            } | {"harmony": labels["harmony"].T}
            for i, name in enumerate(OUTPUTS):
                target = targets[name] > 0.5
                if target.any() and (labels[name] >= 0).all():
                    scores.setdefault(name, []).append(average_precision_score(target.ravel(), classes[i].ravel()))
    return {name: round(float(np.mean(values)), 3) for name, values in scores.items()}
