"""Networks of torchvision and timm: the library's own outputs and counts, the contract, and weights
from a local file."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision import models

from benchmark.al.networks import build_network, pretrain
from benchmark.al.networks.libraries import LibraryNetwork
from benchmark.al.networks.measure import measure_model
from benchmark.al.training.passes import find_head
from benchmark.errors import DataError, UsageError
from benchmark.spec.training import Model, WeightsFile


def seeded(name: str, classes: int = 7, channels: int = 3, **params: object) -> nn.Module:
    torch.manual_seed(5)
    return build_network(Model(name=name, params=params), classes, channels)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "width", "side"),
    [
        ("resnet18", 512, 32),
        ("mobilenet_v3_small", 1024, 32),
        ("densenet121", 1024, 32),
        ("vgg11_bn", 4096, 32),
        ("convnext_tiny", 768, 32),
    ],
)
def test_torchvisions_logits_and_their_features(name: str, width: int, side: int) -> None:
    made = seeded(f"torchvision:{name}").eval()
    torch.manual_seed(5)
    theirs = models.get_model(name, weights=None, num_classes=7).eval()
    images = torch.randn(2, 3, side, side)
    with torch.no_grad():
        found, wanted = made(images), theirs(images)
    assert torch.equal(found.logits, wanted)
    assert found.features.shape == (2, width)
    assert isinstance(find_head(made, images), nn.Linear)


def test_published_amounts() -> None:
    """ResNet-18: 11,689,512 parameters (torchvision's page); 1.814 G multiply-accumulates at 224
    pixels with 1000 classes."""
    parameters, macs = measure_model(Model(name="torchvision:resnet18"), 1000, 3, 224)
    assert parameters == 11_689_512
    assert macs == 1_814_073_344


def test_grey_images_are_repeated() -> None:
    made, image = seeded("torchvision:resnet18", channels=1).eval(), torch.randn(1, 1, 32, 32)
    with torch.no_grad():
        assert torch.equal(made(image).logits, made(image.repeat(1, 3, 1, 1)).logits)


@pytest.mark.parametrize(
    ("name", "params", "words"),
    [
        ("torchvision:resnet19", {}, "does not build 'resnet19'"),
        ("torchvision:resnet18", {"depth": 3}, "does not build 'resnet18'"),
        ("torchvision:resnet18", {"weights": "DEFAULT"}, "weights come from a local file"),
        ("torchvision:squeezenet1_1", {}, "does not end in a linear layer"),
    ],
)
def test_what_cannot_be_built(name: str, params: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        build_network(Model(name=name, params=params), 7, 3)  # type: ignore[arg-type]


def stored(path: Path, state: dict[str, torch.Tensor]) -> WeightsFile:
    torch.save(state, path)
    return WeightsFile(file=str(path), sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def test_weights_have_the_librarys_names(tmp_path: Path) -> None:
    theirs = models.resnet18(weights=None, num_classes=1000)
    start = stored(tmp_path / "own.pth", theirs.state_dict())
    made = seeded("torchvision:resnet18")
    before = made.head.weight.clone()  # type: ignore[union-attr]
    pretrain(made, tmp_path, start)
    assert isinstance(made, LibraryNetwork)
    assert torch.equal(
        made.trunk.get_parameter("layer4.1.conv2.weight"), theirs.layer4[1].conv2.weight
    )
    assert torch.equal(made.head.weight, before), (
        "a head for another number of classes keeps its start"
    )
    same = seeded("torchvision:resnet18", classes=1000)
    pretrain(same, tmp_path, start)
    assert torch.equal(same.head.weight, theirs.fc.weight)  # type: ignore[union-attr]


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    state = models.resnet18(weights=None, num_classes=1000).state_dict()
    del state["layer1.0.conv1.weight"]
    with pytest.raises(DataError, match=r"lacks layer1.0.conv1.weight"):
        pretrain(seeded("torchvision:resnet18"), tmp_path, stored(tmp_path / "a.pth", state))
    with pytest.raises(DataError, match="has the unknown stranger"):
        whole = models.resnet18(weights=None, num_classes=1000).state_dict() | {
            "stranger": torch.zeros(1)
        }
        pretrain(seeded("torchvision:resnet18"), tmp_path, stored(tmp_path / "b.pth", whole))
    other = WeightsFile(file="b.pth", sha256="0" * 64)
    with pytest.raises(DataError, match="sha256 is"):
        pretrain(seeded("torchvision:resnet18"), tmp_path, other)
    with pytest.raises(DataError, match="no such weights"):
        pretrain(
            seeded("torchvision:resnet18"), tmp_path, WeightsFile(file="c.pth", sha256="0" * 64)
        )


def test_weights_of_a_network_of_ones_own(tmp_path: Path) -> None:
    first = seeded("small_cnn", width=8)
    second = build_network(Model(name="small_cnn", params={"width": 8}), 7, 3)
    pretrain(second, tmp_path, stored(tmp_path / "small.pth", first.state_dict()))
    assert all(
        torch.equal(value, second.state_dict()[name]) for name, value in first.state_dict().items()
    )


if not os.environ.get("ALBENCH_REQUIRE_TIMM"):  # where it is required, a missing timm is an error
    HAS_TIMM = pytest.mark.skipif(
        __import__("importlib.util").util.find_spec("timm") is None,
        reason="timm is an optional extra: uv pip install -r requirements-timm.lock",
    )
else:
    HAS_TIMM = pytest.mark.filterwarnings()


@HAS_TIMM
@pytest.mark.parametrize(
    ("name", "width", "side", "channels"),
    [("resnet18", 512, 32, 1), ("vit_tiny_patch16_224", 192, 224, 3)],
)
def test_timms_logits_and_their_features(name: str, width: int, side: int, channels: int) -> None:
    import timm

    made = seeded(f"timm:{name}", channels=channels).eval()
    torch.manual_seed(5)
    theirs = timm.create_model(name, pretrained=False, num_classes=7, in_chans=channels).eval()
    images = torch.randn(2, channels, side, side)
    with torch.no_grad():
        found, wanted = made(images), theirs(images)
    assert torch.equal(found.logits, wanted)
    assert found.features.shape == (2, width)


def test_timm_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(UsageError, match="cannot import timm") as caught:
        build_network(Model(name="timm:resnet18"), 7, 3)
    assert "requirements-timm.lock" in caught.value.remedy
