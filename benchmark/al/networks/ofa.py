"""The target models of DIAM: MobileNetV3-like sub-networks of once-for-all (Cai et al., ICLR 2020;
MobileNetV3: Howard et al., ICCV 2019), as tangypnuaa/DIAM at cddf397 builds them. `ofa_nets.py` has
the tables; modules bear the names of OFA's weight files.
"""

from __future__ import annotations

import math
import pickle
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.al.networks.ofa_nets import (
    ACTIVATIONS,
    EXCITED,
    NETS,
    STRIDES,
    TARGETS,
    TEACHER,
    WIDTHS,
    OfaNet,
)
from benchmark.al.networks.outputs import Outputs
from benchmark.errors import DataError, UsageError

STEM, EXPANDED, EMBEDDING = 16, 960, 1280
"""Channels of the stem, of the final expansion, and length of the embedding."""


class HardSwish(nn.Hardswish):
    """x relu6(x + 3) / 6; written out in float64, where torch's own backward pass has constants of
    float32."""

    def forward(self, x: Tensor) -> Tensor:
        """x: any shape -> the same shape."""
        return x * F.relu6(x + 3) / 6 if x.dtype == torch.float64 else super().forward(x)


class HardSigmoid(nn.Hardsigmoid):
    """relu6(x + 3) / 6; written out in float64, for the same reason."""

    def forward(self, x: Tensor) -> Tensor:
        """x: any shape -> the same shape."""
        return F.relu6(x + 3) / 6 if x.dtype == torch.float64 else super().forward(x)


Activation = Literal["relu", "h_swish", "none"]
ACTS: Mapping[Activation, type[nn.Module]] = {
    "relu": nn.ReLU,
    "h_swish": HardSwish,
    "none": nn.Identity,
}


def round8(value: float) -> int:
    """The nearest multiple of 8, at least 8, and never more than 10 % below `value`."""
    rounded = max(8, int(value + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * value else rounded


class SqueezeExcitation(nn.Module):
    """Channel gate: global mean, 1x1 to a quarter, ReLU, 1x1 back, hard sigmoid, times the
    input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        middle = round8(width // 4)
        self.fc = _named_sequence(
            reduce=nn.Conv2d(width, middle, 1),
            relu=nn.ReLU(),
            expand=nn.Conv2d(middle, width, 1),
            gate=HardSigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """x: (b, width, h, w) -> the same shape."""
        gate: Tensor = self.fc(_pool_map(x))
        return x * gate


class ConvBn(nn.Module):
    """Convolution without bias, batch norm, activation, and the gate where the stage has one."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        stride: int = 1,
        act: Activation = "none",
        depthwise: bool = False,
        excited: bool = False,
    ) -> None:
        super().__init__()
        groups = inputs if depthwise else 1
        self.conv = nn.Conv2d(
            inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False
        )
        self.bn = nn.BatchNorm2d(outputs)
        self.act = ACTS[act]()
        self.se = SqueezeExcitation(outputs) if excited else None

    def forward(self, x: Tensor) -> Tensor:
        """x: (b, inputs, h, w) -> (b, outputs, ceil(h / stride), ceil(w / stride))."""
        x = self.act(self.bn(self.conv(x)))
        out: Tensor = x if self.se is None else self.se(x)
        return out


class Bottleneck(nn.Module):
    """Inverted bottleneck: 1x1 expansion, depthwise convolution, linear 1x1. Expansion 1 has no
    first convolution."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        expansion: int,
        stride: int,
        act: Activation,
        excited: bool,
    ) -> None:
        super().__init__()
        hidden = round8(inputs * expansion)
        self.inverted_bottleneck = (
            ConvBn(inputs, hidden, act=act) if expansion > 1 else nn.Identity()
        )
        self.depth_conv = ConvBn(
            hidden, hidden, kernel, stride, act, depthwise=True, excited=excited
        )
        self.point_linear = ConvBn(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """x: (b, inputs, h, w) -> (b, outputs, ceil(h / stride), ceil(w / stride))."""
        out: Tensor = self.point_linear(self.depth_conv(self.inverted_bottleneck(x)))
        return out


class Block(nn.Module):
    """A bottleneck, plus its input where stride and widths allow."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        expansion: int,
        stride: int,
        act: Activation,
        excited: bool,
    ) -> None:
        super().__init__()
        self.mobile_inverted_conv = Bottleneck(
            inputs, outputs, kernel, expansion, stride, act, excited
        )
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """x: (b, inputs, h, w) -> (b, outputs, ceil(h / stride), ceil(w / stride))."""
        out: Tensor = self.mobile_inverted_conv(x)
        return x + out if self.shortcut else out


