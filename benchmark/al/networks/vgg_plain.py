"""VGG-16 without batch norm (Simonyan and Zisserman, ICLR 2015, configuration D), the option of
ST-CoNAL's release (soony1213/ST-CoNAL at 43cb8c9, models/vgg.py)."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.al.networks.outputs import Outputs
from benchmark.errors import UsageError

GROUPS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Widths of the 3x3 convolutions between the five max-poolings."""
SIDE = 7
"""Side of the map that the classifier sees."""


class VggPlain(nn.Module):
    """13 convolutions, pooling to 7x7, three linear layers with dropout.

    134,301,514 parameters with 10 classes. The maps are the outputs of the last four max-poolings,
    which on 32-pixel inputs are 8, 4, 2 and 1 pixels wide with 128, 256, 512 and 512 channels.
    """

    def __init__(
        self,
        classes: int,
        dropout: float = 0.5,
        hidden: int = 4096,
        channels: int = 3,
        init: Literal["default", "released"] = "default",
        features: Literal["hidden", "map"] = "hidden",
    ) -> None:
        """`init`: torch's default, from which 13 layers without batch norm hardly learn, or as
        released (_initialize_weights): convolutions N(0, 2 / (9 outputs)), linear layers N(0,
        0.01^2), biases 0. `features`: the second hidden layer's output (b, hidden), or as released
        the pooled 7x7 map (b, 25,088), the input of the first."""
        super().__init__()
        self._of_map = features == "map"
        self.groups = nn.ModuleList()
        inputs = channels
        for widths in GROUPS:
            layers: list[nn.Module] = []
            for width in widths:
                layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU()]
                inputs = width
            self.groups.append(nn.Sequential(*layers, nn.MaxPool2d(2)))
        self.hidden = nn.Sequential(
            nn.Linear(inputs * SIDE**2, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
        )
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(hidden, classes)
        if init == "released":
            self.apply(_initialise_as_released)

    def forward(self, x: Tensor) -> Outputs:
        """x: (b, channels, h, w) -> logits (b, classes), features (see `__init__`), four maps."""
        maps = []
        for group in self.groups:
            x = group(x)
            maps.append(x)
        pooled = _to_side(x).flatten(1)
        hidden: Tensor = self.hidden(pooled)
        return Outputs(
            self.fc(self.dropout(hidden)), pooled if self._of_map else hidden, tuple(maps[1:])
        )


def _initialise_as_released(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, 0, 0.01)
    if isinstance(module, nn.Conv2d | nn.Linear):
        assert module.bias is not None
        nn.init.zeros_(module.bias)


def _to_side(x: Tensor) -> Tensor:
    """Adaptive average pooling to SIDE x SIDE where it is plain copying or pooling, which is
    deterministic on CUDA."""
    if x.shape[2] != x.shape[3] or (x.shape[2] != 1 and x.shape[2] % SIDE):
        raise UsageError(
            f"VGG's last map is {x.shape[2]}x{x.shape[3]}",
            remedy="use square images of 32 or a multiple of 224 pixels",
        )
    return x.expand(-1, -1, SIDE, SIDE) if x.shape[2] == 1 else F.avg_pool2d(x, x.shape[2] // SIDE)
