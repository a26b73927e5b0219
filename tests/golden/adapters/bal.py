"""Adapters of the BAL and PT4AL vectors."""

from __future__ import annotations

import builtins
import hashlib
import re

import numpy as np
import pytest
import torch
from torch import nn

from adapters import (
    ENDS,
    adapter,
    bounds,
    check_ends,
    check_starts,
    close,
    close_to_scale,
    float_kind,
    given,
    load_canonical,
    referenced,
    tensor,
    wave,
)
from adapters._networks import stages_of
from benchmark.al.functional.bal_windows import (
    count_share,
    first_picks,
    hardest_first,
    split_ranks,
    sub_pool,
    window_bounds,
)
from benchmark.al.functional.cluster_distance import cluster_distance_difference, rank_differences
from benchmark.al.functional.scores import entropy, normalised_confidence, top_positions
from benchmark.al.networks.resnet_bal import ResNetBottleneck
from benchmark.al.networks.resnet_cifar import ResNetCifar
from benchmark.al.networks.vgg_bn import DEPTHS, VggBn
from benchmark.al.training.schedules import learning_rate_at
from benchmark.errors import UsageError
from benchmark.spec.training import MultiStep
from tests.helpers.network_cost import macs, parameters

# ----------------------------------------------------------------------------------------- networks


def described(canonical):
    """The network that a canonical list describes, and its number of classes."""
    names = {name: shape for _, name, shape in canonical}
    if "conv1.weight" in names:
        blocks, widths = stages_of(names)
        if "layer1.0.conv3.weight" in names:
            return ResNetBottleneck(names["fc.weight"][0], blocks=blocks)
        return ResNetCifar(names["fc.weight"][0], blocks=blocks, widths=widths)
    return VggBn(names["classifier.weight"][0], **vgg_params(names))


def vgg_params(shapes):
    """Depth and widths of the VGG that has tensors of these shapes."""
    numbers = {
        int(re.search(r"\d+", name)[0]): shape[0]
        for name, shape in shapes.items()
        if len(shape) == 4
    }
    every = [numbers[number] for number in sorted(numbers)]
    depth = len(every) + 3
    assert depth in DEPTHS, f"no VGG has {len(every)} convolutions"
    firsts = np.cumsum([0, *DEPTHS[depth][:-1]])
    return {"depth": depth, "widths": [every[place] for place in firsts]}


@adapter("26_nets_bal")
def networks(inputs, expected, tolerance, npz, case):
    sides = [name for name in expected if re.fullmatch(r"input_\d+", name)]
    for name in sides:
        side = int(name.removeprefix("input_"))
        assert issubclass(getattr(builtins, expected[name]), Exception)
        with pytest.raises(UsageError, match="not 1x1"):
            VggBn(10)(torch.zeros(1, 3, side, side))
    if sides and not inputs:
        return
    network = described(inputs["canonical"])
    modules = list(network.modules())
    norms = [module for module in modules if isinstance(module, nn.BatchNorm2d)]
    given(expected, "parameters", parameters(network))
    given(expected, "bn_layers", len(norms))
    given(expected, "conv_layers", sum(isinstance(module, nn.Conv2d) for module in modules))
    given(expected, "bn_affine_parameters", sum(parameters(module) for module in norms))
    if "macs_conv_linear_own_count" in expected:
        assert macs(network, inputs["H"]) == expected["macs_conv_linear_own_count"]
    check_forward(network, inputs, expected, tolerance, "feature")


def check_forward(network, inputs, expected, tolerance, embedding, rename=str):
    """Logits and features in float64, and logits in float32, of a filled network on the
    deterministic images."""
    load_canonical(network.double().eval(), inputs["canonical"], inputs["fill"], rename)
    images = wave(inputs["H"], inputs["W"], inputs["batch"], inputs["fill"])
    exact = tolerance["float64"].partition(" (")[0]
    single = tolerance["float32"].partition(" against")[0]
    with torch.no_grad():
        logits, features, *_ = network(images)
        rough = network.float()(images.float()).logits
    check_starts(features, expected, embedding, exact)
    given(expected, f"{embedding}_length", features.shape[1])
    if f"{embedding}_sum" in expected:
        size, (_, relative) = float(features.abs().sum()), bounds(exact)
        close(float(features.sum()) / size, expected[f"{embedding}_sum"] / size, f"abs {relative}")
    if "logits" in expected:
        close_to_scale(logits, expected["logits"], exact)
    for name in ("logits", "logits_float32_run"):
        if name in expected:
            close_to_scale(rough, expected[name], single)


