"""Networks by the name a suite uses (`registry.NETWORKS`); each is imported only when it is
built."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from torch import nn

from benchmark.al import registry
from benchmark.errors import UsageError
from benchmark.spec.training import Model, WeightsFile


def build_network(model: Model, classes: int, channels: int) -> nn.Module:
    """A new network with random weights from torch's global generator. Raises UsageError for what
    cannot be built."""
    library, _, name = model.name.partition(":")
    if library in registry.LIBRARIES:
        from benchmark.al.networks.libraries import library_network

        return library_network(library, name, classes, channels, model.params)
    cls = registry.find_class("networks", model.name)
    parameters: dict[str, Any] = dict(model.params)
    if channels != 3:
        parameters["channels"] = channels
    try:
        made: nn.Module = cls(classes=classes, **parameters)
    except TypeError as error:
        raise UsageError(
            f"network '{model.name}': {error}", remedy=f"see {cls.__module__}"
        ) from error
    return made


def pretrain(made: nn.Module, folder: Path, start: WeightsFile | None = None) -> None:
    """Fill a network from its pre-trained weights file in `folder`: `start`, or the one that the
    network names.

    Raises UsageError for a network without such a file, DataError if the file is absent or wrong.
    """
    if start is not None:
        from benchmark.al.networks.weights import load_weights, read_weights

        load_weights(made, read_weights(folder / start.file, start.sha256), start.file)
        return
    name = getattr(made, "weights_file", None)
    if name is None:
        raise UsageError(
            f"{type(made).__name__} has no pre-trained weights",
            remedy='pin weights = "scratch", or the file as `start`',
        )
    read = importlib.import_module(type(made).__module__).read_weights  # a family's own file format
    made.load_pretrained(read(folder / name))  # type: ignore[operator]
