"""Other systems that identify recordings, for comparison on the same queries. Each is installed from a package:

    audfprint       landmark hashes; pip install audfprint2
    chromaprint     the fingerprint of AcoustID; Debian and Ubuntu: apt install libchromaprint-tools

All have the same methods: `add` files, then `identify`. This module contains none of their code.
"""

from __future__ import annotations

import logging
import random
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from lab.data import synth
from songprint.audio import files as audio
from songprint.audio.samples import at_rate
from songprint.errors import AudioError


class PeerMissing(Exception):
    """A system is not installed. The message contains the command that installs it."""


@dataclass(frozen=True)
class PeerMatch:
    """The best match of a system, however unlikely."""

    track: str  # path, as it was added
    score: float  # larger is better; the scale depends on the system
    start: float  # position in the track, in seconds, where the query begins
    speed: float | None = None  # seconds of the track per second of the query; None if not reported


class Peer(Protocol):
    name: str
    version: str
    note: str  # what `bytes` does not include

    @property
    def bytes(self) -> int:
        """Size of the fingerprints."""

    def add(self, files: Sequence[Path], workers: int) -> None: ...

    def identify(self, samples: np.ndarray, sample_rate: int) -> PeerMatch | None: ...


def find(name: str) -> Peer:
    """Return an empty peer by name; PeerMissing if it is not installed."""
    if name not in PEERS:
        raise PeerMissing(f"peer {name!r} is unknown. Known are {', '.join(PEERS)}")
    return PEERS[name]()


class Audfprint:
    """Pairs of spectral peaks in a hash table, tuned for short queries: denser than its defaults.

    Queries are hashed at four shifts of a quarter frame, as its own command line does. The score is the number
    of hashes that agree on a position.
    """

    name = "audfprint"
    note = "4 bytes per hash; its table always takes 400 MB of memory"
    sample_rate = 11_025
    hop = 256 / 11_025  # seconds
    query_shifts = 4

    def __init__(self) -> None:
        try:
            self.version = f"audfprint2 {metadata.version('audfprint2')}"
            level = logging.getLogger().level
            from audfprint2 import HashTable, Matcher

            logging.getLogger().setLevel(level)  # its import changes the level of the root logger
        except ImportError as error:
            raise PeerMissing(
                "audfprint is not installed: pip install -r lab/requirements.txt, or leave it out of --peers"
            ) from error
        random.seed(0)  # a full bucket drops random entries
        self._table = HashTable(maxtime=1 << 17)  # 50 minutes; later positions wrap around
        self._matcher = Matcher()
        self._matcher.window = 2  # frames
        self._matcher.threshcount = 2  # low, because the evaluation applies its own threshold
        self._analyzer = _audfprint_analyzer()

    def add(self, files: Sequence[Path], workers: int) -> None:
        # "spawn", because a fork would copy the locks of the model runtime but not its threads
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            for path, hashes in zip(files, pool.map(_audfprint_hashes, files), strict=True):
                self._table.store(str(path), hashes)

    def identify(self, samples: np.ndarray, sample_rate: int) -> PeerMatch | None:
        samples = at_rate(samples, sample_rate, self.sample_rate)
        shifts = [round(256 * shift / self.query_shifts) for shift in range(self.query_shifts)]
        hashes = np.unique(np.concatenate([_hashes(self._analyzer, samples[shift:]) for shift in shifts]), axis=0)
        found = self._matcher.match_hashes(self._table, hashes) if len(hashes) else []
        if not len(found):
            return None
        track, agreeing, frames = found[0][:3]
        return PeerMatch(self._table.names[track], float(agreeing), float(frames) * self.hop)

    @property
    def bytes(self) -> int:
        return 4 * int(np.minimum(self._table.counts, self._table.depth).sum())


def _audfprint_analyzer() -> Any:
    from audfprint2 import Analyzer

    analyzer = Analyzer(density=70.0)
    analyzer.maxpairsperpeak, analyzer.maxpksperframe = 8, 8
    return analyzer


