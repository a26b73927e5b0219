"""Networks of torchvision and timm by their names there: `torchvision:resnet18`,
`timm:vit_tiny_patch16_224`.

They are built by the library, always with random weights: nothing is downloaded. What the contract
of networks adds is the features, the input of the last linear layer, which is therefore taken out
of the network and called here.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from benchmark.al.networks.outputs import Outputs
from benchmark.errors import UsageError

EXTRAS = {
    "timm": (
        "uv pip install --require-hashes -r requirements-timm.lock, or `albench[timm]` with the "
        "wheel"
    )
}
"""How to install a library that does not come with albench."""


class LibraryNetwork(nn.Module):
    """A trunk that ends in features (b, d), and the linear layer that the library put after it."""

    def __init__(
        self, trunk: nn.Module, head: nn.Linear, dropout: nn.Module, place: str, channels: int
    ) -> None:
        """`place`: the library's name of the linear layer. `channels`: planes of the images that
        the trunk takes; images with one plane are repeated where these are three."""
        super().__init__()
        self.trunk, self.dropout, self.head = trunk, dropout, head
        self.place, self.channels = place, channels

    def forward(self, x: Tensor) -> Outputs:
        """x: (b, channels, h, w) -> logits (b, classes), features (b, d) before dropout; no
        maps."""
        features = self.trunk(
            x if x.shape[1] == self.channels else x.expand(-1, self.channels, -1, -1)
        )
        return Outputs(self.head(self.dropout(features)), features)


def library_network(
    library: str, name: str, classes: int, channels: int, params: Mapping[str, Any]
) -> nn.Module:
    """A network of a library of LIBRARIES with random weights from torch's global generator.

    `params` are keyword arguments of the library's constructor. Raises UsageError for a library
    that is not installed, for an unknown name or parameter, and for a network without a linear
    layer at its end.
    """
    try:
        made, planes = LIBRARIES[library](name, classes, channels, dict(params))
    except ImportError as error:
        raise UsageError(
            f"cannot import {library}: {error}",
            remedy=f"install it: {EXTRAS.get(library, f'pip install {library}')}",
        ) from error
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(
            f"{library} does not build '{name}': {' '.join(str(error).split())}",
            remedy=f"use a name and parameters that {library} knows",
        ) from error
    place = _head_place(made, classes)
    if place is None:
        raise UsageError(
            f"{library}:{name} does not end in a linear layer with {classes} outputs",
            remedy="write a network of your own around it: docs/add-a-network.md",
        )
    head, dropout = _taken_out(made, place)
    return LibraryNetwork(made, head, dropout, place, planes)


def _build_torchvision(
    name: str, classes: int, channels: int, params: dict[str, Any]
) -> tuple[nn.Module, int]:
    models = importlib.import_module("torchvision.models")
    if {"weights", "weights_backbone", "pretrained"} & set(params):
        raise ValueError(
            'weights come from a local file: weights = "pretrained" with `start`, or --weights'
        )
    if channels not in (1, 3):
        raise ValueError(f"its networks take images of 3 channels, not {channels}")
    made: nn.Module = models.get_model(name, weights=None, num_classes=classes, **params)
    return made, 3


def _build_timm(
    name: str, classes: int, channels: int, params: dict[str, Any]
) -> tuple[nn.Module, int]:
    timm = importlib.import_module("timm")
    if {"pretrained", "checkpoint_path", "pretrained_cfg_overlay"} & set(params):
        raise ValueError(
            'weights come from a local file: weights = "pretrained" with `start`, or --weights'
        )
    made: nn.Module = timm.create_model(
        name, pretrained=False, num_classes=classes, in_chans=channels, **params
    )
    return made, channels


LIBRARIES: Mapping[str, Callable[[str, int, int, dict[str, Any]], tuple[nn.Module, int]]] = {
    "timm": _build_timm,
    "torchvision": _build_torchvision,
}
"""What builds a network: (name, classes, channels, parameters) -> the network, and the planes that
it takes."""


def _head_place(made: nn.Module, classes: int) -> str | None:
    """Name of the last linear layer with as many outputs as there are classes; None where the
    network has none."""
    found = [
        name
        for name, module in made.named_modules()
        if isinstance(module, nn.Linear) and module.out_features == classes
    ]
    return found[-1] if found else None


def _taken_out(made: nn.Module, place: str) -> tuple[nn.Linear, nn.Module]:
    """The linear layer of this name and the dropout right before it, both replaced by identities in
    the network."""
    outer, _, last = place.rpartition(".")
    parent = made.get_submodule(outer)
    head = getattr(parent, last)
    assert isinstance(head, nn.Linear)
    setattr(parent, last, nn.Identity())
    names = [name for name, _ in parent.named_children()]
    before = names[names.index(last) - 1] if names.index(last) else ""
    dropout = getattr(parent, before) if before else None
    if isinstance(parent, nn.Sequential) and isinstance(dropout, nn.Dropout):
        setattr(parent, before, nn.Identity())
        return head, dropout
    return head, nn.Identity()
