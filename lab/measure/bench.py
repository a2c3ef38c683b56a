"""Benchmark of adding, identifying, storage, start-up and memory. Each result is one line with its unit.

    python -m lab.measure.bench                             # 1,000 recordings; queries from synthesised tunes
    python -m lab.measure.bench --music DIR                 # adds DIR and cuts the queries from it
    python -m lab.measure.bench --unknown DIR               # also queries of music that is not in the library
    python -m lab.measure.bench --kinds recording           # without covers

The library is filled with recordings that were never audio: their embeddings are random walks on the sphere with the
statistics of music, and their tonal frames are random chords. Queries are files of 10 and 30 s with pink noise at 5 dB,
each of them searched once before timing starts. The time of each stage is measured in the same run as processor time,
part of which may run in parallel: the shares are valid on a busy machine too, absolute times are not.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

import songprint
from lab.data import degrade, synth
from songprint.audio import files as audio
from songprint.config import Settings
from songprint.covers import tonal
from songprint.library import Library
from songprint.types import Embeddings, Kind, Tags

RATE = 16000  # Hz, of the queries
QUERY_SECONDS = (10.0, 30.0)
NOISE = 5.0  # dB
TUNES = 8  # synthesised without --music
TRACK_SECONDS = 240.0  # duration of a recording that was never audio
DIMENSIONS = 32  # of the subspace with 99.7% of the energy of embeddings of music
STEP = 0.65  # step of the walk; gives neighbouring rows a cosine of about 0.8
HOME = 0.5  # weight of the region of a recording; gives rows a mean cosine of about 0.2
REFRAIN = 24  # rows that are repeated with small changes
# Stage -> functions whose time is measured. Time in a nested stage counts for that stage only.
FUNCTIONS = {
    "decode": ["songprint.audio.files.blocks"],
    "front end": [
        "songprint.fingerprint.logmel.power",
        "songprint.fingerprint.logmel.mel",
        "songprint.fingerprint.logmel.has_content",
        "songprint.fingerprint.logmel.normalise",
    ],
    "network": ["songprint.fingerprint.encoder.Encoder._vectors"],
    "search": ["songprint.store.index.faiss.FaissIndex.search"],
    "vote": ["songprint.fingerprint.align.vote"],
    "verify": ["songprint.fingerprint.align.verify"],
    "refine": ["songprint.fingerprint.align.refine"],
    "tonal frames": ["songprint.covers.tonal.frames"],
    "cover vectors": ["songprint.covers.encoder.CoverEncoder.embed"],
    "motifs": ["songprint.covers.search.Networks.prepare"],
    "tonal alignment": ["songprint.covers.align.Comparison.align"],
    "cover windows": [
        "songprint.covers.search.nearest_recordings",
        "songprint.covers.windows.WindowComparison.__init__",
        "songprint.covers.windows.WindowComparison.leads",
    ],
    "landmark verification": [
        "songprint.fingerprint.landmarks.LandmarkVerifier.__init__",
        "songprint.fingerprint.landmarks.LandmarkVerifier.verify",
    ],
    "peak search": ["songprint.fingerprint.peak_search.PeakSearch.__init__"],
    "rivals": ["songprint.fingerprint.candidates.WindowAlignments._rivals"],
    "embeddings": ["songprint.store.level.Level.embeddings_of"],
    "catalogue": ["songprint.store.store.Store.refresh", "songprint.store.catalog.Catalog.recordings_with"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tracks", type=int, default=1000, help="recordings in the library (default: 1000)")
    parser.add_argument("--clips", type=int, default=40, help="queries (default: 40)")
    parser.add_argument("--music", type=Path, metavar="DIR", help="music to add and to cut queries from")
    parser.add_argument("--unknown", type=Path, metavar="DIR", help="music for queries that is not added")
    parser.add_argument("--workers", type=int, help="processes for adding (default: one per core)")
    parser.add_argument("--kinds", default="recording,cover", help="kinds of match (default: recording,cover)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench(
            Path(folder),
            options.tracks,
            options.clips,
            options.music,
            options.workers,
            Settings(kinds=tuple(options.kinds.split(","))),
            options.unknown,
        )


def bench(
    work: Path,
    tracks: int,
    queries: int,
    music: Path | None,
    workers: int | None = None,
    settings: Settings | None = None,
    unknown: Path | None = None,
) -> None:
    """Measure everything and print it."""
    show("import songprint", f"{import_milliseconds():.0f} ms")
    if music is None:
        music = work / "music"
        synth.write_pieces(music, TUNES)
    settings = settings or Settings()
    measure_adding(work / "added", music, workers, settings)
    with songprint.open(work / "library", create=True, settings=settings) as library:
        library.add(music, workers=workers)
        sources = [recording.source for recording in library.recordings()]
        fill_up(library, tracks)
    measure_storage(work / "library", settings)
    for seconds in QUERY_SECONDS:
        files = list(write_queries(work / f"queries-{seconds:.0f}", sources, queries, seconds))
        measure_identifying(work / "library", files, f"identifying {seconds:.0f} s", settings)
        if unknown:
            not_added = [str(path) for path in sorted(unknown.rglob("*")) if audio.is_probably_audio(path)]
            files = list(write_queries(work / f"unknown-{seconds:.0f}", not_added, queries, seconds))
            measure_identifying(work / "library", files, f"unknown music, {seconds:.0f} s", settings)
    show("peak memory of this process", f"{peak_megabytes():.0f} MB")


def import_milliseconds() -> float:
    """Return the time of `import songprint` beyond the start of Python, the minimum of five runs."""

    def least(code: str) -> float:
        times = []
        for _ in range(5):
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            times.append(time.perf_counter() - began)
        return min(times)

    return 1000 * (least("import songprint") - least("pass"))


def measure_adding(folder: Path, music: Path, workers: int | None, settings: Settings) -> None:
    with songprint.open(folder, create=True, settings=settings) as library:
        before = os.times()
        report = library.add(music, workers=workers)
        after = os.times()
    if not report.added:
        sys.exit(f"{music} contains no music that could be added")
    cpu = sum(after[:4]) - sum(before[:4])
    show(
        "adding",
        f"{report.audio_seconds / report.elapsed:.0f} x real time ({len(report.added)} files,"
        f" {report.audio_seconds / 60:.0f} minutes); {report.audio_seconds / cpu:.0f} x per core",
    )


def measure_storage(folder: Path, settings: Settings) -> None:
    with songprint.open(folder, settings=settings) as library:
        stats = library.stats()
        numbers = sum(level.segments * library.store.levels[level.kind].spec.dim for level in stats.levels)
    size = stats.catalogue_bytes + stats.index_bytes
    show(
        "storage",
        f"{size / 1e6 / (stats.duration / 3600):.2f} MB per hour of music ({stats.recordings} recordings,"
        f" {stats.duration / 3600:.0f} hours; {numbers / size:.0%} are embeddings)",
    )


def measure_identifying(folder: Path, files: list[tuple[Path, str]], what: str, settings: Settings) -> None:
    with songprint.open(folder, settings=settings) as library:
        began = time.perf_counter()
        library.identify(files[0][0])
        show("first query after opening", f"{1000 * (time.perf_counter() - began):.0f} ms")
        for path, _ in files:
            library.identify(path)
        times, correct, reported = [], 0, 0
        for path, source in files:
            began = time.perf_counter()
            report = library.identify(path)
            times.append(1000 * (time.perf_counter() - began))
            correct += source in [match.recording.source for match in report.matches[:1]]
            reported += bool(report.matches)
        p50, p95 = np.quantile(times, [0.5, 0.95])
        show(
            what,
            f"p50 {p50:.1f} ms, p95 {p95:.1f} ms ({len(files)} queries, {len(library)} recordings,"
            f" {correct} correct, {reported - correct} wrong)",
        )
        with timed_stages() as spent:
            began = time.process_time()
            for path, _ in files:
                library.identify(path)
            whole = time.process_time() - began
    spent["other"] = whole - sum(spent.values())
    for stage, seconds in spent.items():
        show(f"  {stage}", f"{1000 * seconds / len(files):.1f} ms ({seconds / whole:.0%})")


def fill_up(library: Library, tracks: int) -> None:
    """Add recordings that were never audio until the library contains `tracks`."""
    rng = np.random.default_rng(0)
    evidence = {Kind.RECORDING: peaks, Kind.COVER: chords}
    for number in range(tracks - len(library)):
        made = {}
        for kind, level in library.store.levels.items():
            spec = level.spec
            rows = int((TRACK_SECONDS - spec.window) / spec.hop) + 1
            made[kind] = Embeddings(walk(rows, spec.dim, rng), spec.hop, spec.id, evidence[kind](rng))
        library.store.catalog.add(
            tags=Tags(title=f"Walk {number}", artists=("Nobody",)),
            duration=TRACK_SECONDS,
            source=f"/nowhere/{number}",
            content_hash=f"walk-{number}",
            embeddings=made,
        )
    began = time.perf_counter()
    library.store.tidy()
    show("index of the whole library", f"{library.stats().levels[0].index}, {time.perf_counter() - began:.1f} s")


def peaks(rng: np.random.Generator) -> np.ndarray:
    """Return random spectral peaks: two in most frames of 1/32 s."""
    shape = (int(TRACK_SECONDS * 32), 2)
    return (rng.integers(1, 256, shape, np.uint8) * (rng.random(shape) < 0.6)).astype(np.uint8)


def chords(rng: np.random.Generator) -> np.ndarray:
    """Return tonal frames of random triads of two seconds each, with weak other pitch classes."""
    count = int(TRACK_SECONDS * tonal.FRAMES_PER_SECOND)
    roots = np.repeat(rng.integers(0, 12, count // 10 + 1), 10)[:count]
    sounding = np.isin((np.arange(12) - roots[:, None]) % 12, (0, 4, 7))
    strength = np.where(
        np.tile(sounding, tonal.CHANNELS),
        rng.uniform(0.5, 1, (count, tonal.COLUMNS)),
        rng.uniform(0, 0.3, (count, tonal.COLUMNS)),
    )
    return (np.rint(strength * tonal.STEPS) * (255 // tonal.STEPS)).astype(np.uint8)


def walk(rows: int, dim: int, rng: np.random.Generator) -> np.ndarray:
    """Return (rows, dim) unit vectors: neighbours are similar, all stay in one region, and a refrain is repeated."""
    steps = rng.standard_normal((rows, DIMENSIONS)) / np.sqrt(DIMENSIONS)
    keep = np.sqrt(1 - STEP**2)
    for row in range(1, rows):
        steps[row] = keep * steps[row - 1] + STEP * steps[row]
    vectors = steps + HOME * rng.standard_normal(DIMENSIONS) / np.sqrt(DIMENSIONS)
    refrain = vectors[:REFRAIN]
    for start in range(3 * REFRAIN, rows - REFRAIN, 4 * REFRAIN):
        vectors[start : start + REFRAIN] = refrain + 0.2 * rng.standard_normal(refrain.shape) / np.sqrt(DIMENSIONS)
    vectors = vectors @ _basis(dim) + 0.05 * rng.standard_normal((rows, dim)) / np.sqrt(dim)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@cache
def _basis(dim: int) -> np.ndarray:
    """Return (DIMENSIONS, dim): orthonormal rows, the same for every recording."""
    return np.linalg.qr(np.random.default_rng(2).standard_normal((dim, DIMENSIONS)))[0].T


def write_queries(folder: Path, sources: list[str], count: int, seconds: float) -> Iterator[tuple[Path, str]]:
    """Write noisy queries and yield each with the file from which it was cut."""
    rng = np.random.default_rng(1)
    folder.mkdir()
    for number in range(count):
        source = sources[number % len(sources)]
        music = audio.load(source, RATE)
        start = int(rng.integers(max(1, len(music) - int(seconds * RATE))))
        query = degrade.add_noise(music[start : start + int(seconds * RATE)], NOISE, rng)
        path = folder / f"{number}.flac"
        synth.write(path, query * np.float32(0.9 / np.abs(query).max()), RATE)
        yield path, source


@contextmanager
def timed_stages() -> Iterator[dict[str, float]]:
    """Measure the processor time of each stage in seconds. Functions that do not exist count as other."""
    spent: dict[str, float] = dict.fromkeys(FUNCTIONS, 0.0)
    running = threading.local()  # by thread: time that nested stages took, for each running function
    undo: list[tuple[object, str, Any]] = []

    def timed(function: Callable[..., Any], stage: str) -> Callable[..., Any]:
        def run(*args: object, **kwargs: object) -> Any:
            nested = running.__dict__.setdefault("nested", [])
            nested.append(0.0)
            began = time.thread_time()
            try:
                result = function(*args, **kwargs)
                return list(result) if isinstance(result, Generator) else result
            finally:
                passed = time.thread_time() - began
                spent[stage] += passed - nested.pop()
                if nested:
                    nested[-1] += passed

        return run

    for stage, names in FUNCTIONS.items():
        for name in names:
            owner, attribute = _found(name)
            function = getattr(owner, attribute, None)
            if function is not None:
                setattr(owner, attribute, timed(function, stage))
                undo.append((owner, attribute, function))
    try:
        yield spent
    finally:
        for owner, attribute, function in undo:
            setattr(owner, attribute, function)


def _found(name: str) -> tuple[object, str]:
    """Resolve `package.module.Class.method` to its owner and the name in it."""
    *path, attribute = name.split(".")
    owner: object = import_module(".".join(part for part in path if part[0].islower()))
    for part in path:
        owner = owner if part[0].islower() else getattr(owner, part)
    return owner, attribute


def peak_megabytes() -> float:
    import resource

    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes / (1024**2 if sys.platform == "darwin" else 1024)


def show(name: str, value: str) -> None:
    print(f"{name:28} {value}", flush=True)


if __name__ == "__main__":
    main()
