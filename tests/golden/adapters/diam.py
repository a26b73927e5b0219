"""Adapters of the DIAM vectors."""

from __future__ import annotations

import hashlib
import re
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import numpy as np
import pytest
import torch

from adapters import (
    adapter,
    bounds,
    check_ends,
    check_map,
    close,
    close_to_scale,
    float_kind,
    given,
    referenced,
    tensor,
)
from adapters.bal import check_forward
from benchmark.al.acquisition import torch_randperm
from benchmark.al.functional.kcenter import k_center_greedy
from benchmark.al.functional.votes import (
    OVERSAMPLING,
    Kind,
    cal_candidates,
    combine_scores,
    diam_candidates,
    disagreement,
    draw_ties,
    raw_scores,
    smallest_positions,
    vote_entropy,
)
from benchmark.al.networks.ofa import Ofa
from benchmark.al.networks.outputs import Outputs
from benchmark.al.objectives.supervised import Supervised
from benchmark.al.training.schedules import learning_rate_at, snapshot_epochs
from benchmark.spec.load import load_suite
from benchmark.spec.training import Cosine
from tests.helpers.label_smoothing import smoothed_cross_entropy, soft_targets
from tests.helpers.network_cost import macs, parameters

SUITES = Path(__file__).parents[3] / "suites"

# ----------------------------------------------------------------------------------------- networks

UNDECAYED = ("bn", "bias")
"""Parts of parameter names without weight decay (`no_decay_keys` of item 23)."""


@adapter("26_diam_params_macs")
def sizes(inputs, expected, tolerance, npz, case):
    for row in expected["nets"]:
        network = Ofa(inputs["classes"], net=row["id"])
        side = network.config.side
        given(row, "name", network.config.name)
        given(row, "R", side)
        given(row, "parameters", parameters(network))
        for name, at in (("macs_own_R", side), ("macs_224", 224)):
            if name in row:
                close(macs(network, at), row[name], "rel 1e-6")
        given(row, "blocks", len(network.blocks))
        given(row, "dropout", network.dropout.p)
        groups: dict[str, list[int]] = {"decayed": [], "undecayed": []}
        for name, value in network.named_parameters():
            groups["undecayed" if any(key in name for key in UNDECAYED) else "decayed"].append(
                value.numel()
            )
        for group, elements in groups.items():
            given(row, f"{group}_tensors", len(elements))
            given(row, f"{group}_elements", sum(elements))


def described(canonical):
    """The target model whose tensors have the listed shapes, and its number of classes."""
    shapes = {name: list(shape) for _, name, shape in canonical}
    for net in [*range(12), "teacher"]:
        network = Ofa(shapes["classifier.linear.bias"][0], net=net)
        if {
            name: list(value.shape)
            for name, value in network.named_parameters()
            if ".bn." not in name
        } == shapes:
            return network
    raise AssertionError("no target model has these tensors")


@adapter("26_nets_diam")
def networks(inputs, expected, tolerance, npz, case):
    network = described(inputs["canonical"])
    outputs = []
    hooks = [
        block.register_forward_hook(lambda *args: outputs.append(args[2]))
        for block in network.blocks
    ]
    check_forward(network, inputs, expected, tolerance, "embedding")
    for hook in hooks:
        hook.remove()
    if "block_outputs" in expected:
        maps = expected["block_outputs"]
        assert len(network.blocks) == len(maps)
        for value, wanted in zip(outputs, maps, strict=False):
            check_map(value, wanted, tolerance["float64"].partition(" (")[0])
    # How far the official program's own float32 run is off; ours was held to the same bound above.
    if "float32_relative_deviation" in expected:
        assert (
            expected["float32_relative_deviation"]
            <= bounds(tolerance["float32"].partition(" against")[0])[1]
        )


# -------------------------------------------------------------------------------------- acquisition


def distinct(values, tolerance):
    """Group numbers of rows (D, V): equal D and V within the tolerance of a neighbour are one
    group."""
    order = np.lexsort(values.T[::-1])
    steps = np.abs(np.diff(values[order], axis=0))
    group = np.concatenate([[0], np.cumsum((steps[:, 0] > 0) | (steps[:, 1] > tolerance))])
    numbers = np.empty(len(values), dtype=np.int64)
    numbers[order] = group
    return numbers


