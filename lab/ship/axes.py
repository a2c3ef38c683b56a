"""Reduce the output of a network to the axes along which its vectors lie."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def reduce(network: nn.Module, last: nn.Linear, windows: Tensor, energy: float) -> nn.Linear:
    """The last layer `last` of the network, projected on the main axes of the vectors of `windows`.

    The axes go through the origin and contain `energy` of the squared length, so cosines hardly change. Their
    number is a multiple of 8.
    """
    with torch.no_grad():
        vectors = torch.cat([network(part) for part in windows.split(256)])
        _, lengths, axes = torch.linalg.svd(vectors, full_matrices=False)
        contained = torch.cumsum(lengths**2, 0) / (lengths**2).sum()
        dim = min(len(axes), -(-int((contained < energy).sum() + 1) // 8) * 8)
        reduced = nn.Linear(last.in_features, dim)
        reduced.weight.copy_(axes[:dim] @ last.weight)
        reduced.bias.copy_(axes[:dim] @ last.bias)
    return reduced
