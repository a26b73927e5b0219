"""Residual networks for the golden cases: built from a canonical list, counted, run on the
deterministic images."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from adapters import Expected, bounds, check_map, check_starts, close, given, wave
from benchmark.al.networks.outputs import Outputs
from benchmark.al.networks.resnet_cifar import ResNetCifar
from benchmark.al.networks.resnet_imagenet import ResNetImagenet


def counts(network: nn.Module) -> dict[str, int]:
    """Everything that the golden files count about a network."""
    parameters, modules = list(network.parameters()), list(network.modules())
    norms = [module for module in modules if isinstance(module, nn.BatchNorm2d)]
    return {
        "parameters": sum(p.numel() for p in parameters),
        "trainable": sum(p.numel() for p in parameters if p.requires_grad),
        "parameter_tensors": len(parameters),
        "bn_layers": len(norms),
        "bn_affine_parameters": sum(p.numel() for norm in norms for p in norm.parameters()),
        "conv_layers": sum(isinstance(module, nn.Conv2d) for module in modules),
    }


def check_counts(network: nn.Module, expected: Expected) -> None:
    """Assert every count that the case gives."""
    found = counts(network)
    for name in found:
        if name in expected:
            assert found[name] == expected[name], name


def counted_network(families: list[Callable[[int], nn.Module]], expected: Expected) -> nn.Module:
    """The one network among families (number of classes -> network) that has the expected
    parameters.

    Cases of counts have no inputs: what is counted follows from the counts themselves, not from a
    case's name.
    """
    wanted, found = expected["parameters"], list[nn.Module]()
    for family in families:
        with torch.device("meta"):
            one, two = (sum(p.numel() for p in family(classes).parameters()) for classes in (1, 2))
            slope, rest = two - one, wanted - one
            classes = 1 if slope == 0 else 1 + rest // slope
            if (slope == 0 and rest) or (slope and (rest % slope or not 2 <= classes <= 1000)):
                continue
            found.append(family(classes))
    for name in ("trainable", "conv_layers", "bn_layers", "parameter_tensors"):
        if name in expected:
            found = [network for network in found if counts(network)[name] == expected[name]]
    assert found, f"no network here has {wanted} parameters"
    return found[0]


def stages_of(shapes: dict[str, list[int]]) -> tuple[list[int], list[int]]:
    """(blocks, widths) of each stage of a residual network, out of the shapes of its tensors."""
    stages = sorted({name.partition(".")[0] for name in shapes if name.startswith("layer")})
    blocks = [
        len({name.split(".")[1] for name in shapes if name.startswith(f"{stage}.")})
        for stage in stages
    ]
    return blocks, [shapes[f"{stage}.0.conv1.weight"][0] for stage in stages]


def network_like(canonical: list[Any], **more: Any) -> nn.Module:
    """The residual network with the stem, stages, classes and heads of a canonical list."""
    shapes = {name: shape for _, name, shape in canonical}
    blocks, widths = stages_of(shapes)
    kind = {3: ResNetCifar, 7: ResNetImagenet}[shapes["conv1.weight"][-1]]
    if kind is ResNetCifar:
        more = {}
    heads = 2 if "fc_b.weight" in shapes else 1
    return kind(classes=shapes["fc.weight"][0], blocks=blocks, widths=widths, heads=heads, **more)


def forward(network: nn.Module, inputs: Any, single: bool = False) -> Outputs:
    """One pass over the deterministic images in eval mode, in float64 (or, `single`, in
    float32)."""
    images = wave(inputs["H"], inputs["W"], inputs["batch"], inputs["fill"])
    network = copy.deepcopy(network).eval().to(torch.float32 if single else torch.float64)
    with torch.no_grad():
        return network(images.float() if single else images)  # type: ignore[no-any-return]


def check_trunk(out: Outputs, expected: Expected, text: str) -> None:
    """Assert what is given of features and stage statistics."""
    check_starts(out.features, expected, "feature", text)
    if "feature_sum" in expected:
        size, (_, relative) = float(out.features.abs().sum()), bounds(text)
        close(float(out.features.sum()) / size, expected["feature_sum"] / size, f"abs {relative}")
    given(expected, "feature_length", out.features.shape[1])
    if "stages" in expected:
        for stage, wanted in zip(out.maps, expected["stages"], strict=True):
            check_map(stage, wanted, text)