@adapter("20_diam_votes")
def votes(inputs, expected, tolerance, npz, case):
    cast, budget = tensor(referenced(inputs["votes"], npz)), inputs["B"]
    classes = inputs.get("classes", int(cast.max()) + 1)
    first, second = disagreement(cast), vote_entropy(cast, classes)
    given(expected, "first_key_D", first.tolist())
    near, _ = bounds(tolerance["V"].partition(" (")[0])
    if "second_key_V" in expected:
        close(second, expected["second_key_V"], f"abs {near}")
    best = diam_candidates(cast, budget, classes).tolist()
    if "top_5B_in_order" in expected:
        groups = distinct(np.stack([first.numpy(), second.numpy()], axis=1), near)
        assert groups[best].tolist() == groups[expected["top_5B_in_order"]].tolist()
    if "top_5B_must_contain" in expected:
        must = set(expected["top_5B_must_contain"])
        tied = set(expected["tie_group_at_cut"]) if "tie_group_at_cut" in expected else set()
        assert must <= set(best)
        assert set(best) - must <= tied
        given(expected, "number_from_tie_group", len(set(best) & (tied - must)))
    assert len(best) == len(set(best)) == min(OVERSAMPLING * budget, cast.shape[2])
    # Inside a group of equal bits the later position comes first.
    bits = list(zip(first.tolist(), second.tolist(), strict=True))
    assert all(a > b for a, b in pairwise(best) if bits[a] == bits[b])
    given(expected, "number_bought", min(budget, len(best)))
    cal = cal_candidates(cast).tolist()
    given(expected, "CAL_candidates_in_order", cal)
    given(expected, "CAL_number_bought", min(budget, len(cal)))


@adapter("21_diam_uncertainty")
def uncertainty(inputs, expected, tolerance, npz, case):
    logits = tensor(inputs["logits_by_model"])
    pool = np.array(inputs["pool_list"])
    budget = inputs["B"]
    assert set(expected) <= set(get_args(Kind))
    for kind in expected:
        wanted = expected[kind]
        raw = raw_scores(logits, kind)
        if "raw_score_per_model" in wanted:
            close(raw, wanted["raw_score_per_model"], tolerance["raw"])
        official = combine_scores(raw, "official")
        if "official_mean_scaled_score" in wanted:
            np.testing.assert_array_equal(official.numpy(), wanted["official_mean_scaled_score"])
        finite = official[official.isfinite()]
        given(wanted, "official_all_finite_scores_are_zero", bool((finite == 0).all()))
        lost = torch.nonzero(official.isnan()).flatten().tolist()
        given(wanted, "nan_positions", lost)
        picked = draw_ties(official, budget, np.random.default_rng(0)).tolist()
        assert len(set(picked)) == budget
        assert len(finite) < budget or not set(picked) & set(lost)
        if not lost and "derived_intended_mean_scaled_score" in wanted:
            text = tolerance["derived"].partition(";")[0]
            intended = combine_scores(raw_scores(logits, kind, underflow="zero"), "per_model")
            close(intended, wanted["derived_intended_mean_scaled_score"], text)
            if "derived_gap_at_cut" in wanted and wanted["derived_gap_at_cut"] >= bounds(text)[0]:
                picks = pool[smallest_positions(intended, budget).numpy()]
                assert sorted(picks.tolist()) == sorted(wanted["derived_intended_picks_in_order"])


@adapter("22_diam_coreset")
def coreset(inputs, expected, tolerance, npz, case):
    described = re.search(
        r"first (\d+) rows = pool in list order, last (\d+) = labelled", inputs["embeddings"]
    )
    assert described, inputs["embeddings"]
    count, labelled = (int(group) for group in described.groups())
    embeddings = tensor(referenced(inputs["embeddings"], npz))
    assert len(embeddings) == count + labelled
    picks = k_center_greedy(embeddings[:count], embeddings[count:], inputs["B"])
    assert picks.tolist() == list(expected["picked_pool_positions_in_order"])


# ------------------------------------------------------------------------------- split and training


def listed(indices):
    """SHA-1 of the text with one index per line."""
    return hashlib.sha1("".join(f"{index}\n" for index in indices).encode()).hexdigest()


@adapter("25_diam_split")
def split(inputs, expected, tolerance, npz, case):
    labelled, pool = (
        part.tolist() for part in torch_randperm(inputs["pool"], inputs["initial"], inputs["seed"])
    )
    assert sorted(labelled + pool) == list(range(inputs["pool"]))
    for name, part in (("labelled", labelled), ("pool", pool)):
        check_ends(part, expected, name)
        given(expected, f"{name}_sum", sum(part))
        given(expected, f"{name}_size", len(part))
        given(expected, f"{name}_sha1", listed(part))


def pinned():
    """The protocol of the first DIAM suite."""
    files = sorted(SUITES.glob("diam/*.toml"))
    if not files:
        pytest.skip("no DIAM suite to compare with")
    return load_suite(files[0], SUITES).suite.protocol


