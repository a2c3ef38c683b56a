"""What Songprint does, in half a minute: make music, add it, damage a clip of it, ask what it is.

    python -m lab.demo [--music DIR] [--clip FILE] [--work DIR]

Without --music the library is twenty tunes in the public domain, synthesised here. Without --clip the
clip is eight seconds from the middle of one song, played in a noisy room and heard over a telephone.
Every command is printed as a person would type it. `make demo` is this, set-up included.
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

RATE = 16000  # of the clips
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
    songprint("--library", library, "add", music)  # goes on if some of the files cannot be read

    if arguments.clip:
        say("Your clip:")
        found = identify(library, arguments.clip.expanduser())
    else:
        clip, song = damaged_clip(library, music, work)
        say(f"{CLIP_SECONDS:.0f} seconds of {song.stem!r}, played in a noisy room, heard over a telephone:")
        found = identify(library, clip)

    say("A piece that the library does not hold:")
    unknown = identify(library, unknown_clip(work))
    as_expected = unknown == NO_MATCH and (found == 0 or arguments.clip is not None)
    if not as_expected:
        say("This is not the expected answer.")
    return 0 if as_expected else 1


def synthesised_music(folder: Path) -> Path:
    say(f"Synthesising twenty tunes in the public domain into {folder} ...")
    synth.write_pieces(folder)
    return folder


def damaged_clip(library: Path, music: Path, work: Path) -> tuple[Path, Path]:
    """Cut a clip from the middle of a song, damage it and write it; also tell the song."""
    import songprint

    with songprint.open(library) as opened:
        here = [each for each in opened.recordings() if Path(each.source).is_file()]
    if not here:
        sys.exit(f"There is no music in {music}.")
    song = max(here, key=lambda recording: recording.name == "Traditional English - Greensleeves")
    samples = files.load(song.source, RATE)
    start = max(0, int((song.duration - CLIP_SECONDS) / 2 * RATE))
    clip = damage(samples[start : start + int(CLIP_SECONDS * RATE)], np.random.default_rng(1))
    path = work / "damaged.wav"
    synth.write(path, clip, RATE)
    return path, Path(song.source)


def damage(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A room, then noise, then the band of a telephone; peak 0.9."""
    samples = degrade.room(samples, RATE, rt60=0.4, rng=rng)
    samples = degrade.add_noise(samples, snr_db=8, rng=rng)
    samples = degrade.phone(samples, RATE, rng)
    return samples * np.float32(0.9 / np.abs(samples).max())


def unknown_clip(work: Path) -> Path:
    path = work / "unknown.wav"
    samples = synth.render(invent(2024))
    start = len(samples) // 2
    synth.write(path, samples[start : start + int(CLIP_SECONDS * synth.SAMPLE_RATE)])
    return path


def identify(library: Path, clip: Path) -> int:
    """Ask what the clip is; an error ends the demo."""
    status = songprint("--library", library, "identify", clip)
    if status > NO_MATCH:
        sys.exit(status)
    return status


def songprint(*arguments: object) -> int:
    """Run the real command, shown as a person would type it."""
    words = [str(argument) for argument in arguments]
    print(f"\n$ songprint {shlex.join(words)}", flush=True)
    return subprocess.run([sys.executable, "-m", "songprint", *words]).returncode


def say(text: str) -> None:
    print(f"\n{text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
