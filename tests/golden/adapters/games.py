"""Training and start of the networks of VAAL, TA-VAAL and the graph methods: items 36 and 37."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from adapters import NUMBER, Expected, adapter, close, given, load_canonical
from benchmark.al.networks.gcn import Gcn
from benchmark.al.networks.vae import Discriminator, Vae
from benchmark.al.strategies._seeded import Chance
from benchmark.al.strategies.base import Picks, View
from benchmark.al.strategies.vaal import TaVaal, Vaal, play_game

Arrays = Mapping[str, np.ndarray]


@adapter("36_vaal_game")
def game(inputs: Any, expected: Expected, tolerance: Any, npz: Arrays, case: Expected) -> None:
    candidates, labelled = inputs["candidates"], inputs["labelled"]
    total, rule = candidates + labelled, inputs["images"]
    scale = re.fullmatch(rf"{NUMBER} \+ i / n", rule["scale"])
    assert scale, f"an unknown scale of images: {rule['scale']}"
    ramp, least = rule["x_step"] * np.arange(3 * 32 * 32), float(scale[1])
    images = torch.from_numpy(
        np.stack(
            [
                np.sin(ramp + rule["x_shift"] * i).reshape(3, 32, 32) * (least + i / total)
                for i in range(total)
            ]
        )
    )

    class Given(Chance):
        def normal(self, like: Tensor) -> Tensor:
            return torch.full_like(like, inputs["noise_of_the_autoencoder"])

        def uniform(self, like: Tensor) -> Tensor:
            return torch.full_like(like, inputs["noise_for_the_ranks_in_iteration_0"])

        def start(self, name: str, module: nn.Module) -> None:
            load_canonical(module, inputs[f"{name}_canonical"], inputs["fills"][name])

    params: dict[str, Any] = {
        "kl": inputs["kl"],
        "vae_steps": inputs["vae_steps"],
        "latent": inputs["latent"],
        "width": inputs["width"],
        "batch_size": inputs["batch_size"],
        "lr": inputs["lr"],
        "passes": inputs["passes"],
        "redraw": True,
        "init": "kaiming",
        "hidden": inputs["discriminator_hidden"],
    }
    outputs, strategy = {}, Vaal(**params)
    if "rank" in inputs:
        times = re.fullmatch(rf"{NUMBER} \* mean of the image", inputs["rank"])
        assert times, f"an unknown rank: {inputs['rank']}"
        ranks = float(times[1]) * images.mean(dim=(1, 2, 3))
        outputs = {
            "predicted_loss": ranks[:candidates],
            "labelled.predicted_loss": ranks[candidates:],
        }
        strategy = TaVaal(**params, first_rank="raw")  # type: ignore[assignment]

    def view() -> View:
        return View(
            cycle=inputs["cycle"],
            cycles=inputs["cycle"] + 2,
            classes=10,
            candidates=np.arange(candidates),
            labelled=np.arange(candidates, total),
            pool_size=total,
            rng=np.random.default_rng(0),
            device=torch.device("cpu"),
            outputs=outputs,
            images=lambda indices: images[torch.as_tensor(indices)],
            chance=Given,
        )

    shown, budget, text = view(), inputs["budget"], tolerance["float64"]
    found = strategy.game(shown)
    scores = play_game(found, shown, budget)
    given(expected, "iterations", len(found.losses))
    measured = {
        "vae_loss_last_step": [float(coded) for coded, _ in found.losses],
        "discriminator_loss": [float(judged) for _, judged in found.losses],
        "discriminator_of_candidates": 1 - scores,
    }
    for name, values in measured.items():
        if name in expected:
            close(values, expected[name], text)
    if "picked" in expected:
        picks: Picks = strategy.select(view(), budget)
        assert sorted(picks.positions.tolist()) == sorted(expected["picked"])


# ------------------------------------------------------------------------------------------- starts


@adapter("37_baseline_inits")
def starts(inputs: Any, expected: Expected, tolerance: Any, npz: Arrays, case: Expected) -> None:
    shapes = {name: list(expected[name]["shape"]) for name in expected}
    torch.manual_seed(0)
    networks: dict[str, nn.Module] = {}
    if "vae.fc_mu.weight" in shapes:
        latent, (width, channels) = (
            shapes["vae.fc_mu.weight"][0],
            shapes["vae.encoder.0.weight"][:2],
        )
        side = 32 if shapes["vae.decoder.11.weight"][2:] == [1, 1] else 224
        conditions = shapes["vae.decoder.0.weight"][1] - latent
        networks["vae"] = Vae(latent, conditions, channels, width, side, init="kaiming")
    if "discriminator.net.0.weight" in shapes:
        hidden, coded = shapes["discriminator.net.0.weight"]
        networks["discriminator"] = Discriminator(coded, hidden, init="kaiming")
    if "gcn.gc1.weight" in shapes:
        networks["gcn"] = Gcn(*shapes["gcn.gc1.weight"], init="outputs")
    own = {
        f"{network}.{name}": value
        for network, made in networks.items()
        for name, value in made.named_parameters()
    }
    for name in shapes:
        check_start(name, own[name].detach(), expected[name], tolerance)
    missing = [name for name in own if name not in shapes]
    assert not missing, f"the case has no such tensor: {missing}"


def check_start(name: str, value: Tensor, wanted: Expected, tolerance: Any) -> None:
    """Spread, range and kind of a fresh draw against the official one."""
    assert list(value.shape) == list(wanted["shape"]), name
    count, std, peak = value.numel(), wanted["std"], wanted["abs_max"]
    kurtosis = wanted.get("kurtosis")
    if std == 0 and count > 1:  # a constant: batch norm, or a bias that starts at 0
        assert bool((value.abs() == peak).all()), f"{name}: not {peak} throughout"
        return
    if count == 1:
        assert float(value.abs()) == 0 if peak == 0 else float(value.abs()) < 1, name
        return
    allowed = re.search(rf"rel 3 / sqrt\(elements\) and {NUMBER}", tolerance["std"])
    assert allowed, tolerance["std"]
    # Both are draws: the difference of two spreads has the noise of both.
    share = max(3 / np.sqrt(count) * np.sqrt(2), float(allowed.group(1)))
    assert abs(float(value.std()) / std - 1) <= share, (
        f"{name}: {float(value.std()):.5f} instead of {std:.5f}"
    )
    if kurtosis is None or count <= 100:
        return
    centred = value.double() - value.double().mean()
    own = float((centred**4).mean() / (centred**2).mean() ** 2)
    assert (own < 2.4) == (kurtosis < 2.4), f"{name}: kurtosis {own:.2f} instead of {kurtosis:.2f}"
    if kurtosis < 2.4:
        assert 0.9 * peak < float(value.abs().max()) < peak / 0.9, name