# ------------------------------------------------------------------------------ sorting and windows


@adapter("15_bal_cdd")
def cluster_distances(inputs, expected, tolerance, npz, case):
    features, centres = (tensor(referenced(inputs[name], npz)) for name in ("features", "centres"))
    kind = float_kind(features.numpy())
    absolute, _ = bounds(tolerance[kind].partition(";")[0])
    found = cluster_distance_difference(features, centres)
    if "cdd" in expected:
        close(found, expected["cdd"], f"abs {absolute}")
    order, wanted = rank_differences(found), torch.tensor(expected["sorted_pool"])
    if kind == "float64":
        assert torch.equal(order, wanted)
    # In float32 neighbours may swap where their gap is below the tolerance: every place still holds
    # an equal value.
    close(found[order], found[wanted], f"abs {absolute}")


@adapter("16_bal_windows")
def windows(inputs, expected, tolerance, npz, case):
    size, shares = inputs["N"], inputs["per_samples_list"]
    given(expected, "num_samples_list", [count_share(share, size) for share in shares])
    ranks, labelled = np.arange(size), np.empty(0, dtype=np.int64)
    rows = {row.get("cycle", place): row for place, row in enumerate(expected["cycles"])}
    for cycle, share in enumerate(shares):
        span = window_bounds(cycle, len(shares), size, inputs["beta"], inputs["addendum"])
        inside, wanted = sub_pool(ranks, labelled, span), count_share(share, size)
        # Cycle 0 buys the head of its slice (or, asked for, its tail); the later ones what the
        # stand-in for the sampler takes.
        last = inputs.get("pick", "first") == "last" if cycle else inputs.get("first") == "low1st"
        taken = inside[len(inside) - min(wanted, len(inside)) :] if last else inside[:wanted]
        labelled = np.concatenate([labelled, taken])
        found = {
            "begin": span[0],
            "end": span[1],
            "slice_length": len(ranks[slice(*span)]),
            "subpool": len(inside),
            "quota": wanted,
            "taken": len(taken),
            "labelled_total": len(labelled),
            "rank_sum": int(taken.sum()),
            "rank_min": int(taken.min()) if len(taken) else None,
            "rank_max": int(taken.max()) if len(taken) else None,
        }
        if cycle in rows:
            for name, value in found.items():
                given(rows[cycle], name, value)
    assert set(rows) <= set(range(len(shares)))


@adapter("17_bal_confidence")
def confidence(inputs, expected, tolerance, npz, case):
    logits, count = tensor(inputs["logits"]), inputs["n"]
    text = tolerance[float_kind(inputs["logits"])]
    score, uncertainty = normalised_confidence(logits), entropy(logits.softmax(dim=1))
    if "confidence_score" in expected:
        close(score, expected["confidence_score"], text)
    picks = top_positions(-score, count).tolist()
    given(expected, "confidence_picks_in_order", picks)
    given(expected, "confidence_picks_set", sorted(picks))
    if "entropy_score" in expected:
        close(uncertainty, expected["entropy_score"], text)
    given(
        expected,
        "entropy_intended_largest_n_set",
        sorted(top_positions(uncertainty, count).tolist()),
    )
    # What the release does instead with numpy 1.26 and later: a list of one-element tensors is a
    # column, and sorting along its last axis orders nothing, so the first image of the sub-pool is
    # returned `count` times.
    column = np.array([[value] for value in uncertainty.tolist()])
    given(expected, "entropy_score_array_shape_in_official_code", list(column.shape))
    returned = np.argsort(column)[::-1][:count]
    given(expected, "entropy_official_return_shape", list(returned.shape))
    given(expected, "entropy_official_return", returned.ravel().tolist())


# -------------------------------------------------------------------------------------------- PT4AL


