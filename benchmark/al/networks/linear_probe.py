"""One linear layer on features of a fixed network."""

from __future__ import annotations

from torch import Tensor, nn

from benchmark.al.networks.outputs import Outputs


class LinearProbe(nn.Module):
    """Logits from features. `channels` is the number of features of an image."""

    def __init__(self, classes: int, channels: int = 3) -> None:
        super().__init__()
        self.head = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Outputs:
        """x: (b, d, 1, 1) -> logits (b, classes), features (b, d)."""
        features = x.flatten(1)
        return Outputs(self.head(features), features)
