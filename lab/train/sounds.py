"""Train the judge of music, speech and other sounds: some minutes on two cores, all in NumPy and PyTorch.

    python -m lab.train.sounds --data data --noise NOISE --out songprint/encoders/weights/sounds.npz
    python -m lab.train.sounds --data data --noise NOISE --test MUSIC...        # only measure what ships

Clips of ten seconds are music (of the training packages and of rendered scores; as it is, coded, in noise, and under
speech that is up to 10 dB louder), speech (Czech dialogue; dry, in rooms, in noise, over music at least 16 dB below)
or noise. Measured is on what is held out: Dutch speech, other kinds of noise, and --test, folders of music.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lab.data import corpus, degrade
from lab.measure.recordings import music_in
from songprint.audio import files
from songprint.scan import sounds
from songprint.types import Sound

RATE = sounds.SAMPLE_RATE
CLIP = 10  # seconds
CLIPS = 1500  # of each class
HIDDEN = 24
EPOCHS = 12
BATCH = 1024
BLUR = 0.5  # of a standard deviation, on what the network is told: there are few kinds of noise
MUSIC_FIRST = 1.0  # by which the logarithm of music is raised: of long recordings most is music
MUSIC_UNDER = (-10.0, 20.0)  # dB of the music against the speech, where that is music,
SPEECH_OVER = (16.0, 40.0)  # and of the speech against the music, where that is speech
WEATHER = {"rain", "wind_ambient", "wind_loop"}  # among the music of a game
WITHIN = 40.0  # dB below the loudest second of a clip: what is quieter teaches nothing


@dataclass(frozen=True)
class Material:
    """Samples at RATE, each piece at a level of its own."""

    music: list[np.ndarray]
    speech: list[np.ndarray]
    noise: list[np.ndarray]


def training(data: Path, noise: Path) -> Material:
    tracks = corpus.load_tracks(data, "train")
    music = [
        corpus.load_pcm(data, track, copy)
        for track in tracks
        for copy in ("", ".coded")
        if (data / "pcm" / f"{track.id:05d}{copy}.npy").exists()
    ]
    lines = sorted((data / "packages" / corpus.SPEECH["train"]).rglob("*.ogg"))
    kinds = [
        path for path in sorted(noise.glob("*.opus")) if path.stem not in corpus.MUSICAL_NOISE | corpus.ACCEPTANCE_NOISE
    ]
    return Material(music, [files.load(path, RATE) for path in lines], [files.load(path, RATE) for path in kinds])


def held_out(data: Path, noise: Path, folders: list[Path]) -> Material:
    lines = sorted((data / "packages" / corpus.SPEECH["acceptance"]).rglob("*.ogg"))[:400]
    kinds = [path for path in sorted(noise.glob("*.opus")) if path.stem in corpus.ACCEPTANCE_NOISE]
    return Material(
        [files.load(path, RATE, duration=300) for path in music_in(folders) if path.stem not in WEATHER],
        [files.load(path, RATE) for path in lines],
        [files.load(path, RATE) for path in kinds],
    )


def clips(material: Material, count: int, seed: int) -> Iterator[tuple[str, np.ndarray]]:
    """(what it is, samples) `count` times for each of the three: MUSIC, SPEECH and OTHER."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        music, speech, noise = (_cut(material.music, rng), _talk(material.speech, rng), _cut(material.noise, rng))
        yield _music(music, speech, noise, rng)
        yield _speech(_talk(material.speech, rng), _cut(material.music, rng), _cut(material.noise, rng), rng)
        yield "noise", _cut(material.noise, rng) if rng.random() < 0.8 else _made_noise(rng)


def label(name: str) -> Sound:
    return {"music": Sound.MUSIC, "speech": Sound.SPEECH, "noise": Sound.OTHER}[name.partition(",")[0]]


def _music(
    music: np.ndarray, speech: np.ndarray, noise: np.ndarray, rng: np.random.Generator
) -> tuple[str, np.ndarray]:
    how = rng.random()
    if how < 0.35:
        snr = rng.uniform(*MUSIC_UNDER)
        return f"music, under speech {_band(-snr)}", degrade.mix(music, speech, snr)
    if how < 0.5:
        return "music, in noise", degrade.mix(music, noise, rng.uniform(5, 25))
    return "music, alone", music


def _speech(
    speech: np.ndarray, music: np.ndarray, noise: np.ndarray, rng: np.random.Generator
) -> tuple[str, np.ndarray]:
    how = rng.random()
    if how < 0.15:
        return "speech, over faint music", degrade.mix(speech, music, rng.uniform(*SPEECH_OVER))
    if how < 0.4:
        return "speech, in noise", degrade.mix(speech, noise, rng.uniform(8, 30))
    if how < 0.5:
        return "speech, phone", degrade.phone(speech, RATE, rng)
    if how < 0.65:
        return "speech, in a room", degrade.room(speech, RATE, rng.uniform(0.2, 0.7), rng)
    return "speech, alone", speech


def _band(decibels: float) -> str:
    return "5 to 10 dB louder" if decibels > 5 else "0 to 5 dB louder" if decibels > 0 else "softer"


