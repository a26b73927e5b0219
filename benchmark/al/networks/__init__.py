"""Networks by the name a suite uses (`registry.NETWORKS`); each is imported only when it is built."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from torch import nn

from benchmark.al import registry
from benchmark.errors import UsageError
from benchmark.spec.models import Model


def network(model: Model, classes: int, channels: int) -> nn.Module:
    """A new network with random weights from torch's global generator. Raises UsageError for what cannot be built."""
    cls = registry.find_class("networks", model.name)
    parameters: dict[str, Any] = dict(model.params)
    if channels != 3:
        parameters["channels"] = channels
    try:
        made: nn.Module = cls(classes=classes, **parameters)
    except TypeError as error:
        raise UsageError(f"network '{model.name}': {error}", remedy=f"see {cls.__module__}") from error
    return made


def pretrain(made: nn.Module, folder: Path) -> None:
    """Fill a network from its pre-trained weights file in `folder`.

    Raises UsageError for a network without such a file, DataError if the file is absent or wrong.
    """
    name = getattr(made, "weights_file", None)
    if name is None:
        raise UsageError(f"{type(made).__name__} has no pre-trained weights", remedy='pin weights = "scratch"')
    read = importlib.import_module(type(made).__module__).read_weights  # a family's own file format
    made.load_pretrained(read(folder / name))  # type: ignore[operator]
