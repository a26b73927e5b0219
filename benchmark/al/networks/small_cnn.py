"""A small convolutional network for images of 8 to 32 pixels: for the quickstart and for tests, not
from any paper.

It offers everything the papers' networks offer (penultimate features, four stage outputs, a second
head, dropout), so every method of every suite can run with it in seconds on one CPU core.
"""

from __future__ import annotations

from torch import Tensor, nn

from benchmark.al.networks.outputs import Outputs


class SmallCnn(nn.Module):
    """Four 3x3 convolution stages with batch norm, the second and third halving the side; global
    average pooling."""

    def __init__(
        self, classes: int, width: int = 16, heads: int = 1, dropout: float = 0.0, channels: int = 3
    ) -> None:
        super().__init__()
        widths, strides = (width, 2 * width, 4 * width, 4 * width), (1, 2, 2, 1)
        inputs = (channels, *widths[:-1])
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU())
            for i, o, stride in zip(inputs, widths, strides, strict=True)
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(widths[-1], classes)
        self.second = nn.Linear(widths[-1], classes) if heads == 2 else None

    def forward(self, x: Tensor) -> Outputs:
        """x: (b, channels, h, w) -> logits (b, classes), features (b, 4 * width), four maps."""
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        features = x.mean(dim=(2, 3))
        seen = self.dropout(features)
        return Outputs(
            self.head(seen),
            features,
            tuple(maps),
            self.second(seen) if self.second is not None else None,
        )
