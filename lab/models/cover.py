"""The cover encoder: 20 s of tonal frames -> a unit vector that renditions of a passage have in common.

Circular convolutions over the twelve pitch classes are equivariant to transposition. The maximum over the twelve is
kept, so the vector does not depend on the key (as in MOVE: Yesiler et al., "Accurate and scalable version
identification using musically-motivated embeddings", ICASSP 2020). A transformer processes the sequence, and
attention pools it. Exported graphs contain the names of the modules: renaming one breaks `lab.train.restore`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class CoverShape:
    channels: int = 4  # of the tonal frames
    convolutions: tuple[int, ...] = (32, 48, 80)
    width: int = 192  # of the transformer
    layers: int = 5
    heads: int = 4
    dim: int = 256
    frames: int = 100  # 20 s
    dropout: float = 0.1


class Turning(nn.Module):
    """Convolution that is circular over pitch classes and plain over time: transposing the input rotates the output.

    Training in single precision multiplies spectra over pitch classes instead (convolution theorem), which takes a
    fifth of the products. The exported graph contains the plain convolution.
    """

    def __init__(self, inputs: int, outputs: int, frames: int, stride: int) -> None:
        super().__init__()
        self.layer = nn.Sequential(
            nn.Conv2d(inputs, outputs, (12, frames), (1, stride), (0, frames // 2), bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        )

    def forward(self, planes: Tensor) -> Tensor:  # (n, inputs, 12, frames)
        if self.training and not torch.is_autocast_enabled("cpu"):
            return self.layer[1:](self._by_spectra(planes))
        return self.layer(torch.cat([planes, planes[:, :, :11]], 2))

    def _by_spectra(self, planes: Tensor) -> Tensor:
        """The output of the first layer for (n, inputs, 12, frames)."""
        convolution = self.layer[0]
        outputs, inputs, _, width = convolution.weight.shape
        there, back = _fourier()
        kernel = torch.einsum("kp,oipf->koif", there, convolution.weight).unflatten(0, (-1, 2))
        real, imaginary = kernel[:, 0], -kernel[:, 1]  # conjugate: correlation, not convolution
        products = torch.cat([torch.cat([real, -imaginary], 2), torch.cat([imaginary, real], 2)], 1)
        spectra = torch.einsum("kp,nipt->nkit", there, planes).flatten(1, 2)
        turned = F.conv1d(
            spectra,
            products.reshape(-1, 2 * inputs, width),
            None,
            convolution.stride[1],
            convolution.padding[1],
            groups=len(kernel),
        )
        return torch.einsum("kp,nkot->nopt", back, turned.unflatten(1, (-1, outputs)))


@cache
def _fourier() -> tuple[Tensor, Tensor]:
    """(14, 12) each: the real Fourier transform over 12 pitch classes (7 frequencies), and its inverse."""
    angles = 2 * math.pi / 12 * torch.arange(7.0)[:, None] * torch.arange(12.0)
    waves = torch.stack([angles.cos(), -angles.sin()], 1)
    counted = torch.tensor([1.0, 2, 2, 2, 2, 2, 1])[:, None, None] / 12
    return waves.flatten(0, 1), (waves * counted).flatten(0, 1)


class Dropout(nn.Module):
    """`nn.Dropout` with shares of 1/256. Draws eight random bytes at once: `nn.Dropout` takes a sixth of a step."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.least = round(256 * share)

    def forward(self, values: Tensor) -> Tensor:
        if not self.training:
            return values
        words = torch.empty(-(-values.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
        kept = words.view(torch.uint8)[: values.numel()].reshape(values.shape) >= self.least
        return values * kept * (256 / (256 - self.least))


class Block(nn.Module):
    """Attention and a feed-forward layer (pre-norm transformer)."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.project, self.join = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.feed = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), Dropout(dropout), nn.Linear(2 * width, width))
        self.dropout = Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:  # (n, tokens, width)
        count, length, width = tokens.shape
        query, key, value = (
            self.project(self.before(tokens)).reshape(count, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        )
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
        self.turning = nn.Sequential(
            Turning(shape.channels, first, 5, 2), Turning(first, second, 5, 2), Turning(second, third, 3, 1)
        )
        self.enter = nn.Linear(2 * third, shape.width)
        self.position = nn.Parameter(0.02 * torch.randn(1, -(-shape.frames // 4), shape.width))
        self.blocks = nn.ModuleList(Block(shape.width, shape.heads, shape.dropout) for _ in range(shape.layers))
        self.norm = nn.LayerNorm(shape.width)
        self.attention = nn.Linear(shape.width, shape.heads)
        self.leave = nn.Linear(shape.heads * shape.width, shape.dim)

    def forward(self, frames: Tensor) -> Tensor:
        count, length, _ = frames.shape
        planes = frames.reshape(count, length, self.shape.channels, 12).permute(0, 2, 3, 1)
        planes = self.turning(planes - planes.mean((2, 3), keepdim=True))  # (n, third, 12, tokens)
        tokens = self.enter(torch.cat([planes.amax(2), planes.mean(2)], 1).transpose(1, 2))
        tokens = tokens + self.position[:, : tokens.shape[1]]
        for block in self.blocks:
            tokens = block(tokens)
        tokens = self.norm(tokens)
        weights = torch.softmax(self.attention(tokens), 1)  # (n, tokens, heads)
        pooled = (weights.transpose(1, 2) @ tokens).flatten(1)  # (n, heads * width)
        return F.normalize(self.leave(pooled), dim=1)
