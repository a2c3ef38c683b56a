"""The motif network: tonal frames -> rows that corresponding moments of renditions have in common."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab.models.cover import Turning
from songprint.covers.rows import MOTIFS, POOLED
from songprint.covers.tonal import CHANNELS, PITCH_CLASSES

WIDTHS = (24, 48)  # planes of the convolutions
FRAMES = 5  # kernel of each convolution over time: 1 s, then 2 s twice; 4.6 s in all
SILENT = 1e-3  # added to the length of a row before normalisation, so that silence stays short


class Round(nn.Module):
    """Separable convolution, circular over pitch classes: one per plane over pitch classes and time, one over planes.

    Training in single precision computes the first as one matrix product per plane, which is twice as fast. The
    exported graph contains the plain convolution.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.deep = nn.Conv2d(
            inputs, inputs, (PITCH_CLASSES, FRAMES), padding=(0, FRAMES // 2), groups=inputs, bias=False
        )
        self.wide = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())

    def forward(self, planes: Tensor) -> Tensor:  # (n, inputs, 12, rows)
        if self.training and not torch.is_autocast_enabled("cpu"):
            found = self.wide(self._by_products(planes))
        else:
            found = self.wide(self.deep(torch.cat([planes, planes[:, :, : PITCH_CLASSES - 1]], 2)))
        return planes + found if found.shape == planes.shape else found

    def _by_products(self, planes: Tensor) -> Tensor:
        """The output of the first convolution for (n, inputs, 12, rows)."""
        count, inputs, _, rows = planes.shape
        classes = torch.arange(PITCH_CLASSES)
        turned = self.deep.weight[:, 0, (classes[:, None] - classes) % PITCH_CLASSES]  # (inputs, from, to, frames)
        matrices = turned.permute(0, 3, 1, 2).reshape(inputs, FRAMES * PITCH_CLASSES, PITCH_CLASSES)
        around = F.pad(planes, (FRAMES // 2, FRAMES // 2)).unfold(3, rows, 1)  # (n, inputs, 12, frames, rows)
        around = around.permute(1, 0, 4, 3, 2).reshape(inputs, count * rows, FRAMES * PITCH_CLASSES)
        return torch.bmm(around, matrices).unflatten(1, (count, rows)).permute(1, 0, 3, 2)


class MotifNetwork(nn.Module):
    """(n, frames, 48) activations 0..1 -> (n, frames / POOLED, MOTIFS, 12), each row of unit length.

    Transposing the input rotates the output, so the rows of two renditions are compared in a common key. `sharp` is
    the logarithm of the factor of cosines in the loss.
    """

    def __init__(self) -> None:
        super().__init__()
        first, second = WIDTHS
        self.enter = Turning(CHANNELS, first, FRAMES, POOLED)
        self.blocks = nn.Sequential(Round(first, second), Round(second, second))
        self.out = nn.Conv2d(second, MOTIFS, 1)
        self.sharp = nn.Parameter(torch.tensor(2.3))

    def forward(self, frames: Tensor) -> Tensor:
        planes = torch.sqrt(frames).unflatten(2, (CHANNELS, PITCH_CLASSES)).permute(0, 2, 3, 1)
        planes = self.out(self.blocks(self.enter(planes)))
        planes = planes - planes.mean(2, keepdim=True)  # equal values in all keys carry no information
        rows = planes.permute(0, 3, 1, 2)
        return rows / (rows.flatten(2).norm(dim=2)[:, :, None, None] + SILENT)
