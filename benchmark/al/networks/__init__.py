"""Networks by the name a suite uses; each is imported only when it is built."""

from __future__ import annotations

import difflib
import importlib
from pathlib import Path
from typing import Any

from torch import nn

from benchmark.errors import UsageError
from benchmark.spec.models import Model

MODELS = {
    "resnet_cifar": "benchmark.al.networks.resnet_cifar:ResNetCifar",
    "resnet_imagenet": "benchmark.al.networks.resnet_imagenet:ResNetImagenet",
    "resnet_bottleneck": "benchmark.al.networks.resnet_bal:ResNetBottleneck",
    "vgg_bn": "benchmark.al.networks.vgg_bn:VggBn",
    "vgg_plain": "benchmark.al.networks.vgg_plain:VggPlain",
    "ofa": "benchmark.al.networks.ofa:Ofa",
    "small_cnn": "benchmark.al.networks.small_cnn:SmallCnn",
}
"""Name -> `module:class`. A network takes `classes` and its own parameters and returns `Outputs`."""


def network(model: Model, classes: int, channels: int) -> nn.Module:
    """A new network with random weights from torch's global generator. Raises UsageError for what cannot be built."""
    if model.name not in MODELS:
        close = difflib.get_close_matches(model.name, MODELS, n=3, cutoff=0.3) or sorted(MODELS)
        raise UsageError(f"no network '{model.name}'", remedy=f"did you mean {', '.join(close)}?")
    module, _, attribute = MODELS[model.name].partition(":")
    parameters: dict[str, Any] = dict(model.params)
    if channels != 3:
        parameters["channels"] = channels
    try:
        return getattr(importlib.import_module(module), attribute)(classes=classes, **parameters)  # type: ignore[no-any-return]
    except TypeError as error:
        raise UsageError(f"network '{model.name}': {error}", remedy=f"see {module}") from error


def pretrain(made: nn.Module, folder: Path) -> None:
    """Fill a network from its pre-trained weights file in `folder`.

    Raises UsageError for a network without such a file, DataError if the file is absent or wrong.
    """
    name = getattr(made, "weights_file", None)
    if name is None:
        raise UsageError(f"{type(made).__name__} has no pre-trained weights", remedy='pin weights = "scratch"')
    read = importlib.import_module(type(made).__module__).read_weights  # a family's own file format
    made.load_pretrained(read(folder / name))  # type: ignore[operator]
