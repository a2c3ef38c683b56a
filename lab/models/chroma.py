"""Plain chroma in the place of the tonal network: what the network must beat."""

from __future__ import annotations

import numpy as np

from songprint.covers import tonal
from songprint.covers.encoder import CoverEncoder
from songprint.encoders.contract import WEIGHTS, load_spec

LOUDEST = 4.0  # of normalised planes: 80 dB above the colour around


def activations(planes: np.ndarray) -> np.ndarray:
    """(n, 2, 246, spectra) -> (n, frames, 48): how far each pitch class stands out, in the first channel alone."""
    count, _, _, spectra = planes.shape
    semitones = planes[:, 1].reshape(count, tonal.SEMITONES, tonal.BINS_A_SEMITONE, spectra).max(axis=2)
    octaves = -(-tonal.SEMITONES // tonal.PITCH_CLASSES)
    padded = np.pad(semitones.clip(0, LOUDEST), ((0, 0), (0, octaves * tonal.PITCH_CLASSES - tonal.SEMITONES), (0, 0)))
    classes = padded.reshape(count, octaves, tonal.PITCH_CLASSES, spectra).mean(axis=1)  # (n, 12, spectra)
    frames = classes.reshape(count, tonal.PITCH_CLASSES, -1, tonal.SPECTRA_A_FRAME).mean(axis=3).transpose(0, 2, 1)
    frames = frames / np.maximum(frames.max(axis=2, keepdims=True), 1e-3)
    silent = np.zeros((count, frames.shape[1], tonal.COLUMNS - tonal.PITCH_CLASSES))
    return np.concatenate([frames, silent], axis=2)


class ChromaEncoder(CoverEncoder):
    """The cover encoder that ships, hearing plain chroma. Its vectors are worth nothing; alignments can be compared."""

    def _activations(self, planes: np.ndarray) -> np.ndarray:
        return activations(planes)


def load_chroma_encoder() -> CoverEncoder:
    return ChromaEncoder(load_spec("cover"), *((WEIGHTS / f"{name}.onnx").read_bytes() for name in ("tonal", "cover")))
