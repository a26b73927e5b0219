"""ResNet-50 and deeper for images of 32 pixels, the larger options of BAL's release
(dvlab-research/BAL at 140d279, models/resnet.py; He et al., CVPR 2016). No published number is
known to use them; ResNet-18 and -34 are in `resnet_cifar.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.al.networks.outputs import Outputs

EXPANSION = 4
"""Outputs of a block per channel of its 3x3 convolution."""
WIDTHS = (64, 128, 256, 512)


class Bottleneck(nn.Module):
    """1x1, 3x3 with the stride, 1x1 to four times the width, plus the shortcut, then ReLU."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = EXPANSION * width
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """x: (b, inputs, h, w) -> (b, 4 * width, h / stride, w / stride)."""
        inside = F.relu(self.bn1(self.conv1(x)))
        inside = F.relu(self.bn2(self.conv2(inside)))
        return F.relu(self.bn3(self.conv3(inside)) + self.downsample(x))


class ResNetBottleneck(nn.Module):
    """3x3 stem without max-pooling, four stages of bottlenecks, global average pooling; torch's
    default initialisation.

    `blocks` (3, 4, 6, 3) is ResNet-50, 23,520,842 parameters with 10 classes; (3, 4, 23, 3) and (3,
    8, 36, 3) are 101 and 152.
    """

    def __init__(
        self, classes: int, blocks: Sequence[int] = (3, 4, 6, 3), channels: int = 3
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, WIDTHS[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        inputs = WIDTHS[0]
        for number, (count, width) in enumerate(zip(blocks, WIDTHS, strict=True)):
            stage = nn.Sequential()
            for place in range(count):
                stage.append(Bottleneck(inputs, width, 2 if number > 0 and place == 0 else 1))
                inputs = EXPANSION * width
            self.add_module(f"layer{number + 1}", stage)
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Outputs:
        """x: (b, channels, h, w) -> logits (b, classes), features (b, 2048), one map per stage."""
        x = F.relu(self.bn1(self.conv1(x)))
        maps = []
        for number in range(len(WIDTHS)):
            x = getattr(self, f"layer{number + 1}")(x)
            maps.append(x)
        # A mean, not adaptive pooling: the backward pass of the latter has no deterministic form on
        # CUDA.
        features = x.mean(dim=(2, 3))
        return Outputs(self.fc(features), features, tuple(maps))
