"""The tonal network: log-frequency spectrogram -> notes, bass, melody and harmony by pitch class.

Convolutions over log-frequency detect a pattern in every transposition, shifted copies of the planes align harmonics
(as in basic-pitch: Bittner et al., "A lightweight instrument-agnostic model for polyphonic note transcription",
ICASSP 2022), and octaves are folded at the end: the network is equivariant to transposition.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from songprint.covers import tonal

HARMONICS = (-24, -19, -12, 0, 12, 19, 24, 28, 31)  # semitones from a tone to its partials, and back
OCTAVES = 7
PADDED = 12 * OCTAVES  # semitones after padding to whole octaves
AROUND = ((1, 13), (25, 1), (1, 13)) * 2  # kernels of the last layers: semitones, frames


def convolution(
    inputs: int, outputs: int, kernel: tuple[int, int], stride: tuple[int, int] = (1, 1), groups: int = 1
) -> nn.Sequential:
    """Over (frequency, time), with batch norm and ReLU; "same" padding."""
    padding = tuple((size - 1) // 2 for size in kernel)
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


class Harmonics(nn.Module):
    """Combine each semitone with its partials, and with the tones whose partial it may be."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.mix = convolution(inputs * len(HARMONICS), outputs, (1, 1))

    def forward(self, planes: Tensor) -> Tensor:  # (n, inputs, semitones, frames)
        reach = max(map(abs, HARMONICS))
        padded = F.pad(planes, (0, 0, reach, reach))
        shifted = [padded[:, :, reach + step : reach + step + tonal.SEMITONES] for step in HARMONICS]
        return self.mix(torch.cat(shifted, 1))


class Separable(nn.Module):
    """Separable residual layer with a long kernel along one axis. A `silent` one adds nothing until it is trained."""

    def __init__(self, width: int, kernel: tuple[int, int], silent: bool = False) -> None:
        super().__init__()
        self.wide = convolution(width, width, kernel, groups=width)
        self.mix = nn.Sequential(nn.Conv2d(width, width, 1, bias=False), nn.BatchNorm2d(width))
        if silent:
            nn.init.zeros_(self.mix[1].weight)

    def forward(self, planes: Tensor) -> Tensor:
        return F.relu(planes + self.mix(self.wide(planes)))


class Around(nn.Module):
    """Circular convolution over pitch classes and time."""

    def __init__(self, inputs: int, outputs: int, frames: int) -> None:
        super().__init__()
        self.layer = nn.Sequential(
            nn.Conv2d(inputs, outputs, (12, frames), padding=(0, frames // 2), bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        )

    def forward(self, planes: Tensor) -> Tensor:  # (n, inputs, 12, frames)
        return self.layer(torch.cat([planes, planes[:, :, :11]], 2))


class TonalNetwork(nn.Module):
    """(n, 2, 246, spectra) -> logits: `pitches` (n, 3, 82, frames) of notes, bass and melody by semitone, and
    `classes` (n, 4, 12, frames) of harmony, bass, melody and notes by pitch class. Two spectra make a frame.
    """

    def __init__(self, width: int = 40) -> None:
        super().__init__()
        self.stem = nn.Sequential(convolution(2, 16, (7, 3)), convolution(16, 32, (5, 3), (3, 2)))
        self.trunk = nn.Sequential(
            Harmonics(32, width),
            convolution(width, width, (3, 3)),
            Separable(width, (25, 1)),
            Harmonics(width, width),
            convolution(width, width, (3, 5)),
            Separable(width, (25, 1)),
        )
        # context for the melody; earlier networks had none of these layers, or half of them
        self.around = nn.Sequential(*(Separable(width, kernel, silent=True) for kernel in AROUND))
        self.everywhere = nn.Linear(width, width)
        self.pitches = nn.Conv2d(width, 3, 1)
        self.chord = nn.Sequential(Around(2 * width, 32, 5), Around(32, 32, 9), nn.Conv2d(32, 1, 1))

    def forward(self, planes: Tensor) -> tuple[Tensor, Tensor]:
        planes = self.around(self.trunk(self.stem(planes)))  # (n, width, 82, frames)
        overall = self.everywhere(planes.mean(2).transpose(1, 2)).transpose(1, 2)
        planes = F.relu(planes + overall[:, :, None])
        pitches = self.pitches(planes)  # (n, 3, 82, frames)
        octaves = self._octaves(pitches, -1e4)
        notes, bass, melody = octaves.amax(2).unbind(1)
        folded = self._octaves(planes, 0)
        harmony = self.chord(torch.cat([folded.amax(2), folded.mean(2)], 1))[:, 0]
        return pitches, torch.stack([harmony, bass, melody, notes], 1)

    @staticmethod
    def _octaves(planes: Tensor, fill: float) -> Tensor:
        """(n, channels, 82, frames) -> (n, channels, octaves, 12, frames)"""
        padded = F.pad(planes, (0, 0, 0, PADDED - tonal.SEMITONES), value=fill)
        return padded.reshape(*padded.shape[:2], OCTAVES, 12, padded.shape[3])


class Exported(nn.Module):
    """The exported function: (n, 2, 246, spectra) -> (n, frames, 48) activations."""

    def __init__(self, network: TonalNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, planes: Tensor) -> Tensor:
        classes = torch.sigmoid(self.network(planes)[1])  # (n, 4, 12, frames)
        return classes.permute(0, 3, 1, 2).flatten(2)
