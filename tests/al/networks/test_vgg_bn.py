"""VGG with batch norm and the deeper residual networks of BAL against torchvision; what an image
costs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from benchmark.al.networks.resnet_bal import ResNetBottleneck
from benchmark.al.networks.resnet_cifar import ResNetCifar
from benchmark.al.networks.vgg_bn import VggBn
from benchmark.errors import UsageError
from tests.helpers.network_cost import macs, parameters

LETTERS = {11: "A", 13: "B", 16: "D", 19: "E"}
COUNTS = {11: 9_231_114, 13: 9_416_010, 16: 14_728_266, 19: 20_040_522}


@pytest.mark.parametrize("depth", LETTERS)
def test_features_are_torchvisions(depth: int) -> None:
    """Same names, same shapes, same values after the same weights; then one linear layer."""
    from torchvision.models.vgg import cfgs, make_layers

    torch.manual_seed(depth)
    theirs, ours = make_layers(cfgs[LETTERS[depth]], batch_norm=True), VggBn(10, depth=depth)
    assert parameters(ours) == COUNTS[depth]
    ours.features.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        out, features = ours.eval()(x), theirs.eval()(x).flatten(1)
        torch.testing.assert_close(out.features, features)
        torch.testing.assert_close(
            out.logits, nn.functional.linear(features, *ours.classifier.parameters())
        )
    assert [tuple(m.shape[1:]) for m in out.maps] == [
        (128, 8, 8),
        (256, 4, 4),
        (512, 2, 2),
        (512, 1, 1),
    ]


def test_larger_images_need_the_declared_deviation() -> None:
    """At 64 pixels the last map is 2x2: refused, or averaged."""
    x = torch.randn(1, 3, 64, 64)
    with pytest.raises(UsageError, match="2x2, not 1x1"):
        VggBn(5, depth=11)(x)
    with torch.no_grad():
        out = VggBn(5, depth=11, adaptive=True).eval()(x)
    torch.testing.assert_close(
        out.features, nn.functional.adaptive_avg_pool2d(out.maps[-1], 1).flatten(1)
    )
    with pytest.raises(UsageError, match="no VGG with 12 layers"):
        VggBn(5, depth=12)


def test_resnet_50_is_torchvisions_with_a_small_stem() -> None:
    """Every weight fits by name, and the values agree."""
    from torchvision.models import resnet50

    torch.manual_seed(0)
    theirs, ours = resnet50(num_classes=10), ResNetBottleneck(10)
    theirs.conv1, theirs.maxpool = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity()
    ours.load_state_dict(theirs.state_dict())
    assert parameters(ours) == 23_520_842
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(x).logits, theirs.eval()(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("network", "side", "billions"),
    [
        (VggBn(10, adaptive=True), 32, 0.313),
        (VggBn(10, adaptive=True), 64, 1.25),
        (VggBn(10, adaptive=True), 224, 15.35),
        (ResNetCifar(10), 32, 0.555),
        (ResNetCifar(10), 64, 2.22),
    ],
)
def test_published_costs(network: nn.Module, side: int, billions: float) -> None:
    """The multiply-accumulates that the protocols' cost tables are made of."""
    assert macs(network, side) / 1e9 == pytest.approx(billions, rel=2.5e-3)


def test_cost_by_hand() -> None:
    """Strides, padding, groups and a linear layer over positions, counted on paper; the network is
    left as it was."""
    network = nn.Sequential(
        nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=2),  # 8 * 5 * 5 outputs of 2 * 9 products
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Flatten(2),
        nn.Linear(25, 3),  # 8 rows of 25 * 3
    )
    before = network[1].running_mean.clone()
    assert macs(network, side=9, channels=4) == 8 * 25 * 18 + 8 * 75
    assert network.training
    assert not any(module._forward_hooks for module in network.modules())
    assert torch.equal(network[1].running_mean, before)
