"""Of the numbers that a network learns to give most say nothing: its vectors lie along a few axes.

The others are left out of what is exported.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def principal(vectors: Tensor, energy: float) -> Tensor:
    """The axes (dim, inputs) in which unit vectors (n, inputs) of music lie, dim a multiple of 8.

    They go through the origin and hold `energy` of the squared length, so cosines stay what they were but for the rest.
    """
    _, lengths, axes = torch.linalg.svd(vectors, full_matrices=False)
    held = torch.cumsum(lengths**2, 0) / (lengths**2).sum()
    return axes[:min(len(axes), -(-int((held < energy).sum() + 1) // 8) * 8)]


def turned(last: nn.Linear, axes: Tensor) -> nn.Linear:
    """The last product of a network, giving its numbers along these axes."""
    cut = nn.Linear(last.in_features, len(axes))
    with torch.no_grad():
        cut.weight.copy_(axes @ last.weight)
        cut.bias.copy_(axes @ last.bias)
    return cut
