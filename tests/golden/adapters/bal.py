"""Adapters of the BAL and PT4AL vectors."""

from __future__ import annotations

import builtins
import hashlib
import re
from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn

from adapters import (
    ENDS,
    adapter,
    bounds,
    check_ends,
    close,
    close_to_scale,
    float_kind,
    given,
    load_canonical,
    referenced,
    tensor,
    wave,
)
from benchmark.al.functional.bal_windows import batches, first_picks, hardest_first, quota, sub_pool, window
from benchmark.al.functional.cluster_distance import cluster_distance_difference, ranked
from benchmark.al.functional.scores import entropy, normalised_confidence, top
from benchmark.al.networks.resnet_bal import ResNetBottleneck
from benchmark.al.networks.resnet_cifar import ResNetCifar
from benchmark.al.networks.vgg_bn import DEPTHS, VggBn
from benchmark.al.training.schedules import rate
from benchmark.errors import UsageError
from benchmark.spec.models import MultiStep
from tests.helpers.network_cost import macs, parameters

# ---------------------------------------------------------------------------------------------------------- networks


def described(canonical):
    """The network that a canonical list describes, and its number of classes."""
    names = {name: shape for _, name, shape in canonical}
    classes = canonical[-1][2][0]
    if "conv1.weight" in names:
        blocks = Counter(name.split(".")[0] for name in names if name.endswith(".conv1.weight"))
        kind = ResNetBottleneck if "layer1.0.conv3.weight" in names else ResNetCifar
        return kind(classes, blocks=[blocks[f"layer{stage}"] for stage in (1, 2, 3, 4)])
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
    if "macs_conv_linear_own_count" in expected:
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


# ------------------------------------------------------------------------------------------------- sorting and windows


@adapter("15_bal_cdd")
def cluster_distances(inputs, expected, tolerance, npz, case):
    features, centres = (tensor(referenced(inputs[name], npz)) for name in ("features", "centres"))
    kind = float_kind(features.numpy())
    absolute, _ = bounds(tolerance[kind].partition(";")[0])
    found = cluster_distance_difference(features, centres)
    close(found, expected["cdd"], f"abs {absolute}")
    order, wanted = ranked(found), torch.tensor(expected["sorted_pool"])
    if kind == "float64":
        assert torch.equal(order, wanted)
    # In float32 neighbours may swap where their gap is below the tolerance: every place still holds an equal value.
    close(found[order], found[wanted], f"abs {absolute}")


@adapter("16_bal_windows")
def windows(inputs, expected, tolerance, npz, case):
    size, shares = inputs["N"], inputs["per_samples_list"]
    assert [quota(share, size) for share in shares] == expected["num_samples_list"]
    assert len(expected["cycles"]) == len(shares)
    ranks, labelled = np.arange(size), np.empty(0, dtype=np.int64)
    for row, share in zip(expected["cycles"], shares, strict=True):
        span = window(row["cycle"], len(shares), size, inputs["beta"], inputs["addendum"])
        assert span == (row["begin"], row["end"])
        assert len(ranks[slice(*span)]) == row["slice_length"]
        inside, wanted = sub_pool(ranks, labelled, span), quota(share, size)
        assert len(inside) == row["subpool"]
        assert wanted == row["quota"]
        # Cycle 0 buys the head of its slice; the later ones what the stand-in for the sampler takes.
        last = row["cycle"] > 0 and inputs["pick"] == "last"
        taken = inside[len(inside) - min(wanted, len(inside)) :] if last else inside[:wanted]
        labelled = np.concatenate([labelled, taken])
        assert len(taken) == row["taken"]
        assert len(labelled) == row["labelled_total"]
        assert int(taken.sum()) == row["rank_sum"]
        assert (int(taken.min()) if len(taken) else None) == row["rank_min"]
        assert (int(taken.max()) if len(taken) else None) == row["rank_max"]


@adapter("17_bal_confidence")
def confidence(inputs, expected, tolerance, npz, case):
    logits, count = tensor(inputs["logits"]), inputs["n"]
    text = tolerance[float_kind(inputs["logits"])]
    score, uncertainty = normalised_confidence(logits), entropy(logits.softmax(dim=1))
    close(score, expected["confidence_score"], text)
    picks = top(-score, count).tolist()
    given(expected, "confidence_picks_in_order", picks)
    given(expected, "confidence_picks_set", sorted(picks))
    if "entropy_score" not in expected:
        return
    close(uncertainty, expected["entropy_score"], text)
    given(expected, "entropy_intended_largest_n_set", sorted(top(uncertainty, count).tolist()))
    # What the release does instead with numpy 1.26 and later: a list of one-element tensors is a column, and sorting
    # along its last axis orders nothing, so the first image of the sub-pool is returned `count` times.
    column = np.array([[value] for value in uncertainty.tolist()])
    given(expected, "entropy_score_array_shape_in_official_code", list(column.shape))
    returned = np.argsort(column)[::-1][:count]
    given(expected, "entropy_official_return_shape", list(returned.shape))
    given(expected, "entropy_official_return", returned.ravel().tolist())


