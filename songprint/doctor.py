"""Checks of the installation and of a library. Each check returns one line.

The test recording is synthesised from a fixed seed, so no audio file is needed.
"""

from __future__ import annotations

import tempfile
import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np

from songprint import kinds
from songprint.address import DatabaseAddress, MilvusAddress
from songprint.audio import files
from songprint.config import Settings
from songprint.encoders.contract import Matcher, ships
from songprint.ingest.read import state_of
from songprint.library import Library
from songprint.store import places
from songprint.types import Kind, Recording

RATE = 16000  # Hz, sample rate of the test recording
EXCERPT = slice(6 * RATE, 14 * RATE)  # samples of the test recording that are used as the query
TOLERANCE = 1.0  # seconds; largest accepted error of the position
MAX_FILES_TRIED = 20  # recordings whose audio file is searched for before the check is skipped


@dataclass(frozen=True)
class Check:
    """The result of one check."""

    name: str
    passed: bool
    detail: str


def examine(settings: Settings, library: Path | None = None) -> Iterator[Check]:
    """Check the installation, then the library at `library` if given. Writes only to a temporary library."""
    for name in ("onnxruntime", "faiss-cpu", "av", *_packages_for(settings)):
        yield _check(name, partial(_import, name))
    for number, (kind, matcher) in enumerate(kinds.MATCHERS.items()):
        if number == 0 or ships(matcher.encoder_name):
            yield _check(f"encoder of {kind}s" if number else "encoder", partial(_open_encoder, matcher))
    local = settings.with_(database="", index="")  # the temporary library needs no database server
    with tempfile.TemporaryDirectory(prefix="songprint-doctor-") as folder:
        yield _check("new library", lambda: _write_and_read(Path(folder), local))
        yield _check("known recording", lambda: _identify_known(Path(folder), local))
    if library is not None:
        yield from _examine_library(library, settings)


def _check(name: str, run: Callable[[], str]) -> Check:
    """Run a check. It returns the detail, or raises an error whose message becomes the detail."""
    try:
        return Check(name, True, run())
    except Exception as error:  # a broken installation can raise anything
        return Check(name, False, f"{error}" or type(error).__name__)


def _import(name: str) -> str:
    __import__({"faiss-cpu": "faiss", "PyMySQL": "pymysql"}.get(name, name))
    return f"version {version(name)}"


def _packages_for(settings: Settings) -> Iterator[str]:
    """The packages that the database and the index of these settings need."""
    if settings.database:
        yield {"mysql": "PyMySQL", "postgresql": "pg8000"}[DatabaseAddress.parse(settings.database).scheme]
    if isinstance(settings.index_address, MilvusAddress):
        yield "pymilvus"
    elif settings.index_address and not settings.database.startswith("postgres"):
        yield "pg8000"


def _open_encoder(matcher: Matcher) -> str:
    spec = matcher.open_encoder().spec
    return f"{spec.id}, {spec.dim} dimensions every {spec.hop} s, weights intact"


def _write_and_read(folder: Path, settings: Settings) -> str:
    _write_wav(folder / "known.wav", synthesise_music())
    with Library(folder / "library", create=True, settings=settings) as library:
        report = library.add([folder / "known.wav"], workers=1)
    if report.skipped:
        raise RuntimeError(report.skipped[0].reason)
    with Library(folder / "library", settings=settings) as library:
        count = len(library.recordings())
    if count != 1:
        raise RuntimeError(f"added 1 recording, found {count} after reopening the library")
    return "created, closed and reopened"


def _identify_known(folder: Path, settings: Settings) -> str:
    with Library(folder / "library", settings=settings) as library:
        return _must_find(library, synthesise_music()[EXCERPT], RATE, library.recordings()[0], EXCERPT.start / RATE)


def _examine_library(path: Path, settings: Settings) -> Iterator[Check]:
    try:
        library = Library(path, settings=settings)
    except Exception as error:
        yield Check("library", False, str(error))
        return
    with library:
        tried, number = library.store.catalog.page(limit=MAX_FILES_TRIED)
        where = library.store.catalog.database.name if settings.database else path
        yield Check("library", True, f"{where} contains {number:,} {'recording' if number == 1 else 'recordings'}")
        yield _check("database", lambda: _no_problems(library))
        yield _check("files", lambda: _files_in_step(library))
        yield _check("embeddings", lambda: _embeddings_complete(library))
        yield _check("index", lambda: _index_complete(library))
        source = next((each for each in tried if Path(files.file_path(each.source)).is_file()), None)
        if source:
            yield _check("from its own file", lambda: _identify_from_file(library, source))


