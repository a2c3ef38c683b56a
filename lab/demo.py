"""Demonstration of Songprint in half a minute: add music, damage a clip of it, identify the clip.

    python -m lab.demo [--music DIR] [--clip FILE] [--work DIR]

Without --music, the library contains twenty synthesised tunes in the public domain. Without --clip, the clip is eight
seconds from the middle of a song, in a noisy room and through a telephone. Every command is printed before it runs.
`make demo` includes the set-up.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np

from lab.data import degrade, synth
from lab.data.tunes import invent
from songprint.audio import files

RATE = 16000  # Hz, of the clips
CLIP_SECONDS = 8.0
NO_MATCH = 1  # exit status of `songprint identify`


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m lab.demo", description=__doc__.splitlines()[0])
    parser.add_argument("--music", type=Path, metavar="DIR", help="a folder of your own music")
    parser.add_argument("--clip", type=Path, metavar="FILE", help="a clip of your own")
    parser.add_argument("--work", type=Path, metavar="DIR", default=Path("build/demo"))
    arguments = parser.parse_args()

    work = arguments.work
    work.mkdir(parents=True, exist_ok=True)
    if arguments.music:
        music = arguments.music.expanduser()
        library = work / f"library-{zlib.crc32(bytes(music.resolve())):08x}"
    else:
        music, library = synthesised_music(work / "music"), work / "library"
    songprint("--library", library, "add", music)  # the demo continues if some files are unreadable

    if arguments.clip:
        show("Your clip:")
        found = identify(library, arguments.clip.expanduser())
    else:
        query, song = damaged_query(library, music, work)
        show(f"{CLIP_SECONDS:.0f} seconds of {song.stem!r}, in a noisy room, through a telephone:")
        found = identify(library, query)

    show("A piece that is not in the library:")
    unknown = identify(library, unknown_query(work))
    as_expected = unknown == NO_MATCH and (found == 0 or arguments.clip is not None)
    if not as_expected:
        show("This is not the expected result.")
    return 0 if as_expected else 1


def synthesised_music(folder: Path) -> Path:
    show(f"Synthesising twenty tunes in the public domain into {folder} ...")
    synth.write_pieces(folder)
    return folder


def damaged_query(library: Path, music: Path, work: Path) -> tuple[Path, Path]:
    """Write a damaged clip from the middle of a song; return the clip and the song."""
    import songprint

    with songprint.open(library) as opened:
        available = [each for each in opened.recordings() if Path(each.source).is_file()]
    if not available:
        sys.exit(f"There is no music in {music}.")
    song = max(available, key=lambda recording: recording.name == "Traditional English - Greensleeves")
    samples = files.load(song.source, RATE)
    start = max(0, int((song.duration - CLIP_SECONDS) / 2 * RATE))
    query = damage(samples[start : start + int(CLIP_SECONDS * RATE)], np.random.default_rng(1))
    path = work / "damaged.wav"
    synth.write(path, query, RATE)
    return path, Path(song.source)


def damage(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add a room, noise and the band of a telephone; scale to a peak of 0.9."""
    samples = degrade.room(samples, RATE, rt60=0.4, rng=rng)
    samples = degrade.add_noise(samples, snr_db=8, rng=rng)
    samples = degrade.phone(samples, RATE, rng)
    return np.asarray(samples * np.float32(0.9 / np.abs(samples).max()))


def unknown_query(work: Path) -> Path:
    """Write a clip of an invented tune that is not in the library."""
    path = work / "unknown.wav"
    samples = synth.render(invent(2024))
    start = len(samples) // 2
    synth.write(path, samples[start : start + int(CLIP_SECONDS * synth.SAMPLE_RATE)])
    return path


def identify(library: Path, query: Path) -> int:
    """Identify the query and return the exit status; an error ends the demo."""
    status = songprint("--library", library, "identify", query)
    if status > NO_MATCH:
        sys.exit(status)
    return status


def songprint(*arguments: object) -> int:
    """Print and run a command; return its exit status."""
    words = [str(argument) for argument in arguments]
    print(f"\n$ songprint {shlex.join(words)}", flush=True)
    return subprocess.run([sys.executable, "-m", "songprint", *words]).returncode


def show(text: str) -> None:
    print(f"\n{text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
