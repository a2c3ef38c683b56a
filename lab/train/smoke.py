"""Run all recipes for a moment on synthesised tunes, and identify music with the exported files.

    python -m lab.train.smoke build/smoke

Everything happens in the given folder: `checkout` is a copy of the packages, whose weights the exports replace. Each
network starts from the shipped weights, because a network trained for seconds from scratch identifies nothing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from lab import program
from lab.data import corpus, perform, render_covers, scores, synth, teacher
from lab.data.renditions import Rendition
from lab.data.tunes import TUNES, invent

ROOT = Path(__file__).parents[2]
MUSIC = {"train": range(4), "calibration": range(4, 7)}  # tunes that replace the first package of a split
SCORES = 28  # tunes, then inventions
RENDERED = {1: 2, 2: 2, 3: 2, 4: 2, 5: 2, 6: 2, 9: 3, 27: 3}  # renditions of works; 9 and 27 are held out
LIBRARY = range(8, 12)  # tunes that the exported encoders identify


def make_data(out: Path) -> None:
    """Write what the recipes need and cannot synthesise: packages, speech, noise, scores, renditions, chords."""
    data, rng = out / "data", np.random.default_rng(0)
    for split, tunes in MUSIC.items():
        folder = data / "packages" / corpus.PACKAGES[split][0]
        folder.mkdir(parents=True)
        for number in tunes:
            synth.write(folder / f"tune {number}.flac", synth.render(TUNES[number]))
    for folder, suffix, names in (
        (data / "packages" / corpus.SPEECH["train"], ".ogg", ("one", "two", "three")),
        (data / "noise", ".opus", ("nature_rain", "things_fan")),
    ):
        folder.mkdir(parents=True)
        for name in names:
            samples = speech(8.0, rng) if suffix == ".ogg" else 0.1 * rng.standard_normal(10 * 16_000)
            path = folder / f"{name}.opus"
            synth.write(path, samples.astype(np.float32), 16_000)
            path.rename(path.with_suffix(suffix))
    works = [*TUNES, *(invent(seed) for seed in range(SCORES - len(TUNES)))]
    scores.save([scores.from_tune(tune, times=2) for tune in works], data / "pop909.pkl")
    for name, seeds in (("tunes", range(100, 104)), ("recomposed", range(200, 204))):
        scores.save([scores.from_tune(invent(seed)) for seed in seeds], data / f"{name}.pkl")
    (data / "covers").mkdir()
    perform.play = tones  # soundfonts are Debian packages
    for work, renditions in RENDERED.items():
        score = scores.load(data / "pop909.pkl")[work]
        for number in range(renditions):
            render_covers.render((data / "covers", score, work, number, [Path()], None, 7))
    (data / "crema").mkdir()
    for number in range(sum(map(len, MUSIC.values()))):  # of the tracks, in the order of decoding
        chords = rng.random((120 * teacher.SAMPLE_RATE // teacher.HOP_SAMPLES, 12)) < 0.25
        np.save(data / "crema" / f"{number:05d}.npy", 255 * chords.astype(np.uint8))


def speech(seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Syllables of a gliding voice at 16 kHz."""
    times = np.arange(int(seconds * 16_000)) / 16_000
    phase = np.cumsum(140 + 30 * np.sin(2 * np.pi * 0.7 * times) + 10 * np.sin(2 * np.pi * 3.1 * times)) / 16_000
    voice = sum(np.sin(2 * np.pi * harmonic * phase) / harmonic for harmonic in range(1, 20))
    return 0.1 * voice * (rng.random(int(4 * seconds) + 1) > 0.3).repeat(4_000)[: len(times)]


def tones(rendition: Rendition, font: Path) -> np.ndarray:
    """Play a rendition with decaying harmonics; the soundfont is not used."""
    rate = perform.SAMPLE_RATE
    samples = np.zeros(int(rendition.duration * rate) + rate)
    for part in rendition.parts:
        for note in part.notes if part.role != "drums" else []:
            times = np.arange(int(min(note["end"] - note["start"], 2.0) * rate)) / rate
            frequency = 440 * 2 ** ((float(note["pitch"]) - 69) / 12)
            tone = sum(np.sin(2 * np.pi * k * frequency * times) / k for k in range(1, 6) if k * frequency < rate / 2)
            start = int(note["start"] * rate)
            samples[start : start + len(times)] += tone * np.exp(-2 * times) * note["velocity"] / 127
    return perform.levelled(samples[: int(rendition.duration * rate)].astype(np.float32))


def run(out: Path, threads: int) -> None:
    """Train and export in a copy of the packages, then identify with that copy."""
    checkout = out / "checkout"
    ignored = shutil.ignore_patterns("__pycache__", "page")
    for package in ("songprint", "lab"):
        shutil.copytree(ROOT / package, checkout / package, ignore=ignored)
    make_data(out)
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    folders = {"data": out / "data", "noise": out / "data" / "noise", "scores": out / "data", "runs": out / "runs"}
    options = [word for name, folder in folders.items() for word in (f"--{name}", str(folder))]
    for module, arguments in (
        ("lab.train", ["all", "--smoke", "--threads", str(threads), *options]),
        ("lab.train.smoke", [str(out), "--check"]),
    ):
        subprocess.run([sys.executable, "-m", module, *arguments], cwd=checkout, env=environment, check=True)


def check(out: Path) -> None:
    """Identify excerpts and other renditions with the exported files. Raises AssertionError when that fails."""
    import songprint
    from songprint.encoders.contract import WEIGHTS, load_spec

    assert WEIGHTS.is_relative_to(out / "checkout"), f"{WEIGHTS} is not the copy"
    for name in ("fingerprint", "cover"):
        assert load_spec(name).training["steps"] < 100, f"{name} was not exported"
    music = out / "music"
    music.mkdir(exist_ok=True)
    for number in LIBRARY:
        tune = TUNES[number]
        synth.write(music / f"{number}.flac", synth.render(tune), title=tune.title, artist=tune.artist)
    with songprint.open(out / "library", create=True) as library:
        library.add(music)
        for number in LIBRARY:
            title = TUNES[number].title
            samples = synth.render(TUNES[number])[12 * synth.SAMPLE_RATE : 22 * synth.SAMPLE_RATE]
            found = library.identify(samples, sample_rate=synth.SAMPLE_RATE, top=1).matches
            assert found and found[0].recording.title == title, f"{title}: {found}"
            other = library.identify(synth.render(TUNES[number], seed=1), sample_rate=synth.SAMPLE_RATE, top=3).matches
            assert title in [match.recording.title for match in other], f"{title}, another rendition: {other}"
    print(f"{len(LIBRARY)} recordings and {len(LIBRARY)} covers identified with the exported files")


def main() -> None:
    parser = program.parser(__doc__, threads=1)
    parser.add_argument("out", type=Path, help="folder to create")
    parser.add_argument("--check", action="store_true", help="only identify, with the files of an earlier run")
    options = parser.parse_args()
    out = options.out.absolute()
    if options.check:
        check(out)
    else:
        shutil.rmtree(out, ignore_errors=True)
        run(out, options.threads)


if __name__ == "__main__":
    main()
