"""The sound classifier: features of a second and its surroundings -> music, speech or another sound."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from songprint.scan import sounds

INPUTS = 3 * sounds.FEATURES
HIDDEN = 24
BLUR = 0.5  # deviation of the noise added in training, in deviations of a feature: few kinds of noise are available


class SoundNetwork(nn.Module):
    """(n, INPUTS) features -> (n, 3) logits in the order of `sounds.CLASSES`."""

    mean: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(INPUTS))
        self.register_buffer("scale", torch.ones(INPUTS))
        self.first, self.second = nn.Linear(INPUTS, HIDDEN), nn.Linear(HIDDEN, len(sounds.CLASSES))
        self.dropout = nn.Dropout(0.2)

    def forward(self, features: Tensor) -> Tensor:
        inputs = (features - self.mean) / self.scale
        if self.training:
            inputs = inputs + BLUR * torch.randn_like(inputs)
        logits: Tensor = self.second(self.dropout(torch.relu(self.first(inputs))))
        return logits