def transform(view, op):
    """The one transform of a kind in a view."""
    (found,) = [step for step in view if step.op == op]
    return found


def check_settings(expected):
    """The training script's settings, those that are given, are the suite's or the networks'
    own."""
    protocol, network = pinned(), Ofa(10)
    training, view = protocol.training, protocol.views.train
    # What the schedule amounts to is the full rate at the first step; a start that is the same for
    # all trainings.
    assert training.schedule == Cosine(kind="cosine")
    assert (training.same_init, training.start) == (True, "fresh")
    # The release looks at the test set on the way, for its log only: the last epoch counts.
    assert protocol.evaluation.epoch == "last"
    assert training.optimizer.exempt == UNDECAYED
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    ours = {
        "n_epochs": training.epochs,
        "base_lr": training.optimizer.lr,
        "base_batch_size": training.batch_size,
        "momentum": training.optimizer.momentum,
        "no_nesterov": not training.optimizer.nesterov,
        "weight_decay": training.optimizer.weight_decay,
        "label_smoothing": training.label_smoothing,
        "no_decay_keys": "#".join(training.optimizer.exempt),
        "warmup_epochs": 0,
        "manual_seed": 0,
        "valid_size": protocol.acquisition.initial.size,
        "dropout": network.dropout.p,
        "model_init": "he_fout",
        "resize_scale": transform(view, "random_resized_crop").scale[0],
        "distort_color": "tf",
    }
    ours |= dict(
        zip(("bn_momentum", "bn_eps"), *{(norm.momentum, norm.eps) for norm in norms}, strict=True)
    )
    for name, value in ours.items():
        given(expected, name, value)
    if "validation_frequency" in expected:
        assert training.epochs % expected["validation_frequency"] == 0
    assert transform(view, "random_resized_crop").scale[1] == 1.0
    jitter = transform(view, "color_jitter")  # what "tf" stands for
    assert (jitter.brightness, jitter.saturation) == ((1 - 32 / 255, 1 + 32 / 255), (0.5, 1.5))
    for name, value in network.named_parameters():  # what "he_fout" stands for
        if value.dim() == 4:
            spread = (2 / (value.shape[0] * value.shape[2] * value.shape[3])) ** 0.5
            assert abs(float(value.detach().std()) / spread - 1) < 6 / value.numel() ** 0.5, name


@adapter("23_diam_cosine_lr")
def cosine(inputs, expected, tolerance, npz, case):
    if "fraction" in inputs:
        assert (
            snapshot_epochs(inputs["n_epochs"], inputs["fraction"])
            == expected["snapshot_epochs_0based"]
        )
        return
    if not inputs:
        check_settings(expected)
        return
    steps, epochs, full = inputs["batches_per_epoch"], inputs["epochs"], inputs["base_lr"]
    assert steps * epochs == inputs.get("total_steps", steps * epochs)
    schedule, text = Cosine(kind="cosine"), f"abs {tolerance['abs']}"
    rates = [
        learning_rate_at(schedule, full, step // steps, step, epochs, steps)
        for step in range(steps * epochs)
    ]
    if "lr_per_step" in expected:
        close(rates, expected["lr_per_step"], text)
    check_ends(rates, expected, "lr", text)
    for step in expected.get("lr_at_step", ()):
        close(rates[int(step)], expected["lr_at_step"][step], text)
    if "sum" in expected:
        close(np.mean(rates), expected["sum"] / len(rates), text)


@adapter("24_diam_label_smoothing")
def label_smoothing(inputs, expected, tolerance, npz, case):
    logits, labels, smoothing = tensor(inputs["logits"]), tensor(inputs["y"]), inputs["smoothing"]
    objective = Supervised()
    objective.build(SimpleNamespace(training=SimpleNamespace(label_smoothing=smoothing)))

    def trained(leaf):
        return objective.loss(
            lambda images: Outputs(images, images), SimpleNamespace(images=leaf, labels=labels)
        )

    kind = float_kind(inputs["logits"])
    text = tolerance[kind].partition(" (")[0]
    losses = [lambda leaf: smoothed_cross_entropy(leaf, labels, smoothing)]
    # The objective always computes in float32, so it is held to the float32 vectors.
    for function in losses + [trained] * (kind == "float32"):
        leaf = logits.clone().requires_grad_()
        loss = function(leaf)
        loss.backward()
        if "loss" in expected:
            close(loss, expected["loss"], text)
        if "grad" in expected:
            (close_to_scale if kind == "float32" else close)(leaf.grad, expected["grad"], text)
    targets = soft_targets(labels, logits.shape[1], smoothing)
    if "soft_target_first_row" in expected:
        close(targets[0], expected["soft_target_first_row"], "abs 1e-8")
