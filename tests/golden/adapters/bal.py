"""Adapters of the BAL and PT4AL vectors."""

from __future__ import annotations

import builtins
from collections import Counter

import pytest
import torch
from torch import nn

from adapters import adapter, close, close_to_scale, load_canonical, wave
from benchmark.al.models.cost import macs, parameters
from benchmark.al.models.resnet_cifar import ResNetCifar
from benchmark.al.models.vgg_bn import DEPTHS, VggBn
from benchmark.errors import UsageError

# ---------------------------------------------------------------------------------------------------------- networks


def described(canonical):
    """The network that a canonical list describes, and its number of classes."""
    names = {name: shape for _, name, shape in canonical}
    classes = canonical[-1][2][0]
    if "conv1.weight" in names:
        blocks = Counter(name.split(".")[0] for name in names if name.endswith(".conv1.weight"))
        return ResNetCifar(classes, blocks=[blocks[f"layer{stage}"] for stage in (1, 2, 3, 4)])
    widths = Counter(shape[0] for name, shape in names.items() if name.startswith("features.") and len(shape) == 4)
    layers = 3 + sum(widths.values())
    assert layers in DEPTHS
    return VggBn(classes, depth=layers)


@adapter("26_nets_bal")
def networks(inputs, expected, tolerance, npz, case):
    if "input_224" in expected:
        assert issubclass(getattr(builtins, expected["input_224"]), Exception)
        with pytest.raises(UsageError, match="not 1x1"):
            VggBn(10)(torch.zeros(1, 3, 224, 224))
        return
    network = described(inputs["canonical"])
    modules = list(network.modules())
    norms = [module for module in modules if isinstance(module, nn.BatchNorm2d)]
    assert parameters(network) == expected["parameters"]
    assert len(norms) == expected["bn_layers"]
    assert sum(isinstance(module, nn.Conv2d) for module in modules) == expected["conv_layers"]
    assert sum(parameters(module) for module in norms) == expected["bn_affine_parameters"]
    assert macs(network, inputs["H"]) == expected["macs_conv_linear_own_count"]
    check_forward(network, inputs, expected, tolerance, "feature")


def check_forward(network, inputs, expected, tolerance, embedding, rename=str):
    """Logits and features in float64, and logits in float32, of a filled network on the deterministic images."""
    load_canonical(network.double().eval(), inputs["canonical"], inputs["fill"], rename)
    images = wave(inputs["H"], inputs["W"], inputs["batch"], inputs["fill"])
    exact, single = tolerance["float64"].partition(" (")[0], tolerance["float32"].partition(" against")[0]
    with torch.no_grad():
        logits, features, *_ = network(images)
        rough = network.float()(images.float()).logits
    close_to_scale(logits, expected["logits"], exact)
    close_to_scale(features[:, :8], expected[f"{embedding}_first_8"], exact)
    assert features.shape[1] == expected[f"{embedding}_length"]
    close(features.sum() / features.abs().sum(), expected[f"{embedding}_sum"] / float(features.abs().sum()), "abs 1e-8")
    close_to_scale(rough, expected["logits"], single)
    close_to_scale(rough, expected["logits_float32_run"], single)
