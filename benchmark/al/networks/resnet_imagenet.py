"""ResNet-18 for images of 224 pixels, as the releases of TOD (siyuhuang/TOD at 883494b,
models/imagenet_resnet.py) and ST-CoNAL (soony1213/ST-CoNAL at 43cb8c9, models/resnet.py) use it,
with torchvision's ImageNet weights read from a file.

TOD (Caltech-101): stem and stages 1-3 pretrained, stage 4 and both heads random, everything
trained. ST-CoNAL (Caltech-256, Tiny ImageNet): all but the head pretrained, only stage 4 and the
head trained, dropout 0.5.
"""

from __future__ import annotations

import hashlib
import pickle
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.al.networks.outputs import Outputs
from benchmark.al.networks.resnet_cifar import ResidualTrunk, linear_heads
from benchmark.errors import DataError

WEIGHTS = "resnet18-5c106cde.pth"
"""torchvision's file (IMAGENET1K_V1); the name carries the first 8 hex digits of its sha256."""
LATE = ("layer4.", "fc.", "fc_b.")
"""Names of stage 4 and the heads."""


class ResNetImagenet(ResidualTrunk):
    """7x7 stem with max-pooling, stages of basic blocks, global average pooling, one or two linear
    heads.

    Parameters: 11,280,138 with two heads and 101 classes, 11,279,112 with one head and 200 classes,
    of which 8,496,328 are trained with `trainable` "stage4". A frozen batch norm keeps its scale
    and shift but goes on updating its running statistics, as released.
    """

    weights_file = WEIGHTS

    def __init__(
        self,
        classes: int,
        blocks: Sequence[int] = (2, 2, 2, 2),
        widths: Sequence[int] = (64, 128, 256, 512),
        heads: int = 1,
        dropout: float = 0.0,
        pretrained: Literal["stages1-3", "trunk"] = "trunk",
        trainable: Literal["all", "stage4"] = "all",
        pool_last_map: bool = False,
        channels: int = 3,
        init: Literal["fan_out", "default"] = "fan_out",
    ) -> None:
        """`init`: convolutions start Kaiming-normal by fan-out, as in TOD's release, or as
        everything else at torch's default, as in ST-CoNAL's. `pretrained`: what a weights file
        fills. `trainable`: what has gradients. `pool_last_map`: the last of the maps is globally
        averaged, (b, widths[-1], 1, 1), as in ST-CoNAL's release."""
        super().__init__(nn.Conv2d(channels, widths[0], 7, 2, 3, bias=False), blocks, widths)
        for module in self.modules():
            if init == "fan_out" and isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        self.dropout = nn.Dropout(dropout)
        self.fc, self.fc_b = linear_heads(widths[-1], classes, heads)
        self.pretrained, self.pool_last_map = pretrained, pool_last_map
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(trainable == "all" or name.startswith(LATE))

    def forward(self, x: Tensor) -> Outputs:
        """x: (b, channels, h, w) -> logits (b, classes), features (b, widths[-1]), one map per
        stage."""
        maps = self.stages(F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1))
        # A mean, not adaptive pooling: the backward pass of the latter has no deterministic form on
        # CUDA.
        pooled = maps[-1].mean(dim=(2, 3), keepdim=True)
        maps = (*maps[:-1], pooled) if self.pool_last_map else maps
        features = pooled.flatten(1)
        seen = self.dropout(features)
        return Outputs(
            self.fc(seen), features, maps, self.fc_b(seen) if self.fc_b is not None else None
        )

    def load_pretrained(self, state: Mapping[str, Tensor]) -> None:
        """Copy the weights that `pretrained` names out of a torchvision state dictionary.

        Raises DataError unless the dictionary has every one of them in its shape and nothing of
        unknown name.
        """
        own = self.state_dict()
        skipped = ("fc.", "fc_b.") if self.pretrained == "trunk" else LATE
        wanted = {name for name in own if not name.startswith(skipped)}
        # torchvision's file of 2017 is older than the batch counters.
        absent = {name for name in wanted - set(state) if not name.endswith("num_batches_tracked")}
        unknown = {name for name in state if name not in own and not name.startswith("fc.")}
        misshapen = {name for name in wanted & set(state) if state[name].shape != own[name].shape}
        for what, names in (
            ("lacks", absent),
            ("has the unknown", unknown),
            ("has another shape for", misshapen),
        ):
            if names:
                raise DataError(
                    f"the weights file {what} {', '.join(sorted(names)[:4])} ({len(names)} in all)",
                    remedy=f"use torchvision's {WEIGHTS}, unchanged",
                )
        self.load_state_dict({name: state[name] for name in wanted & set(state)}, strict=False)


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a weights file `<name>-<first hex digits of its sha256>.pth`, on the CPU;
    nothing in it is executed.

    Raises DataError when the file is absent, is not what its name says, or holds anything but named
    tensors.
    """
    remedy = f"fetch {path.name} from torchvision's model page"
    named = re.search(r"-([0-9a-f]{8,})$", path.stem)
    if named is None:
        raise DataError(
            "the name of a weights file must end in its checksum",
            where=str(path),
            remedy=f"keep the name {WEIGHTS}",
        )
    if not path.is_file():
        raise DataError("no such weights file", where=str(path), remedy=remedy)
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(named.group(1)):
        raise DataError(
            f"sha256 is {found[:16]}..., not {named.group(1)}...", where=str(path), remedy=remedy
        )
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise DataError(f"not a weights file: {error}", where=str(path), remedy=remedy) from error
    if not isinstance(state, dict) or not all(
        isinstance(value, Tensor) for value in state.values()
    ):
        raise DataError("holds something other than named tensors", where=str(path), remedy=remedy)
    return dict(state)