def _no_problems(library: Library) -> str:
    problems = library.store.catalog.problems()
    if problems:
        raise RuntimeError(f"{'; '.join(problems[:3])}. Restore it from a backup, or add the music to a new library")
    return f"intact ({library.store.catalog.database.product})"


def _files_in_step(library: Library) -> str:
    catalog = library.store.catalog
    known = places.everywhere(catalog)
    present = [place for place in known if not place.missing_since]
    states = [(place, state_of(place.path)) for place in present]
    gone = [place.path for place, state in states if state is None]
    changed = [place.path for place, state in states if state not in (None, place.state)]
    if gone or changed:
        found = [f"{len(gone):,} are gone"] * bool(gone) + [f"{len(changed):,} have changed"] * bool(changed)
        raise RuntimeError(
            f"of {len(present):,} files, {' and '.join(found)}, for example {(gone or changed)[0]}."
            " Run `songprint sync` to bring the library into step"
        )
    missing = len(places.missing(catalog))
    lost = f"; {missing:,} recordings have no file any more" if missing else ""
    return f"{len(present):,}, as they were read{lost}"


def _embeddings_complete(library: Library) -> str:
    for kind, level in library.store.levels.items():
        lacking = library.store.catalog.lacking(kind, level.spec.id)
        if lacking:
            number = f"{len(lacking):,} {'recording has' if len(lacking) == 1 else 'recordings have'}"
            raise RuntimeError(
                f"{number} no embeddings of kind {kind}, for example"
                f" {lacking[0].name!r}. Run `songprint rebuild --reencode` to compute them from the files"
            )
    return f"complete for every recording ({', '.join(library.store.levels)})"


def _index_complete(library: Library) -> str:
    details = []
    for kind, level in library.store.levels.items():
        segments, expected = 0, 0
        for _, made in level.catalog.each_embeddings(kind, level.catalog.searched(kind), evidence=False):
            segments += len(made)
            expected += int(made.has_content.sum())
        if len(level.index) != expected:
            raise RuntimeError(
                f"the index of kind {kind} contains {len(level.index):,} of {expected:,} segments."
                " Run `songprint rebuild`"
            )
        where = f" at {level.settings.index_address}" if level.settings.index else ""
        without = f" ({segments - expected:,} of silence or steady tones)" if segments > expected else ""
        details.append(f"{kind}: {level.index.kind}{where}, {segments:,} segments{without}")
    return "; ".join(details)


def _identify_from_file(library: Library, recording: Recording) -> str:
    start = max(0.0, recording.duration / 2 - 10)
    rate = library.store.sample_rate
    query = files.load(recording.source, rate, start=start, duration=20)
    return _must_find(library, query, rate, recording, start)


def _must_find(library: Library, query: np.ndarray, rate: int, recording: Recording, start: float) -> str:
    """Identify an excerpt that starts `start` seconds into the recording; raise if it is not found there.

    A match with another copy of the recording counts as well, at whatever position: copies may begin at other times.
    """
    report = library.identify(query, sample_rate=rate)
    if not report:
        raise RuntimeError(f"an excerpt of {recording.name!r} is not identified: {report.reason}")
    match = next(
        (
            match
            for match in report.matches
            if match.kind is Kind.RECORDING and recording.id in (match.recording.id, *match.alternatives)
        ),
        None,
    )
    if match is None:
        raise RuntimeError(f"an excerpt of {recording.name!r} is identified as {report.matches[0].recording.name!r}")
    found_at = match.reference.start - match.speed * match.query.start
    if match.recording.id == recording.id and abs(found_at - start) > TOLERANCE:
        raise RuntimeError(f"{recording.name!r} is found at {found_at:.1f} s instead of {start:.1f} s")
    return f"{recording.name!r} identified, {int(match.confidence)}% confident, in {report.elapsed:.2f} s"


def synthesise_music(seconds: int = 20) -> np.ndarray:
    """(n,) float32 at `RATE`: a fixed pseudo-random sequence of decaying harmonic tones."""
    rng = np.random.default_rng(7)
    samples = np.zeros(seconds * RATE + 2 * RATE, dtype=np.float32)
    time = np.arange(2 * RATE) / RATE
    for beat in np.arange(0, seconds, 0.25):
        pitch = rng.integers(40, 84)
        frequencies = 440 * 2 ** ((pitch - 69) / 12) * np.arange(1, 7)
        harmonics = np.sin(2 * np.pi * np.outer(frequencies, time)) / np.arange(1, 7)[:, None]  # (6, n)
        at = int(beat * RATE)
        samples[at : at + len(time)] += harmonics.sum(axis=0) * np.exp(-3 * time) * rng.uniform(0.3, 1)
    return samples[: seconds * RATE] * np.float32(0.8 / np.abs(samples).max())


def _write_wav(path: Path, samples: np.ndarray) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