def sha1(indices):
    return hashlib.sha1("\n".join(str(int(index)) for index in indices).encode()).hexdigest()


def formula_losses(text, count):
    """k = (i*A) mod M; loss_i = (k+1)/S if k mod 3 != 0 else (k+1)*2**-E."""
    pattern = (
        r"k = \(i\*(\d+)\) mod (\d+); loss_i = \(k\+1\)/(\d+) if k mod (\d+) != 0 else "
        r"\(k\+1\)\*2\*\*-(\d+)"
    )
    found = re.match(pattern, text)
    assert found, text
    factor, modulus, scale, every, power = (int(group) for group in found.groups())
    k = (np.arange(count) * factor) % modulus
    return np.where(k % every != 0, (k + 1) / scale, (k + 1) * 2.0**-power)


def formula_logits(text, count):
    """logit[i,k] = sin(a*i + b*k + c*i*k) * (1 + i mod m), k = 0..K-1."""
    number = r"([\d.]+)"
    pattern = (
        rf"logit\[i,k\] = sin\({number}\*i \+ {number}\*k \+ {number}\*i\*k\) \* \(1 \+ i mod "
        r"(\d+)\), "
        r"k = 0\.\.(\d+)"
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
        if "as_text" in inputs:
            assert [str(float(loss)) for loss in losses] == list(inputs["as_text"])
        given(expected, "official_order_hard_first_by_text", hardest_first(losses, "text").tolist())
        given(expected, "numeric_order_hard_first", hardest_first(losses, "number").tolist())
        return
    if "loss_formula" in inputs:
        losses = formula_losses(inputs["loss_formula"], inputs["n"])
        sizes = expected["batch_sizes"]
        found = split_ranks(hardest_first(losses, "text"), len(sizes))
        assert [len(batch) for batch in found] == sizes
        for name in expected:
            match = ENDS.match(name)
            if match and match["rest"]:
                assert [batch[: int(match["count"])].tolist() for batch in found] == expected[
                    name
                ], name
        given(expected, "sha1_of_each_batch_order", [sha1(batch) for batch in found])
        given(expected, "sum_of_each_batch", [int(batch.sum()) for batch in found])
        hardest = hardest_first(losses, "number")[: sizes[0]]
        given(
            expected,
            f"batch0_overlap_with_true_hardest_{sizes[0]}",
            len(np.intersect1d(found[0], hardest)),
        )
        first = first_picks(found[0])
        check_ends(first, expected, "cycle0")
        given(expected, "cycle0_count", len(first))
        given(expected, "cycle0_sha1_order", sha1(first))
        return
    score = normalised_confidence(formula_logits(inputs["logit_formula"], inputs["m"]))
    picks = top_positions(-score, inputs["n"])
    assert check_ends(score, expected, "score", tolerance["score"]) + check_ends(
        picks, expected, "picked"
    )
    if "score_sum" in expected:
        close(score.mean(), expected["score_sum"] / inputs["m"], tolerance["score"])
    given(expected, "picked", len(picks))
    given(expected, "picked_sum", int(picks.sum()))
    given(expected, "sha1_of_sorted_picks", sha1(sorted(picks.tolist())))


PT4AL_MILESTONES = {False: (160,), True: (30, 60, 90)}
"""Epochs of PT4AL's tenfold drops, which its release hard-codes, by whether it is the pretext stage
(main.py, rotation.py)."""


@adapter("19_bal_pt4al_lr")
def rates(inputs, expected, tolerance, npz, case):
    milestones = inputs.get(
        "milestones", PT4AL_MILESTONES[bool(re.search("pretext|rotation", inputs["stage"]))]
    )
    schedule = MultiStep(kind="multistep", milestones=tuple(milestones), gamma=0.1)
    # A loop that begins later still starts its schedule at the beginning.
    epochs, full = inputs["epochs"], inputs.get("lr", 0.1)
    found = [
        learning_rate_at(schedule, full, epoch, 0, epochs, 1)
        for epoch in range(epochs - inputs.get("start_epoch", 0))
    ]
    close(found, expected["lr_per_epoch"], f"abs {tolerance['abs']}")
