"""Baselines of ST-CoNAL's release and its parents (TA-VAAL, Sequential-GCN): items 14 and 27-31."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from adapters import (
    Expected,
    adapter,
    check_map,
    check_starts,
    close,
    given,
    load_canonical,
    tensor,
    wave,
)
from benchmark.al.functional import badge, gcn
from benchmark.al.functional.kcenter import k_center_greedy
from benchmark.al.functional.losses import (
    bce_ranking_loss,
    margin_ranking_loss,
    ramp_up,
    softmax_mse,
    vae_loss,
)
from benchmark.al.functional.scores import top_positions
from benchmark.al.networks.gcn import Gcn
from benchmark.al.networks.vae import Discriminator, Encoded, Vae
from benchmark.errors import AlbenchError

Arrays = Mapping[str, np.ndarray]


@adapter("14_stconal_badge_init")
def badge_seeding(
    inputs: Any, expected: Expected, tolerance: Any, npz: Arrays, case: Expected
) -> None:
    # Any vector is its own gradient embedding beside a single feature of 1.
    vectors = tensor(inputs["X"])
    ones = torch.ones(len(vectors), 1, dtype=vectors.dtype)
    seeds = badge.kmeanspp_seeds(vectors, ones, inputs["K"], np.random.default_rng(0))
    given(expected, "first_centre", int(seeds[0]))
    assert len(set(seeds.tolist())) == inputs["K"]
    norms = badge.squared_norms(vectors, ones)
    nearest = badge.squared_distances(vectors, ones, norms, seeds[0])
    close(
        nearest.double() / nearest.double().sum(),
        expected["probability_of_second_centre"],
        tolerance["probability"],
    )


@adapter("28_stconal_badge_embedding")
def badge_embedding(
    inputs: Any, expected: Expected, tolerance: Any, npz: Arrays, case: Expected
) -> None:
    probs, features = tensor(inputs["logits"]).softmax(dim=1), tensor(inputs["features"])
    residual = badge.label_residuals(probs, tensor(inputs["true_labels"]))
    vectors = tensor(expected["embedding_true_label"])
    close(badge.gradient_embedding(residual, features), vectors, tolerance["float64"])
    norms = badge.squared_norms(residual, features)
    for place in range(len(vectors)):
        found = badge.squared_distances(residual, features, norms, torch.tensor(place))
        close(found, (vectors - vectors[place]).square().sum(dim=1), tolerance["float64"])


@adapter("27_stconal_ll4al_variants")
def ranking_losses(
    inputs: Any, expected: Expected, tolerance: Any, npz: Arrays, case: Expected
) -> None:
    if "raises" in expected:
        assert expected["raises"] == "AssertionError"  # ours says more than an assertion
        for form in (bce_ranking_loss, margin_ranking_loss):
            with pytest.raises(AlbenchError, match="even batch"):
                form(torch.zeros(inputs["size"]), torch.zeros(inputs["size"]))
        return
    losses = tensor(inputs["target_loss"])
    forms = {
        "bce_form": lambda predicted: bce_ranking_loss(predicted, losses),
        "margin_form_sign0": lambda predicted: margin_ranking_loss(
            predicted, losses, inputs["margin"], ties="zero"
        ),
    }
    for name in expected:
        predicted = tensor(inputs["pred_loss"]).requires_grad_()
        loss = forms[name](predicted)
        loss.backward()
        for field, found in (("loss", loss), ("grad_pred", predicted.grad)):
            if field in expected[name]:
                close(found, expected[name][field], tolerance["float64"])


@adapter("29_stconal_semi")
def semi_supervised(
    inputs: Any, expected: Expected, tolerance: Any, npz: Arrays, case: Expected
) -> None:
    if "epochs" in inputs:
        weights = [
            ramp_up(inputs["consistency"], epoch, inputs["rampup_epochs"])
            for epoch in inputs["epochs"]
        ]
        close(weights, expected["weight"], tolerance["float64"])
    else:
        found = softmax_mse(tensor(inputs["student_logits"]), tensor(inputs["teacher_logits"]))
        close(found, expected["sum_over_batch_divided_by_classes"], tolerance["float64"])


@adapter("30_gcn_baselines")
def graph_baselines(
    inputs: Any, expected: Expected, tolerance: Any, npz: Arrays, case: Expected
) -> None:
    first = next(tolerance[name] for name in tolerance if "adjacency" in name)
    later = next(tolerance[name] for name in tolerance if name.startswith("after"))
    raw = tensor(inputs["backbone_features"])
    candidates = inputs["SUBSET"]
    budget = inputs["ADDENDUM"]
    features = gcn.normalise_rows(raw)
    graph = gcn.adjacency(features)
    check_rows(features, expected, "normalised_features", first)
    check_rows(graph, expected, "adjacency", first)
    if "adjacency_column_sums" in expected:
        close(graph.sum(dim=0), expected["adjacency_column_sums"], first)
    start = inputs["gcn_weights_start"]
    network = Gcn(raw.shape[1], start["gc1.weight"].shape[1], inputs["dropout"]).double()
    network.load_state_dict({name: tensor(value) for name, value in start.items()})
    if "initial_scores" in expected:
        close(gcn.describe(network, features).labelled, expected["initial_scores"], first)
    adam = inputs["adam"]
    losses = gcn.train(
        network,
        features,
        candidates,
        inputs["lambda"],
        adam["steps"],
        adam["lr"],
        adam["weight_decay"],
    )
    for name in expected:
        if name.startswith("loss_at_step_"):
            steps = [int(step) for step in name.removeprefix("loss_at_step_").split("_")]
            close([losses[step - 1] for step in steps], expected[name], later)
    nodes = gcn.describe(network, features)
    if "final_scores" in expected:
        close(nodes.labelled, expected["final_scores"], later)
    check_rows(nodes.embedding, expected, "final_embedding", later)
    uncertain = top_positions(
        gcn.uncertainty(nodes.labelled[:candidates], inputs["margin"]), budget
    )
    core = k_center_greedy(nodes.embedding[:candidates], nodes.embedding[candidates:], budget)
    for method, picks in (("UncertainGCN", uncertain), ("CoreGCN", core)):
        if method not in expected:
            continue
        wanted = expected[method]
        same = wanted.get("same_set_in_float32", True)
        for name in ("picks_set", "picks_last_B"):
            if name in wanted:
                bought = wanted[name]
                assert not same or sorted(bought) == sorted(picks.tolist()), (
                    method
                )  # else the format asks for nothing
                assert (
                    not same
                    or name == "picks_set"
                    or method != "CoreGCN"
                    or bought == picks.tolist()
                ), "another order"


def check_rows(values: Tensor, expected: Expected, what: str, text: str) -> None:
    """Compare the first rows of a matrix with every field `<what>_first_row` or
    `<what>_first_<n>_rows` that is given."""
    for name in expected:
        match = re.fullmatch(rf"{what}_first_(?:row|(\d+)_rows)", name)
        if match:
            close(values[: int(match[1])] if match[1] else values[0], expected[name], text)


@adapter("31_vaal_pieces")
def vaal_pieces(
    inputs: Any, expected: Expected, tolerance: Any, npz: Arrays, case: Expected
) -> None:
    text = tolerance["float64"]
    if "recon" in inputs:
        encoded = Encoded(tensor(inputs["recon"]), tensor(inputs["mu"]), tensor(inputs["logvar"]))
        for name in expected:
            kl = "sum" if name.endswith("_sum_form") else "mean"
            close(vae_loss(tensor(inputs["x"]), encoded, inputs["beta"], kl), expected[name], text)
        return
    shapes = {
        name: shape
        for _, name, shape in [*inputs["vae_canonical"], *inputs["discriminator_canonical"]]
    }
    latent, decoded = shapes["fc_mu.weight"][0], shapes["decoder.0.weight"][1]
    width, channels = shapes["encoder.0.weight"][:2]
    vae = Vae(latent, decoded - latent, channels, width, inputs["H"]).double()
    discriminator = Discriminator(*shapes["net.0.weight"][::-1]).double()
    load_canonical(vae, inputs["vae_canonical"], inputs["fill"])
    load_canonical(discriminator, inputs["discriminator_canonical"], inputs["fill"])
    check_sizes = {"vae_parameters": vae, "discriminator_parameters": discriminator}
    for name, network in check_sizes.items():
        given(expected, name, sum(p.numel() for p in network.parameters()))
    images = wave(inputs["H"], inputs["W"], inputs["batch"], inputs["fill"])
    with torch.no_grad():
        mean, log_variance = vae.eval().encode(images)
        check_coded(vae, discriminator, mean, log_variance, expected, "eval", text)
        # The release scores with the autoencoder left in train mode.
        mean, log_variance = vae.train().encode(images)
        check_coded(vae.eval(), discriminator, mean, log_variance, expected, "train_mode", text)


def check_coded(
    vae: Vae,
    discriminator: Discriminator,
    mean: Tensor,
    log_variance: Tensor,
    expected: Expected,
    mode: str,
    text: str,
) -> None:
    """What the autoencoder in one mode makes of images, and what the discriminator makes of
    that."""
    found = check_starts(mean, expected, f"mu_{mode}", text)
    found += check_starts(log_variance, expected, f"logvar_{mode}", text)
    if f"decode_of_mu_{mode}_stat" in expected:
        check_map(vae.decode(mean), expected[f"decode_of_mu_{mode}_stat"], text)
    if f"discriminator_{mode}" in expected:
        close(discriminator(mean), expected[f"discriminator_{mode}"], text)
    assert found or f"discriminator_{mode}" in expected or f"decode_of_mu_{mode}_stat" in expected
