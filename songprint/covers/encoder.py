"""Samples -> tonal frames -> embeddings that renditions of one song share.

Two networks: the tonal network reads a spectrogram (see `songprint.covers.tonal`), and the cover network reads twenty
seconds of tonal frames. Its vectors are independent of the key.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, cast
from zipfile import BadZipFile

import numpy as np

from songprint.covers import tonal
from songprint.covers.cache import ArrayCache
from songprint.covers.tonal import COLUMNS, FRAMES_PER_SECOND
from songprint.encoders.contract import weights_hash
from songprint.encoders.runtime import open_network
from songprint.errors import EncoderError, LibraryConflict
from songprint.types import Embeddings, Kind

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

    from songprint.covers.cohort import Cohort
    from songprint.covers.rows import FindMotifs
    from songprint.covers.search import Networks
    from songprint.encoders.contract import EncoderSpec
    from songprint.store.level import Level
    from songprint.store.store import Store

SHORTEST = 5.0  # seconds; shorter audio gets no vector
CONTEXT_FRAMES = tonal.CONTEXT
# Frames of a stream that are computed together, without context: a scan computes only those that it needs.
PORTION_FRAMES = 60 * FRAMES_PER_SECOND - CONTEXT_FRAMES - 1
MIN_SOUNDING = 0.25  # share of the frames of a window in which something has to sound
BATCH = 16
CACHE_BYTES = 64 << 20  # for the motifs of 78 hours of references
# For the motifs of an hour of queries: one query is compared several times, but rarely again later. A stream is a new
# query every second, which must not fill the cache of references.
QUERY_CACHE_BYTES = 1 << 20
LEVELS = 127  # motifs are rounded to one byte, so that cached and computed ones are equal


class CoverEncoder:
    """Both networks with their spec. Holds ONNX Runtime sessions. Thread-safe.

    The cohort and the networks that only a search needs are read from `folder` when they are first needed.
    """

    def __init__(
        self,
        spec: EncoderSpec,
        tonal_network: bytes,
        cover_network: bytes,
        threads: int = 1,
        folder: Path | None = None,
    ):
        self.spec = spec
        self._folder = folder
        self._threads = threads
        self._tonal, self._cover = (open_network(network, threads) for network in (tonal_network, cover_network))

    @cached_property
    def cohort(self) -> Cohort:
        """The cohort that scores are normalised with. Raises EncoderError if it is missing or damaged."""
        from songprint.covers.cohort import Cohort

        if self._folder is None:
            return Cohort.none()
        try:
            return Cohort.load(self._folder / f"{self.spec.name}_cohort.npz")
        except (OSError, ValueError, KeyError, BadZipFile) as error:
            raise self._damaged("cohort", error) from error

    @cached_property
    def networks(self) -> Networks:
        """The networks of the search, as far as the spec names them. Raises EncoderError if one is damaged."""
        from songprint.covers.search import Networks

        motifs = self._opened("motifs", self.spec.motifs)
        verifier = self._opened("verifier", self.spec.verifier)
        return Networks(
            motifs and _cached_motifs(motifs, CACHE_BYTES),
            motifs and _cached_motifs(motifs, QUERY_CACHE_BYTES),
            verifier and (lambda bands: verifier.run(None, {"bands": bands.astype(np.float32)})[0]),
        )

    def _opened(self, name: str, expected: str) -> InferenceSession | None:
        """Open the network with this name and hash; None if the spec names none."""
        if self._folder is None or not expected:
            return None
        try:
            network = (self._folder / f"{name}.onnx").read_bytes()
        except OSError as error:
            raise self._damaged(name, error) from error
        if weights_hash(network) != expected:
            raise self._damaged(name, "its hash is not the one in the spec")
        return open_network(network, self._threads)

    def _damaged(self, what: str, why: object) -> EncoderError:
        return EncoderError(
            f"cannot read the {what} of encoder {self.spec.name!r}: {why}. "
            "Reinstall Songprint: pip install --force-reinstall songprint"
        )

    def encode(self, samples: np.ndarray) -> Embeddings:
        """(n,) float32 mono samples at `spec.sample_rate` -> one vector per window, and the tonal frames."""
        return self.encode_stream([samples])[0]

    def encode_stream(self, blocks: Iterable[np.ndarray]) -> tuple[Embeddings, float]:
        """Consecutive blocks of samples -> the embeddings of the whole, and its duration in seconds."""
        frames, duration = tonal.frames(blocks, self._activations)
        return Embeddings(self.embed(frames), self.spec.hop, self.spec.id, frames), duration

    def frames(self, blocks: Iterable[np.ndarray]) -> np.ndarray:
        """Consecutive blocks of samples -> (n, 48) uint8 tonal frames, without vectors."""
        return tonal.frames(blocks, self._activations)[0]

    def embed(self, frames: np.ndarray) -> np.ndarray:
        """Tonal frames (n, 48) uint8 -> (m, dim) float32 unit vectors, one per window; zeros for silent windows.

        Row i describes the `spec.window` seconds from `i * spec.hop` on, except that the last window ends with the
        frames. Frames shorter than SHORTEST give no row; frames shorter than a window are repeated to fill one.
        """
        windows = cut(frames, self.spec.window, self.spec.hop)
        vectors = np.zeros((len(windows), self.spec.dim), np.float32)
        sounding = np.flatnonzero(windows.any(axis=2).mean(axis=1) >= MIN_SOUNDING)
        for start in range(0, len(sounding), BATCH):
            rows = sounding[start : start + BATCH]
            vectors[rows] = self._cover.run(None, {"frames": windows[rows].astype(np.float32) / 255})[0]
        return vectors

    def _activations(self, planes: np.ndarray) -> np.ndarray:
        activations: np.ndarray = self._tonal.run(None, {"planes": planes})[0]
        return activations


def cut(frames: np.ndarray, window: float, hop: float) -> np.ndarray:
    """Tonal frames (n, columns) -> windows (m, frames of a window, columns); see `CoverEncoder.embed`."""
    length, step = round(window * FRAMES_PER_SECOND), round(hop * FRAMES_PER_SECOND)
    if len(frames) < SHORTEST * FRAMES_PER_SECOND:
        return np.zeros((0, length, frames.shape[1]), frames.dtype)
    if len(frames) < length:
        frames = np.resize(frames, (length, frames.shape[1]))
    starts = np.arange(0, len(frames) - length + step, step).clip(max=len(frames) - length)
    return np.stack([frames[start : start + length] for start in starts])


def _cached_motifs(network: InferenceSession, max_bytes: int) -> FindMotifs:
    """The motifs that a network finds, cached for what was compared last."""

    def find(frames: np.ndarray) -> np.ndarray:
        rows: np.ndarray = network.run(None, {"frames": frames[None].astype(np.float32) / 255})[0][0]
        return np.rint(rows * np.float32(LEVELS)).astype(np.int8)

    cached = ArrayCache(find, max_bytes)
    return lambda frames: cached(frames) / np.float32(LEVELS)


class FrameStream:
    """Blocks of samples -> tonal frames, a minute at a time, each minute when it is first needed.

    Most of a typical recording is explained by known recordings, and the tonal network never reads it.
    """

    def __init__(self, encoder: CoverEncoder):
        self._portions: list[_Portion] = []
        self._count = 0  # frames, dropped ones included
        self._encoder = encoder
        self._frame_samples = encoder.spec.sample_rate // FRAMES_PER_SECOND
        self._waiting = np.zeros(0, np.float32)
        self._before = 0  # frames of context in front of the waiting samples

    @property
    def count(self) -> int:
        """The number of complete frames, dropped ones included."""
        return self._count

    def feed(self, block: np.ndarray) -> None:
        """Process the next (n,) float32 samples."""
        self._waiting = np.concatenate([self._waiting, block])
        while len(self._waiting) >= (self._before + PORTION_FRAMES + CONTEXT_FRAMES) * self._frame_samples:
            part = self._waiting[: (self._before + PORTION_FRAMES + CONTEXT_FRAMES) * self._frame_samples]
            self._append(part.copy(), PORTION_FRAMES)
            self._waiting = self._waiting[(self._before + PORTION_FRAMES - CONTEXT_FRAMES) * self._frame_samples :]
            self._before = CONTEXT_FRAMES

    def finish(self) -> None:
        """Process the end of the audio."""
        if len(self._waiting) >= (self._before + 1) * self._frame_samples:
            self._append(self._waiting, len(self._waiting) // self._frame_samples - self._before)
        self._waiting = self._waiting[:0]

    def between(self, first: int, last: int) -> np.ndarray:
        """(last - first, 48) uint8 the complete frames [first, last); dropped ones are left out."""
        found = [np.zeros((0, COLUMNS), np.uint8)]
        for portion in self._portions:
            if portion.first < last and portion.last > first:
                frames = portion.frames(self._encoder)
                found.append(frames[max(0, first - portion.first) : last - portion.first])
        return np.concatenate(found)

    def forget(self, first: int) -> None:
        """Drop what only the frames before `first` needed."""
        self._portions = [portion for portion in self._portions if portion.last > first]

    def _append(self, samples: np.ndarray, count: int) -> None:
        self._portions.append(_Portion(self._count, count, self._before, samples))
        self._count += count


@dataclass
class _Portion:
    """Consecutive frames: the samples that they are computed from, then the frames."""

    first: int
    count: int
    context: int  # frames in front of the first one
    samples: np.ndarray | None  # float32; None once the frames are computed
    computed: np.ndarray | None = None

    @property
    def last(self) -> int:
        return self.first + self.count

    def frames(self, encoder: CoverEncoder) -> np.ndarray:
        """(count, 48) uint8."""
        if self.computed is None:
            assert self.samples is not None
            self.computed = encoder.frames([self.samples])[self.context : self.context + self.count]
            self.samples = None
        return self.computed


def encoder_of(level: Level) -> CoverEncoder:
    """The encoder of a level of kind "cover"."""
    return cast(CoverEncoder, level.encoder)


def cover_level(store: Store) -> Level:
    """The level of covers. Raises LibraryConflict if the settings or the installation exclude covers."""
    if Kind.COVER not in store.levels:
        raise LibraryConflict(
            "this needs the kind 'cover': it is left out of the setting `kinds`, or its encoder is not"
            " part of this installation (see `songprint doctor`)"
        )
    return store.levels[Kind.COVER]


def stored(level: Level, recording_id: int) -> Embeddings:
    """The stored embeddings of a recording. Raises LibraryConflict if it has none of this kind."""
    recording = level.catalog.recording(recording_id)
    found = level.embeddings_of([recording_id])
    if recording_id not in found:
        raise LibraryConflict(
            f"{recording.name!r} ({recording_id}) was added without embeddings for covers."
            " `songprint rebuild --reencode` reads its file again"
        )
    return found[recording_id]
