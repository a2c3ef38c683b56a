"""The motif network: tonal frames -> rows of what a moment has in common with the same moment of other renditions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab.models.cover import Turning
from songprint.covers.rows import MOTIFS, POOLED
from songprint.covers.tonal import CHANNELS, PITCH_CLASSES

WIDTHS = (24, 48)  # planes of the convolutions
FRAMES = 5  # that each of them sees: 1 s, then 2 s twice; 4.6 s in all
SILENT = 1e-3  # length of a row below which it is not made longer


class Round(nn.Module):
    """A convolution over the circle of pitch classes and time for each plane alone, and one over the planes.

    While it learns in single precision the first of them is a product of matrices, one for each plane: twice as fast
    here. What is exported is the plain convolution.
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
        """What the first of the convolutions gives for (n, inputs, 12, rows)."""
        count, inputs, _, rows = planes.shape
        classes = torch.arange(PITCH_CLASSES)
        turned = self.deep.weight[:, 0, (classes[:, None] - classes) % PITCH_CLASSES]  # (inputs, from, to, frames)
        matrices = turned.permute(0, 3, 1, 2).reshape(inputs, FRAMES * PITCH_CLASSES, PITCH_CLASSES)
        around = F.pad(planes, (FRAMES // 2, FRAMES // 2)).unfold(3, rows, 1)  # (n, inputs, 12, frames, rows)
        around = around.permute(1, 0, 4, 3, 2).reshape(inputs, count * rows, FRAMES * PITCH_CLASSES)
        return torch.bmm(around, matrices).unflatten(1, (count, rows)).permute(1, 0, 3, 2)


class MotifNetwork(nn.Module):
    """(n, frames, 48) activations 0..1 -> (n, frames / POOLED, MOTIFS, 12), each row of unit length.

    Turning the input turns the output: rows of two renditions are compared in a key. `sharp` is the logarithm of what
    cosines are multiplied by in the loss.
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
        planes = planes - planes.mean(2, keepdim=True)  # what sounds in all keys tells nothing
        rows = planes.permute(0, 3, 1, 2)
        return rows / (rows.flatten(2).norm(dim=2)[:, :, None, None] + SILENT)
