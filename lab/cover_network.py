"""The cover encoder: twenty seconds of tonal frames -> a unit vector that other renditions of the passage share.

Convolutions over the circle of twelve pitch classes give the same planes, turned, for every key; the strongest of
the twelve is kept, so the vector does not depend on the key at all (as in MOVE: Yesiler et al., ICASSP 2020). A
transformer reads the sequence, attention pools it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class CoverShape:
    channels: int = 4                   # of the tonal frames
    convolutions: tuple[int, ...] = (32, 48, 80)
    width: int = 192                    # of the transformer
    layers: int = 5
    heads: int = 4
    dim: int = 256
    frames: int = 100                   # 20 s
    dropout: float = 0.1


class Turning(nn.Module):
    """Circular convolution over pitch classes, plain over time: turning the input turns the output."""

    def __init__(self, inputs: int, outputs: int, frames: int, stride: int) -> None:
        super().__init__()
        self.layer = nn.Sequential(
            nn.Conv2d(inputs, outputs, (12, frames), (1, stride), (0, frames // 2), bias=False),
            nn.BatchNorm2d(outputs), nn.ReLU())

    def forward(self, planes: Tensor) -> Tensor:                    # (n, inputs, 12, frames)
        return self.layer(torch.cat([planes, planes[:, :, :11]], 2))


class Block(nn.Module):
    """Attention and a feed-forward layer, each after a norm (pre-norm transformer)."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.project, self.join = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.feed = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Dropout(dropout),
                                  nn.Linear(2 * width, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:                    # (n, tokens, width)
        count, length, width = tokens.shape
        query, key, value = (self.project(self.before(tokens)).reshape(count, length, 3, self.heads, -1)
                             .permute(2, 0, 3, 1, 4))
        weights = torch.softmax(query @ key.transpose(2, 3) / (width // self.heads) ** 0.5, -1)
        mixed = (weights @ value).transpose(1, 2).reshape(count, length, width)
        tokens = tokens + self.dropout(self.join(mixed))
        return tokens + self.dropout(self.feed(self.between(tokens)))


class CoverNetwork(nn.Module):
    """(n, frames, channels * 12) activations 0..1 -> (n, dim) of unit length."""

    def __init__(self, shape: CoverShape) -> None:
        super().__init__()
        self.shape = shape
        first, second, third = shape.convolutions
        self.turning = nn.Sequential(Turning(shape.channels, first, 5, 2), Turning(first, second, 5, 2),
                                     Turning(second, third, 3, 1))
        self.enter = nn.Linear(2 * third, shape.width)
        self.position = nn.Parameter(0.02 * torch.randn(1, -(-shape.frames // 4), shape.width))
        self.blocks = nn.ModuleList(Block(shape.width, shape.heads, shape.dropout) for _ in range(shape.layers))
        self.norm = nn.LayerNorm(shape.width)
        self.attention = nn.Linear(shape.width, shape.heads)
        self.leave = nn.Linear(shape.heads * shape.width, shape.dim)

    def forward(self, frames: Tensor) -> Tensor:
        count, length, _ = frames.shape
        planes = frames.reshape(count, length, self.shape.channels, 12).permute(0, 2, 3, 1)
        planes = self.turning(planes - planes.mean((2, 3), keepdim=True))           # (n, third, 12, tokens)
        tokens = self.enter(torch.cat([planes.amax(2), planes.mean(2)], 1).transpose(1, 2))
        tokens = tokens + self.position[:, :tokens.shape[1]]
        for block in self.blocks:
            tokens = block(tokens)
        tokens = self.norm(tokens)
        weights = torch.softmax(self.attention(tokens), 1)                          # (n, tokens, heads)
        pooled = (weights.transpose(1, 2) @ tokens).flatten(1)                      # (n, heads * width)
        return F.normalize(self.leave(pooled), dim=1)
