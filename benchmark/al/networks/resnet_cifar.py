"""Residual networks for images of about 32 pixels, as the releases of TOD (siyuhuang/TOD at
883494b, models/resnet.py) and ST-CoNAL (soony1213/ST-CoNAL at 43cb8c9, models/resnet.py) define
them.

A 3x3 stem without max-pooling and four stages of basic blocks (He et al., CVPR 2016). TOD adds a
second linear head. What ST-CoNAL's release calls "resnet50" is this network with 3-4-6-3 basic
blocks, that is a ResNet-34.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.al.networks.outputs import Outputs
from benchmark.errors import UsageError


class BasicBlock(nn.Module):
    """conv3x3-BN-ReLU-conv3x3-BN, plus the shortcut, then ReLU. The shortcut is conv1x1-BN where
    the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """x: (b, inputs, h, w) -> (b, outputs, h / stride, w / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(x)) + shortcut)


class ResidualTrunk(nn.Module):
    """Stem convolution with batch norm (`conv1`, `bn1`) and stages `layer1`, `layer2`, ... under
    torchvision's names.

    Every stage but the first halves the side in its first block. Subclasses say how an image passes
    through.
    """

    def __init__(self, stem: nn.Conv2d, blocks: Sequence[int], widths: Sequence[int]) -> None:
        super().__init__()
        if len(blocks) != len(widths) or not blocks:
            raise UsageError(
                f"{len(blocks)} block counts for {len(widths)} widths",
                remedy="give one of each per stage",
            )
        self.conv1 = stem
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.depth = len(blocks)
        inputs = widths[0]
        for number, (count, width) in enumerate(zip(blocks, widths, strict=True)):
            strides = (1 if number == 0 else 2, *[1] * (count - 1))
            stage = [
                BasicBlock(inputs if i == 0 else width, width, stride)
                for i, stride in enumerate(strides)
            ]
            self.add_module(f"layer{number + 1}", nn.Sequential(*stage))
            inputs = width

    def stages(self, x: Tensor) -> tuple[Tensor, ...]:
        """x: (b, widths[0], h, w), the stem's output -> the output of every stage."""
        found = []
        for number in range(self.depth):
            x = getattr(self, f"layer{number + 1}")(x)
            found.append(x)
        return tuple(found)


def linear_heads(features: int, classes: int, heads: int) -> tuple[nn.Linear, nn.Linear | None]:
    """The classifier and, for `heads` = 2, a second one beside it. Raises UsageError for other
    numbers."""
    if heads not in (1, 2):
        raise UsageError(f"a network has 1 or 2 heads, not {heads}", where="model.params.heads")
    return nn.Linear(features, classes), nn.Linear(features, classes) if heads == 2 else None


class ResNetCifar(ResidualTrunk):
    """3x3 stem, stages of basic blocks, global average pooling, one or two linear heads; torch's
    default initialisation.

    `blocks` (2, 2, 2, 2) is ResNet-18, (3, 4, 6, 3) ResNet-34. Parameters with 10 classes:
    11,173,962 with one head, 11,179,092 with two; 21,282,122 for ResNet-34.
    """

    def __init__(
        self,
        classes: int,
        blocks: Sequence[int] = (2, 2, 2, 2),
        widths: Sequence[int] = (64, 128, 256, 512),
        heads: int = 1,
        channels: int = 3,
    ) -> None:
        super().__init__(nn.Conv2d(channels, widths[0], 3, 1, 1, bias=False), blocks, widths)
        self.fc, self.fc_b = linear_heads(widths[-1], classes, heads)

    def forward(self, x: Tensor) -> Outputs:
        """x: (b, channels, h, w) -> logits (b, classes), features (b, widths[-1]), one map per
        stage."""
        maps = self.stages(F.relu(self.bn1(self.conv1(x))))
        # A mean, not adaptive pooling: the backward pass of the latter has no deterministic form on
        # CUDA.
        features = maps[-1].mean(dim=(2, 3))
        return Outputs(
            self.fc(features),
            features,
            maps,
            self.fc_b(features) if self.fc_b is not None else None,
        )
