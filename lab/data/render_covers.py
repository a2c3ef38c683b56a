"""Renditions of scores as sound, for the tonal network and the cover encoder.

    python -m lab.data.scores --pop909 SCORES/POP909 --out data/pop909.pkl
    python -m lab.data.render_covers --data data --scores data/pop909.pkl --out data/covers --renditions 4

writes `WWWWW-KK.npz` for work W and rendition K: `samples` (int16, 8 kHz), `notes`, `bass`, `melody` (what is heard,
(frames, 84) uint8 at 5 frames a second), `seconds` and `beats` (which beat of the score is played when).
(score, seed, K) identifies a rendition. With `--voices data/voices` the same renditions, as far as they have a tune,
are sung (`lab.data.sing`), and K is 50 more. Every ninth work is held out: alternately for calibration and for the
evaluation; those are rendered whole, with soundfonts and voices (of another language) that training never hears.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

import numpy as np

from lab.data import perform, renditions, scores, sing
from lab.data.corpus import SOUNDFONTS, UNSEEN_FONTS
from lab.data.processes import run_jobs
from lab.data.scores import Score

LABELS_PER_SECOND = 5
HELD_OUT = 9  # every so many works
BROKEN_FONT = "fluid-soundfont-gs"  # holds variations alone: in the place of most instruments plays another
REPEATED = {17, 101, 664, 803}  # songs that POP909 has once more, before them (`lab.data.repeats`)
SUNG = 50  # rendition K, where it is sung, is take K + 50
EXCERPT = (40.0, 70.0)  # seconds at the score's own tempo that training hears of a work


def split_of(work: int) -> str:
    """`train`, `calibration` or `test`; `repeated` is none of them."""
    if work in REPEATED:
        return "repeated"
    if work % HELD_OUT:
        return "train"
    return "calibration" if work // HELD_OUT % 2 else "test"


def is_sung(path: Path) -> bool:
    return int(path.stem[-2:]) >= SUNG


def rendition_of(path: Path) -> int:
    """Of a take: the same for the one that is played and the one that is sung."""
    return int(path.stem[-2:]) % SUNG


def fonts_of(packages: Path, split: str) -> list[Path]:
    names = [name for name in SOUNDFONTS if name != BROKEN_FONT] if split == "train" else UNSEEN_FONTS
    return sorted(path for name in names for path in (packages / name).rglob("*.sf[23]") if not path.is_symlink())


def render(job: tuple[Path, Score, int, int, list[Path], Path | None, int]) -> float:
    """One rendition -> its seconds; what is there already is left, and what is to be sung and has no tune."""
    out, score, work, number, fonts, voices, seed = job
    path = out / f"{work:05d}-{number + SUNG * bool(voices):02d}.npz"
    if path.exists():
        return 0.0
    rng = np.random.default_rng([seed, work, number])
    begin, end = 0.0, None
    if split_of(work) == "train":
        common = np.random.default_rng([seed, work])  # the same excerpt for all renditions of the work
        length = common.uniform(*EXCERPT) * score.tempo / 60
        begin = common.uniform(0, max(1.0, score.beats - length))
        end = begin + length
    rendition = renditions.make(score, rng, begin=begin, end=end, boldness=0.3 if number == 0 else 1.0)
    font = fonts[rng.integers(len(fonts))]
    if voices is None:
        samples = perform.play(rendition, font)
    elif sing.tune_of(rendition) is None:
        return 0.0
    else:
        own = np.random.default_rng([seed, work, number, 1])  # so that all else is as in the rendition played
        singer = sing.hire(voices, split_of(work), own)
        rendition = sing.within_reach(rendition, singer, own)
        samples = sing.perform(rendition, font, singer, own)
    samples = perform.record(samples, rng)
    labels = {
        name: (frames * 255).astype(np.uint8) for name, frames in perform.heard(rendition, LABELS_PER_SECOND).items()
    }
    unfinished = path.with_suffix(".part.npz")
    np.savez_compressed(
        unfinished,
        samples=(samples * 32767).astype(np.int16),
        seconds=rendition.seconds,
        beats=rendition.beats,
        shift=rendition.shift,
        **labels,
    )
    unfinished.rename(path)
    return rendition.duration


def write_files(covers: Path, split: str, folder: Path, *, sung: bool) -> None:
    """The renditions of a split, those played or those sung, as FLAC, with `works.tsv` for `lab.measure.covers`."""
    from lab.data import synth

    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for path in sorted(covers.glob("?????-??.npz")):
        if split_of(int(path.stem[:5])) == split and is_sung(path) == sung:
            with np.load(path) as file:
                synth.write(
                    folder / f"{path.stem}.flac", file["samples"].astype(np.float32) / 32767, perform.SAMPLE_RATE
                )
            lines.append(f"{path.stem}.flac\t{path.stem[:5]}\n")
    (folder / "works.tsv").write_text("".join(lines))
    print(f"{len(lines)} files in {folder}", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--scores", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--renditions", type=int, default=4)
    parser.add_argument("--works", type=int, help="only the first so many of each split")
    parser.add_argument("--splits", default="train,calibration,test")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--voices", type=Path, help="what lab.data.sing wrote: the tune is sung")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--files", type=Path, help="then write those of the splits as FLAC files into this folder")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    works = scores.load(options.scores)
    (options.out / "works.json").write_text(json.dumps([score.name for score in works]))
    fonts = {split: fonts_of(options.data / "packages", split) for split in options.splits.split(",")}
    chosen = [
        work
        for split in fonts
        for work in [number for number in range(len(works)) if split_of(number) == split][: options.works]
    ]
    jobs = [
        (options.out, works[work], work, number, fonts[split_of(work)], options.voices, options.seed)
        for number in range(options.renditions)
        for work in chosen
    ]
    run_jobs(render, jobs, options.processes)
    if options.files:
        for split in fonts:
            write_files(options.out, split, options.files, sung=bool(options.voices))


if __name__ == "__main__":
    main()
