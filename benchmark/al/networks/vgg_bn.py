"""VGG with batch norm for images of 32 pixels, as BAL's release (dvlab-research/BAL at 140d279,
models/vgg.py) defines it.

Simonyan and Zisserman, ICLR 2015, configurations A, B, D and E, with one linear layer in place of
the three.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from benchmark.al.networks.outputs import Outputs
from benchmark.errors import UsageError

WIDTHS = (64, 128, 256, 512, 512)
"""Channels of the 3x3 convolutions before each of the five max-poolings."""
DEPTHS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
"""Number of those convolutions, by the name's number of layers in the original networks."""


class VggBn(nn.Module):
    """Convolutions with bias, batch norm and ReLU, five max-poolings, one linear layer, no dropout;
    torch's default start.

    The last map has to be 1x1, that is a side of 32 to 63 pixels. `adaptive` averages a larger one:
    a deviation, without which the released network does not accept the 224 pixels of its own
    Caltech-101 pipeline. Parameters with 10 classes: 9,231,114, 9,416,010, 14,728,266 and
    20,040,522 for depth 11, 13, 16 and 19.
    """

    def __init__(
        self,
        classes: int,
        depth: Literal[11, 13, 16, 19] = 16,
        adaptive: bool = False,
        channels: int = 3,
        widths: Sequence[int] = WIDTHS,
    ) -> None:
        """`widths`: channels before each of the five max-poolings; others than the released make a
        narrow network."""
        super().__init__()
        if depth not in DEPTHS:
            raise UsageError(
                f"no VGG with {depth} layers",
                where="model.params.depth",
                remedy=f"one of {list(DEPTHS)}",
            )
        layers: list[nn.Module] = []
        inputs = channels
        for width, count in zip(widths, DEPTHS[depth], strict=True):
            for _ in range(count):
                layers += [
                    nn.Conv2d(inputs, width, 3, padding=1),
                    nn.BatchNorm2d(width),
                    nn.ReLU(inplace=True),
                ]
                inputs = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(inputs, classes)
        self.adaptive = adaptive

    def forward(self, x: Tensor) -> Outputs:
        """x: (b, channels, h, w) -> logits (b, classes), features (b, 512), the last four poolings'
        outputs.

        Raises UsageError when the last map is not 1x1 and `adaptive` is off.
        """
        maps = []
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, nn.MaxPool2d):
                maps.append(x)
        if x.shape[2:] != (1, 1) and not self.adaptive:
            raise UsageError(
                f"VGG's last map is {x.shape[2]}x{x.shape[3]}, not 1x1",
                remedy="use images of 32 pixels, or pin adaptive = true and declare the deviation",
            )
        # A mean, not adaptive pooling: the backward pass of the latter has no deterministic form on
        # CUDA.
        features = x.mean(dim=(2, 3))
        return Outputs(self.classifier(features), features, tuple(maps[1:]))