# --------------------------------------------------------------------------------------------------------------- PT4AL


def sha1(indices):
    return hashlib.sha1("\n".join(str(int(index)) for index in indices).encode()).hexdigest()


def formula_losses(text, count):
    """k = (i*A) mod M; loss_i = (k+1)/S if k mod 3 != 0 else (k+1)*2**-E."""
    pattern = r"k = \(i\*(\d+)\) mod (\d+); loss_i = \(k\+1\)/(\d+) if k mod (\d+) != 0 else \(k\+1\)\*2\*\*-(\d+)"
    found = re.match(pattern, text)
    assert found, text
    factor, modulus, scale, every, power = (int(group) for group in found.groups())
    k = (np.arange(count) * factor) % modulus
    return np.where(k % every != 0, (k + 1) / scale, (k + 1) * 2.0**-power)


def formula_logits(text, count):
    """logit[i,k] = sin(a*i + b*k + c*i*k) * (1 + i mod m), k = 0..K-1."""
    number = r"([\d.]+)"
    pattern = (
        rf"logit\[i,k\] = sin\({number}\*i \+ {number}\*k \+ {number}\*i\*k\) \* \(1 \+ i mod (\d+)\), "
        r"k = 0\.\.(\d+), float64"
    )
    found = re.match(pattern, text)
    assert found, text
    a, b, c, modulus, last = (float(group) for group in found.groups())
    i, k = np.arange(count)[:, None], np.arange(int(last) + 1)[None]
    return torch.from_numpy(np.sin(a * i + b * k + c * i * k) * (1 + i % int(modulus)))


@adapter("18_pt4al_batches")
def pretext_batches(inputs, expected, tolerance, npz, case):
    if "losses" in inputs:
        losses = np.array(inputs["losses"])
        assert [str(float(loss)) for loss in losses] == inputs["as_text"]
        assert hardest_first(losses, "text").tolist() == expected["official_order_hard_first_by_text"]
        assert hardest_first(losses, "number").tolist() == expected["numeric_order_hard_first"]
        return
    if "loss_formula" in inputs:
        losses = formula_losses(inputs["loss_formula"], inputs["n"])
        sizes = expected["batch_sizes"]
        found = batches(hardest_first(losses, "text"), len(sizes))
        assert [len(batch) for batch in found] == sizes
        for name in expected:
            match = ENDS.match(name)
            if match and match["rest"]:
                assert [batch[: int(match["count"])].tolist() for batch in found] == expected[name], name
        given(expected, "sha1_of_each_batch_order", [sha1(batch) for batch in found])
        given(expected, "sum_of_each_batch", [int(batch.sum()) for batch in found])
        hardest = hardest_first(losses, "number")[: sizes[0]]
        given(expected, f"batch0_overlap_with_true_hardest_{sizes[0]}", len(np.intersect1d(found[0], hardest)))
        first = first_picks(found[0])
        check_ends(first, expected, "cycle0")
        given(expected, "cycle0_count", len(first))
        given(expected, "cycle0_sha1_order", sha1(first))
        return
    score = normalised_confidence(formula_logits(inputs["logit_formula"], inputs["m"]))
    picks = top(-score, inputs["n"])
    assert check_ends(score, expected, "score", tolerance["score"]) + check_ends(picks, expected, "picked")
    close(score.mean(), expected["score_sum"] / inputs["m"], tolerance["score"])
    given(expected, "picked", len(picks))
    given(expected, "picked_sum", int(picks.sum()))
    given(expected, "sha1_of_sorted_picks", sha1(sorted(picks.tolist())))


PT4AL_MILESTONES = {False: (160,), True: (30, 60, 90)}
"""Epochs of PT4AL's tenfold drops, which its release hard-codes, by whether it is the pretext stage (main.py, rotation.py)."""


@adapter("19_bal_pt4al_lr")
def rates(inputs, expected, tolerance, npz, case):
    milestones = inputs.get("milestones", PT4AL_MILESTONES[bool(re.search("pretext|rotation", inputs["stage"]))])
    schedule = MultiStep(kind="multistep", milestones=tuple(milestones), gamma=0.1)
    epochs, full = inputs["epochs"], inputs.get("lr", 0.1)
    found = [rate(schedule, full, epoch, 0, epochs, 1) for epoch in range(epochs)]
    close(found, expected["lr_per_epoch"], f"abs {tolerance['abs']}")
