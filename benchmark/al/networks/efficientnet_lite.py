"""EfficientNet-Lite0 with published ImageNet weights: a fixed network whose features the frozen
suites learn from.

The network is EfficientNet-B0 (Tan and Le, ICML 2019, table 1) without squeeze-and-excitation and
with ReLU6 in place of swish, as its authors released it for small devices (EfficientNet-Lite,
2020). Convolutions are padded as TensorFlow pads ("SAME"): to ceil(side / stride) outputs, with the
odd row below and to the right. `lite_weights.py` reads the weights. The code of this file is part
of what pins a features file: a change of it, other than of comments, makes files that were computed
before invalid.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.al.networks.outputs import Outputs

STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
"""(blocks, kernel, stride of the first block, expansion, channels) of each stage."""
STEM, FEATURES, CLASSES = 32, 1280, 1000
MEAN, STD = 127.0, 128.0
"""Of the 0..255 pixels that the published weights expect, for all three channels."""


class Convolution(nn.Module):
    """Convolution with the padding of TensorFlow, then batch norm."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride
        padding = kernel // 2 if stride == 1 else 0
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01)

    def forward(self, x: Tensor) -> Tensor:
        """(b, inputs, h, w) -> (b, outputs, ceil(h / stride), ceil(w / stride))."""
        if self.stride > 1:
            (top, bottom), (left, right) = (self._margins(side) for side in x.shape[2:])
            x = F.pad(x, (left, right, top, bottom))
        normed: Tensor = self.norm(self.conv(x))
        return normed

    def _margins(self, side: int) -> tuple[int, int]:
        missing = max((-(-side // self.stride) - 1) * self.stride + self.kernel - side, 0)
        return missing // 2, missing - missing // 2


class Block(nn.Module):
    """Inverted bottleneck: expansion, depthwise convolution, linear projection, and a shortcut
    where shapes agree."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.expand = Convolution(inputs, inner, 1) if expansion > 1 else None
        self.depthwise = Convolution(inner, inner, kernel, stride, groups=inner)
        self.project = Convolution(inner, outputs, 1)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """(b, inputs, h, w) -> (b, outputs, ceil(h / stride), ceil(w / stride))."""
        inner = x if self.expand is None else F.relu6(self.expand(x))
        made: Tensor = self.project(F.relu6(self.depthwise(inner)))
        return made + x if self.shortcut else made


class EfficientNetLite0(nn.Module):
    """4.7 million parameters; 1,280 features."""

    def __init__(self, classes: int = CLASSES, channels: int = 3) -> None:
        super().__init__()
        self.stem = Convolution(channels, STEM, 3, 2)
        blocks, inputs = [], STEM
        for count, kernel, stride, expansion, outputs in STAGES:
            for index in range(count):
                blocks.append(
                    Block(inputs, outputs, kernel, stride if index == 0 else 1, expansion)
                )
                inputs = outputs
        self.blocks = nn.ModuleList(blocks)
        self.last = Convolution(inputs, FEATURES, 1)
        self.head = nn.Linear(FEATURES, classes)

    def forward(self, x: Tensor) -> Outputs:
        """x: (b, channels, h, w) -> logits (b, classes), features (b, 1280)."""
        x = F.relu6(self.stem(x))
        for block in self.blocks:
            x = block(x)
        features = F.relu6(self.last(x)).mean(dim=(2, 3))
        return Outputs(self.head(features), features)
