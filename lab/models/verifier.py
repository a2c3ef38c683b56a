"""The verifier of covers: the band along an alignment -> log-odds that both recordings are one song."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from songprint.covers.verifier import LEVELS, PLANES, WIDTH

WIDTHS = (16, 24, 32, 48)  # planes of the convolutions
FEATURES = 64  # of each moment of the path
QUARTER = -(-WIDTH // 4)


class Verifier(nn.Module):
    """(n, rows, WIDTH, PLANES) of `songprint.covers.verifier.band` -> (n,) log-odds.

    The convolutions reach further along the path than across it. Attention and the mean pool the moments.
    """

    def __init__(self) -> None:
        super().__init__()

        def layer(inputs: int, outputs: int, size: tuple[int, int], stride: tuple[int, int]) -> nn.Sequential:
            return nn.Sequential(
                nn.Conv2d(inputs, outputs, size, stride, (size[0] // 2, size[1] // 2), bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(),
            )

        first, second, third, fourth = WIDTHS
        self.look = nn.Sequential(
            layer(PLANES, first, (3, 3), (1, 1)),
            layer(first, second, (5, 3), (2, 1)),
            layer(second, third, (5, 3), (1, 2)),
            layer(third, fourth, (5, 3), (2, 2)),
        )
        self.tell = nn.Sequential(nn.Conv1d(fourth * QUARTER, FEATURES, 1), nn.ReLU(), nn.Dropout(0.2))
        self.attention = nn.Conv1d(FEATURES, 2, 1)
        self.judge = nn.Sequential(nn.Linear(3 * FEATURES, FEATURES), nn.ReLU(), nn.Linear(FEATURES, 1))

    def forward(self, bands: Tensor) -> Tensor:
        planes = self.look(bands.permute(0, 3, 1, 2) / LEVELS)  # (n, planes, rows / 4, QUARTER)
        moments = self.tell(planes.transpose(2, 3).flatten(1, 2))  # (n, FEATURES, rows / 4)
        weights = torch.softmax(self.attention(moments), 2)  # (n, 2, rows / 4)
        pooled = (moments @ weights.transpose(1, 2)).flatten(1)  # (n, 2 * FEATURES)
        return self.judge(torch.cat([pooled, moments.mean(2)], 1))[:, 0]
