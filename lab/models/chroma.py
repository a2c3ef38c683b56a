"""Plain chroma in place of the tonal network: the baseline for it."""

from __future__ import annotations

import numpy as np

from songprint.covers import tonal
from songprint.covers.encoder import CoverEncoder
from songprint.encoders.contract import WEIGHTS, load_spec

MAX_PLANE = 4.0  # of normalised planes: 80 dB above the surrounding tone colour


def activations(planes: np.ndarray) -> np.ndarray:
    """(n, 2, 246, spectra) -> (n, frames, 48): the prominence of each pitch class; only the first channel is filled."""
    count, _, _, spectra = planes.shape
    semitones = planes[:, 1].reshape(count, tonal.SEMITONES, tonal.BINS_A_SEMITONE, spectra).max(axis=2)
    octaves = -(-tonal.SEMITONES // tonal.PITCH_CLASSES)
    padded = np.pad(
        semitones.clip(0, MAX_PLANE), ((0, 0), (0, octaves * tonal.PITCH_CLASSES - tonal.SEMITONES), (0, 0))
    )
    classes = padded.reshape(count, octaves, tonal.PITCH_CLASSES, spectra).mean(axis=1)  # (n, 12, spectra)
    frames = classes.reshape(count, tonal.PITCH_CLASSES, -1, tonal.SPECTRA_A_FRAME).mean(axis=3).transpose(0, 2, 1)
    frames = frames / np.maximum(frames.max(axis=2, keepdims=True), 1e-3)
    silent = np.zeros((count, frames.shape[1], tonal.COLUMNS - tonal.PITCH_CLASSES))
    return np.concatenate([frames, silent], axis=2)


class ChromaEncoder(CoverEncoder):
    """The shipped cover encoder with plain chroma as input. Its vectors are useless; its alignments can be compared."""

    def _activations(self, planes: np.ndarray) -> np.ndarray:
        return activations(planes)


def load_chroma_encoder() -> CoverEncoder:
    tonal_network, cover_network = ((WEIGHTS / f"{name}.onnx").read_bytes() for name in ("tonal", "cover"))
    return ChromaEncoder(load_spec("cover"), tonal_network, cover_network)
