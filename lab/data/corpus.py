"""Music, noise and speech for training and evaluation, from Debian packages.

    python -m lab.data.corpus fetch  --out data                 # packages -> data/packages
    python -m lab.data.corpus decode --out data                 # -> data/pcm/*.npy, 8 kHz int16, and data/music.json
    python -m lab.data.corpus render --out data --scores DIR    # MIDI files -> data/pcm, data/rendered.json

Splits follow packages (for rendered music, compositions), so that no tune is in two splits. `train` is for weights,
`calibration` for thresholds and probabilities, and `acceptance` for reported figures only: nothing may be trained,
tuned or chosen on it.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from lab import program
from songprint.audio import files
from songprint.errors import AudioError

SAMPLE_RATE = 8000  # Hz, of all files in data/pcm
SHORTEST = 30.0  # seconds; shorter files are jingles and effects
LONGEST = 300.0  # seconds kept of one track, so that loops of 29 minutes do not dominate

FIRST_RENDERED = 10_000  # track ids below are decoded files
# General MIDI programs for melodies and chords: pianos, organs, guitars, strings, winds, synthesizers.
PROGRAMS = (0, 0, 0, 4, 5, 11, 16, 19, 24, 25, 27, 30, 40, 48, 52, 56, 61, 65, 73, 80, 81, 89)

PACKAGES = {
    "train": [
        "warzone2100-music",
        "ufoai-music",
        "planetblupi-music-ogg",
        "wesnoth-1.16-music",
        "naev-data",
        "supertux-data",
        "supertuxkart-data",
        "megaglest-data",
        "fillets-ng-data",
        "btanks-data",
        "xmoto-data",
        "lincity-ng-data",
        "extremetuxracer-data",
        "scorched3d-data",
        "endless-sky-data",
        "openarena-data",
    ],
    "calibration": ["hedgewars-data", "flare-game", "colobot-common-sounds"],
    "unknown": ["nexuiz-music", "asc-music"],  # queries of the evaluation that are not in its library
    "acceptance": [
        "widelands-data",
        "singularity-music",
        "marsshooter-data",
        "freedroidrpg-data",
        "drascula-music",
        "trackballs-data",
        "fretsonfire-songs-sectoid",
        "fretsonfire-songs-muldjord",
        "hyperrogue-music",
    ],
}
SPEECH = {"train": "fillets-ng-data-cs", "acceptance": "fillets-ng-data-nl"}  # acted dialogue
SOUNDFONTS = ["timgm6mb-soundfont", "fluidr3mono-gm-soundfont", "fluid-soundfont-gs", "csound-soundfont"]
UNSEEN_FONTS = ["fluid-soundfont-gm", "musescore-general-soundfont"]  # for the works held out of training

# Pairs of real tracks that are versions of each other. They are excluded from training and used as real covers.
VERSIONS = [
    ("supertux-data/airship_2.ogg", "supertux-data/airship_remix.ogg"),
    *(
        (f"supertuxkart-data/{name}.ogg", f"supertuxkart-data/{name}_fast.ogg")
        for name in (
            "celtic",
            "cocoa_river",
            "jumping_to_the_stars_remake",
            "landing_in_gran_paradiso",
            "ravenbridge_mansion",
            "theGreatFair",
        )
    ),
    # found by `lab.data.repeats`, not visible in the names
    ("supertux-data/forest2.ogg", "supertux-data/credits.ogg"),
    ("supertux-data/christmas_theme.ogg", "supertux-data/theme.ogg"),
    ("supertux-data/cave.ogg", "supertux-data/cave_old.ogg"),
    ("supertux-data/call_of_the_winding_path.ogg", "supertux-data/shallow-green.ogg"),
    ("supertuxkart-data/farm.ogg", "supertuxkart-data/farm_f.ogg"),
    ("warzone2100-music/menu_enhanced.opus", "warzone2100-music/menu.opus"),
    ("naev-data/ambient2.ogg", "naev-data/ambient2_5.ogg"),
    ("ufoai-music/Crystan-Geosphere04.ogg", "ufoai-music/Crystan-LooseGame.ogg"),
    ("wesnoth-1.16-music/legends_of_the_north.ogg", "megaglest-data/romans.ogg"),
    ("megaglest-data/wind.ogg", "megaglest-data/wind.ogg"),
]

# The same piece under two names: reporting one for the other is not an error.
SAME_MUSIC = {
    "flare-game/battle_theme.ogg": "supertux-data/battle_theme.ogg",
    "colobot-common-sounds/music008.ogg": "colobot-common-sounds/Infinite.ogg",
}

MUSICAL_NOISE = {
    "places_carousel",
    "places_church",
    "places_temple",
    "things_singing-bowl",
    "things_wind-chimes",
    "things_morse-code",
}
ACCEPTANCE_NOISE = {
    "places_cafe",
    "places_laundry-room",
    "places_office",
    "rain_heavy-rain",
    "nature_waterfall",
    "animals_crickets",
    "transport_train",
    "urban_traffic",
    "things_vinyl-effect",
    "nature_wind",
    "urban_road",
    "transport_airplane",
}


@dataclass(frozen=True)
class Track:
    """A piece of music in the corpus."""

    id: int
    name: str  # package/file
    split: str
    duration: float  # seconds kept
    path: str  # of the original file; empty for rendered music


def load_tracks(out: Path, split: str) -> list[Track]:
    """Return the tracks of one split in a fixed order."""
    rows = [
        row
        for name in ("music.json", "rendered.json")
        if (out / name).exists()
        for row in json.loads((out / name).read_text())
    ]
    return [Track(**row) for row in rows if row["split"] == split]


def load_pcm(out: Path, track: Track, copy: str = "") -> np.ndarray:
    """Return (n,) int16 at 8 kHz, memory-mapped. `copy` is the suffix of a precomputed copy (`lab.data.copies`)."""
    samples: np.ndarray = np.load(out / "pcm" / f"{track.id:05d}{copy}.npy", mmap_mode="r")
    return samples


def ambience(noise: Path | None, split: str = "train") -> list[Path]:
    """Return the recordings of noise that a split may use, sorted; none without a folder."""
    kinds = [] if noise is None else sorted(noise.glob("*.opus"))
    if split == "acceptance":
        return [path for path in kinds if path.stem in ACCEPTANCE_NOISE]
    return [path for path in kinds if path.stem not in MUSICAL_NOISE | ACCEPTANCE_NOISE]


def spoken_lines(data: Path, split: str = "train") -> list[Path]:
    """Return the files of the acted dialogue of a split, sorted."""
    return sorted((data / "packages" / SPEECH[split]).rglob("*.ogg"))


def fetch(out: Path) -> None:
    """Download and unpack missing packages without installing them."""
    folder = out / "packages"
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [name for names in PACKAGES.values() for name in names] + list(SPEECH.values()) + SOUNDFONTS + UNSEEN_FONTS
    for number, package in enumerate(wanted, 1):
        target = folder / package
        if target.exists():
            continue
        print(f"[{number}/{len(wanted)}] {package}", file=sys.stderr)
        subprocess.run(["apt-get", "download", "-q", package], cwd=folder, check=True)
        deb = next(folder.glob(f"{package}_*.deb"))
        unfinished = folder / f"{package}.unfinished"
        subprocess.run(["dpkg-deb", "-x", deb, unfinished], check=True)
        unfinished.rename(target)
        deb.unlink()


def music_files(folder: Path) -> Iterator[Path]:
    """Yield the audio files of one unpacked package, sorted, including those in archives of games."""
    for archive in sorted(folder.rglob("*.pk3")):
        subprocess.run(["unzip", "-qn", archive, "-d", archive.with_suffix(".unpacked")], check=False)
    stems = {"guitar.ogg"}  # fretsonfire: the guitar track of song.ogg
    for path in sorted(folder.rglob("*")):
        if path.is_file() and files.is_probably_audio(path) and path.name not in stems:
            yield path


def decode(out: Path) -> None:
    """Decode every track of 30 s and more. Files with the same content are decoded once."""
    (out / "pcm").mkdir(parents=True, exist_ok=True)
    jobs = []
    seen = set()
    for split, packages in PACKAGES.items():
        for package in packages:
            for path in music_files(out / "packages" / package):
                digest = hashlib.md5(path.read_bytes()).hexdigest()
                if digest not in seen:
                    seen.add(digest)
                    jobs.append((split, f"{package}/{path.name}", path))
    with ProcessPoolExecutor() as pool:
        lengths = list(
            pool.map(_decode_one, [(out, number, path) for number, (_, _, path) in enumerate(jobs)], chunksize=4)
        )
    tracks = [
        Track(number, name, split, length, str(path))
        for number, ((split, name, path), length) in enumerate(zip(jobs, lengths, strict=True))
        if length
    ]
    _save_index(out / "music.json", tracks)


def _decode_one(job: tuple[Path, int, Path]) -> float:
    """Decode one file and return the seconds kept; 0 if it is too short or unreadable."""
    out, number, path = job
    try:
        samples = files.load(path, SAMPLE_RATE, duration=LONGEST)
    except AudioError:
        return 0.0
    if len(samples) < SHORTEST * SAMPLE_RATE:
        return 0.0
    np.save(out / "pcm" / f"{number:05d}.npy", (np.clip(samples, -1, 1) * 32767).astype(np.int16))
    return len(samples) / SAMPLE_RATE


def render(out: Path, scores: list[Path], seconds: float, seed: int = 0) -> None:
    """Render an excerpt of each MIDI file with a random soundfont, programs, key and tempo.

    The rendition depends only on the score, `seed` and the track id.
    """
    (out / "pcm").mkdir(parents=True, exist_ok=True)
    fonts = sorted(
        path for name in SOUNDFONTS for path in (out / "packages" / name).rglob("*.sf[23]") if not path.is_symlink()
    )
    jobs = [(out, FIRST_RENDERED + i, path, fonts, seconds, seed) for i, path in enumerate(scores)]
    with ProcessPoolExecutor() as pool:
        lengths = list(pool.map(_render_one, jobs, chunksize=8))
    tracks = [
        Track(number, f"rendered/{path.stem}", "train", length, "")
        for (_, number, path, *_), length in zip(jobs, lengths, strict=True)
        if length
    ]
    _save_index(out / "rendered.json", tracks)


def _render_one(job: tuple[Path, int, Path, list[Path], float, int]) -> float:
    """Render one MIDI file and return its seconds; 0 if it is too short or damaged."""
    import tinysoundfont
    from scipy.signal import resample_poly
    from tinysoundfont import midi

    out, number, path, fonts, seconds, seed = job
    rng = np.random.default_rng([seed, number])
    rate = 2 * SAMPLE_RATE
    synth = tinysoundfont.Synth(samplerate=rate)
    font = synth.sfload(str(fonts[rng.integers(len(fonts))]))
    for channel in range(16):
        program = 0 if channel == 9 else int(rng.choice(PROGRAMS))
        with suppress(RuntimeError):  # small soundfonts lack some programs and keep their first
            synth.program_select(channel, font, 0, program, is_drums=channel == 9)
    transpose, tempo = int(rng.integers(-5, 6)), rng.uniform(0.85, 1.2)
    start = rng.uniform(5, 40)  # skip sparse introductions
    try:
        events = sorted(midi.load(str(path)), key=lambda event: event.t)
    except Exception as error:  # the parser raises any exception for damaged files; they are skipped
        print(f"{path.name}: {error}", file=sys.stderr)
        return 0.0
    parts, played = [], 0
    for event in events:
        due = int(event.t / tempo * rate)
        if due > played:
            parts.append(np.frombuffer(bytes(synth.generate(due - played)), np.float32).reshape(-1, 2).mean(axis=1))
            played = due
        if played > (start + seconds) * rate:
            break
        if isinstance(event.action, midi.NoteOn) and event.action.velocity:
            synth.noteon(event.channel, min(127, max(0, event.action.key + transpose)), event.action.velocity)
        elif isinstance(event.action, midi.NoteOn | midi.NoteOff):
            synth.noteoff(event.channel, min(127, max(0, event.action.key + transpose)))
    samples = np.concatenate(parts)[int(start * rate) :] if parts else np.zeros(0, np.float32)
    if len(samples) < SHORTEST * rate:
        return 0.0
    samples = resample_poly(samples, 1, 2)
    samples *= 0.7 / np.abs(samples).max()  # soundfonts have peaks of about 0.1
    np.save(out / "pcm" / f"{number:05d}.npy", (samples * 32767).astype(np.int16))
    return len(samples) / SAMPLE_RATE


def _save_index(path: Path, tracks: list[Track]) -> None:
    path.write_text(json.dumps([asdict(track) for track in tracks], indent=0))
    for split in PACKAGES:
        chosen = [track for track in tracks if track.split == split]
        if chosen:
            hours = sum(track.duration for track in chosen) / 3600
            print(f"{split}: {len(chosen)} tracks, {hours:.1f} h", file=sys.stderr)


def main() -> None:
    parser = program.parser(__doc__, out=program.DATA)
    parser.add_argument("step", choices=["fetch", "decode", "render"])
    parser.add_argument("--scores", type=Path, help="folder of MIDI files (render)")
    parser.add_argument("--pattern", default="**/*.mid", help="glob pattern of the MIDI files (render)")
    parser.add_argument("--seconds", type=float, default=80, help="length of each rendition")
    options = parser.parse_args()
    if options.step == "fetch":
        fetch(options.out)
    elif options.step == "decode":
        decode(options.out)
    else:
        render(options.out, sorted(options.scores.glob(options.pattern)), options.seconds)


if __name__ == "__main__":
    main()
