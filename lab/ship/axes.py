"""Of the numbers that a network learns to give most say nothing: its vectors lie along a few axes.

The others are left out of what is exported.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def cut(network: nn.Module, last: nn.Linear, windows: Tensor, energy: float) -> nn.Linear:
    """`last`, the product with which the network ends, along the axes in which the vectors of `windows` lie.

    The axes go through the origin and hold `energy` of the squared length, so cosines stay what they were but for the
    rest. There is a multiple of 8 of them.
    """
    with torch.no_grad():
        vectors = torch.cat([network(part) for part in windows.split(256)])
        _, lengths, axes = torch.linalg.svd(vectors, full_matrices=False)
        held = torch.cumsum(lengths**2, 0) / (lengths**2).sum()
        dim = min(len(axes), -(-int((held < energy).sum() + 1) // 8) * 8)
        kept = nn.Linear(last.in_features, dim)
        kept.weight.copy_(axes[:dim] @ last.weight)
        kept.bias.copy_(axes[:dim] @ last.bias)
    return kept
