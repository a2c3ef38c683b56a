"""Fixtures that many tests share. No test needs the network, and most need no neural model."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

# The matrices of the tests are small, and tests run in parallel: with several threads, linear algebra took five times
# the processor time. NumPy reads these variables when it is imported.
for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np
import pytest
from support import milvusserver, pgvectorserver, servers, soundfiles, toy
from support.children import environment
from support.commandline import use_toy_encoder

import songprint
from lab.data import synth
from lab.data.tunes import invent
from songprint.audio.samples import at_rate
from songprint.fingerprint.encoder import Encoder
from songprint.fingerprint.logmel import SAMPLE_RATE
from songprint.kinds import load_encoder, open_store
from songprint.library import Library
from songprint.store.catalog import Catalog
from songprint.store.database import Database
from songprint.store.store import Store
from songprint.types import Embeddings, Kind, Tags

FOR_TESTS = (
    "SONGPRINT_TEST_DATABASES",
    "SONGPRINT_TEST_MILVUS",
    "SONGPRINT_TEST_PGVECTOR",
    "SONGPRINT_TEST_CERTIFICATE",
    "SONGPRINT_TEST_FREEZE",
    "SONGPRINT_ACCEPTANCE",
)


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Isolate the tests from the settings and the library of the user who runs them."""
    for name in [name for name in os.environ if name.startswith("SONGPRINT_") and name not in FOR_TESTS]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path_factory.getbasetemp() / "home"))


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(20240607)


@pytest.fixture
def songs(tmp_path: Path) -> list[Path]:
    """Five songs of five seconds in `tmp_path/music`."""
    return toy.write_songs(tmp_path / "music", 5)


@pytest.fixture(params=servers.KINDS)
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The setting `database` of an empty database: empty for SQLite, then one on a server of each kind."""
    if request.param == "sqlite":
        yield ""
    else:
        with servers.new_database(request.param) as url:
            yield url


@pytest.fixture(scope="session")
def milvus_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The setting `index` of a Milvus server; for heavy tests."""
    with milvusserver.running(tmp_path_factory.mktemp("milvus")) as address:
        yield address


@pytest.fixture(scope="session")
def pgvector_server() -> Iterator[str]:
    """The URL of a database of PostgreSQL with pgvector."""
    with pgvectorserver.running() as url:
        yield url


@pytest.fixture
def catalog(tmp_path: Path, database_url: str) -> Iterator[Catalog]:
    """An empty catalogue, on each kind of database."""
    catalog = Catalog(tmp_path / "library", create=True, database=database_url)
    yield catalog
    catalog.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store with the toy encoder."""
    with open_store(tmp_path / "library", create=True, encoder=toy.ToyEncoder()) as store:
        yield store


@pytest.fixture
def library(tmp_path: Path, songs: list[Path]) -> Iterator[Library]:
    """A library of the five songs, with the toy encoder."""
    with songprint.open(tmp_path / "library", create=True, encoder=toy.ToyEncoder()) as library:
        library.add(songs, workers=1)
        yield library


@pytest.fixture
def toy_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Make the command line use the toy encoder and a temporary library."""
    use_toy_encoder(monkeypatch)
    monkeypatch.setenv("SONGPRINT_LIBRARY", str(tmp_path / "library"))


@pytest.fixture
def query(songs: list[Path], tmp_path: Path) -> Path:
    """Seconds 1 to 4.5 of song 3, a little noisy."""
    noise = np.random.default_rng(1).normal(0, 0.02, 28000)
    return toy.write(tmp_path / "clip.wav", (toy.song(3)[8000:36000] + noise).astype(np.float32))


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    samples = np.random.default_rng(5).normal(0, 0.2, 28000)
    return toy.write(tmp_path / "noise.wav", samples.clip(-1, 1).astype(np.float32))


@pytest.fixture
def database(catalog: Catalog) -> Database:
    """The database of an empty catalogue, of each kind."""
    return catalog.database


class Disk:
    """A small file system that can be filled, made read-only and enlarged."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def make_readonly(self) -> None:
        subprocess.run(["mount", "-o", "remount,ro", self.path], check=True)

    def make_larger(self) -> None:
        subprocess.run(["mount", "-o", "remount,size=32m", self.path], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A file system of 2 MB in memory; needs Linux and root."""
    path = tmp_path / "disk"
    path.mkdir()
    try:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=2m", "songprint-test", path], check=True, capture_output=True
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("cannot mount a small disk here: needs Linux and root")
    yield Disk(path)
    subprocess.run(["umount", "-l", path], check=True)


@pytest.fixture
def run_python() -> Callable[..., str]:
    """Run Python in its own process, with the package and the test helpers importable; returns its output."""

    def run(*arguments: str) -> str:
        return subprocess.run(
            [sys.executable, *arguments], check=True, text=True, stdout=subprocess.PIPE, env=environment(), timeout=60
        ).stdout

    return run


@pytest.fixture
def song(tmp_path):
    """A file with three seconds of noise, in which no two moments are alike."""
    noise = np.random.default_rng(7).normal(0, 0.1, 3 * 44100)
    return soundfiles.write(tmp_path / "song.flac", noise)


@pytest.fixture
def write_bytes(tmp_path):
    def write(name, data):
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return write


@pytest.fixture(scope="session")
def tunes() -> list[np.ndarray]:
    """Six tunes of 40 s at 8 kHz."""
    return [
        at_rate(synth.render(invent(seed)), synth.SAMPLE_RATE, SAMPLE_RATE)[: 40 * SAMPLE_RATE] for seed in range(6)
    ]


@pytest.fixture(scope="session")
def encoder() -> Encoder:
    """The shipped encoder of recordings."""
    return load_encoder()


@pytest.fixture(scope="session")
def band_embeddings(tunes: list[np.ndarray], encoder: Encoder) -> list[Embeddings]:
    """The embeddings of the tunes, and of a softer copy of the second one."""
    return [encoder.encode(samples) for samples in [*tunes, 0.5 * tunes[1]]]


@pytest.fixture
def band(tmp_path: Path, band_embeddings: list[Embeddings], encoder: Encoder) -> Iterator[Store]:
    """A store with the tunes as recordings 1 to 6; recording 7 is a softer copy of 2."""
    with open_store(tmp_path / "library", create=True, encoder=encoder) as store:
        for number, embeddings in enumerate(band_embeddings):
            store.catalog.add(
                tags=Tags(title=f"Tune {number}"),
                duration=40.0,
                source=str(number),
                content_hash=f"{number:032x}",
                embeddings={Kind.RECORDING: embeddings},
            )
        store.refresh()
        yield store
