"""Audio of renditions of scores, for training the tonal network and the cover encoder.

    python -m lab.data.scores --pop909 SCORES/POP909 --out data/pop909.pkl
    python -m lab.data.render_covers --data data --scores data/pop909.pkl --out data/covers --renditions 4

writes `WWWWW-KK.npz` for work W and rendition K: `samples` (int16, 8 kHz), the labels `notes`, `bass` and `melody`
((frames, 84) uint8 at 5 frames per second), `seconds` and `beats` (beat `beats[i]` of the score is played at
`seconds[i]`). A rendition depends only on the score, the seed and K. With `--voices data/voices`, the melodies of the
same renditions are sung (`lab.data.sing`), and K is larger by 50. Every ninth work is held out, alternately for
calibration and for evaluation. Those works are rendered whole, with soundfonts and voices (of another language) that
are not used in training.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from lab import program
from lab.data import perform, renditions, scores, sing
from lab.data.corpus import SOUNDFONTS, UNSEEN_FONTS
from lab.data.scores import Score

LABELS_PER_SECOND = 5
HELD_OUT = 9  # every ninth work is held out
BROKEN_FONT = "fluid-soundfont-gs"  # contains variations only and plays wrong instruments
REPEATED = {17, 101, 664, 803}  # songs that occur earlier in POP909 (`lab.data.repeats`)
SUNG = 50  # the sung version of rendition K is take K + 50
EXCERPT = (40.0, 70.0)  # seconds, at the tempo of the score, of a training work


def split_of(work: int) -> str:
    """Return `train`, `calibration`, `test` or, for works that are excluded, `repeated`."""
    if work in REPEATED:
        return "repeated"
    if work % HELD_OUT:
        return "train"
    return "calibration" if work // HELD_OUT % 2 else "test"


def is_sung(path: Path) -> bool:
    """Whether a take is sung."""
    return int(path.stem[-2:]) >= SUNG


def rendition_of(path: Path) -> int:
    """Return the number of the rendition, which is the same for its played and its sung take."""
    return int(path.stem[-2:]) % SUNG


def fonts_of(packages: Path, split: str) -> list[Path]:
    """Return the soundfonts for works of a split."""
    names = [name for name in SOUNDFONTS if name != BROKEN_FONT] if split == "train" else UNSEEN_FONTS
    return sorted(path for name in names for path in (packages / name).rglob("*.sf[23]") if not path.is_symlink())


def render(job: tuple[Path, Score, int, int, list[Path], Path | None, int]) -> float:
    """Write one rendition and return its seconds. Existing files are kept; without a melody nothing is sung."""
    out, score, work, number, fonts, voices, seed = job
    path = out / f"{work:05d}-{number + SUNG * bool(voices):02d}.npz"
    if path.exists():
        return 0.0
    rng = np.random.default_rng([seed, work, number])
    begin, end = 0.0, None
    if split_of(work) == "train":
        common = np.random.default_rng([seed, work])  # gives the same excerpt for all renditions of the work
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
        own = np.random.default_rng([seed, work, number, 1])  # keeps everything else as in the played rendition
        singer = sing.hire(voices, split_of(work), own)
        rendition = sing.within_reach(rendition, singer, own)
        samples = sing.perform(rendition, font, singer, own)
    samples = perform.record(samples, rng)
    labels: Any = {
        name: (frames * 255).astype(np.uint8) for name, frames in perform.labels(rendition, LABELS_PER_SECOND).items()
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
    """Write the played or the sung renditions of a split as FLAC, with `works.tsv` for `lab.measure.covers`."""
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
    parser = program.parser(
        __doc__,
        "scores",
        "out",
        data=program.DATA,
        splits="train,calibration,test",
        processes=program.CORES,
        voices=None,
        seed=0,
    )
    parser.add_argument("--renditions", type=int, default=4)
    parser.add_argument("--works", type=int, help="use only the first works of each split")
    parser.add_argument("--files", type=Path, help="then write the renditions as FLAC files into this folder")
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
    program.run_jobs(render, jobs, options.processes)
    if options.files:
        for split in fonts:
            write_files(options.out, split, options.files, sung=bool(options.voices))


if __name__ == "__main__":
    main()