def _cut(pieces: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """A clip from anywhere, at a level of 1; integers become floats."""
    piece = pieces[rng.integers(len(pieces))]
    start = rng.integers(max(1, len(piece) - CLIP * RATE))
    clip = np.asarray(piece[start : start + CLIP * RATE], np.float32)
    return degrade.unit(np.resize(clip, CLIP * RATE))


def _talk(lines: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Lines of one or two speakers with pauses between them."""
    parts, total = [], 0
    while total < CLIP * RATE:
        parts += [
            degrade.unit(lines[rng.integers(len(lines))]),
            np.zeros(int(rng.uniform(0.05, 0.6) * RATE), np.float32),
        ]
        total += len(parts[-1]) + len(parts[-2])
    start = rng.integers(max(1, total - CLIP * RATE))
    return np.concatenate(parts)[start : start + CLIP * RATE]


def _made_noise(rng: np.random.Generator) -> np.ndarray:
    """Hiss, hum, clicks, tones: what no recording of a place holds alone."""
    times = np.arange(CLIP * RATE) / RATE
    kinds = (
        lambda: rng.standard_normal(len(times)),
        lambda: degrade.pink_noise(len(times), rng),
        lambda: sum(np.sin(2 * np.pi * 50 * n * times) / n for n in range(1, 9)),
        lambda: (rng.random(len(times)) < rng.uniform(0.5, 20) / RATE) * 1.0,
        lambda: np.sin(2 * np.pi * rng.uniform(80, 3500) * times),
    )
    return degrade.unit((kinds[rng.integers(len(kinds))]() + 1e-3 * rng.standard_normal(len(times))).astype(np.float32))


def described(samples: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A clip at any level -> what the network is told of its seconds, and which of them sound (seconds,) bool."""
    samples = (samples * 10 ** (rng.uniform(-45, -8) / 20)).clip(-1, 1)
    padded = np.pad(samples, (0, sounds.REACH))
    levels = 20 * np.log10(np.sqrt(np.square(samples.reshape(CLIP, -1)).mean(axis=1)) + 1e-9)
    return sounds.in_context(sounds.features(padded)), levels > levels.max() - WITHIN


def train(material: Material, seed: int, count: int = CLIPS) -> dict[str, np.ndarray]:
    import torch
    from torch import nn

    rng = np.random.default_rng(seed + 1)
    rows, labels = [], []
    for number, (name, samples) in enumerate(clips(material, count, seed)):
        context, heard = described(samples, rng)
        rows.append(context[heard])
        labels.append(np.full(int(heard.sum()), sounds.CLASSES.index(label(name))))
        if number % 500 == 0:
            print(f"\rclips: {number}/{3 * count}", end="", file=sys.stderr)
    told, right = np.concatenate(rows), np.concatenate(labels)
    mean, scale = told.mean(axis=0), told.std(axis=0) + 0.05
    inputs, targets = torch.tensor((told - mean) / scale), torch.tensor(right)
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(inputs.shape[1], HIDDEN), nn.ReLU(), nn.Dropout(0.2), nn.Linear(HIDDEN, 3))
    optimiser = torch.optim.AdamW(network.parameters(), lr=5e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, EPOCHS)
    for epoch in range(EPOCHS):
        losses = []
        for batch in torch.randperm(len(inputs)).split(BATCH):
            blurred = inputs[batch] + BLUR * torch.randn(len(batch), inputs.shape[1])
            loss = nn.functional.cross_entropy(network(blurred), targets[batch], label_smoothing=0.02)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        schedule.step()
        print(f"\repoch {epoch + 1}: loss {np.mean(losses):.3f}   ", end="", file=sys.stderr)
    print(file=sys.stderr)
    first, second = network[0], network[3]
    bias = second.bias.detach() + MUSIC_FIRST * torch.tensor([each is Sound.MUSIC for each in sounds.CLASSES])
    return {
        "mean": mean,
        "scale": scale,
        **{
            name: value.detach().numpy().astype(np.float32)
            for name, value in (
                ("first", first.weight.T),
                ("first_bias", first.bias),
                ("second", second.weight.T),
                ("second_bias", bias),
            )
        },
    }


def measure(network: sounds.Network, material: Material, count: int, seed: int) -> str:
    """Of the seconds of each kind of clip: what each is called by itself, and in its clip."""
    rng = np.random.default_rng(seed + 1)
    alone: dict[str, list[np.ndarray]] = {}
    smooth: dict[str, list[np.ndarray]] = {}
    for name, samples in clips(material, count, seed):
        context, heard = described(samples, rng)
        told = network.judge(context)
        alone.setdefault(name, []).append(told.argmax(axis=1)[heard])
        bounded = sounds.with_silence(told, np.zeros(len(told), bool))
        smooth.setdefault(name, []).append(sounds.likeliest(bounded)[heard])
    called = " | ".join(f"called {each}" for each in sounds.CLASSES)
    lines = [f"| what | seconds | {called} | right in ten seconds |", "|---" * 6 + "|"]
    for name in sorted(alone):
        called, in_clip = np.concatenate(alone[name]), np.concatenate(smooth[name])
        shares = [f"{100 * (called == number).mean():.1f} %" for number in range(len(sounds.CLASSES))]
        right = (in_clip == sounds.CLASSES.index(label(name))).mean()
        lines.append(f"| {name} | {len(called)} | {' | '.join(shares)} | {100 * right:.1f} % |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--noise", type=Path, required=True)
    parser.add_argument("--out", type=Path, help="train, and write the weights here")
    parser.add_argument("--test", type=Path, nargs="+", default=[], help="folders of music; else the calibration split")
    parser.add_argument("--clips", type=int, default=CLIPS)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.out:
        np.savez_compressed(options.out, **train(training(options.data, options.noise), options.seed, options.clips))
    tested = options.test or [options.data / "packages" / name for name in corpus.PACKAGES["calibration"]]
    with np.load(options.out or sounds.FILE) as file:
        network = sounds.Network({name: file[name] for name in file.files})
    print(measure(network, held_out(options.data, options.noise, tested), 400, options.seed + 100))


if __name__ == "__main__":
    main()
