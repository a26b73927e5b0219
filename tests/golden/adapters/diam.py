"""Adapters of the DIAM vectors."""

from __future__ import annotations

import torch

from adapters import adapter, bounds, check_map, close
from adapters.bal import check_forward
from benchmark.al.models.cost import macs, parameters
from benchmark.al.models.ofa import Ofa

# ---------------------------------------------------------------------------------------------------------- networks

UNDECAYED = ("bn", "bias")
"""Parts of parameter names without weight decay (`no_decay_keys` of item 23)."""


@adapter("26_diam_params_macs")
def sizes(inputs, expected, tolerance, npz, case):
    for row in expected["nets"]:
        network = Ofa(inputs["classes"], net=row["id"])
        side = network.config.side
        assert network.config.name == row["name"]
        assert side == row["R"]
        assert parameters(network) == row["parameters"]
        close(macs(network, side), row["macs_own_R"], "rel 1e-6")
        close(macs(network, 224), row["macs_224"], "rel 1e-6")
        assert len(network.blocks) == row["blocks"]
        if "dropout" in row:
            assert network.dropout.p == row["dropout"]
        if "decayed_elements" in row:
            decayed = [value for name, value in network.named_parameters() if not any(key in name for key in UNDECAYED)]
            others = [value for name, value in network.named_parameters() if any(key in name for key in UNDECAYED)]
            assert len(decayed) == row["decayed_tensors"]
            assert len(others) == row["undecayed_tensors"]
            assert sum(value.numel() for value in decayed) == row["decayed_elements"]
            assert sum(value.numel() for value in others) == row["undecayed_elements"]


def described(canonical):
    """The target model whose tensors have the listed shapes, and its number of classes."""
    shapes = {name: list(shape) for _, name, shape in canonical}
    for net in [*range(12), "teacher"]:
        network = Ofa(shapes["classifier.linear.bias"][0], net=net)
        if {name: list(value.shape) for name, value in network.named_parameters() if ".bn." not in name} == shapes:
            return network
    raise AssertionError("no target model has these tensors")


@adapter("26_nets_diam")
def networks(inputs, expected, tolerance, npz, case):
    network = described(inputs["canonical"])
    outputs = []
    hooks = [block.register_forward_hook(lambda *args: outputs.append(args[2])) for block in network.blocks]
    check_forward(network, inputs, expected, tolerance, "embedding")
    for hook in hooks:
        hook.remove()
    maps = expected["block_outputs"]
    assert len(network.blocks) == len(maps)
    for value, wanted in zip(outputs, maps, strict=False):
        check_map(value, wanted, tolerance["float64"].partition(" (")[0])
    # How far the official program's own float32 run is off; ours was held to the same bound above.
    assert expected["float32_relative_deviation"] <= bounds(tolerance["float32"].partition(" against")[0])[1]