class Ofa(nn.Module):
    """One of the twelve target models (`net` 0 to 11, or OFA's name), or coreset's extractor (`net`
    "teacher").

    Starts as DIAM trains it, from scratch: the release loads ImageNet weights and then overwrites
    all of them, see `reset_parameters`. Features are the 1280 numbers before dropout and the
    classifier.
    """

    def __init__(
        self, classes: int, net: int | str = 0, dropout: float | None = None, channels: int = 3
    ) -> None:
        """`dropout` before the classifier; None: the configuration's own (0.1, none for the
        teacher)."""
        super().__init__()
        self.config = network_config(net)
        self.first_conv = ConvBn(channels, STEM, 3, 2, "h_swish")
        blocks = [Block(STEM, STEM, 3, 1, 1, "relu", excited=False)]
        inputs = STEM
        for stage, width, stride, act, excited in zip(
            self.config.blocks, WIDTHS, STRIDES, ACTIVATIONS, EXCITED, strict=True
        ):
            for number, (kernel, expansion) in enumerate(stage):
                blocks.append(
                    Block(
                        inputs, width, kernel, expansion, stride if number == 0 else 1, act, excited
                    )
                )
                inputs = width
        self.blocks = nn.ModuleList(blocks)
        self.final_expand_layer = ConvBn(inputs, EXPANDED, act="h_swish")
        self.feature_mix_layer = _named_sequence(
            conv=nn.Conv2d(EXPANDED, EMBEDDING, 1, bias=False), act=HardSwish()
        )
        self.dropout = nn.Dropout(self.config.dropout if dropout is None else dropout)
        self.classifier = _named_sequence(linear=nn.Linear(EMBEDDING, classes))
        self.reset_parameters()

    def forward(self, x: Tensor) -> Outputs:
        """x: (b, channels, h, w) -> logits (b, classes), features (b, 1280); no maps."""
        x = self.first_conv(x)
        for block in self.blocks:
            x = block(x)
        features: Tensor = self.feature_mix_layer(_pool_map(self.final_expand_layer(x))).flatten(1)
        return Outputs(self.classifier(self.dropout(features)), features)

    def reset_parameters(self) -> None:
        """Convolutions normal with variance 2 / (k^2 * outputs), depthwise ones too; linear
        uniform; biases 0, scales 1.

        He fan-out initialisation without the division by groups (DIAM's run manager, option
        `he_fout`).
        """
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(
                    module.weight,
                    0,
                    math.sqrt(2 / (math.prod(module.kernel_size) * module.out_channels)),
                )
            elif isinstance(module, nn.BatchNorm2d):
                module.reset_running_stats()
                nn.init.ones_(module.weight)
            elif isinstance(module, nn.Linear):
                bound = 1 / math.sqrt(module.in_features)
                nn.init.uniform_(module.weight, -bound, bound)
            if getattr(module, "bias", None) is not None:
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    @property
    def weights_file(self) -> str:
        """Where OFA's weights lie below a weights folder."""
        return TEACHER if self.config.name == TEACHER else f"{self.config.name}/init"

    def load_pretrained(self, state: Mapping[str, Tensor]) -> None:
        """Copy OFA's weights; a classifier for another number of classes keeps its random start.

        Also takes the names of files that DIAM saves (`.conv.` for `.mobile_inverted_conv.`).
        Raises DataError unless the dictionary has every other tensor in its shape and nothing of
        unknown name: the release ignores all of that.
        """
        own = self.state_dict()
        given = {_official_name(name): value for name, value in state.items()}
        head = {name for name in own if name.startswith("classifier.")}
        wanted = set(own)
        if all(name in given and given[name].shape != own[name].shape for name in head):
            given = {name: value for name, value in given.items() if name not in head}
            wanted -= head
        absent = {name for name in wanted - set(given) if not name.endswith("num_batches_tracked")}
        unknown = set(given) - set(own)
        misshapen = {name for name in wanted & set(given) if given[name].shape != own[name].shape}
        for what, names in (
            ("lacks", absent),
            ("has the unknown", unknown),
            ("has another shape for", misshapen),
        ):
            if names:
                raise DataError(
                    f"the weights file {what} {', '.join(sorted(names)[:4])} ({len(names)} in all)",
                    where=self.weights_file,
                    remedy=f"use once-for-all's file of {self.config.name}, unchanged",
                )
        self.load_state_dict(given, strict=False)


def network_config(net: int | str) -> OfaNet:
    """Table entry of a network by DIAM's number, OFA's name or "teacher". Raises UsageError for
    others."""
    if isinstance(net, int) and 0 <= net < len(TARGETS):
        return TARGETS[net]
    name = TEACHER if net == "teacher" else net
    if isinstance(name, str) and name in NETS:
        return NETS[name]
    raise UsageError(
        f"no once-for-all network {net!r}",
        where="model.params.net",
        remedy=f"0 to {len(TARGETS) - 1}, or 'teacher'",
    )


def read_weights(path: Path) -> dict[str, Tensor]:
    """The named tensors of a file of OFA or DIAM, on the CPU; nothing in it is executed.

    Raises DataError when the file is absent or its `state_dict` holds anything but tensors.
    """
    remedy = "fetch once-for-all's specialised weights, one folder per network with the file `init`"
    if not path.is_file():
        raise DataError("no such weights file", where=str(path), remedy=remedy)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise DataError(f"not a weights file: {error}", where=str(path), remedy=remedy) from error
    state = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(
        isinstance(value, Tensor) for value in state.values()
    ):
        raise DataError("has no `state_dict` of named tensors", where=str(path), remedy=remedy)
    return {str(name): value for name, value in state.items()}


def _official_name(name: str) -> str:
    """OFA's name of a tensor for the one DIAM saves it under."""
    head, _, rest = name.partition(".conv.")
    if head.startswith("blocks.") and head.count(".") == 1:
        return f"{head}.mobile_inverted_conv.{rest}"
    return name


def _named_sequence(**layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(layers))


def _pool_map(x: Tensor) -> Tensor:
    """Mean over width, then height: (b, c, h, w) -> (b, c, 1, 1)."""
    return x.mean(dim=3, keepdim=True).mean(dim=2, keepdim=True)
