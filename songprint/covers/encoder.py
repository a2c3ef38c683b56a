"""Samples -> what is played -> embeddings that other renditions of a song share.

Two networks: the tonal one reads a spectrogram (see `songprint.covers.tonal`), the cover network reads twenty
seconds of what it found. Its vectors do not depend on the key.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np

from songprint.covers import tonal
from songprint.covers.tonal import COLUMNS, FRAMES_PER_SECOND
from songprint.covers.windows import Remembered
from songprint.encoders.contract import weights_hash
from songprint.encoders.runtime import open_network
from songprint.errors import EncoderError
from songprint.types import Embeddings

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

    from songprint.covers.cohort import Cohort
    from songprint.covers.rows import FindMotifs
    from songprint.covers.search import Networks
    from songprint.encoders.contract import EncoderSpec

SHORTEST = 5.0  # seconds from which a window is worth a vector
CONTEXT_FRAMES = tonal.CONTEXT
PORTION_FRAMES = tonal.STRETCH - tonal.CONTEXT - 1  # tonal frames: with context either side one run of the network
FEWEST_HEARD = 0.25  # share of a window in which something has to sound
BATCH = 16
ROOM = 64 << 20  # bytes at hand for motifs: those of 78 hours of songs
LEVELS = 127  # of a number of a motif, a byte: what is at hand and what is not are alike


class CoverEncoder:
    """Both networks with their spec. Holds sessions of onnxruntime; safe to use from threads.

    What only a search needs, the cohort and the networks that look closer, is read from `folder` when it is asked for.
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
        """The songs that everything is compared with; EncoderError if they are missing or damaged."""
        from songprint.covers.cohort import Cohort

        if self._folder is None:
            return Cohort.none()
        try:
            return Cohort.load(self._folder / f"{self.spec.name}_cohort.npz")
        except (OSError, ValueError, KeyError, BadZipFile) as error:
            raise self._damaged("cohort", error) from error

    @cached_property
    def networks(self) -> Networks:
        """What looks closer at renditions, as far as this encoder has it; EncoderError if it is missing or damaged."""
        from songprint.covers.search import Networks

        motifs = self._opened("motifs", self.spec.motifs)
        verifier = self._opened("verifier", self.spec.verifier)
        return Networks(
            motifs and _at_hand(motifs),
            verifier and (lambda bands: verifier.run(None, {"bands": bands.astype(np.float32)})[0]),
        )

    def _opened(self, name: str, expected: str) -> InferenceSession | None:
        """The network of this name, which has to have this hash; None if this encoder has none."""
        if self._folder is None or not expected:
            return None
        try:
            network = (self._folder / f"{name}.onnx").read_bytes()
        except OSError as error:
            raise self._damaged(name, error) from error
        if weights_hash(network) != expected:
            raise self._damaged(name, "it is not the one that belongs to it")
        return open_network(network, self._threads)

    def _damaged(self, what: str, why: object) -> EncoderError:
        return EncoderError(
            f"cannot read the {what} of encoder {self.spec.name!r}: {why}. "
            "Reinstall Songprint: pip install --force-reinstall songprint"
        )

    def encode(self, samples: np.ndarray) -> Embeddings:
        """(n,) float32 mono at `spec.sample_rate` -> vectors of its windows, with the tonal frames as evidence."""
        return self.encode_stream([samples])[0]

    def encode_stream(self, blocks: Iterable[np.ndarray]) -> tuple[Embeddings, float]:
        """Blocks of samples, one after the other -> embeddings of the whole, and its length in seconds."""
        frames, duration = tonal.frames(blocks, self._activations)
        return Embeddings(self.embed(frames), self.spec.hop, self.spec.id, frames), duration

    def frames(self, blocks: Iterable[np.ndarray]) -> np.ndarray:
        """Blocks of samples -> the tonal frames (n, 48) uint8 alone."""
        return tonal.frames(blocks, self._activations)[0]

    def embed(self, frames: np.ndarray) -> np.ndarray:
        """Tonal frames (n, 48) uint8 -> (m, dim) float32 unit rows, one for each window.

        Row i is of the `spec.window` seconds from `i * spec.hop` on; the last window is moved so that it ends with
        the frames. Fewer than 5 s give no row, less than a window is repeated to fill one.
        """
        windows = cut(frames, self.spec.window, self.spec.hop)
        vectors = np.zeros((len(windows), self.spec.dim), np.float32)
        heard = np.flatnonzero(windows.any(axis=2).mean(axis=1) >= FEWEST_HEARD)
        for start in range(0, len(heard), BATCH):
            rows = heard[start : start + BATCH]
            vectors[rows] = self._cover.run(None, {"frames": windows[rows].astype(np.float32) / 255})[0]
        return vectors

    def _activations(self, planes: np.ndarray) -> np.ndarray:
        return self._tonal.run(None, {"planes": planes})[0]


def cut(frames: np.ndarray, window: float, hop: float) -> np.ndarray:
    """Tonal frames (n, columns) -> windows (m, frames of a window, columns)."""
    length, step = round(window * FRAMES_PER_SECOND), round(hop * FRAMES_PER_SECOND)
    if len(frames) < SHORTEST * FRAMES_PER_SECOND:
        return np.zeros((0, length, frames.shape[1]), frames.dtype)
    if len(frames) < length:
        frames = np.resize(frames, (length, frames.shape[1]))
    starts = np.arange(0, len(frames) - length + step, step).clip(max=len(frames) - length)
    return np.stack([frames[start : start + length] for start in starts])


def _at_hand(network: InferenceSession) -> FindMotifs:
    """A network's motifs, those of the songs asked for last remembered."""

    def find(frames: np.ndarray) -> np.ndarray:
        rows = network.run(None, {"frames": frames[None].astype(np.float32) / 255})[0][0]
        return np.rint(rows * np.float32(LEVELS)).astype(np.int8)

    remembered = Remembered(find, ROOM)
    return lambda frames: remembered(frames) / np.float32(LEVELS)


class FrameStream:
    """Blocks of samples -> tonal frames, and of these the vectors of kind "cover"."""

    def __init__(self, encoder: CoverEncoder):
        self._encoder = encoder
        self._frame_samples = encoder.spec.sample_rate // FRAMES_PER_SECOND
        self._waiting = np.zeros(0, np.float32)
        self._before = 0  # frames of context in front of what is waiting

    def feed(self, block: np.ndarray) -> np.ndarray:
        """(n,) float32 samples -> (m, 48) uint8: the frames that they completed, a minute at a time."""
        self._waiting = np.concatenate([self._waiting, block])
        found = [np.zeros((0, COLUMNS), np.uint8)]
        while len(self._waiting) >= (self._before + PORTION_FRAMES + CONTEXT_FRAMES) * self._frame_samples:
            part = self._waiting[: (self._before + PORTION_FRAMES + CONTEXT_FRAMES) * self._frame_samples]
            found.append(self._encoder.frames([part])[self._before : self._before + PORTION_FRAMES])
            self._waiting = self._waiting[(self._before + PORTION_FRAMES - CONTEXT_FRAMES) * self._frame_samples :]
            self._before = CONTEXT_FRAMES
        return np.concatenate(found)

    def finish(self) -> np.ndarray:
        """(m, 48): what was waiting."""
        if len(self._waiting) < (self._before + 1) * self._frame_samples:
            return np.zeros((0, COLUMNS), np.uint8)
        return self._encoder.frames([self._waiting])[self._before :]