def _audfprint_hashes(path: Path) -> list[tuple[int, int]]:
    return _hashes(_audfprint_analyzer(), audio.load(path, Audfprint.sample_rate)).tolist()


def _hashes(analyzer: Any, samples: np.ndarray) -> np.ndarray:
    """Return (n, 2): frame and hash."""
    from audfprint2.core.analyzer import landmarks2hashes

    peaks = analyzer.find_peaks(samples, Audfprint.sample_rate)
    return np.unique(landmarks2hashes(analyzer.peaks2landmarks(peaks)), axis=0).reshape(-1, 2)


class Chromaprint:
    """32 bits of chroma every eighth of a second, compared with every position of every track.

    The score is 1 - 2 x the share of bits that differ (chance: 0). Queries below 2.8 s have no fingerprint.
    """

    name = "chromaprint"
    note = "4 bytes per fingerprint, compared exhaustively"
    hop = 1365 / 11_025  # seconds

    def __init__(self) -> None:
        if not shutil.which("fpcalc"):
            raise PeerMissing(
                "chromaprint is not installed: fpcalc is not found (Debian and Ubuntu: apt install"
                " libchromaprint-tools). Or leave it out of --peers"
            )
        output = subprocess.run(["fpcalc", "-version"], check=True, capture_output=True, text=True).stdout
        self.version = " ".join(output.split()[:3])
        self._prints: dict[str, np.ndarray] = {}

    def add(self, files: Sequence[Path], workers: int) -> None:
        with ThreadPoolExecutor(workers) as pool:
            self._prints |= zip(map(str, files), pool.map(fingerprint, files), strict=True)

    def identify(self, samples: np.ndarray, sample_rate: int) -> PeerMatch | None:
        with tempfile.NamedTemporaryFile(suffix=".wav") as file:
            loudest = max(1.0, float(np.abs(samples).max(initial=0)))  # attenuates instead of clipping
            synth.write(Path(file.name), samples / loudest, sample_rate)
            query = fingerprint(Path(file.name))
        candidates = [
            (*best_place(query, track), path) for path, track in self._prints.items() if 0 < len(query) <= len(track)
        ]
        if not candidates:
            return None
        errors, place, path = min(candidates)
        return PeerMatch(path, 1 - 2 * errors, place * self.hop)

    @property
    def bytes(self) -> int:
        return sum(track.nbytes for track in self._prints.values())


def fingerprint(path: Path) -> np.ndarray:
    """Return the fingerprint of a whole file, (n,) uint32; empty if the audio is too short."""
    # fpcalc of Debian 12 exits with status 3 at the end of every file, so its status is ignored
    run = subprocess.run(["fpcalc", "-raw", "-plain", "-length", "0", path], capture_output=True, text=True)
    if not run.stdout.strip():
        if "Empty fingerprint" in run.stderr:
            return np.zeros(0, np.uint32)
        raise AudioError(f"fpcalc cannot read {path}: {run.stderr.strip()}")
    return np.array(run.stdout.split(","), np.int64).astype(np.uint32)


def best_place(query: np.ndarray, track: np.ndarray) -> tuple[float, int]:
    """Return the smallest share of differing bits, and its position in the track: (n,), (m,) uint32 with n <= m.

    >>> best_place(np.array([7, 9], np.uint32), np.array([1, 7, 9, 2], np.uint32))
    (0.0, 1)
    """
    places = np.lib.stride_tricks.sliding_window_view(track, len(query))  # (m - n + 1, n)
    wrong = np.bitwise_count(places ^ query).sum(axis=1, dtype=np.int64)
    place = int(wrong.argmin())
    return float(wrong[place] / (32 * len(query))), place


PEERS: dict[str, type[Audfprint] | type[Chromaprint]] = {peer.name: peer for peer in (Audfprint, Chromaprint)}
